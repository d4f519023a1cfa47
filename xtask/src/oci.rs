//! Pure: an image as an archive in the OCI layout, of one layer, the same bytes for the same input.

use anyhow::Context;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What the image says of itself.
#[derive(Debug, Default)]
pub(crate) struct Image {
    /// `registry/name:tag`.
    pub(crate) name: String,
    pub(crate) entrypoint: Vec<String>,
    /// `UID:GID`; empty is root.
    pub(crate) user: String,
    pub(crate) files: Vec<Entry>,
}

/// One thing in the image's file system. Folders above it are made.
#[derive(Debug)]
pub(crate) enum Entry {
    File { path: String, mode: u32, bytes: Vec<u8> },
    Link { path: String, target: String },
}

impl Image {
    /// The archive, as `ctr images import` reads it.
    pub(crate) fn archive(&self) -> anyhow::Result<Vec<u8>> {
        let layer = self.layer().context("cannot make the layer")?;
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": { "Entrypoint": self.entrypoint, "User": self.user, "WorkingDir": "/",
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"] },
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        });
        let config = serde_json::to_vec(&config)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        });
        let manifest = serde_json::to_vec(&manifest)?;
        let mut described = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        described["platform"] = json!({ "architecture": architecture, "os": "linux" });
        let tag = self.name.rsplit(':').next().unwrap_or_default();
        described["annotations"] =
            json!({ "io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": tag });
        let index = serde_json::to_vec(&json!({ "schemaVersion": 2, "manifests": [described] }))?;

        let mut archive = tar::Builder::new(Vec::new());
        add_file(&mut archive, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        add_file(&mut archive, "index.json", 0o644, &index)?;
        for blob in [&manifest, &config, &layer] {
            let name = digest(blob).replace(':', "/");
            add_file(&mut archive, &format!("blobs/{name}"), 0o644, blob)?;
        }
        archive.into_inner().context("cannot end the archive")
    }

    fn layer(&self) -> anyhow::Result<Vec<u8>> {
        let mut layer = tar::Builder::new(Vec::new());
        let mut folders = Vec::new();
        for entry in &self.files {
            let (Entry::File { path, .. } | Entry::Link { path, .. }) = entry;
            let path = path.trim_start_matches('/');
            for (at, _) in path.match_indices('/') {
                let folder = &path[..at];
                if !folders.contains(&folder) {
                    folders.push(folder);
                    add_folder(&mut layer, folder)?;
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

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

#[cfg(test)]
mod tests {
    use super::{Entry, Image};

    fn image() -> Image {
        Image {
            name: "localhost/a:1".to_owned(),
            entrypoint: vec!["/bin/a".to_owned()],
            user: "65532:65532".to_owned(),
            files: vec![
                Entry::File { path: "/bin/a".to_owned(), mode: 0o755, bytes: b"program".to_vec() },
                Entry::Link { path: "/bin/b".to_owned(), target: "/bin/a".to_owned() },
            ],
        }
    }

    #[test]
    fn an_archive_holds_the_layout_the_index_and_three_blobs() {
        let bytes = image().archive().expect("an archive");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let paths = archive
            .entries()
            .expect("entries")
            .map(|entry| entry.expect("an entry").path().expect("a path").to_string_lossy().into_owned());
        let paths: Vec<_> = paths.collect();
        assert_eq!(paths[..2], ["oci-layout", "index.json"]);
        assert_eq!(paths[2..].iter().filter(|path| path.starts_with("blobs/sha256/")).count(), 3);
    }

    #[test]
    fn the_same_image_is_the_same_bytes() {
        assert_eq!(image().archive().expect("one"), image().archive().expect("another"));
    }
}
