//! A responder renews its own client certificate, with which it follows the feed.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use config::ResponderConfig;
use ocsp_responder::http::Clock;
use ocsp_responder::node::replica_dir::Unwatched;
use ocsp_responder::node::run;
use tests::{Options, World, eventually, isolated};
use tokio::sync::watch;

#[test]
fn a_responder_renews_its_client_certificate_and_the_one_before_is_of_no_use_then() {
    isolated(async |home| {
        // The CA takes a renewal from the first moment on, and by the responder's clock it is time for one.
        let config = vec![("responder_renewal_window = \"30d\"", "responder_renewal_window = \"2159h 59m 58s\"")];
        let world = World::with(&home, &Options { config, ..Options::default() }).await;
        let mut responder = world.enrol_responder(1).await;
        let clock = run::system_clock();
        let later: Clock = Arc::new(move || clock().plus(Duration::from_secs(61 * 24 * 3600)));
        let config = ResponderConfig::load(&responder.config).unwrap();
        let opened = run::open(config, later, Arc::new(Unwatched)).await.unwrap();

        let file = responder.data.join("client.pem");
        let before = fs::read(&file).unwrap();
        let (stop, stopped) = watch::channel(false);
        let follows = async {
            eventually("a new client certificate", async || (fs::read(&file).unwrap() != before).then_some(())).await;
            world.followed_by(2).await;
            stop.send(true).unwrap();
        };
        let (ran, ()) = tokio::join!(opened.run(stopped), follows);
        ran.unwrap();
        let renewed = fs::read(&file).unwrap();

        // The new one was shown, so the one before was superseded. Writing over the file keeps its mode.
        fs::write(&file, before).unwrap();
        responder.spawn(responder.command(&["run"]));
        responder.says(503, "(401)").await;
        responder.stop().await;
        fs::write(&file, renewed).unwrap();
        responder.start().await;
        responder.ready().await;
    });
}
