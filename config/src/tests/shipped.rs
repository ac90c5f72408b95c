use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::{assert_same, cardinal, responder, station};
use crate::document::Document;
use crate::responder::RawResponderConfig;
use crate::schema::{Schema, keys_of};
use crate::service::RawConfig;
use crate::station::RawStationConfig;
use crate::{
    CardSelector, Config, SHIPPED_CARDINAL_TOML, SHIPPED_POLICY_TOML, SHIPPED_PROFILES_TOML, SHIPPED_RESPONDER_TOML,
    SHIPPED_STATION_TOML, SignerPlace,
};

/// The text with its commented-out keys (`# key = value`) brought in.
fn uncommented(text: &str) -> String {
    let key = |line: &str| {
        let name = line.strip_prefix("# ")?.split(" = ").next()?;
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        (plain && line.contains(" = ")).then(|| line[2..].to_owned())
    };
    text.lines().map(|line| key(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

fn missing_keys<T: Schema>(text: &str) -> BTreeSet<String> {
    let document = Document::parse(&uncommented(text), Path::new("shipped.toml")).expect("the shipped file is TOML");
    let shown = document.schema_paths();
    keys_of::<T>().into_iter().map(|key| key.path).filter(|path| !shown.contains(path)).collect()
}

#[test]
fn the_shipped_configuration_says_what_an_empty_file_means() {
    assert_same(&cardinal(SHIPPED_CARDINAL_TOML).expect("shipped"), &cardinal("").expect("empty"));
}

#[test]
fn every_key_of_the_schema_is_shown_in_the_shipped_files() {
    assert_eq!(missing_keys::<RawConfig>(SHIPPED_CARDINAL_TOML), BTreeSet::new());
    assert_eq!(missing_keys::<RawStationConfig>(SHIPPED_STATION_TOML), BTreeSet::new());
    assert_eq!(missing_keys::<RawResponderConfig>(SHIPPED_RESPONDER_TOML), BTreeSet::new());
}

#[test]
fn what_is_commented_out_in_the_shipped_configuration_is_right_and_changes_nothing() {
    let whole = uncommented(SHIPPED_CARDINAL_TOML);
    assert_ne!(whole, SHIPPED_CARDINAL_TOML);
    assert_same(&cardinal(&whole).expect("uncommented"), &cardinal("").expect("empty"));
}

#[test]
fn the_shipped_station_says_what_a_file_with_only_a_name_means() {
    let shipped = station(SHIPPED_STATION_TOML).expect("shipped");
    assert_eq!(shipped, station("station.name = \"desk-1\"").expect("only a name"));
    assert_eq!(shipped.server, "https://127.0.0.1:8443");
    assert_eq!(shipped.key_file, Path::new("/etc/cardinal/station.key"));
    assert_eq!(shipped.cards.card, None);
    let by_label = station("station.name = \"desk-1\"\ncards.token_label = \"card-1\"").expect("with a card");
    assert_eq!(by_label.cards.card, Some(CardSelector::Label("card-1".to_owned())));
}

#[test]
fn the_shipped_responder_says_what_a_file_with_only_a_name_means() {
    let shipped = responder(SHIPPED_RESPONDER_TOML).expect("shipped");
    assert_eq!(shipped, responder("responder.name = \"dmz-1\"").expect("only a name"));
    assert_eq!(shipped.data_dir, Path::new("/etc/cardinal/data"));
    assert_eq!(shipped.signer.place, SignerPlace::Memory);
    let token = responder("responder.name = \"dmz-1\"\nsigner.keys = \"token\"").expect("with a token");
    assert!(matches!(token.signer.place, SignerPlace::Token { sessions: 2, queue: 64, .. }), "{:?}", token.signer);
    // A word is missed each second before the connection counts as broken.
    let cardinal = cardinal("").expect("empty");
    assert!(shipped.times.silence > 2 * cardinal.times.feed_heartbeat);
    assert!(shipped.times.silence < cardinal.times.feed_stale);
}

#[test]
fn the_example_for_a_responder_in_the_dmz_is_right() {
    let dmz = responder(include_str!("../../../packaging/ocsp-responder.dmz.toml")).expect("the example");
    assert_eq!(dmz.data_dir, Path::new("/var/lib/ocsp-responder"));
    assert_eq!((dmz.limits.connections_per_address, dmz.signer.place), (0, SignerPlace::Memory));
    assert!(!dmz.listen.metrics.ip().is_unspecified(), "operations are not for the outside");
}

#[test]
fn the_defaults_are_those_of_the_domain() {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let config = cardinal("").expect("empty");
    let times = &config.times;
    for (time, seconds) in [
        (times.renewal_window, 90 * DAY),
        (times.lapse_after_expiry, 365 * DAY),
        (times.issuance_confirmation, 15 * MINUTE),
        (times.enrolment_code, 15 * MINUTE),
        (times.session_idle, 15 * MINUTE),
        (times.session_max, 8 * HOUR),
        (times.idempotency, 24 * HOUR),
        (times.request_lock, 15 * MINUTE),
        (times.ocsp_next_update_authentication, 10 * MINUTE),
        (times.ocsp_next_update_other, 4 * HOUR),
        (times.ocsp_max_age_authentication, 5),
        (times.ocsp_max_age_other, 5 * MINUTE),
        (times.ocsp_signer_life, 24 * HOUR),
        (times.ocsp_signer_life_in_token, 7 * DAY),
        (times.feed_heartbeat, 1),
        (times.feed_stale, 5),
        (times.feed_withhold_authentication, 5 * MINUTE),
        (times.feed_withhold_other, HOUR),
        (times.crl_interval, HOUR),
        (times.crl_overlap, 24 * HOUR),
        (times.root_crl_next_update, 395 * DAY),
        (times.clock_jump, HOUR),
    ] {
        assert_eq!(time, Duration::from_secs(seconds));
    }
    assert_eq!(config.reminders.holder, [90, 60, 30, 14, 7, 1].map(|days| Duration::from_secs(days * DAY)));
    let authentication = config.issuing_ca("authentication").expect("ships");
    assert_eq!(authentication.ocsp_next_update, times.ocsp_next_update_authentication);
    assert_eq!(authentication.ocsp_max_age, times.ocsp_max_age_authentication);
    assert_eq!(authentication.feed_withhold, times.feed_withhold_authentication);
    let signing = config.issuing_ca("signing").expect("ships");
    assert_eq!(signing.ocsp_next_update, times.ocsp_next_update_other);
    assert_eq!(signing.crl_interval, times.crl_interval);
    // conformance: C13
    assert!(signing.crl_keep_expired && !authentication.crl_keep_expired);
}

#[test]
fn every_shipped_profile_is_issued_by_one_ca() {
    let profiles: toml::Table = toml::from_str(SHIPPED_PROFILES_TOML).expect("the shipped profiles are TOML");
    let names: BTreeSet<&str> = profiles["profile"]
        .as_array()
        .expect("profiles")
        .iter()
        .map(|profile| profile["name"].as_str().expect("a name"))
        .collect();
    let config = cardinal(SHIPPED_CARDINAL_TOML).expect("shipped");
    config.check_profiles(names.iter().copied()).expect("the CAs issue by profiles that exist");
    let mut routed: BTreeSet<String> = config.routes().into_keys().collect();
    routed.extend(crate::IMPLIED_PROFILES.map(str::to_owned));
    assert_eq!(routed, names.into_iter().map(str::to_owned).collect());
}

#[test]
fn the_kinds_of_signers_keys_are_those_that_their_profile_permits_and_both_files_name_them() {
    let profiles: toml::Table = toml::from_str(SHIPPED_PROFILES_TOML).expect("the shipped profiles are TOML");
    let mut profiles = profiles["profile"].as_array().expect("profiles").iter();
    let signer = profiles.find(|profile| profile["name"].as_str() == Some("ocsp-signer")).expect("ships");
    let permitted: Vec<&str> =
        signer["key_types"].as_array().expect("a list").iter().map(|kind| kind.as_str().expect("a name")).collect();
    for kind in pki::KeyType::ALL.map(|kind| kind.to_string()) {
        let is_permitted = permitted.contains(&kind.as_str());
        let service = cardinal(&format!("[ocsp]\nsigner_key_types = [\"{kind}\"]\n"));
        assert_eq!(service.is_ok(), is_permitted, "{kind}");
        let elsewhere = responder(&format!("responder.name = \"a\"\nsigner.key_types = [\"{kind}\"]\n"));
        assert_eq!(elsewhere.is_ok(), is_permitted, "{kind}");
        let named = format!("\"{kind}\"");
        let comment = |text: &str, key: &str| {
            let before = text.split_once(&format!("\n{key} = ")).expect("shown").0;
            let lines = before.lines().rev().take_while(|line| line.starts_with('#'));
            lines.collect::<String>().contains(&named)
        };
        assert_eq!(comment(SHIPPED_CARDINAL_TOML, "signer_key_types"), is_permitted, "{kind}");
        assert_eq!(comment(SHIPPED_RESPONDER_TOML, "key_types"), is_permitted, "{kind}");
    }
}

#[test]
fn the_two_certificates_of_a_card_come_from_two_cas() {
    let routes = cardinal("").expect("empty").routes();
    assert_ne!(routes["card-authentication"], routes["card-signing"]);
}

#[test]
fn the_shipped_policy_says_for_every_operation_what_every_role_may_do() {
    const ROLES: [&str; 11] = [
        "ra_manager",
        "advanced_ra_agent",
        "ra_agent",
        "sponsor",
        "id_checker",
        "lsa",
        "holder",
        "service_desk",
        "ca_operator",
        "security_officer",
        "auditor",
    ];
    let policy: toml::Table = toml::from_str(SHIPPED_POLICY_TOML).expect("the shipped policy is TOML");
    let operations = policy["operations"].as_table().expect("operations");
    for (operation, rights) in operations {
        let rights = rights.as_table().expect("rights");
        assert_eq!(
            rights.keys().map(String::as_str).collect::<BTreeSet<_>>(),
            ROLES.into_iter().collect(),
            "{operation}"
        );
        for (role, right) in rights {
            let right = right.as_str().expect("text");
            assert!(["yes", "request", "own", "-"].contains(&right), "{operation}: {role}: {right}");
            assert!(right != "own" || role == "holder", "{operation}: {role}");
            assert!(right != "yes" || role != "holder", "{operation}: {role}");
        }
        assert_eq!(rights["auditor"].as_str(), Some("-"), "{operation}: an auditor holds no other role");
    }
    let exceptions = policy["separation_of_duty"]["nobody_acts_on_own_record_except"].as_array().expect("a list");
    for exception in exceptions {
        let name = exception.as_str().expect("a name");
        assert_eq!(operations[name]["holder"].as_str(), Some("own"), "{name}");
    }
    for (cause, reasons) in policy["revocation_reasons"].as_table().expect("reasons") {
        assert_ne!(reasons["signing"].as_str(), Some("keyCompromise"), "{cause}");
    }
}

#[test]
fn relative_paths_start_at_the_file_and_data_below_the_data_directory() {
    let config =
        Config::parse("service.data_dir = \"state\"", Path::new("/etc/cardinal/cardinal.toml")).expect("right");
    assert_eq!(config.service.data_dir, Path::new("/etc/cardinal/state"));
    assert_eq!(config.store.path, Path::new("/etc/cardinal/state/store"));
    assert_eq!(config.listen.admin_socket, Path::new("/etc/cardinal/state/admin.sock"));
    assert_eq!(config.policy_file, Path::new("/etc/cardinal/policy.toml"));
    assert_eq!(config.hsm.ca.pin_file, Path::new("/etc/cardinal/secrets/ca.pin"));
    assert_eq!(config.hsm.module, Path::new("/usr/lib/softhsm/libsofthsm2.so"));
}

#[test]
fn a_file_is_loaded_with_absolute_paths_and_its_companions_are_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("cardinal.toml");
    std::fs::write(&file, SHIPPED_CARDINAL_TOML).expect("written");
    std::fs::write(dir.path().join("policy.toml"), SHIPPED_POLICY_TOML).expect("written");
    let config = Config::load(&file).expect("shipped");
    assert_eq!(config.file(), file);
    assert!(config.service.data_dir.is_absolute());
    assert_eq!(config.policy_text().expect("is there"), SHIPPED_POLICY_TOML);
    let missing = config.profiles_text().expect_err("was not written").to_string();
    let line = SHIPPED_CARDINAL_TOML.lines().position(|line| line == "file = \"profiles.toml\"").expect("shown") + 1;
    assert!(missing.contains("`profiles.file`"), "{missing}");
    assert!(missing.contains(&format!("cardinal.toml:{line}:8")), "{missing}");
}
