//! Writes the seeds: small things that are right, for the fuzzer to bend. Keys are made anew each time. Targets that read
//! text files begin with those that ship; `scripts/fuzz.sh` puts them there.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fuzz::{NOW, Sample, SampleState};
use ocsp_responder::snapshot::{SnapshotPlace, SnapshotWriter};
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::pkcs8::DecodePrivateKey;
use pki::certificate::{PreparedCertificate, SignedCertificate, SubjectFields, Validity, prepare, prepare_root};
use pki::crl::{CrlEntry, CrlHeader, CrlNumber, EntryReason, prepare_crl};
use pki::feed::frame::{FORMAT, Frame};
use pki::feed::{FeedPosition, Origin, PublishedStatus, StatusEntry};
use pki::ocsp::{
    CertStatus, HashAlgorithm, IssuerHashes, ResponderId, ResponseContent, SingleResponse, build_request,
    prepare_response,
};
use pki::profile::ProfileSet;
use pki::{CrlReason, IssuerDescription, PublicKey, SerialNumber, Timestamp, pem};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use store::{Batch, SledStore, Store};

type Fallible<T = ()> = Result<T, Box<dyn Error>>;

struct Key {
    pkcs8: Vec<u8>,
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl Key {
    fn generate(key_type: pki::KeyType) -> Fallible<Self> {
        let algorithm = match key_type {
            pki::KeyType::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
            _ => &ECDSA_P256_SHA256_ASN1_SIGNING,
        };
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|_| "no key")?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).map_err(|_| "no key")?;
        let public = PublicKey::from_ec_point(key_type, pair.public_key().as_ref())?;
        Ok(Self { pkcs8: pkcs8.as_ref().to_vec(), pair, public })
    }

    fn sign(&self, message: &[u8]) -> Fallible<Vec<u8>> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| "no signature")?;
        Ok(signature.as_ref().to_vec())
    }

    /// Signs what was hashed already, which ring does not. For P-256 only.
    fn sign_digest(&self, digest: &[u8]) -> Fallible<Vec<u8>> {
        let key = p256::ecdsa::SigningKey::from_pkcs8_der(&self.pkcs8).map_err(|_| "no P-256 key")?;
        let signature: p256::ecdsa::Signature = key.sign_prehash(digest)?;
        Ok(signature.to_der().as_bytes().to_vec())
    }

    fn certify(&self, prepared: PreparedCertificate) -> Fallible<SignedCertificate> {
        let signature = self.sign(prepared.tbs_der())?;
        Ok(prepared.assemble(&signature, &self.public)?)
    }
}

struct Seeds(PathBuf);

impl Seeds {
    fn write(&self, target: &str, name: &str, bytes: impl AsRef<[u8]>) -> Fallible {
        let dir = self.0.join(target);
        fs::create_dir_all(&dir)?;
        Ok(fs::write(dir.join(name), bytes)?)
    }
}

fn main() -> Fallible {
    let seeds = Seeds(Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds"));
    requests(&seeds)?;
    certificates(&seeds)?;
    records(&seeds)
}

fn requests(seeds: &Seeds) -> Fallible {
    let plain = rcgen::CertificateParams::new(vec!["desk-1.example.org".to_owned()])?;
    for (name, algorithm) in [("p256", &rcgen::PKCS_ECDSA_P256_SHA256), ("p384", &rcgen::PKCS_ECDSA_P384_SHA384)] {
        let key = rcgen::KeyPair::generate_for(algorithm)?;
        let request = plain.serialize_request(&key)?;
        seeds.write("request", &format!("{name}.der"), request.der())?;
        if name == "p256" {
            let text = request.pem()?;
            seeds.write("request", &format!("{name}.pem"), &text)?;
            seeds.write("pem", "request.pem", &text)?;
        }
    }
    Ok(())
}

fn certificates(seeds: &Seeds) -> Fallible {
    let profiles = ProfileSet::load(config::SHIPPED_PROFILES_TOML, "profiles.toml")?;
    let profile = |name: &str| profiles.get(name).ok_or_else(|| format!("no profile {name}"));
    let validity = |profile: &pki::profile::CertificateProfile| Validity {
        not_before: NOW,
        not_after: NOW.plus(profile.life().saturating_sub(Duration::from_secs(1))),
    };
    let named = |common_name: &str| SubjectFields {
        organization: Some("Example Registration Authority".to_owned()),
        common_name: Some(common_name.to_owned()),
        ..SubjectFields::default()
    };
    let (root_key, ca_key, card_key) =
        (Key::generate(pki::KeyType::P384)?, Key::generate(pki::KeyType::P256)?, Key::generate(pki::KeyType::P256)?);

    let root_profile = profile("root-ca")?;
    let root = root_key.certify(prepare_root(
        root_profile,
        &named("Example Root CA"),
        &root_key.public,
        serial(1),
        validity(root_profile),
    )?)?;
    let root_issuer = issuer("root-1", &root);
    let ca_profile = profile("issuing-ca")?;
    let ca = root_key.certify(prepare(
        ca_profile,
        &root_issuer,
        &named("Example Authentication CA"),
        &ca_key.public,
        serial(2),
        validity(ca_profile),
    )?)?;
    let ca_issuer = issuer("authentication-1", &ca);
    let card_profile = profile("card-authentication")?;
    let person = SubjectFields {
        user_id: Some("123456789012".to_owned()),
        given: Some("Ada".to_owned()),
        family: Some("Lovelace".to_owned()),
        upn: Some("ada@example.org".to_owned()),
        ..named("")
    };
    let card = ca_key.certify(prepare(
        card_profile,
        &ca_issuer,
        &person,
        &card_key.public,
        serial(3),
        validity(card_profile),
    )?)?;

    for (name, certificate) in [("root", &root), ("issuing-ca", &ca), ("card", &card)] {
        seeds.write("certificate", &format!("{name}.der"), certificate.der())?;
        seeds.write("name", &format!("{name}.der"), certificate.parsed().subject_der())?;
    }
    seeds.write("pem", "chain.pem", pem::encode_certificates([card.der(), ca.der(), root.der()]))?;
    crls(seeds, &ca_key, &ca_issuer)?;
    ocsp(seeds, &ca_key, &ca_issuer, card.serial())
}

fn crls(seeds: &Seeds, ca_key: &Key, issuer: &IssuerDescription) -> Fallible {
    let entry = |number, reason, invalidity_date| CrlEntry { serial: serial(number), at: NOW, reason, invalidity_date };
    let three = vec![
        entry(10, CrlReason::Unspecified.into(), None),
        entry(11, CrlReason::CertificateHold.into(), None),
        entry(12, CrlReason::KeyCompromise.into(), Some(NOW.minus(Duration::from_secs(3600)))),
    ];
    let full = CrlHeader {
        issuer,
        number: CrlNumber::from(7),
        this_update: NOW,
        next_update: NOW.plus(Duration::from_secs(3600)),
        base: None,
        distribution_point: None,
        freshest_crl: None,
        expired_certs_on_crl: None,
    };
    let shard = CrlHeader {
        distribution_point: Some("http://ca.example.org/crl/authentication-1/3.crl"),
        freshest_crl: Some("http://ca.example.org/crl/authentication-1/3/delta.crl"),
        expired_certs_on_crl: Some(NOW.minus(Duration::from_secs(86_400))),
        ..full
    };
    let delta = CrlHeader { number: CrlNumber::from(300), base: Some(CrlNumber::from(7)), ..full };
    let released = vec![entry(10, CrlReason::Superseded.into(), None), entry(11, EntryReason::RemoveFromCrl, None)];
    for (name, header, entries) in
        [("empty", full, vec![]), ("three", full, three.clone()), ("shard", shard, three), ("delta", delta, released)]
    {
        let prepared = prepare_crl(&header, &entries)?;
        let signature = ca_key.sign_digest(prepared.digest())?;
        let mut der = Vec::new();
        prepared.write(&entries, &signature, &ca_key.public, &mut der)?;
        seeds.write("crl", &format!("{name}.der"), der)?;
    }
    Ok(())
}

fn ocsp(seeds: &Seeds, ca_key: &Key, issuer: &IssuerDescription, card: SerialNumber) -> Fallible {
    let hashes = IssuerHashes::new(&issuer.subject_der, &issuer.public_key);
    let sha1 = hashes.cert_id(HashAlgorithm::Sha1, card);
    let sha256 = hashes.cert_id(HashAlgorithm::Sha256, card);
    for (name, request) in
        [("sha1", build_request(&[&sha1], None)?), ("two-nonce", build_request(&[&sha1, &sha256], Some(&[7; 32]))?)]
    {
        seeds.write("ocsp_path", &format!("{name}.txt"), STANDARD.encode(&request))?;
        seeds.write("ocsp_path", &format!("{name}-escaped.txt"), STANDARD.encode(&request).replace('/', "%2F"))?;
        seeds.write("ocsp_request", &format!("{name}.der"), request)?;
    }
    for (name, status) in [
        ("good", CertStatus::Good),
        ("hold", CertStatus::Revoked { at: NOW, reason: CrlReason::CertificateHold }),
        ("unknown", CertStatus::Unknown),
    ] {
        let responses = [SingleResponse {
            cert_id: &sha256,
            status,
            this_update: NOW,
            next_update: NOW.plus(Duration::from_secs(600)),
            archive_cutoff: Some(NOW),
        }];
        let content = ResponseContent {
            responder_id: ResponderId::ByKey(ca_key.public.key_identifier()),
            produced_at: NOW,
            responses: &responses,
            nonce: None,
            extended_revoke: true,
        };
        let prepared = prepare_response(&content, issuer.signature_algorithm())?;
        let signature = ca_key.sign(prepared.tbs_der())?;
        seeds.write("ocsp_response", &format!("{name}.der"), prepared.assemble(&signature, None)?)?;
    }
    Ok(())
}

fn records(seeds: &Seeds) -> Fallible {
    let sample = Sample {
        id: "sample-1".to_owned(),
        der: vec![0x30, 0x03, 0x02, 0x01, 0x05],
        at: NOW,
        serial: serial(4),
        reason: Some(CrlReason::Superseded),
        names: vec!["one".to_owned(), "two".to_owned()],
        state: SampleState::Held { since: NOW, before: Box::new(SampleState::Idle) },
    };
    seeds.write("store_record", "sample.cbor", store::record::encode(&sample)?)?;

    let entry = StatusEntry {
        issuer: "authentication-1".to_owned(),
        serial: serial(4),
        status: PublishedStatus::Good { since: NOW },
        not_after: NOW,
        shard: None,
    };
    seeds.write("feed_entry", "good.cbor", entry.encode())?;
    let revoked = StatusEntry {
        serial: serial(5),
        status: PublishedStatus::Revoked { at: NOW, reason: CrlReason::KeyCompromise, invalidity_date: Some(NOW) },
        shard: Some(3),
        ..entry.clone()
    };
    following(seeds, &[entry.clone(), revoked])?;

    let dir = tempfile::tempdir()?;
    let store = SledStore::open(dir.path())?;
    let mut batch = Batch::new(NOW.unix_millis());
    batch.create(&sample)?;
    batch.audit.push(b"audit".to_vec());
    batch.feed.push(entry.encode());
    batch.outbox.push(b"outbox".to_vec());
    store.commit(batch)?;
    let mut backup = Vec::new();
    store.backup(&mut backup, &mut |_| ())?;
    seeds.write("backup", "small.backup", backup)
}

/// What a responder that follows a feed gets, and keeps.
fn following(seeds: &Seeds, entries: &[StatusEntry]) -> Fallible {
    let position = |sequence| FeedPosition { epoch: 1, sequence };
    let origin = Origin::from_bytes([7; 32]);
    // Before the frames, how the network cuts them.
    let mut frames = vec![40];
    Frame::Hello { format: FORMAT, origin, position: position(4) }.encode(&mut frames);
    for (sequence, entry) in (5..).zip(entries) {
        Frame::Entry { sequence, entry: entry.encode() }.encode(&mut frames);
    }
    Frame::Heartbeat { position: position(6), as_of: NOW, issuers: [9; 32] }.encode(&mut frames);
    seeds.write("feed_frames", "all.bin", frames)?;

    let place = SnapshotPlace { position: position(4), mark: [8; 32] };
    let mut snapshot = SnapshotWriter::new(Vec::new(), place);
    for entry in entries {
        snapshot.put(entry)?;
    }
    seeds.write("status_snapshot", "two.bin", snapshot.finish()?.1)?;

    let mut tail = b"CRDNTAI1".to_vec();
    tail.extend_from_slice(origin.as_bytes());
    tail.extend_from_slice(&[6; 32]);
    tail.extend_from_slice(&place.position.epoch.to_be_bytes());
    tail.extend_from_slice(&place.position.sequence.to_be_bytes());
    tail.extend_from_slice(&place.mark);
    // The target sets the tags right.
    tail.extend_from_slice(&[0; 16]);
    for entry in entries {
        let entry = entry.encode();
        let length = u16::try_from(entry.len())?;
        tail.extend_from_slice(&length.to_be_bytes());
        tail.extend_from_slice(&(!length).to_be_bytes());
        tail.extend_from_slice(&entry);
        tail.extend_from_slice(&[0; 16]);
    }
    seeds.write("replica_tail", "two.bin", tail)
}

fn serial(number: u8) -> SerialNumber {
    SerialNumber::from_random([number; SerialNumber::RANDOM_OCTETS])
}

fn issuer(id: &str, certificate: &SignedCertificate) -> IssuerDescription {
    let parsed = certificate.parsed();
    let base = "http://127.0.0.1:8080";
    IssuerDescription {
        id: id.to_owned(),
        certificate_der: certificate.der().to_vec(),
        subject_der: parsed.subject_der().to_vec(),
        public_key: parsed.public_key().clone(),
        key_identifier: parsed.subject_key_identifier().unwrap_or_default().to_vec(),
        not_after: Timestamp::from_unix_millis(parsed.not_after().unix_millis()),
        ca_issuers_url: format!("{base}/ca/{id}.cer"),
        ocsp_url: (id != "root-1").then(|| format!("{base}/ocsp")),
        crl_url: format!("{base}/crl/{id}.crl"),
    }
}
