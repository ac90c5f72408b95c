//! What a responder tells the CA while it follows the feed, over a connection of its own: how far it has come; and what it
//! asks when a heartbeat names another list of issuers. Of several that wait, the newest counts.

use std::sync::Arc;
use std::time::Duration;

use api::feed::{self, Acknowledgement};
use pki::feed::FeedPosition;
use tokio::sync::watch;

use super::client::Connection;
use super::link::Backoff;
use super::{Node, NodeError};

/// The last acknowledgement is repeated so often, which keeps the connection open, so that the next one is quick.
const REPEAT: Duration = Duration::from_secs(5);

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Errand {
    /// The newest entry that is answered by and kept.
    pub(super) acknowledge: Option<FeedPosition>,
    /// The revision of the list of issuers that the last heartbeat named, if it is another one.
    pub(super) issuers: Option<[u8; 32]>,
}

/// Runs errands until whoever gives them is gone.
pub(super) async fn run(node: Arc<Node>, mut errands: watch::Receiver<Errand>) {
    let times = &node.config.times;
    let mut backoff = Backoff::new(times.reconnect, times.reconnect_longest);
    let mut connection = None;
    loop {
        let errand = *errands.borrow_and_update();
        let pause = match attempt(&node, &mut connection, errand).await {
            Ok(()) => {
                backoff.reset();
                REPEAT
            }
            Err(error) => {
                tracing::debug!(%error, "the CA could not be told how far the feed is followed");
                connection = None;
                backoff.next()
            }
        };
        let is_retry = connection.is_none();
        tokio::select! {
            changed = errands.changed(), if !is_retry => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn attempt(node: &Arc<Node>, slot: &mut Option<Connection>, errand: Errand) -> Result<(), NodeError> {
    let mut connection = match slot.take().filter(Connection::is_open) {
        Some(connection) => connection,
        None => node.server.connect(node.identity.config()?).await?,
    };
    if let Some(FeedPosition { epoch, sequence }) = errand.acknowledge {
        let () = connection.post(feed::ACKNOWLEDGEMENTS, &Acknowledgement { epoch, sequence }).await?;
        node.feed.acknowledged(FeedPosition { epoch, sequence });
    }
    if errand.issuers.is_some_and(|revision| node.issuers_revision() != Some(revision)) {
        node.refresh_issuers(&mut connection).await?;
    }
    *slot = Some(connection);
    Ok(())
}
