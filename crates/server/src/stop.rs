//! The signal that the server is to stop.

use tokio::sync::watch;

/// Returns when the signal has been given, or can no longer be.
pub(crate) async fn signalled(stop: &mut watch::Receiver<bool>) {
    // The value is of no interest, and holding it would hold the channel's lock.
    let _ = stop.wait_for(|stop| *stop).await;
}
