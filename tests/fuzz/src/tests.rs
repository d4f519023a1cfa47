//! The seeds of every target, as they are and damaged: a short fuzzing without a fuzzer.

use std::path::{Path, PathBuf};

use super::{TARGETS, Target};

/// What parsers care about.
const SPICE: [&[u8]; 16] = [
    b"",
    b"\r\n",
    b"\n",
    b"\0",
    b"\xff",
    b":",
    b"/",
    b"..",
    b"%2f",
    b" ",
    b"*",
    b"0",
    b"-1",
    b"99999999999",
    b"[",
    b"\t",
];

/// The folder of a target's own seeds, and the golden cases for what reads YAML.
fn folders(target: &Target) -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![here.join("corpus").join(target.name)];
    if target.reads_yaml {
        folders.push(here.join("../../gateway-userspace/testdata/compile"));
    }
    folders
}

fn seeds(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = folders(target).into_iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let mut seeds: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    seeds.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn damage(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..4) {
        let from = random.usize(0..=bytes.len());
        let to = (from + random.usize(0..4)).min(bytes.len());
        match random.u8(0..3) {
            0 => drop(bytes.splice(from..to, random.choice(SPICE).unwrap_or_default().iter().copied())),
            1 => drop(bytes.splice(from..to, [random.u8(..)])),
            _ => {
                let copied = bytes[from..(from + 16).min(bytes.len())].to_vec();
                bytes.splice(to..to, copied);
            }
        }
    }
}

#[test]
fn every_target_survives_its_seeds_and_damaged_copies_of_them() {
    for target in TARGETS {
        let seeds = seeds(&target);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        // The same copies in every run: what fails once fails again.
        let mut random = fastrand::Rng::with_seed(1);
        // Damaged copies of each seed: as many as take a second or two.
        let copies = if target.reads_yaml { 12 } else { 100 };
        for (path, seed) in seeds {
            println!("{}: {}", target.name, path.display());
            (target.run)(&seed);
            for _ in 0..copies {
                let mut copy = seed.clone();
                damage(&mut copy, &mut random);
                println!("{:?}", String::from_utf8_lossy(&copy));
                (target.run)(&copy);
            }
        }
    }
}

#[test]
fn every_folder_of_seeds_belongs_to_a_target() {
    for folder in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap() {
        let name = folder.unwrap().file_name();
        assert!(TARGETS.iter().any(|target| name == target.name), "{name:?}");
    }
}
