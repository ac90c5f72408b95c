//! The check of the whole store, when it was left out at the start: made beside the service's work, and with little of
//! the processors. Damage that it finds ends the service, which would not have started with it.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use store::SledStore;
use tokio::sync::{oneshot, watch};

use crate::error::Error;

/// It rests so many times as long as it works.
const REST: u32 = 3;
/// It never rests longer, so that a stop need not wait.
const LONGEST_REST: Duration = Duration::from_millis(50);

/// Begins the check on a thread of its own; the receiver is told of damage, and closed when there is none.
///
/// # Errors
/// When the thread cannot be started.
pub(crate) fn begin(
    store: Arc<SledStore>,
    stop: watch::Receiver<bool>,
) -> Result<(JoinHandle<()>, oneshot::Receiver<store::Error>), Error> {
    let (tell, told) = oneshot::channel();
    let check = move || {
        let began = Instant::now();
        let mut worked_since = began;
        let checked = store.check(&mut |_| {
            std::thread::sleep((worked_since.elapsed() * REST).min(LONGEST_REST));
            worked_since = Instant::now();
            !*stop.borrow()
        });
        match checked {
            Ok(Some(entries)) => {
                tracing::info!(entries, seconds = began.elapsed().as_secs(), "all of the store is as it was written");
            }
            Ok(None) => tracing::info!("the check of the store was not finished; a later start makes it"),
            Err(error) => {
                tracing::error!(%error, "the store is damaged: the service ends");
                let _ = tell.send(error);
            }
        }
    };
    let thread = std::thread::Builder::new().name("store-check".to_owned()).spawn(check);
    Ok((thread.map_err(|error| Error::Start(error.to_string()))?, told))
}
