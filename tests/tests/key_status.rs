//! `cardinal status`: each key and certificate of the service, until when, what comes next, and who must act.

mod cardinal;

use api::admin::KeyStatus;
use hsm::{Pin, PinFile};
use pki::Timestamp;
use server::clock::Clock;
use tests::{Deployment, World, isolated};

async fn keys(deployment: &Deployment) -> Vec<KeyStatus> {
    deployment.status().await.keys
}

fn named<'a>(keys: &'a [KeyStatus], what: &str) -> &'a KeyStatus {
    keys.iter().find(|key| key.what == what).unwrap_or_else(|| panic!("{what} is not among {keys:#?}"))
}

fn time(text: &Option<String>) -> Timestamp {
    text.as_deref().expect("a time").parse().expect("RFC 3339")
}

#[test]
fn each_key_says_where_it_is_until_when_and_what_comes_next() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let keys = keys(&world).await;
        let now = world.clock.now();

        for id in ["root-1", "authentication-1", "signing-1", "devices-1"] {
            let key = named(&keys, &format!("CA key {id}"));
            assert!(key.place.starts_with("token test-"), "{key:?}");
            assert!(time(&key.since) <= now && now < time(&key.act_by) && time(&key.act_by) < time(&key.until));
            let act = key.act.as_deref().unwrap();
            let command = if id == "root-1" { "rotate root" } else { "rotate issuing-ca" };
            assert!(act.contains(command), "{key:?}");
            let crl = named(&keys, &format!("CRL of {id}"));
            assert!(time(&crl.until) > now);
            assert_eq!((crl.next.is_some(), crl.act.is_some()), (id != "root-1", id == "root-1"), "{crl:?}");
        }
        for id in ["authentication-1", "signing-1", "devices-1"] {
            let signer = named(&keys, &format!("OCSP signer of {id}"));
            // conformance: K3
            assert!(time(&signer.next_at) < now.plus(time(&signer.until).since(now) / 2), "{signer:?}");
        }
        let tls = named(&keys, "TLS certificate of the API");
        assert!(time(&tls.since) <= now && now < time(&tls.next_at) && time(&tls.next_at) < time(&tls.until));
        let data_key = named(&keys, "data key 1");
        assert!(data_key.place.contains("token test-ca, key data-keys-1"), "{data_key:?}");
        let stations = named(&keys, "station certificates");
        assert!(stations.act.as_deref().unwrap().contains(&world.station.name), "{stations:?}");
        assert!(time(&stations.act_by) < time(&stations.until));
    });
}

#[test]
fn what_a_person_has_to_do_about_pins_is_named() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let now = keys(&deployment).await;
        let ca = named(&now, "PIN of token test-ca");
        assert_eq!((ca.state.as_str(), ca.act.as_ref()), ("active", None));
        // The root's PIN does not belong on this machine in ordinary service.
        let root = named(&now, "PIN of token test-root");
        assert_eq!(root.state, "on this machine");
        assert!(root.act.as_deref().unwrap().contains("off this machine"));
        std::fs::remove_file(&deployment.config.hsm.root.pin_file).unwrap();
        assert_eq!(named(&keys(&deployment).await, "PIN of token test-root").state, "not on this machine");

        let file = PinFile::new(&deployment.config.hsm.ca.pin_file);
        file.write_next(&Pin::random().unwrap()).unwrap();
        let changing = named(&keys(&deployment).await, "PIN of token test-ca").clone();
        assert_eq!(changing.state, "change under way");
        assert!(changing.act.unwrap().contains("rotate list"));
    });
}

#[test]
fn cardinal_status_shows_the_table_and_as_json_the_same() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let run = async |arguments: &[&str]| {
            let (config, arguments) =
                (deployment.config.file().to_owned(), arguments.iter().map(|text| text.to_string()));
            let arguments: Vec<String> = arguments.collect();
            let output = tokio::task::spawn_blocking(move || {
                cardinal::run(&config, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
            });
            let output = output.await.unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let text = run(&["status"]).await;
        for word in ["CA key root-1", "OCSP signer of devices-1", "data key 1", "for a person to do", "until"] {
            assert!(text.contains(word), "{word:?} is not in:\n{text}");
        }
        let json: serde_json::Value = serde_json::from_str(&run(&["status", "--json"]).await).unwrap();
        let status = serde_json::to_value(&deployment.status().await.keys).unwrap();
        assert_eq!(json["keys"].as_array().map(Vec::len), status.as_array().map(Vec::len));
    });
}
