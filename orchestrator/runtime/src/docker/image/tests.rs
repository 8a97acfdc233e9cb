#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::Read as _;

use super::*;

/// A program header table with these entry types behind an ELF header for this machine.
fn elf(machine: u16, types: &[u32]) -> Vec<u8> {
    let mut file = vec![0; 64];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[18..20].copy_from_slice(&machine.to_le_bytes());
    file[32..40].copy_from_slice(&64_u64.to_le_bytes());
    file[54..56].copy_from_slice(&56_u16.to_le_bytes());
    file[56..58].copy_from_slice(&u16::try_from(types.len()).unwrap().to_le_bytes());
    for kind in types {
        file.extend_from_slice(&kind.to_le_bytes());
        file.extend_from_slice(&[0; 52]);
    }
    file
}

#[test]
fn a_program_with_an_interpreter_is_refused() {
    assert_eq!(inspect(&elf(62, &[6, 1, 2])), Ok(Machine::Amd64));
    assert_eq!(inspect(&elf(183, &[1])), Ok(Machine::Arm64));
    assert_eq!(inspect(&elf(62, &[6, 3, 1])), Err(NotPackable::Dynamic));
    assert_eq!(inspect(&elf(8, &[1])), Err(NotPackable::OtherMachine));
    assert_eq!(inspect(b"#!/bin/sh\n"), Err(NotPackable::NotElf));
}

#[test]
fn a_program_cut_anywhere_is_no_reason_to_panic() {
    let whole = elf(62, &[1, 2]);
    for end in 0..whole.len() - 52 {
        inspect(&whole[..end]).unwrap_err();
    }
    let mut far = whole;
    far[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(inspect(&far), Err(NotPackable::Truncated));
}

#[test]
fn this_very_program_is_static() {
    Image::check(Path::new("/proc/self/exe")).unwrap();
}

#[test]
fn the_refusal_of_a_dynamic_program_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("program");
    fs::write(&path, elf(62, &[3])).unwrap();
    let error = Image::read("netsplit", &path).unwrap_err();
    assert!(error.hints[0].contains("crt-static"), "{error:?}");
}

#[test]
fn the_same_program_gives_the_same_bytes_and_another_one_another_tag() {
    let image = |name, tail: u8| {
        let mut binary = elf(62, &[1]);
        binary.push(tail);
        Image::of(name, binary.into()).unwrap()
    };
    let first = image("netsplit-node", 1);
    assert_eq!(
        first.archive().unwrap(),
        image("netsplit-node", 1).archive().unwrap()
    );
    assert_eq!(first.reference, image("netsplit-node", 1).reference);
    assert_ne!(first.reference, image("netsplit-node", 2).reference);
    assert_ne!(first.reference[14..], image("netsplit", 1).reference[9..]);
    assert_eq!(first.reference.len(), "netsplit-node:".len() + 12);
}

#[test]
fn the_archive_names_its_parts_by_their_digests() {
    let image = Image::of("netsplit", elf(62, &[1]).into()).unwrap();
    let archive = image.archive().unwrap();
    let mut parts = std::collections::BTreeMap::new();
    for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!(
            (
                entry.header().mtime().unwrap(),
                entry.header().uid().unwrap()
            ),
            (0, 0)
        );
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        parts.insert(path, content);
    }
    let manifest: serde_json::Value = serde_json::from_slice(&parts["manifest.json"]).unwrap();
    assert_eq!(manifest[0]["RepoTags"][0], image.reference);
    let config = &parts[manifest[0]["Config"].as_str().unwrap()];
    let layer = &parts[manifest[0]["Layers"][0].as_str().unwrap()];
    let config: serde_json::Value = serde_json::from_slice(config).unwrap();
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(layer)));
    assert_eq!(config["rootfs"]["diff_ids"][0], digest);
    let mut files = tar::Archive::new(&layer[..]);
    let names: Vec<_> = files
        .entries()
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(names, ["data/", "run/", "tmp/", "netsplit"]);
}
