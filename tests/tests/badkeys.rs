//! badkeys, which knows weak keys as well as anybody does, judges the keys that our rules judge: both find the same.

use std::path::{Path, PathBuf};
use std::process::Command;

use pki::weak_key::list::{KeyList, KeyLists, badkeys_digest};
use pki::weak_key::{WeakKey, check};
use pki::{PublicKey, pem};
use tests::openssl::openssl;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pki/tests/vectors/weak-keys")
}

/// Published keys, and some that `openssl` makes now. What badkeys has no check for (prime moduli) is left out.
fn corpus(dir: &Path) -> Vec<(String, PublicKey)> {
    let mut texts = Vec::new();
    for file in ["rsa-ok", "rsa-debianweak", "rsa-roca", "rsa-fermat-pkcs1", "rsa-fermat-pkcs8"].into_iter().chain([
        "rsa-smallfactors-valid",
        "rsa-smallfactors-corrupt",
        "ec-p256-rfc-example",
    ]) {
        let path = vectors().join(format!("{file}.pem"));
        texts.push((
            file.to_owned(),
            openssl(dir, &["pkey", "-pubin", "-in", path.to_str().unwrap(), "-pubout"]).unwrap(),
        ));
    }
    for number in 0..6 {
        for (kind, option) in [
            ("RSA", "rsa_keygen_bits:2048"),
            ("RSA", "rsa_keygen_bits:3072"),
            ("EC", "ec_paramgen_curve:P-256"),
            ("EC", "ec_paramgen_curve:P-384"),
        ] {
            openssl(dir, &["genpkey", "-algorithm", kind, "-pkeyopt", option, "-out", "key.pem"]).unwrap();
            texts.push((format!("{option} {number}"), openssl(dir, &["pkey", "-in", "key.pem", "-pubout"]).unwrap()));
        }
    }
    let key =
        |text: &str| PublicKey::from_spki_der(&pem::decode_one(text.as_bytes(), pem::PUBLIC_KEY).unwrap()).unwrap();
    texts.iter().map(|(name, text)| (name.clone(), key(text))).collect()
}

/// What badkeys finds, in its own words.
fn judged(dir: &Path, keys: &[(String, PublicKey)]) -> Vec<Vec<String>> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/bin/python");
    assert!(python.exists(), "there is no badkeys: run `make setup`, which puts it under target/python");
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python/weak.py")).env("XDG_CACHE_HOME", dir.join("cache"));
    for (number, (_, key)) in keys.iter().enumerate() {
        let file = dir.join(format!("{number}.pem"));
        std::fs::write(&file, pem::encode(pem::PUBLIC_KEY, key.spki_der())).unwrap();
        command.arg(file);
    }
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What our rules find, in badkeys' words.
fn found(lists: &KeyLists, key: &PublicKey) -> Vec<&'static str> {
    let mut found = Vec::new();
    if lists.check(key).is_err() {
        found.push("blocklist");
    }
    match check(key) {
        Ok(()) => {}
        Err(WeakKey::CloseFactors(_)) => found.push("fermat"),
        Err(WeakKey::Roca) => found.push("roca"),
        Err(WeakKey::Even | WeakKey::SmallFactor(_)) => found.push("smallfactors"),
        Err(other) => panic!("badkeys has no check for that: {other}"),
    }
    found
}

// conformance: R3, R4, R5, R6
#[test]
fn badkeys_finds_what_our_rules_find_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let keys = corpus(dir.path());
    // A block list with the two published keys that others know, and one key of each kind that was made just now.
    let listed = ["rsa-debianweak", "ec-p256-rfc-example", "rsa_keygen_bits:3072 1", "ec_paramgen_curve:P-384 2"];
    let mut entries: Vec<[u8; 16]> = Vec::new();
    for (_, key) in keys.iter().filter(|(name, _)| listed.contains(&name.as_str())) {
        let mut entry = [1; 16];
        entry[..15].copy_from_slice(&badkeys_digest(key));
        entries.push(entry);
    }
    assert_eq!(entries.len(), listed.len());
    entries.sort_unstable();
    let cache = dir.path().join("cache/badkeys");
    std::fs::create_dir_all(&cache).unwrap();
    std::fs::write(cache.join("blocklist.dat"), entries.concat()).unwrap();
    std::fs::write(cache.join("badkeysdata.json"), r#"{"blocklists": [{"id": 1, "name": "test"}]}"#).unwrap();
    let lists = KeyLists::new(vec![KeyList::parse("blocklist.dat", entries.concat()).unwrap()]);

    let judged = judged(dir.path(), &keys);
    assert_eq!(judged.len(), keys.len());
    let mut weak = 0;
    for ((name, key), judged) in keys.iter().zip(judged) {
        let ours = found(&lists, key);
        assert_eq!(ours, judged, "{name}: ours, and badkeys'");
        weak += usize::from(!ours.is_empty());
    }
    assert_eq!(weak, 5 + listed.len(), "every published weak key, and those on the list");
}
