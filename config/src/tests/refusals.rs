use std::path::Path;

use pki::ocsp::{ResponderIdForm, UnknownAnswer};

use super::{cardinal, responder, station};
use crate::{Config, Error, SHIPPED_CARDINAL_TOML};

/// Each text is refused at a line and column, for a key, with words that a reader can act on.
fn assert_refused(text: &str, line: usize, column: usize, key: &str, words: &[&str]) {
    let error = cardinal(text).expect_err(text);
    let message = error.to_string();
    let place = error.place().unwrap_or_else(|| panic!("no place: {message}"));
    assert_eq!((place.line, place.column), (line, column), "{message}");
    assert_eq!(error.key(), Some(key), "{message}");
    assert!(message.starts_with("/etc/cardinal/cardinal.toml:"), "{message}");
    assert!(message.contains("Remedy: "), "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    assert_refused(
        "[times]\nsesion_idle = \"15m\"\n",
        2,
        1,
        "times.sesion_idle",
        &["unknown key", "did you mean `session_idle`?"],
    );
    assert_refused("[servce]\nname = \"x\"\n", 1, 2, "servce", &["did you mean `service`?"]);
    assert_refused(
        "[[issuing_ca]]\nname = \"a\"\ncomon_name = \"A\"\n",
        3,
        1,
        "issuing_ca[0].comon_name",
        &["did you mean `common_name`?"],
    );
    assert_refused("hsm.ca.pinfile = \"x\"\n", 1, 8, "hsm.ca.pinfile", &["did you mean `pin_file`?"]);
}

#[test]
fn a_key_in_the_wrong_section_is_shown_the_right_one() {
    assert_refused(
        "[service]\nsession_idle = \"15m\"\n",
        2,
        1,
        "service.session_idle",
        &["did you mean `session_idle`, which belongs under [times]?"],
    );
    assert_refused(
        "[store]\nfreshness = \"other\"\n",
        2,
        1,
        "store.freshness",
        &["did you mean `freshness`, which belongs under [[issuing_ca]]?"],
    );
}

#[test]
fn an_unknown_key_like_no_other_is_refused_with_the_keys_that_exist() {
    assert_refused(
        "[store]\nzzzzzzzzzz = 1\n",
        2,
        1,
        "store.zzzzzzzzzz",
        &["`backend`", "`path`", "`cache_megabytes`"],
    );
    assert_refused("qqqqqqqqqqqqqqqq = 1\n", 1, 1, "qqqqqqqqqqqqqqqq", &["`service`", "`issuing_ca`"]);
}

#[test]
fn a_key_that_hides_in_quotes_is_refused_all_the_same() {
    let error = cardinal("\"service.name\" = \"x\"\n").expect_err("no such key");
    assert!(matches!(error, Error::Value { .. } | Error::UnknownKey { .. }), "{error}");
    assert!(error.to_string().contains("unknown field `service.name`"), "{error}");
}

#[test]
fn a_value_of_the_wrong_type_is_refused_where_it_stands() {
    assert_refused("[times]\nsession_idle = 15\n", 2, 16, "times.session_idle", &["write the value in \"quotes\""]);
    assert_refused("[limits]\npage_max = \"200\"\n", 2, 12, "limits.page_max", &["without quotes"]);
    assert_refused("[service]\nhost_names = \"x\"\n", 2, 14, "service.host_names", &["write a list"]);
    assert_refused("[issuing_ca]\nname = \"a\"\n", 1, 1, "issuing_ca", &["[[double brackets]]"]);
    assert_refused("[[service]]\nname = \"x\"\n", 1, 1, "service", &["write [service]"]);
    assert_refused("hsm.ca = [\"cardinal-ca\"]\n", 1, 10, "hsm.ca", &["write [hsm.ca]"]);
    assert_refused("[[issuing_ca]]\nname = { a = 1 }\n", 2, 8, "issuing_ca[0].name", &["in \"quotes\""]);
    assert_refused("service = 1\n", 1, 11, "service", &["make it a [section]"]);
}

#[test]
fn a_text_that_is_not_toml_is_refused_with_its_line() {
    for (text, line) in [("[service\n", 1), ("\n\nname =\n", 3), ("[log]\nlevel = info\n", 2)] {
        let error = cardinal(text).expect_err(text);
        assert!(matches!(error, Error::Syntax { .. }), "{error}");
        assert_eq!(error.place().expect("has one").line, line, "{error}");
    }
    let twice = cardinal("[log]\nlevel = \"info\"\nlevel = \"warn\"\n").expect_err("twice").to_string();
    assert!(twice.contains("cardinal.toml:3:1") && twice.contains("keep one of the two"), "{twice}");
}

#[test]
fn a_text_that_is_too_long_is_not_parsed() {
    let error = cardinal(&"#".repeat(256 * 1024 + 1)).expect_err("too long");
    assert!(matches!(error, Error::TooLong { bytes: 262_145, limit: 262_144, .. }), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_named_with_what_to_do() {
    let error = Config::load(Path::new("/nowhere/cardinal.toml")).expect_err("not there").to_string();
    assert!(error.starts_with("/nowhere/cardinal.toml: cannot be read: "), "{error}");
    assert!(error.contains("cardinal init"), "{error}");
}

#[test]
fn durations_are_numbers_with_units_longer_than_nothing() {
    assert_refused("[times]\nrequest = \"30\"\n", 2, 11, "times.request", &["\"15m\""]);
    assert_refused("[times]\nrequest = \"soon\"\n", 2, 11, "times.request", &["\"15m\""]);
    assert_refused("[times]\nrequest = \"0s\"\n", 2, 11, "times.request", &["longer than nothing"]);
    assert_refused("[times]\nrequest = \"15us\"\n", 2, 11, "times.request", &["whole milliseconds"]);
    assert_refused("[times]\nrequest = \"900years\"\n", 2, 11, "times.request", &["50 years"]);
    assert_refused("[times]\nrequest = \"99999999999999999999y\"\n", 2, 11, "times.request", &[]);
}

#[test]
fn times_that_contradict_each_other_are_refused() {
    for (text, key, words) in [
        ("ocsp_max_age_authentication = \"10m\"", "times.ocsp_max_age_authentication", "nextUpdate"),
        ("ocsp_max_age_other = \"5h\"", "times.ocsp_max_age_other", "nextUpdate"),
        ("feed_withhold_other = \"4h\"", "times.feed_withhold_other", "nextUpdate"),
        ("ocsp_next_update_other = \"7h\"", "times.ocsp_next_update_other", "outlive"),
        ("feed_heartbeat = \"5s\"", "times.feed_heartbeat", "heartbeats"),
        ("ocsp_signer_life = \"6h\"", "times.ocsp_signer_renewal_window", "`ocsp_signer_life` (6h)"),
        ("ocsp_signer_life = \"8d\"", "times.ocsp_signer_life", "`ocsp_signer_life_in_token` (7days)"),
        ("session_idle = \"9h\"", "times.session_idle", "raise `session_max`"),
        ("reservation_lease = \"15m\"", "times.reservation_lease", "shorter than `issuance_confirmation`"),
        ("idempotency = \"5m\"", "times.issuance_confirmation", "`idempotency` (5m)"),
        ("clock_tolerance = \"2h\"", "times.clock_tolerance", "jump"),
    ] {
        let error = cardinal(&format!("[times]\n{text}\n")).expect_err(text);
        let message = error.to_string();
        assert!(matches!(error, Error::Rule { .. }), "{message}");
        assert_eq!(error.key(), Some(key), "{message}");
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn reminders_come_closer_and_within_the_renewal_window() {
    assert_refused("reminders.holder = [\"7d\", \"30d\"]", 1, 27, "reminders.holder[1]", &["longest first"]);
    assert_refused("reminders.holder = [\"91d\"]", 1, 21, "reminders.holder[0]", &["times.renewal_window"]);
    assert!(cardinal("reminders.holder = []").is_ok());
}

#[test]
fn numbers_stay_within_bounds() {
    assert_refused("[limits]\nbody_bytes = -1\n", 2, 14, "limits.body_bytes", &["from 4096 to 16777216"]);
    assert_refused("[limits]\npage_max = 0\n", 2, 12, "limits.page_max", &["from 1"]);
    assert_refused("[limits]\npage_max = 10\n", 1, 2, "limits.page_default", &["raise `page_max`"]);
    assert_refused("[limits]\nconnections = 1\n", 1, 2, "limits.in_flight", &["raise `connections`"]);
    assert_refused("[hsm]\nsessions = 0\n", 2, 12, "hsm.sessions", &["from 1 to 64"]);
}

#[test]
fn every_door_has_an_address_of_its_own() {
    assert_refused(
        "[listen]\npublic = \"127.0.0.1:8443\"\n",
        2,
        10,
        "listen.public",
        &["`listen.api`", "another port"],
    );
    assert_refused("[listen]\nmetrics = \"0.0.0.0:8080\"\n", 2, 11, "listen.metrics", &["`listen.public`"]);
    assert_refused("[listen]\napi = \"localhost:8443\"\n", 2, 7, "listen.api", &["127.0.0.1:8443"]);
    let any = "[listen]\napi = \"127.0.0.1:0\"\npublic = \"127.0.0.1:0\"\nmetrics = \"127.0.0.1:0\"\n";
    assert!(cardinal(any).is_ok(), "the system chooses another port each time");
}

#[test]
fn the_admin_socket_fits_into_a_socket_address() {
    let long = format!("service.data_dir = \"/{}\"", "d".repeat(100));
    assert_refused(&long, 1, 1, "listen.admin_socket", &["at most 107 octets", "shorten"]);
}

#[test]
fn the_public_url_is_one_that_relying_systems_can_fetch() {
    for (url, words) in [
        ("https://ra.example.org", "does not begin with http://"),
        ("ra.example.org", "does not begin with http://"),
        ("http://", "not a host"),
        ("http://user@ra.example.org", "something other"),
        ("http://ra.example.org/?x", "something other"),
        ("http://ra.example.org:port", "not a port"),
        ("http://ra.example.org:70000", "not a port"),
        ("http://-ra-.example.org", "not a host"),
        ("http://[::1", "not a host"),
        ("http://127.0.0.1:8081", "http://127.0.0.1:8080"),
        ("http://[::1]", "http://[::1]:8080"),
    ] {
        let error = cardinal(&format!("service.public_base_url = \"{url}\"")).expect_err(url).to_string();
        assert!(error.contains(words), "{url}: {error}");
    }
    for (url, kept) in [
        ("http://ra.example.org/", "http://ra.example.org"),
        ("http://pki.example.org:8000/ra", "http://pki.example.org:8000/ra"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ] {
        let config = cardinal(&format!("service.public_base_url = \"{url}\"")).expect(url);
        assert_eq!(config.service.public_base_url, kept);
    }
}

#[test]
fn names_are_plain() {
    assert_refused("service.name = \"My Service\"", 1, 16, "service.name", &["small letters"]);
    assert_refused("service.organisation = \"\"", 1, 24, "service.organisation", &["missing"]);
    let long = format!("service.organisation = \"{}\"", "x".repeat(65));
    assert_refused(&long, 1, 24, "service.organisation", &["1 to 64 characters"]);
    assert_refused("service.host_names = [\"a_b\"]", 1, 23, "service.host_names[0]", &["ra.example.org"]);
    assert_refused("service.host_names = [\"192.0.2.1\"]", 1, 23, "service.host_names[0]", &["not a host name"]);
    assert_refused("service.addresses = [\"ra.example.org\"]", 1, 22, "service.addresses[0]", &["`host_names`"]);
    assert_refused("service.host_names = []\nservice.addresses = []", 1, 22, "service.host_names", &["at least one"]);
}

#[test]
fn the_root_shares_neither_token_nor_pin_with_the_service() {
    assert_refused("hsm.root.token = \"cardinal-ca\"", 1, 18, "hsm.root.token", &["a token of its own"]);
    assert_refused("hsm.root.pin_file = \"secrets/ca.pin\"", 1, 21, "hsm.root.pin_file", &["a file of its own"]);
    assert_refused(&format!("hsm.ca.token = \"{}\"", "é".repeat(17)), 1, 16, "hsm.ca.token", &["32 octets"]);
}

#[test]
fn crls_that_contradict_each_other_are_refused() {
    let ca = |line: &str| {
        format!("[[issuing_ca]]\nname = \"a\"\ncommon_name = \"A\"\nprofiles = [\"card-signing\"]\n{line}\n")
    };
    let place = |key| format!("issuing_ca[0].{key}");
    for (lines, key, words) in [
        ("crl_delta_interval = \"1h\"", "crl_delta_interval", &["between two full ones", "\"never\""][..]),
        ("crl_delta_interval = \"often\"", "crl_delta_interval", &[]),
        ("crl_on_revocation = \"delta\"", "crl_on_revocation", &["crl_delta_interval"]),
        ("crl_on_revocation = \"yes\"", "crl_on_revocation", &["\"full\""]),
    ] {
        let column = key.len() + 4;
        assert_refused(&ca(lines), 5, column, &place(key), words);
    }
    let both = ca("crl_delta_interval = \"10m\"\ncrl_on_revocation = \"delta\"");
    let config = cardinal(&both).expect("it is in order");
    assert_eq!(config.issuing_cas[0].crl_delta_interval, Some(std::time::Duration::from_secs(600)));
}

#[test]
fn issuing_cas_are_told_apart_and_share_no_profile() {
    const A: &str = "[[issuing_ca]]\nname = \"a\"\ncommon_name = \"A\"\nprofiles = [\"card-signing\"]\n";
    let two = |second: &str| format!("{A}[[issuing_ca]]\n{second}");
    assert!(cardinal(A).is_ok());
    assert_refused("issuing_ca = []", 1, 14, "issuing_ca", &["at least one"]);
    assert_refused("[[issuing_ca]]\nprofiles = [\"x\"]\n", 1, 3, "issuing_ca[0].name", &["missing"]);
    assert_refused(
        "[[issuing_ca]]\nname = \"a\"\ncommon_name = \"A\"\n",
        1,
        3,
        "issuing_ca[0].profiles",
        &["at least one profile"],
    );
    assert_refused(
        &two("name = \"a\"\ncommon_name = \"B\"\nprofiles = [\"ra-station\"]\n"),
        6,
        8,
        "issuing_ca[1].name",
        &["a name of its own"],
    );
    assert_refused(
        &two("name = \"b\"\ncommon_name = \"A\"\nprofiles = [\"ra-station\"]\n"),
        7,
        15,
        "issuing_ca[1].common_name",
        &["a common name of its own"],
    );
    assert_refused(
        &two("name = \"b\"\ncommon_name = \"B\"\nprofiles = [\"ra-station\", \"card-signing\"]\n"),
        8,
        27,
        "issuing_ca[1].profiles[1]",
        &["already issued by \"a\""],
    );
    assert_refused(
        &A.replace("card-signing", "ocsp-signer"),
        4,
        13,
        "issuing_ca[0].profiles[0]",
        &["every issuing CA its own OCSP signers"],
    );
    assert_refused(
        &A.replace("[[issuing_ca]]", "[[issuing_ca]]\nkey_type = \"P-521\""),
        2,
        12,
        "issuing_ca[0].key_type",
        &["\"P-256\", \"P-384\""],
    );
    assert_refused(&format!("{A}freshness = \"fast\"\n"), 5, 13, "issuing_ca[0].freshness", &["\"authentication\""]);
}

#[test]
fn a_profile_that_no_file_has_is_refused_where_it_is_named() {
    let config = cardinal(SHIPPED_CARDINAL_TOML).expect("shipped");
    let error = config.check_profiles(["card-authentication", "card-signing"]).expect_err("others are missing");
    let message = error.to_string();
    assert_eq!(error.key(), Some("issuing_ca[0].profiles[1]"), "{message}");
    let line = SHIPPED_CARDINAL_TOML.lines().position(|line| line.contains("temporary-card")).expect("shown") + 1;
    assert_eq!(error.place().map(|place| place.line), Some(line), "{message}");
    assert!(message.contains("/etc/cardinal/profiles.toml"), "{message}");
}

#[test]
fn a_column_counts_characters() {
    assert_refused("service = { organisation = \"Ä\", nane = \"x\" }", 1, 33, "service.nane", &["`name`"]);
}

#[test]
fn a_station_is_refused_as_clearly() {
    let message = |text: &str| station(text).expect_err(text).to_string();
    assert!(message("").contains("`station.name`: it is missing"));
    assert!(message("station.name = \"d\"\nstation.servr = \"x\"").contains("station.toml:2:9: unknown key"));
    assert!(message("station.name = \"d\"\nstation.server = \"http://ra.example.org\"").contains("https://"));
    let both = message("station.name = \"d\"\n[cards]\ntoken_label = \"a\"\ntoken_serial = \"b\"\n");
    assert!(both.contains("station.toml:4:16") && both.contains("remove one"), "{both}");
}

#[test]
fn a_responder_that_cannot_work_as_it_is_written_is_refused_with_the_remedy() {
    for (text, key, words) in [
        ("", "responder.name", "it is missing"),
        ("[signer]\nkey_types = []", "signer.key_types", "without a key"),
        ("[signer]\nkey_types = [\"P-256\", \"P-256\"]", "signer.key_types[1]", "remove one"),
        ("[signer]\nkey_types = [\"P-521\"]", "signer.key_types[0]", "\"RSA-2048\""),
        ("[signer]\nkeys = \"disk\"", "signer.keys", "\"token\""),
        ("[listen]\nmetrics = \"0.0.0.0:8081\"", "listen.metrics", "another port"),
        ("[times]\nreconnect = \"1m\"", "times.reconnect", "raise `reconnect_longest`"),
        ("[responder]\nname = \"a\"\nserver = \"http://ca\"", "responder.server", "https://"),
        ("[times]\nocsp_signer_life = \"90d\"", "times.ocsp_signer_life", "unknown key"),
    ] {
        let named = if text.contains("name") || text.is_empty() {
            text.to_owned()
        } else {
            format!("responder.name = \"a\"\n{text}")
        };
        let error = responder(&named).expect_err(text);
        assert_eq!(error.key(), Some(key), "{error}");
        assert!(error.to_string().contains(words) && error.to_string().contains("Remedy"), "{error}");
    }
}

#[test]
fn how_answers_name_their_signer_and_what_they_say_of_unknown_serials_is_chosen() {
    // conformance: O4, O11
    let shipped = cardinal("").expect("defaults").ocsp;
    assert_eq!(shipped.responder_id, ResponderIdForm::ByKey);
    assert_eq!(shipped.unknown_serial, UnknownAnswer::Unknown);
    let chosen = cardinal("[ocsp]\nresponder_id = \"name\"\nunknown_serial = \"revoked\"\n").expect("others").ocsp;
    assert_eq!(chosen.responder_id, ResponderIdForm::ByName);
    assert_eq!(chosen.unknown_serial, UnknownAnswer::Revoked);
    for (text, key, words) in [
        ("responder_id = \"both\"", "ocsp.responder_id", "\"key\", \"name\""),
        ("unknown_serial = \"good\"", "ocsp.unknown_serial", "\"unknown\", \"revoked\""),
    ] {
        let error = cardinal(&format!("[ocsp]\n{text}\n")).expect_err(text);
        let message = error.to_string();
        assert_eq!(error.key(), Some(key), "{message}");
        assert!(message.contains(words) && message.contains("Remedy: "), "{message}");
    }
}

#[test]
fn kinds_of_signers_keys_are_known_ones_each_once() {
    let listed = |list: &str| format!("[ocsp]\nsigner_key_types = {list}\n");
    let refused = |list: &str, key: &str, words: &str| {
        let error = cardinal(&listed(list)).expect_err(list);
        let message = error.to_string();
        assert_eq!(error.key(), Some(key), "{message}");
        assert!(message.contains(words) && message.contains("Remedy: "), "{message}");
    };
    refused("[\"RSA-4096\"]", "ocsp.signer_key_types[0]", "RSA-3072");
    refused("[\"P-256\", \"RSA-2048\", \"P-256\"]", "ocsp.signer_key_types[2]", "once");
    refused("[]", "ocsp.signer_key_types", "without a key");
    let both = cardinal(&listed("[\"RSA-2048\", \"P-256\"]")).expect("two kinds").ocsp.signer_key_types;
    assert_eq!(both.iter().map(ToString::to_string).collect::<Vec<_>>(), ["RSA-2048", "P-256"]);
}
