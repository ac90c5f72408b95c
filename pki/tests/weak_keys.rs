//! Weak keys (rows R2 to R6): published ones, and ones made to break each rule.

mod common;

use std::path::Path;

use common::*;
use num_bigint::BigUint;
use pki::key::KeyError;
use pki::request::{RequestRefusal, check_request};
use pki::weak_key::given::{GivenKey, GivenKeyError, keys_in};
use pki::weak_key::list::{KeyList, KeyLists, ListError};
use pki::weak_key::{WeakKey, check};
use pki::{KeyType, PublicKey, pem};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/weak-keys");

fn vector(file: &str) -> Vec<u8> {
    std::fs::read(Path::new(VECTORS).join(file)).unwrap()
}

/// A published key, as openssl reads it.
fn published(file: &str) -> Result<PublicKey, KeyError> {
    let dir = Path::new(VECTORS);
    let text = match file.rsplit_once('.').unwrap().1 {
        "crt" => openssl(dir, &["x509", "-in", file, "-noout", "-pubkey"]),
        "csr" => openssl(dir, &["req", "-in", file, "-noout", "-pubkey"]),
        _ => openssl(dir, &["pkey", "-pubin", "-in", file, "-pubout"]),
    };
    PublicKey::from_spki_der(&pem::decode_one(&text.unwrap(), pem::PUBLIC_KEY).unwrap())
}

/// A prime of this many bits whose two highest are set.
fn prime(bits: usize) -> BigUint {
    let digits = openssl(Path::new("."), &["prime", "-generate", "-hex", "-bits", &bits.to_string()]).unwrap();
    BigUint::parse_bytes(digits.trim_ascii(), 16).unwrap()
}

fn is_prime(number: &BigUint) -> bool {
    let words = openssl(Path::new("."), &["prime", "-hex", &number.to_str_radix(16)]).unwrap();
    !String::from_utf8(words).unwrap().contains("is not prime")
}

fn next_prime(from: &BigUint) -> BigUint {
    let mut number = from | BigUint::from(1u32);
    loop {
        number += 2u32;
        if is_prime(&number) {
            return number;
        }
    }
}

fn rsa(modulus: &BigUint) -> PublicKey {
    PublicKey::from_rsa(&modulus.to_bytes_be(), &[1, 0, 1]).unwrap()
}

/// A request for this modulus, signed: the order of the group is known to who made the modulus.
fn request(modulus: &BigUint, order: &BigUint) -> Vec<u8> {
    let key = rsa(modulus);
    let info = [&tlv(0x02, &[0])[..], &tlv(0x30, &[]), key.spki_der(), &tlv(0xa0, &[])].concat();
    let info = tlv(0x30, &info);
    let exponent = BigUint::from(65_537u32).modinv(order).unwrap();
    // EMSA-PKCS1-v1_5 (RFC 8017 9.2) with the DigestInfo of SHA-256.
    let octets = modulus.to_bytes_be().len();
    let prefix = data_encoding::HEXLOWER.decode(b"3031300d060960864801650304020105000420").unwrap();
    let digest = [prefix, Sha256::digest(&info).to_vec()].concat();
    let padded = [&[0, 1][..], &vec![0xff; octets - 3 - digest.len()], &[0], &digest].concat();
    let signature = BigUint::from_bytes_be(&padded).modpow(&exponent, modulus).to_bytes_be();
    let signature = [vec![0; octets + 1 - signature.len()], signature].concat();
    let algorithm = tlv(0x30, &[&tlv(0x06, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11])[..], &[5, 0]].concat());
    tlv(0x30, &[info, algorithm, tlv(0x03, &signature)].concat())
}

#[test]
fn published_weak_keys_are_refused_by_their_rule() {
    // conformance: R2, R3, R4, R5
    for (file, refused) in [
        ("rsa-ok.pem", None),
        // Nothing in these keys themselves shows that others know them: that is for the lists.
        ("rsa-debianweak.pem", None),
        ("ec-p256-rfc-example.pem", None),
        ("rsa-nprime.pem", Some("R3")),
        ("rsa-smallfactors-valid.pem", Some("R3")),
        ("rsa-smallfactors-corrupt.pem", Some("R3")),
        ("rsa-roca.pem", Some("R4")),
        ("rsa-fermat-pkcs1.pem", Some("R5")),
        ("rsa-fermat-pkcs8.pem", Some("R5")),
        ("rsa-fermat.crt", Some("R5")),
        ("rsa-fermat.csr", Some("R5")),
    ] {
        let checked = check(&published(file).unwrap());
        let rule = checked.as_ref().err().map(WeakKey::rule);
        assert_eq!(rule, refused, "{file}: {checked:?}");
    }
    assert_eq!(published("rsa-nprime.pem").map(|key| check(&key)), Ok(Err(WeakKey::Prime)));
    assert_eq!(published("rsa-fermat-pkcs1.pem").map(|key| check(&key)), Ok(Err(WeakKey::CloseFactors(0))));
    assert_eq!(published("rsa-e1.pem"), Err(KeyError::Exponent));
}

#[test]
fn a_published_request_with_close_primes_is_refused() {
    // conformance: R5
    let text = vector("rsa-fermat.csr");
    let begin = text.windows(10).position(|window| window == b"-----BEGIN").unwrap();
    let refused = check_request(&text[begin..]).unwrap_err();
    assert_eq!(refused.rule(), "R5", "{refused}");
    assert!(refused.to_string().contains("make a new key pair"), "{refused}");
}

#[test]
fn keys_as_openssl_makes_them_pass() {
    // conformance: R3, R4, R5
    for key_type in KeyType::ALL {
        assert_eq!(check(TestKey::of(key_type).public()), Ok(()), "{key_type}");
    }
}

#[test]
fn a_request_for_a_prime_or_its_power_or_with_a_small_or_close_factor_is_refused() {
    // conformance: R3, R5
    let one = BigUint::from(1u32);
    let (p, q) = (prime(1024), prime(1024));
    let good = request(&(&p * &q), &((&p - &one) * (&q - &one)));
    assert!(check_request(&good).is_ok());

    let alone = prime(2048);
    let refused = check_request(&request(&alone, &(&alone - &one))).unwrap_err();
    assert_eq!(refused, RequestRefusal::Weak(WeakKey::Prime));

    let square = request(&(&p * &p), &(&p * (&p - &one)));
    assert_eq!(check_request(&square).unwrap_err(), RequestRefusal::Weak(WeakKey::CloseFactors(0)));

    let third = loop {
        let root = prime(683);
        if root.pow(3).bits() == 2048 {
            break root;
        }
    };
    let cube = request(&third.pow(3), &(&third * &third * (&third - &one)));
    assert_eq!(check_request(&cube).unwrap_err(), RequestRefusal::Weak(WeakKey::PrimePower));

    let near = next_prime(&p);
    let close = request(&(&p * &near), &((&p - &one) * (&near - &one)));
    assert!(matches!(check_request(&close).unwrap_err(), RequestRefusal::Weak(WeakKey::CloseFactors(1..=100))));

    for (small, bits) in [(3u32, 2046), (5, 2045), (743, 2038), (751, 2038), (65_537, 2032)] {
        let other = loop {
            let other = prime(bits);
            if (&other * small).bits() == 2048 {
                break other;
            }
        };
        let order = (&other - &one) * (small - 1);
        let refused = check_request(&request(&(&other * small), &order)).unwrap_err();
        assert_eq!(refused, RequestRefusal::Weak(WeakKey::SmallFactor(small)), "{small}");
    }
}

#[test]
fn an_even_modulus_is_refused_by_the_rule_and_not_as_a_bad_signature() {
    // conformance: R3
    let odd = rsa(&(prime(1024) * prime(1024)));
    let mut der = request(&BigUint::from_bytes_be(odd.rsa_modulus().unwrap()), &BigUint::from(65_538u32));
    let modulus = odd.rsa_modulus().unwrap();
    let at = der.windows(modulus.len()).position(|window| window == modulus).unwrap();
    der[at + modulus.len() - 1] &= 0xfe;
    assert_eq!(check_request(&der).unwrap_err(), RequestRefusal::Weak(WeakKey::Even));
}

#[test]
fn sizes_and_exponents_next_to_the_permitted_ones_are_refused() {
    // conformance: R2
    let one = BigUint::from(1u32);
    for (bits, permitted) in
        [(1024u32, false), (2047, false), (2048, true), (2049, false), (2056, false), (3071, false)]
            .into_iter()
            .chain([(3072, true), (4095, false), (4096, true), (4097, false), (8192, false)])
    {
        let modulus = (&one << (bits - 1)) + 1u32;
        let key = PublicKey::from_rsa(&modulus.to_bytes_be(), &[1, 0, 1]);
        assert_eq!(key.is_ok(), permitted, "{bits}");
        if !permitted {
            assert_eq!(key, Err(KeyError::ModulusSize(bits as usize)));
        }
    }
    let modulus = ((&one << 2047u32) + 1u32).to_bytes_be();
    for exponent in [&[1u8][..], &[3], &[1, 0, 0], &[1, 0, 3], &[1, 0, 0, 0, 1], &[0x80; 256]] {
        assert_eq!(PublicKey::from_rsa(&modulus, exponent), Err(KeyError::Exponent), "{exponent:02x?}");
    }
    // Exponent and modulus are positive, in their shortest form, and alone.
    let spki = rsa(&BigUint::from_bytes_be(&modulus));
    let key = |modulus: &[u8], exponent: &[u8], behind: &[u8]| {
        let bits = [&tlv(0x30, &[tlv(2, modulus), tlv(2, exponent)].concat())[..], behind].concat();
        let algorithm = tlv(0x30, &[&tlv(0x06, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1])[..], &[5, 0]].concat());
        PublicKey::from_spki_der(&tlv(0x30, &[algorithm, tlv(3, &[&[0][..], &bits].concat())].concat()))
    };
    let positive = [&[0][..], &modulus].concat();
    assert_eq!(key(&positive, &[1, 0, 1], &[]).as_ref(), Ok(&spki));
    assert!(key(&modulus, &[1, 0, 1], &[]).is_err(), "a negative modulus");
    assert!(key(&[&[0][..], &positive].concat(), &[1, 0, 1], &[]).is_err(), "a zero too many");
    assert!(key(&positive, &[0, 1, 0, 1], &[]).is_err(), "a zero too many");
    assert!(key(&positive, &[1, 0, 1], &[0]).is_err(), "something behind the key");
}

#[test]
fn debians_list_is_read_as_it_ships() {
    // conformance: R6
    let dir = Path::new(VECTORS);
    // As openssl-vulnkey(1) says: openssl rsa -noout -modulus | sha1sum, less the first 20 digits.
    let modulus = openssl(dir, &["rsa", "-RSAPublicKey_in", "-in", "rsa-debianweak.pem", "-noout", "-modulus"]);
    let modulus =
        modulus.or_else(|_| openssl(dir, &["rsa", "-pubin", "-in", "rsa-debianweak.pem", "-noout", "-modulus"]));
    let digest = data_encoding::HEXLOWER.encode(&sha1::Sha1::digest(modulus.unwrap()));
    let text = format!("# OpenSSL RSA 2048\n00000000000000000000\n{}\nffffffffffffffffffff\n", &digest[20..]);
    let list = KeyList::parse("blacklist.RSA-2048", text.clone().into_bytes()).unwrap();
    assert_eq!((list.len(), list.form()), (3, "Debian openssl-blacklist"));
    let lists = KeyLists::new(vec![list]);
    let refused = lists.check(&published("rsa-debianweak.pem").unwrap()).unwrap_err();
    assert_eq!(refused, WeakKey::Listed { list: "blacklist.RSA-2048".into() });
    assert_eq!(refused.rule(), "R6");
    assert_eq!(lists.check(&published("rsa-ok.pem").unwrap()), Ok(()));
    assert_eq!(lists.check(&published("ec-p256-rfc-example.pem").unwrap()), Ok(()));

    let broken = |text: String| KeyList::parse("list", text.into_bytes()).unwrap_err();
    assert_eq!(broken(text.replace("ffff", "xxxx")), ListError::Line(4));
    assert_eq!(broken(text.replace("0000\n", "000\n")), ListError::Line(2));
    assert_eq!(broken("# nothing but words\n\n".into()), ListError::Empty);
    assert_eq!(broken(String::new()), ListError::Empty);
}

fn badkeys_entry(number: &[u8], collection: u8) -> [u8; 16] {
    let mut entry = [collection; 16];
    entry[..15].copy_from_slice(&Sha256::digest(number)[..15]);
    entry
}

#[test]
fn badkeys_list_holds_keys_of_every_kind() {
    // conformance: R6
    let debian = published("rsa-debianweak.pem").unwrap();
    let example = published("ec-p256-rfc-example.pem").unwrap();
    let mut entries = [
        badkeys_entry(debian.rsa_modulus().unwrap(), 1),
        badkeys_entry(&example.key_bits()[1..33], 2),
        badkeys_entry(b"another", 3),
    ];
    entries.sort_unstable();
    let list = KeyList::parse("blocklist.dat", entries.concat()).unwrap();
    assert_eq!((list.len(), list.form()), (3, "badkeys blocklist"));
    assert!(list.contains(&debian) && list.contains(&example));
    for key_type in KeyType::ALL {
        assert!(!list.contains(TestKey::of(key_type).public()), "{key_type}");
    }
    entries.reverse();
    assert!(matches!(KeyList::parse("list", entries.concat()), Err(ListError::Order(2))));
    let cut = &entries.concat()[..40];
    assert_eq!(KeyList::parse("list", cut.to_vec()), Err(ListError::Length(40)));
}

#[test]
fn a_damaged_list_of_badkeys_is_refused() {
    // conformance: R6
    let parse = |entries: &[[u8; 16]]| KeyList::parse("list", entries.concat());
    let mut entries: Vec<[u8; 16]> = (0..4096u32).map(|number| badkeys_entry(&number.to_be_bytes(), 1)).collect();
    entries.sort_unstable();
    assert_eq!(parse(&entries).unwrap().len(), 4096);
    // The same key in two collections is no damage.
    let mut both = entries[7];
    both[15] = 2;
    assert!(parse(&[&entries[..8], &[both], &entries[8..]].concat()).is_ok());

    assert_eq!(parse(&vec![[0; 16]; 4096]), Err(ListError::Order(2)));
    assert_eq!(parse(&[&entries[..8], &entries[7..]].concat()), Err(ListError::Order(9)));
    // Cut between two entries, at either end.
    assert_eq!(parse(&entries[..2048]), Err(ListError::Part));
    assert_eq!(parse(&entries[2048..]), Err(ListError::Part));
    assert_eq!(parse(&entries[..3900]), Err(ListError::Part));
}

#[test]
fn a_key_on_a_curve_whose_parameters_are_written_out_is_the_key_on_the_named_curve() {
    // conformance: R6
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| openssl(dir.path(), arguments).unwrap();
    for (curve, form, key_type) in [
        ("prime256v1", "uncompressed", Some(KeyType::P256)),
        ("prime256v1", "compressed", None),
        ("secp384r1", "uncompressed", Some(KeyType::P384)),
    ] {
        run(&["ecparam", "-name", curve, "-genkey", "-noout", "-out", "key.pem"]);
        let named = run(&["ec", "-in", "key.pem", "-pubout", "-outform", "DER"]);
        let explicit = ["-param_enc", "explicit", "-conv_form", form, "-outform", "DER"];
        let written = run(&[&["ec", "-in", "key.pem", "-pubout"][..], &explicit].concat());
        assert!(written.len() > 2 * named.len());
        match key_type {
            Some(key_type) => {
                let key = GivenKey::Key { digest: Sha256::digest(&named).into(), key_type };
                assert_eq!(keys_in(&written), Ok(vec![key]), "{curve}");
            }
            // Known to be a key that could be certified, and not read: an error, and not "no certificate can hold it".
            None => assert_eq!(keys_in(&written), Err(GivenKeyError::Point(KeyError::Point))),
        }
        // Another base point is another key.
        if key_type == Some(KeyType::P256) {
            let base = data_encoding::HEXLOWER
                .decode(b"6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296")
                .unwrap();
            let at = written.windows(32).position(|window| window == base).unwrap();
            let mut other = written.clone();
            other[at] ^= 1;
            assert_eq!(keys_in(&other), Ok(vec![GivenKey::NotCertifiable(KeyError::Curve)]));
        }
    }
}

#[test]
fn an_x_with_leading_zeros_is_found_in_badkeys_list() {
    // conformance: R6
    let key =
        std::iter::repeat_with(|| TestKey::ec(KeyType::P256)).find(|key| key.public().key_bits()[1] == 0).unwrap();
    let x = &key.public().key_bits()[1..33];
    let without = &x[x.iter().position(|octet| *octet != 0).unwrap()..];
    let list = KeyList::parse("list", badkeys_entry(without, 1).to_vec()).unwrap();
    assert!(list.contains(key.public()));
}

#[test]
fn a_key_is_taken_from_whatever_it_is_handed_in_as() {
    // conformance: R6
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| openssl(dir.path(), arguments).unwrap();
    for (options, key_type) in [
        (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..], KeyType::P256),
        (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], KeyType::P384),
        (&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], KeyType::Rsa2048),
    ] {
        run(&[&["genpkey", "-out", "key.pem"][..], options].concat());
        let public = run(&["pkey", "-in", "key.pem", "-pubout", "-outform", "DER"]);
        let digest: [u8; 32] = Sha256::digest(&public).into();
        let expected = vec![GivenKey::Key { digest, key_type }];
        let certificate = &["req", "-x509", "-new", "-key", "key.pem", "-subj", "/CN=a"][..];
        let old = &["req", "-x509", "-x509v1", "-new", "-key", "key.pem", "-subj", "/CN=a"][..];
        let request = &["req", "-new", "-key", "key.pem", "-subj", "/CN=a", "-addext", "keyUsage=cRLSign"][..];
        let mut texts = vec![public.clone(), run(&["pkey", "-in", "key.pem", "-pubout"])];
        for arguments in [certificate, request] {
            texts.push(run(arguments));
            texts.push(run(&[arguments, &["-outform", "DER"]].concat()));
        }
        // Only newer versions of openssl write version 1 on demand.
        texts.extend(openssl(dir.path(), old));
        if key_type == KeyType::Rsa2048 {
            texts.push(run(&["rsa", "-in", "key.pem", "-RSAPublicKey_out"]));
            texts.push(run(&["rsa", "-in", "key.pem", "-RSAPublicKey_out", "-outform", "DER"]));
        }
        for text in &texts {
            assert_eq!(keys_in(text).as_ref(), Ok(&expected), "{key_type}: {:?}", String::from_utf8_lossy(text));
        }
        let hex = data_encoding::HEXLOWER.encode(&digest);
        let colons: Vec<String> = digest.iter().map(|octet| format!("{octet:02X}")).collect();
        for line in [hex.clone(), hex.to_uppercase(), colons.join(":"), format!("# a key\n\n{hex}  key.der\n")] {
            assert_eq!(keys_in(line.as_bytes()), Ok(vec![GivenKey::Digest(digest)]), "{line}");
        }
        // Private keys, in each form.
        let mut private = vec![
            run(&["pkey", "-in", "key.pem"]),
            run(&["pkey", "-in", "key.pem", "-outform", "DER"]),
            run(&["pkcs8", "-in", "key.pem", "-topk8", "-passout", "pass:x"]),
            run(&["pkey", "-in", "key.pem", "-traditional"]),
        ];
        if key_type == KeyType::Rsa2048 {
            // The form before PKCS#8, encrypted: with the headers Proc-Type and DEK-Info.
            private.push(run(&["rsa", "-in", "key.pem", "-traditional", "-aes128", "-passout", "pass:secret"]));
            assert!(String::from_utf8_lossy(&private[4]).contains("Proc-Type"));
        }
        private.push([&texts[1][..], &private[0]].concat());
        for text in private {
            assert_eq!(keys_in(&text), Err(GivenKeyError::Private), "{key_type}");
        }
    }
}

#[test]
fn a_modulus_counts_whatever_it_is_wrapped_in() {
    // conformance: R6
    let key = TestKey::of(KeyType::Rsa2048).public();
    let modulus = [&[0][..], key.rsa_modulus().unwrap()].concat();
    let expected = Ok(vec![GivenKey::Key { digest: key.digest(), key_type: KeyType::Rsa2048 }]);
    let wrapped = |oid: &[u8], parameters: &[u8], exponent: &[u8]| {
        let bits = tlv(0x30, &[tlv(2, &modulus), tlv(2, exponent)].concat());
        let algorithm = tlv(0x30, &[&tlv(0x06, oid)[..], parameters].concat());
        keys_in(&tlv(0x30, &[algorithm, tlv(3, &[&[0][..], &bits].concat())].concat()))
    };
    let (rsa, pss) = ([0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1], [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10]);
    assert_eq!(wrapped(&rsa, &[5, 0], &[1, 0, 1]), expected);
    assert_eq!(wrapped(&rsa, &[], &[1, 0, 1]), expected, "no NULL");
    assert_eq!(wrapped(&rsa, &[5, 0], &[3]), expected, "another exponent");
    assert_eq!(wrapped(&pss, &[], &[1, 0, 1]), expected, "RSASSA-PSS");
}

#[test]
fn what_no_certificate_can_hold_is_said_and_what_is_no_key_is_refused() {
    // conformance: R6
    let dir = tempfile::tempdir().unwrap();
    let key = |arguments: &[&str]| {
        openssl(dir.path(), &[&["genpkey", "-out", "key.pem"][..], arguments].concat()).unwrap();
        openssl(dir.path(), &["pkey", "-in", "key.pem", "-pubout"]).unwrap()
    };
    for arguments in [
        &["-algorithm", "ED25519"][..],
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"],
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"],
    ] {
        let keys = keys_in(&key(arguments)).unwrap();
        assert!(matches!(keys[..], [GivenKey::NotCertifiable(_)]), "{arguments:?}: {keys:?}");
    }
    key(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let compressed = openssl(dir.path(), &["ec", "-in", "key.pem", "-pubout", "-conv_form", "compressed"]).unwrap();
    let refused = keys_in(&compressed).unwrap_err();
    assert!(matches!(refused, GivenKeyError::Point(_)) && refused.to_string().contains("uncompressed"), "{refused}");

    assert_eq!(keys_in(b""), Err(GivenKeyError::Nothing));
    assert_eq!(keys_in(b"# only words\n"), Err(GivenKeyError::Nothing));
    assert_eq!(keys_in(b"# one\nabcdef\n"), Err(GivenKeyError::Digest(2)));
    assert_eq!(keys_in(&vec![b'a'; (1 << 20) + 1]), Err(GivenKeyError::TooLarge((1 << 20) + 1)));
    let crl = pem::encode(pem::X509_CRL, &[0x30, 0]);
    assert_eq!(keys_in(crl.as_bytes()), Err(GivenKeyError::Label(pem::X509_CRL.into())));
    assert!(matches!(keys_in(&[0x30, 0x80, 0, 0]), Err(GivenKeyError::Malformed(_))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rubbish_is_no_key_and_never_panics(rubbish in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = keys_in(&rubbish);
        let _ = keys_in(&tlv(0x30, &rubbish));
        let _ = keys_in(&tlv(0x30, &[tlv(0x30, &rubbish), tlv(0x30, &[]), tlv(0x03, &[0])].concat()));
        let _ = keys_in(pem::encode(pem::CERTIFICATE, &rubbish).as_bytes());
        let _ = KeyList::parse("list", rubbish);
    }

    #[test]
    fn a_modulus_of_any_form_is_judged_without_a_panic(low in prop::collection::vec(any::<u8>(), 0..64), high in 0x80u8..) {
        // conformance: R3, R4, R5
        let mut modulus = vec![0; 256];
        modulus[0] = high;
        modulus[256 - low.len()..].copy_from_slice(&low);
        let key = PublicKey::from_rsa(&modulus, &[1, 0, 1]).unwrap();
        if modulus[255] & 1 == 0 {
            prop_assert_eq!(check(&key), Err(WeakKey::Even));
        } else {
            let _ = check(&key);
        }
    }
}
