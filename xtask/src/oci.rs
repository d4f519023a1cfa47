//! Pure: images as an archive in the OCI layout, of one layer each, the same bytes for the same input.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What the image says of itself, and what is in it.
#[derive(Debug, Default)]
pub(crate) struct Image {
    /// `registry/name:tag`.
    pub(crate) name: String,
    /// As images call it, such as `amd64`; empty is this machine's.
    pub(crate) architecture: &'static str,
    pub(crate) entrypoint: Vec<String>,
    /// `UID:GID`; empty is root.
    pub(crate) user: String,
    pub(crate) labels: BTreeMap<&'static str, String>,
    pub(crate) files: Vec<Entry>,
    /// Worth the time when the image is to be sent somewhere.
    pub(crate) is_compressed: bool,
}

/// One thing in the image's file system. Folders above it are made.
#[derive(Debug)]
pub(crate) enum Entry {
    File { path: String, mode: u32, bytes: Vec<u8> },
    Link { path: String, target: String },
}

impl Image {
    /// The archive of this image alone.
    pub(crate) fn archive(&self) -> anyhow::Result<Vec<u8>> {
        archive(std::slice::from_ref(self))
    }

    fn architecture(&self) -> &str {
        match (self.architecture, std::env::consts::ARCH) {
            ("", "x86_64") => "amd64",
            ("", "aarch64") => "arm64",
            ("", other) => other,
            (named, _) => named,
        }
    }

    fn layer(&self) -> anyhow::Result<Vec<u8>> {
        let mut layer = tar::Builder::new(Vec::new());
        let mut folders = BTreeSet::new();
        for entry in &self.files {
            let (Entry::File { path, .. } | Entry::Link { path, .. }) = entry;
            let path = path.trim_start_matches('/');
            for (at, _) in path.match_indices('/') {
                if folders.insert(&path[..at]) {
                    add_folder(&mut layer, &path[..at])?;
                }
            }
            match entry {
                Entry::File { mode, bytes, .. } => add_file(&mut layer, path, *mode, bytes)?,
                Entry::Link { target, .. } => {
                    let mut header = header(tar::EntryType::Symlink, 0o777, 0);
                    layer.append_link(&mut header, path, target)?;
                }
            }
        }
        layer.into_inner().context("cannot end the layer")
    }

    /// Puts its three blobs there; the descriptor of its manifest.
    fn describe(&self, blobs: &mut Blobs) -> anyhow::Result<Value> {
        let layer = self.layer().context("cannot make the layer")?;
        let unpacked = digest(&layer);
        let layer = if self.is_compressed {
            blobs.put("application/vnd.oci.image.layer.v1.tar+gzip", gzip(&layer)?)
        } else {
            blobs.put("application/vnd.oci.image.layer.v1.tar", layer)
        };
        let config = json!({
            "architecture": self.architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": { "Entrypoint": self.entrypoint, "User": self.user, "WorkingDir": "/", "Labels": self.labels,
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"] },
            "rootfs": { "type": "layers", "diff_ids": [unpacked] },
        });
        let config = blobs.put("application/vnd.oci.image.config.v1+json", serde_json::to_vec(&config)?);
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
            "annotations": self.labels });
        let mut descriptor = blobs.put(MANIFEST, serde_json::to_vec(&manifest)?);
        descriptor["platform"] = json!({ "architecture": self.architecture(), "os": "linux" });
        Ok(descriptor)
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What the layout holds, by digest.
#[derive(Debug, Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    /// Keeps it; its descriptor.
    fn put(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = digest(&bytes);
        let descriptor = json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
        self.0.insert(digest, bytes);
        descriptor
    }
}

/// One archive of images for different machines, below the name of the first.
/// `ctr images import` reads it.
pub(crate) fn archive(images: &[Image]) -> anyhow::Result<Vec<u8>> {
    let name = images.first().context("an archive without an image")?.name.as_str();
    let mut blobs = Blobs::default();
    let mut described =
        images.iter().map(|image| image.describe(&mut blobs)).collect::<Result<Vec<_>, _>>()?;
    let mut top = match described.as_mut_slice() {
        [only] => only.take(),
        _ => {
            let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": described });
            blobs.put(INDEX, serde_json::to_vec(&index)?)
        }
    };
    let tag = name.rsplit(':').next().unwrap_or_default();
    // The first is what containerd's import looks at, the second what the layout's specification says.
    top["annotations"] =
        json!({ "io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [top] });

    let mut archive = tar::Builder::new(Vec::new());
    add_file(&mut archive, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    add_file(&mut archive, "index.json", 0o644, &serde_json::to_vec(&index)?)?;
    for (digest, blob) in &blobs.0 {
        add_file(&mut archive, &format!("blobs/{}", digest.replace(':', "/")), 0o644, blob)?;
    }
    archive.into_inner().context("cannot end the archive")
}

/// Time and owner are zero, so that only the content counts.
fn header(kind: tar::EntryType, mode: u32, bytes: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes as u64);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn add_folder(archive: &mut tar::Builder<Vec<u8>>, path: &str) -> std::io::Result<()> {
    let mode = if path == "tmp" { 0o1777 } else { 0o755 };
    let mut header = header(tar::EntryType::Directory, mode, 0);
    archive.append_data(&mut header, path, std::io::empty())
}

fn add_file(archive: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, bytes: &[u8]) -> std::io::Result<()> {
    let mut header = header(tar::EntryType::Regular, mode, bytes.len());
    archive.append_data(&mut header, path, bytes)
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    std::io::Write::write_all(&mut gzip, bytes)?;
    gzip.finish()
}

/// `sha256:` and lower-case hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{Entry, Image, archive, digest};

    fn image(architecture: &'static str) -> Image {
        Image {
            name: "localhost/a:1".to_owned(),
            architecture,
            entrypoint: vec!["/bin/a".to_owned()],
            user: "65532:65532".to_owned(),
            is_compressed: true,
            files: vec![
                Entry::File { path: "/bin/a".to_owned(), mode: 0o755, bytes: b"program".to_vec() },
                Entry::Link { path: "/bin/b".to_owned(), target: "/bin/a".to_owned() },
            ],
            ..Image::default()
        }
    }

    fn paths(bytes: &[u8]) -> Vec<String> {
        let mut archive = tar::Archive::new(bytes);
        let entries = archive.entries().expect("entries");
        entries
            .map(|entry| entry.expect("an entry").path().expect("a path").to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn an_archive_holds_the_layout_the_index_and_three_blobs() {
        let paths = paths(&image("amd64").archive().expect("an archive"));
        assert_eq!(paths[..2], ["oci-layout", "index.json"]);
        assert_eq!(paths[2..].iter().filter(|path| path.starts_with("blobs/sha256/")).count(), 3);
    }

    #[test]
    fn images_for_two_machines_share_one_name_and_one_layer() {
        let bytes = archive(&[image("amd64"), image("arm64")]).expect("an archive");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert_eq!(text.matches("io.containerd.image.name").count(), 1);
        assert_eq!(text.matches(r#"{"architecture":"arm64","os":"linux"}"#).count(), 1);
        // The layer, and for each machine a config and a manifest, and what lists them.
        assert_eq!(paths(&bytes).len(), 2 + 1 + 2 * 2 + 1);
    }

    #[test]
    fn the_same_image_is_the_same_bytes() {
        assert_eq!(archive(&[image("")]).expect("one"), archive(&[image("")]).expect("another"));
    }

    #[test]
    fn digests_are_those_that_everybody_computes() {
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(b"abc"), abc);
    }
}
