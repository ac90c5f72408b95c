use std::path::Path;

use crate::{CardSelector, Deployment, Error, SHIPPED_CARDINAL_TOML, SHIPPED_STATION_TOML, StationDeployment};

fn origin() -> &'static Path {
    Path::new("/srv/ra/cardinal.toml")
}

#[test]
fn a_deployment_that_says_nothing_gets_the_shipped_file() {
    let (text, _) = Deployment::default().render(origin()).expect("shipped");
    assert_eq!(text, SHIPPED_CARDINAL_TOML);
}

#[test]
fn a_new_deployment_differs_from_the_shipped_file_in_its_own_values_only() {
    let deployment = Deployment {
        name: Some("north-1".to_owned()),
        organisation: Some("Say \"North\" RA".to_owned()),
        data_dir: Some("/srv/ra/data".into()),
        host_names: Some(vec!["ra.example.org".to_owned()]),
        addresses: Some(vec!["192.0.2.1".parse().expect("an address")]),
        api: Some("127.0.0.1:18443".parse().expect("an address")),
        public: Some("127.0.0.1:18080".parse().expect("an address")),
        metrics: Some("127.0.0.1:19090".parse().expect("an address")),
        admin_socket: Some("a.sock".into()),
        module: Some("/opt/hsm/module.so".into()),
        ca_token: Some("north-ca".to_owned()),
        ca_pin_file: Some("ca.pin".into()),
        root_token: Some("north-root".to_owned()),
        root_pin_file: Some("root.pin".into()),
        policy_file: Some("north-policy.toml".into()),
        profiles_file: Some("north-profiles.toml".into()),
        public_base_url: None,
    };
    let (text, config) = deployment.render(origin()).expect("right");
    assert_eq!(config.service.name, "north-1");
    assert_eq!(config.service.organisation, "Say \"North\" RA");
    assert_eq!(config.service.public_base_url, "http://127.0.0.1:18080");
    assert_eq!(config.service.host_names, ["ra.example.org"]);
    assert_eq!(config.listen.admin_socket, Path::new("/srv/ra/data/a.sock"));
    assert_eq!(config.hsm.module, Path::new("/opt/hsm/module.so"));
    assert_eq!(config.hsm.root.label, "north-root");
    assert_eq!(config.hsm.root.pin_file, Path::new("/srv/ra/root.pin"));
    assert_eq!(config.policy_file, Path::new("/srv/ra/north-policy.toml"));
    let changed = text.lines().zip(SHIPPED_CARDINAL_TOML.lines()).filter(|(new, old)| new != old).count();
    assert_eq!(changed, 17, "{text}");
    assert_eq!(text.lines().count(), SHIPPED_CARDINAL_TOML.lines().count());
    let comments =
        |text: &str| text.lines().filter(|line| line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(comments(&text), comments(SHIPPED_CARDINAL_TOML));
}

#[test]
fn a_deployment_with_a_wrong_value_is_refused_before_anything_is_written() {
    let deployment = Deployment { name: Some("North One".to_owned()), ..Deployment::default() };
    let error = deployment.render(origin()).expect_err("not a plain name");
    assert!(matches!(&error, Error::Value { key, .. } if key == "service.name"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_path_that_is_no_text_is_refused_and_not_altered() {
    use std::os::unix::ffi::OsStringExt;
    let path = std::ffi::OsString::from_vec(vec![b'/', 0xff]);
    let deployment = Deployment { data_dir: Some(path.into()), ..Deployment::default() };
    let error = deployment.render(origin()).expect_err("not UTF-8");
    assert_eq!(error.key(), Some("service.data_dir"), "{error}");
}

#[test]
fn a_new_station_keeps_the_comments_and_names_its_card() {
    let plain = StationDeployment { name: "desk-1".to_owned(), ..StationDeployment::default() };
    let (text, _) = plain.render(Path::new("station.toml")).expect("shipped");
    assert_eq!(text, SHIPPED_STATION_TOML);

    let station = StationDeployment {
        name: "desk-7".to_owned(),
        server: Some("https://ra.example.org".to_owned()),
        token_serial: Some("0011".to_owned()),
        pin_file: Some("pin".into()),
        ..StationDeployment::default()
    };
    let (text, config) = station.render(Path::new("/srv/desk/station.toml")).expect("right");
    assert_eq!(config.name, "desk-7");
    assert_eq!(config.server, "https://ra.example.org");
    assert_eq!(config.cards.card, Some(CardSelector::Serial("0011".to_owned())));
    assert_eq!(config.cards.pin_file.as_deref(), Some(Path::new("/srv/desk/pin")));
    assert!(text.contains("# The service's API."), "{text}");
}
