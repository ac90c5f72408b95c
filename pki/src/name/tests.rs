use super::AttributeType::*;
use super::*;

fn name(attributes: &[(AttributeType, &str)]) -> Result<DistinguishedName, NameError> {
    DistinguishedName::new(attributes.iter().copied())
}

#[test]
fn der_and_name_are_the_same() {
    // conformance: E8
    let name = name(&[
        (Country, "GB"),
        (Organization, "Example Health"),
        (OrganizationalUnit, "People"),
        (CommonName, "555000000017_Zoë_O'Brien, MD"),
        (SerialNumber, "555000000017"),
    ])
    .unwrap();
    assert_eq!(DistinguishedName::from_der(name.der()).unwrap(), name);
    assert_eq!(
        name.to_string(),
        "serialNumber=555000000017,CN=555000000017_Zoë_O'Brien\\, MD,OU=People,O=Example Health,C=GB"
    );
    assert_eq!(name.get(SerialNumber), Some("555000000017"));
    // C and serialNumber are PrintableString, the rest UTF8String.
    let strings: Vec<u8> = name.name.0.iter().map(|rdn| rdn.0.as_slice()[0].value.to_der().unwrap()[0]).collect();
    assert_eq!(strings, [0x13, 0x0c, 0x0c, 0x0c, 0x13]);
}

#[test]
fn values_are_brought_into_normal_form_and_never_taken_unnormalised() {
    // conformance: E8
    let written = name(&[(CommonName, "Zoe\u{308}")]).unwrap();
    assert_eq!(written.get(CommonName), Some("Zo\u{eb}"));
    let attribute = AttributeTypeAndValue {
        oid: CommonName.oid(),
        value: Any::new(Tag::Utf8String, "Zoe\u{308}".as_bytes()).unwrap(),
    };
    let unnormalised = RdnSequence(vec![RelativeDistinguishedName(SetOfVec::try_from([attribute]).unwrap())]);
    assert_eq!(DistinguishedName::from_der(&unnormalised.to_der().unwrap()), Err(NameError::NotNormalised(CommonName)));
}

#[test]
fn limits_are_in_characters() {
    // conformance: E8
    assert!(name(&[(CommonName, &"ß".repeat(64))]).is_ok());
    assert!(matches!(name(&[(CommonName, &"ß".repeat(65))]), Err(NameError::TooLong { length: 65, limit: 64, .. })));
    assert!(matches!(name(&[(Country, "GBR")]), Err(NameError::TooLong { .. })));
    assert!(matches!(name(&[(Country, "gb")]), Err(NameError::Character { .. })));
    assert!(matches!(name(&[(SerialNumber, "12_3")]), Err(NameError::Character { character: '_', .. })));
    assert_eq!(name(&[(CommonName, "")]), Err(NameError::EmptyValue(CommonName)));
    assert_eq!(name(&[]), Err(NameError::Empty));
}

#[test]
fn control_characters_and_those_that_turn_text_around_are_refused() {
    // conformance: E8
    for bad in ["a\nb", "a\0b", "a\u{85}b", "a\u{202e}b", "\u{feff}a"] {
        assert!(matches!(name(&[(CommonName, bad)]), Err(NameError::Character { .. })), "{bad:?}");
    }
}

#[test]
fn only_units_and_domains_may_stand_twice() {
    // conformance: E6
    assert_eq!(name(&[(CommonName, "a"), (CommonName, "b")]), Err(NameError::Repeated(CommonName)));
    let units = name(&[(OrganizationalUnit, "a"), (OrganizationalUnit, "b")]).unwrap();
    assert_eq!(units.repeated(), Some(OrganizationalUnit));
    assert_eq!(DistinguishedName::from_der(units.der()).unwrap(), units);
}

#[test]
fn long_names_are_cut_by_one_rule() {
    assert_eq!(card_common_name("555000000017", "Ann", "Lee"), "555000000017_Ann_Lee");
    let long = card_common_name("555000000017", &"Ж".repeat(40), &"Щ".repeat(40));
    assert_eq!(long.chars().count(), 64);
    assert!(name(&[(CommonName, &long)]).is_ok());
    // The cut falls on a space, which does not stay at the end.
    assert_eq!(cut_common_name(&format!("{} b", "a".repeat(63))), "a".repeat(63));
}

#[test]
fn der_that_is_no_name_is_refused() {
    let good = name(&[(CommonName, "a")]).unwrap();
    let trailing = [good.der(), &[0]].concat();
    assert!(matches!(DistinguishedName::from_der(&trailing), Err(NameError::Malformed(_))));
    for cut in 0..good.der().len() {
        assert!(DistinguishedName::from_der(&good.der()[..cut]).is_err());
    }
    assert_eq!(DistinguishedName::from_der(&[0x30, 0]), Err(NameError::Empty));
}

#[test]
fn a_printable_string_of_another_issuer_keeps_its_bytes() {
    let attribute = AttributeTypeAndValue {
        oid: Organization.oid(),
        value: Any::new(Tag::PrintableString, b"Example".as_slice()).unwrap(),
    };
    let der = RdnSequence(vec![RelativeDistinguishedName(SetOfVec::try_from([attribute]).unwrap())]).to_der().unwrap();
    let name = DistinguishedName::from_der(&der).unwrap();
    assert_eq!(name.der(), der);
    assert_eq!(name.get(Organization), Some("Example"));
}
