use super::*;

const SHIPPED: &str = include_str!("../../../config/profiles/profiles.toml");

fn shipped() -> ProfileSet {
    ProfileSet::load(SHIPPED, "profiles.toml").unwrap()
}

/// The shipped text with a change to the section of one profile.
fn changed(profile: &str, from: &str, to: &str) -> String {
    let start = SHIPPED.find(&format!("name = \"{profile}\"")).unwrap();
    let end = SHIPPED[start..].find("[[profile]]").map_or(SHIPPED.len(), |length| start + length);
    let section = &SHIPPED[start..end];
    assert!(section.contains(from), "{from} is not in {profile}");
    [&SHIPPED[..start], &section.replacen(from, to, 1), &SHIPPED[end..]].concat()
}

#[test]
fn every_purpose_ships_with_a_profile_of_its_name() {
    let profiles = shipped();
    for purpose in Purpose::ALL {
        assert_eq!(profiles.get(purpose.name()).unwrap().purpose(), purpose);
    }
    assert_eq!(profiles.iter().count(), Purpose::ALL.len());
    let card = profiles.get("card-authentication").unwrap();
    assert_eq!(card.life(), Duration::from_secs(730 * 86_400));
    assert_eq!(card.jitter(), Duration::from_secs(30 * 86_400));
    assert_eq!(profiles.purpose_of(card.policies()), Some(Purpose::CardAuthentication));
    assert_eq!(profiles.purpose_of(profiles.get("issuing-ca").unwrap().policies()), None);
}

#[test]
fn the_version_is_that_of_the_text() {
    let profiles = shipped();
    assert_eq!(profiles.version(), data_encoding::HEXLOWER.encode(&Sha256::digest(SHIPPED)));
    let other = ProfileSet::load(&format!("{SHIPPED}\n"), "profiles.toml").unwrap();
    assert_ne!(profiles.version(), other.version());
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let text = changed("card-signing", "life = \"730d\"", "life = \"730d\"\nlifes = \"1d\"");
    let line = text.lines().position(|line| line.starts_with("lifes")).unwrap() + 1;
    let error = ProfileSet::load(&text, "my.toml").unwrap_err();
    assert!(matches!(error, ProfileError::Syntax { line: Some(at), .. } if at == line), "{error}");
    assert!(error.to_string().starts_with(&format!("my.toml:{line}: unknown field `lifes`")), "{error}");
}

#[test]
fn a_broken_rule_names_file_line_profile_and_remedy() {
    let text = changed("card-signing", "key_usage = [\"contentCommitment\"]", "key_usage = [\"digitalSignature\"]");
    let start = text.find("name = \"card-signing\"").unwrap();
    let line = text[..start].lines().count()
        + text[start..].lines().position(|line| line.starts_with("key_usage")).unwrap()
        + 1;
    let error = ProfileSet::load(&text, "my.toml").unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "my.toml:{line}: profile \"card-signing\", key_usage: a card-signing has contentCommitment only; \
             write key_usage = [\"contentCommitment\"]"
        )
    );
}

#[test]
fn rules_that_no_profile_may_break() {
    let any = "extended_key_usage = [\"anyExtendedKeyUsage\"]";
    for (profile, from, to, rule) in [
        // conformance: E4
        ("card-authentication", "[\"digitalSignature\"]", "[\"digitalSignature\", \"keyCertSign\"]", "E4"),
        ("card-authentication", "life =", "path_length = 0\nlife =", "E4"),
        // conformance: E5
        ("card-authentication", "[\"digitalSignature\"]", "[\"keyEncipherment\"]", "E5"),
        // conformance: E6
        ("card-signing", "\"OU\"", "\"O\"", "E6"),
        ("card-signing", "[\"1.3.6.1.4.1.99999.1.2\"]", "[\"1.2.3.4\", \"1.2.3.4\"]", "E6"),
        // conformance: E8
        ("card-signing", "value = \"People\"", "value = \"a\\tb\"", "E8"),
        ("card-signing", "value = \"People\"", "value = \"People \"", "white space at its end"),
        ("card-signing", "\"O\", value = \"{organization}\"", "\"C\", value = \"uk\"", "E8"),
        (
            "card-signing",
            "\"People\"",
            "\"An organisational unit whose name is longer than 64 characters is not one\"",
            "E8",
        ),
        // conformance: E7
        ("ra-station", "policies = [\"1.3.6.1.4.1.99999.1.4\"]", "policies = []", "E7"),
        ("ra-station", "crldp = true", "crldp = false", "E7"),
        ("issuing-ca", "aia = true", "aia = false", "E7"),
        // conformance: C11
        ("ocsp-signer", "crldp = false", "crldp = false\ncrl_shards = 8", "C11"),
        ("issuing-ca", "crldp = true", "crldp = true\ncrl_shards = 8", "C11"),
        ("card-signing", "crldp = true", "crldp = true\ncrl_shards = 1", "2 to 1024 partitions"),
        ("card-signing", "crldp = true", "crldp = true\ncrl_shards = 1025", "2 to 1024 partitions"),
        // conformance: O12
        ("ocsp-signer", "ocsp_no_check = true", "ocsp_no_check = false", "O12"),
        ("ocsp-signer", "aia = false", "aia = true", "O12"),
        ("ocsp-signer", "[\"OCSPSigning\"]", "[\"OCSPSigning\", \"clientAuth\"]", "O12"),
        ("ra-station", "[\"clientAuth\"]", "[\"clientAuth\", \"OCSPSigning\"]", "O12"),
        ("ra-station", "extended_key_usage = [\"clientAuth\"]", any, "any use is no use"),
        ("ra-station", "[\"clientAuth\"]", "[\"clientAuth\", \"serverAuth\"]", "not serverAuth"),
        ("card-signing", "policies =", "extended_key_usage = [\"clientAuth\"]\npolicies =", "logs nobody in"),
        ("card-signing", "key_types", "san = [\"upn\"]\nkey_types", "no alternative name"),
        ("card-signing", "\"{user_id}\"", "\"x{user_id}\"", "serialNumber is the user_id"),
        ("temporary-card", "life = \"72h\"", "life = \"73h\"", "3 days at most"),
        ("card-signing", "jitter = \"30d\"", "jitter = \"730d\"", "not less than the life"),
        ("card-signing", "life = \"730d\"", "life = \"0s\"", "a life of nothing"),
        ("card-signing", "life = \"730d\"", "life = \"two years\"", "no length of time"),
        ("card-signing", "{given}", "{nickname}", "no field of the registry"),
        ("card-signing", "{given}", "{given", "no field of the registry"),
        ("card-signing", "\"P-384\"", "\"P-521\"", "no key type"),
        ("root-ca", "[\"keyCertSign\", \"cRLSign\"]", "[\"cRLSign\"]", "keyCertSign and cRLSign"),
        ("issuing-ca", "path_length = 0", "path_length = 1", "no other CA"),
        ("relying-client", "99999.1.8", "99999.1.4", "belongs to profile \"ra-station\""),
        ("relying-client", "name = \"relying-client\"", "name = \"ra-station\"", "two profiles"),
        ("relying-client", "name = \"relying-client\"", "name = \"Relying\"", "lower-case"),
        ("relying-client", "purpose = \"relying-client\"", "purpose = \"relying\"", "no purpose"),
        // conformance: E9
        ("card-signing", "[\"1.3.6.1.4.1.99999.1.2\"]", "[\"1.2.3\"]", "1.2.3 is too short"),
        ("card-signing", "99999.1.2", "4294967295", "numbers up to 268435455 are supported"),
        ("card-signing", "99999.1.2", "4294967296", "numbers up to 268435455 are supported"),
        ("card-signing", "[\"1.3.6.1.4.1.99999.1.2\"]", "[\"2.999.1\"]", "up to 2.39 are supported"),
        ("ra-station", "[\"clientAuth\"]", "[\"clientAuth\", \"1.2.99999999999\"]", "numbers up to 268435455"),
        ("ra-station", "[\"clientAuth\"]", "[\"clientauth\"]", "neither the name nor the number"),
        // conformance: E11
        (
            "card-signing",
            "{given}",
            "{common_name}",
            "E11: the registry has no common_name for a card-signing; use {user_id}",
        ),
        ("card-signing", "{given}", "{lending_id}", "E11: the registry has no lending_id"),
        ("ra-station", "{common_name}", "{given}", "E11: the registry has no given for a ra-station"),
        ("ocsp-signer", "{common_name}", "{user_id}", "E11: the registry has no user_id"),
        ("issuing-ca", "{common_name}", "{family}", "E11: the registry has no family"),
        ("temporary-card", "{lending_id}", "{common_name}", "E11: the registry has no common_name"),
        ("card-signing", "life = \"730d\"", "life = \"59m\"", "an hour at least"),
        ("card-signing", "jitter = \"30d\"", "jitter = \"729d 23h 1s\"", "less than an hour of the life"),
        ("card-signing", "jitter = \"30d\"", "jitter = \"1500ms\"", "whole seconds"),
        ("card-signing", "life = \"730d\"", "life = \"730d 1ms\"", "whole seconds"),
        (
            "service-tls",
            "[\"dns\", \"ip\"]\nsan_required = true",
            "[\"dns\", \"uri\"]\nsan_required = [\"uri\"]",
            "names no host",
        ),
        ("service-tls", "[\"dns\", \"ip\"]", "[\"dns\", \"uri\"]", "names no host; write san_required = [\"dns\"]"),
        ("service-tls", "san_required = true", "san_required = false", "alternative names"),
        ("service-tls", "[\"dns\", \"ip\"]", "[\"uri\"]", "known by its host name"),
        (
            "ra-station",
            "san = [\"dns\"]",
            "san = [\"dns\", \"sid\"]",
            "no alternative name of kind sid; remove it; dns or uri",
        ),
        (
            "ra-station",
            "san = [\"dns\"]",
            "san = [\"rfc822\"]",
            "use dns, ip, email, upn, sid, uri or permanent-identifier",
        ),
        ("card-authentication", "san = [\"upn\"]", "san = [\"upn\", \"upn\"]", "a kind stands twice"),
        ("card-authentication", "san = [\"upn\"]", "san = [\"sid\"]\nsan_required = true", "none is allowed"),
        ("card-authentication", "san = [\"upn\"]", "san_required = [\"upn\"]", "upn is required, but not allowed"),
        ("card-authentication", "san = [\"upn\"]", "san = [\"upn\"]\nsan_required = []", "the list is empty"),
        ("card-authentication", "san =", "permanent_identifier_assigner = \"1.2.3.4\"\nsan =", "takes none"),
        ("card-signing", "policies =", "extended_key_usage = [\"codeSigning\"]\npolicies =", "5280 4.2.1.12"),
        ("card-signing", "policies =", "extended_key_usage = [\"timeStamping\"]\npolicies =", "RFC 3161"),
        ("card-signing", "policies =", "extended_key_usage = [\"1.2.x\"]\npolicies =", "is no object identifier"),
        ("card-signing", "[\"1.3.6.1.4.1.99999.1.2\"]", "[\"1.3.x\"]", "no object identifier"),
        ("card-signing", "[\"1.3.6.1.4.1.99999.1.2\"]", "[{ oid = \"1.2.3.4\", cps = \"ftp://a/\" }]", "5280 4.2.1.4"),
        (
            "card-signing",
            "[\"1.3.6.1.4.1.99999.1.2\"]",
            "[{ oid = \"1.2.3.4\", cps = \"https://a/%zz\" }]",
            "hexadecimal",
        ),
        ("card-signing", "[\"1.3.6.1.4.1.99999.1.2\"]", "[{ oid = \"1.2.3.4\", cps = \"https://a:0/\" }]", "the port"),
        (
            "card-signing",
            "[\"1.3.6.1.4.1.99999.1.2\"]",
            "[{ oid = \"1.2.3.4\", cps = \"https://a_b/\" }]",
            "a host name",
        ),
        (
            "card-signing",
            "[\"1.3.6.1.4.1.99999.1.2\"]",
            "[{ oid = \"1.2.3.4\", cps = \"https://\" }]",
            "it has no host",
        ),
    ] {
        let error = ProfileSet::load(&changed(profile, from, to), "my.toml").unwrap_err();
        assert!(error.to_string().contains(rule), "{profile}: {to}: {error}");
        assert!(matches!(error, ProfileError::Rule { line: 2.., .. }), "{error}");
    }
}

#[test]
fn the_line_of_a_key_in_quotes_is_found() {
    for quoted in ["\"life\" = \"59m\"", "'life'=\"59m\""] {
        let text = changed("card-signing", "life = \"730d\"", quoted);
        let line = text.lines().position(|line| line == quoted).unwrap() + 1;
        let error = ProfileSet::load(&text, "my.toml").unwrap_err().to_string();
        assert!(error.starts_with(&format!("my.toml:{line}: ")), "{error}");
    }
}

#[test]
fn policies_and_usages_are_bounded() {
    let list = |count| (0..count).map(|last| format!("\"1.2.3.{last}\"")).collect::<Vec<_>>().join(", ");
    for (from, key, rule) in [
        ("policies = [\"1.3.6.1.4.1.99999.1.2\"]", "policies", "more than 16 policies"),
        ("life =", "extended_key_usage", "more than 16 usages"),
    ] {
        let text = |count| {
            let rest = if from == "life =" { "\nlife =" } else { "" };
            changed("card-signing", from, &format!("{key} = [{}]{rest}", list(count)))
        };
        ProfileSet::load(&text(16), "my.toml").unwrap();
        let error = ProfileSet::load(&text(17), "my.toml").unwrap_err().to_string();
        assert!(error.contains(rule), "{error}");
    }
}

#[test]
fn identifiers_are_written_in_their_shortest_form() {
    // conformance: E9
    for arc in [128, 16_384, 2_097_152, 268_435_455] {
        let text = changed("card-signing", "99999.1.2", &arc.to_string());
        let profiles = ProfileSet::load(&text, "my.toml").unwrap();
        let policy = profiles.get("card-signing").unwrap().policies()[0];
        assert_eq!(policy.to_string(), format!("1.3.6.1.4.1.{arc}"));
        assert!(crate::strict::check(&der::Encode::to_der(&policy).unwrap()).is_ok(), "{arc}");
    }
}

#[test]
fn extensions_that_no_site_may_add() {
    for (extension, rule) in [
        // conformance: E6
        (
            "oid = \"2.5.29.15\", hex = \"03020780\"",
            "E6: Cardinal writes the extension 2.5.29.15 itself; use `key_usage`",
        ),
        ("oid = \"1.3.6.1.4.1.311.25.2\", hex = \"0500\"", "use `san` with \"sid\""),
        ("oid = \"1.2.3.4\", hex = \"0500\" }, { oid = \"1.2.3.4\", hex = \"0500\"", "E6: an extension stands twice"),
        ("oid = \"2.5.29.30\", hex = \"3000\"", "constrains paths"),
        ("oid = \"1.2.3.4\", hex = \"0500\", critical = true", "RFC 5280 4.2"),
        ("oid = \"2.5.29.20\", hex = \"020101\"", "no place in a certificate"),
        ("oid = \"2.5.29.18\", hex = \"0500\"", "the extension 2.5.29.18: it is not what its identifier says"),
        ("oid = \"2.5.29.18\", hex = \"3000\"", "there is nothing in it"),
        ("oid = \"2.5.29.9\", hex = \"0500\"", "the extension 2.5.29.9: it is not what its identifier says"),
        ("oid = \"2.5.29.46\", hex = \"3000\"", "say themselves where their deltas are"),
        ("oid = \"2.5.29.16\", hex = \"3000\"", "not supported as an extra extension yet"),
        ("oid = \"1.3.6.1.5.5.7.1.14\", hex = \"3000\"", "not supported as an extra extension yet"),
        ("oid = \"1.2.3.4\", hex = \"0c01ff\"", "E9: the content of 1.2.3.4 is not one element of DER: a UTF8String"),
        ("oid = \"1.2.3.4\", hex = \"06032a8000\"", "shortest form"),
        ("oid = \"1.3.6.1.4.1.11129.2.4.3\", hex = \"0500\"", "RFC 6962 3.3"),
        // conformance: E9
        (
            "oid = \"1.2.3.4\", hex = \"050000\"",
            "E9: the content of 1.2.3.4 is not one element of DER: something follows",
        ),
        ("oid = \"1.2.3.4\", hex = \"30800000\"", "indefinite"),
        ("oid = \"1.2.3.4\", hex = \"\"", "cut short"),
        ("oid = \"1.2.3.4\", hex = \"5g\"", "not hexadecimal"),
        ("oid = \"1.2.3.4\", base64 = \"BQA\"", "not base64"),
        ("oid = \"1.2.3.4\"", "given once"),
        ("oid = \"1.2.3.4\", hex = \"0500\", base64 = \"BQA=\"", "given once"),
        ("oid = \"x\", hex = \"0500\"", "no object identifier"),
    ] {
        let text = changed("card-signing", "life =", &format!("extensions = [\n    {{ {extension} }},\n]\nlife ="));
        let line = text.lines().position(|line| line.starts_with("    { oid")).unwrap() + 1;
        let error = ProfileSet::load(&text, "my.toml").unwrap_err();
        assert!(error.to_string().contains(rule), "{extension}: {error}");
        assert!(error.to_string().starts_with(&format!("my.toml:{line}: ")), "the line of the element: {error}");
    }
    let long = format!("extensions = [{{ oid = \"1.2.3.4\", hex = \"0482 1001 {}\" }}]\nlife =", "00".repeat(4097));
    let error = ProfileSet::load(&changed("card-signing", "life =", &long), "my.toml").unwrap_err();
    assert!(error.to_string().contains("longer than 4096"), "{error}");
    let many: Vec<_> = (0..17).map(|last| format!("{{ oid = \"1.2.3.{last}\", hex = \"0500\" }}")).collect();
    let many = format!("extensions = [{}]\nlife =", many.join(", "));
    let error = ProfileSet::load(&changed("card-signing", "life =", &many), "my.toml").unwrap_err();
    assert!(error.to_string().contains("more than 16"), "{error}");
}

#[test]
fn an_extension_is_written_in_hex_or_in_base64() {
    let both =
        "extensions = [{ oid = \"1.2.3.4\", hex = \"0C 02:c3A9\" }, { oid = \"1.2.3.5\", base64 = \"BQA=\" }]\nlife =";
    let profiles = ProfileSet::load(&changed("card-signing", "life =", both), "my.toml").unwrap();
    let extensions = profiles.get("card-signing").unwrap().extensions();
    let read: Vec<_> = extensions.iter().map(|one| (one.oid().to_string(), one.der())).collect();
    assert_eq!(read, [("1.2.3.4".to_owned(), &[0x0c, 2, 0xc3, 0xa9][..]), ("1.2.3.5".to_owned(), &[5, 0])]);
}

#[test]
fn a_list_of_another_form_says_which_form_it_has() {
    for (profile, from, to, words) in [
        ("card-signing", "[\"1.3.6.1.4.1.99999.1.2\"]", "[{ oid = \"1.2.3.4\" }]", "a policy is \"OID\", or { oid"),
        ("service-tls", "san_required = true", "san_required = \"yes\"", "san_required is true, false, or a list"),
        (
            "card-signing",
            "life =",
            "extensions = [{ oid = \"1.2.3.4\", der = \"0500\" }]\nlife =",
            "unknown field `der`",
        ),
    ] {
        let error = ProfileSet::load(&changed(profile, from, to), "my.toml").unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(matches!(error, ProfileError::Syntax { line: Some(2..), .. }), "{error:?}");
    }
}

#[test]
fn all_profiles_that_break_a_rule_are_listed() {
    let text = changed("card-signing", "life = \"730d\"", "life = \"9999d\"");
    let text = text.replace("life = \"72h\"", "life = \"73h\"");
    let errors = ProfileSet::load_or_list(&text, "my.toml").unwrap_err();
    let names: Vec<_> = errors
        .iter()
        .map(|error| match error {
            ProfileError::Rule { profile, key, .. } => (profile.as_str(), *key),
            ProfileError::Syntax { .. } => panic!("{error}"),
        })
        .collect();
    assert_eq!(names, [("card-signing", "life"), ("temporary-card", "life")]);
    assert_eq!(ProfileSet::load(&text, "my.toml").unwrap_err(), errors[0]);
}

#[test]
fn a_template_is_shown_as_it_was_written() {
    for text in ["{user_id}_{given}_{family}", "People", "x{common_name}y"] {
        assert_eq!(Template::parse(text).unwrap().to_string(), text);
    }
}

#[test]
fn an_empty_text_is_refused() {
    assert!(matches!(ProfileSet::load("", "my.toml"), Err(ProfileError::Syntax { .. })));
    assert!(matches!(ProfileSet::load("[[profile]]\nname = 1", "my.toml"), Err(ProfileError::Syntax { .. })));
}
