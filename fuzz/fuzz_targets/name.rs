//! A distinguished name, as it stands in what others signed.
#![no_main]

use pki::name::DistinguishedName;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(name) = DistinguishedName::from_der(bytes) else { return };
    assert_eq!(name.der(), bytes);
    let _ = name.to_string();
    let attributes: Vec<_> = name.attributes().collect();
    let again = DistinguishedName::new(attributes.iter().copied());
    if let Ok(again) = again {
        assert!(again.attributes().eq(attributes));
    }
});
