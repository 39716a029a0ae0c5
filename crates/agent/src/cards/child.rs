//! The child that watches NVIDIA's cards: when there is one, and how it is heard and ended.
//!
//! **Invariants.** There is at most one child at a time, also where one hangs in its driver and cannot be
//! ended: then no other is begun until it has gone. There is none while no lease has a card, for longer
//! than [`LINGER`]. One that ends without a word is begun again after a rest that doubles.

use super::{Ears, is_card};
use crate::AgentOptions;
use polder_devices::{CARDS_LINE_BYTES_MAX, CardsNow, PROBE_SUBCOMMAND, watch_in_child};
use polder_model::{DeviceId, Inventory};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::sync::watch;

/// Before a child that has ended is begun again, at least.
const RESTART_REST: Duration = Duration::from_secs(5);
/// And at most: where the vendor's library is not there, each ends at once.
const RESTART_REST_MAX: Duration = Duration::from_secs(600);
/// How long a child that watches may be silent before it is given up; it speaks twice a second.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long cards are watched on when no lease has one any more.
const LINGER: Duration = Duration::from_secs(10);
/// A child that has not gone so long after it was killed hangs in its driver.
const END_MAX: Duration = Duration::from_secs(5);

/// Watches for as long as leases have cards, which `wanted` says.
pub(crate) async fn keep_watching(
    options: Arc<AgentOptions>,
    ears: Ears,
    mut wanted: watch::Receiver<bool>,
) {
    let mut rest = RESTART_REST;
    // A loop that is gone wants nothing watched.
    while wanted.wait_for(|wanted| *wanted).await.is_ok() {
        let spoke = match ears.follow(&options, &mut wanted).await {
            Ok(spoke) => spoke,
            Err(error) => {
                tracing::warn!(%error, "NVIDIA's cards are not watched");
                false
            }
        };
        rest = next_rest(rest, spoke);
        tokio::time::sleep(rest).await;
    }
}

/// How long to rest after a child that said something, or nothing.
fn next_rest(before: Duration, spoke: bool) -> Duration {
    if spoke { RESTART_REST } else { (before * 2).min(RESTART_REST_MAX) }
}

/// Until no lease has had a card for so long, or nobody says any more.
async fn idle(wanted: &mut watch::Receiver<bool>, linger: Duration) {
    loop {
        let gone = wanted.wait_for(|wanted| !*wanted).await.is_err();
        let again = tokio::time::timeout(linger, wanted.wait_for(|wanted| *wanted));
        if gone || !matches!(again.await, Ok(Ok(_))) {
            return;
        }
    }
}

impl Ears {
    /// Starts a child, hears it for as long as it is of use, and ends it. True when it has said something.
    async fn follow(
        &self,
        options: &AgentOptions,
        wanted: &mut watch::Receiver<bool>,
    ) -> std::io::Result<bool> {
        let without = self.failed.ids();
        let names = without.iter().map(ToString::to_string).collect();
        let child = watch_in_child(&options.exe, &[PROBE_SUBCOMMAND], &options.probe, names);
        let Some(command) = child else { return Ok(false) };
        let mut command = tokio::process::Command::from(command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn()?;
        let Some(output) = child.stdout.take() else { return Ok(false) };
        let mut spoke = false;
        let heard = tokio::select! {
            heard = self.hear_out(output, &mut spoke) => heard,
            () = idle(wanted, LINGER) => Ok(()),
            () = self.others_to_watch(&without) => Ok(()),
        };
        // Nobody is judged by what was said long ago.
        self.cards.send_replace(Arc::default());
        end(&mut child).await;
        heard.map(|()| spoke)
    }

    /// Until there is a card to watch that this child was told to leave alone.
    async fn others_to_watch(&self, without: &[DeviceId]) {
        let is_back = |inventory: &Arc<Inventory>| {
            let back = |id: &DeviceId| !self.failed.has(id);
            let cards = inventory.devices.iter().filter(|device| is_card(device));
            cards.map(|device| &device.id).any(|id| without.contains(id) && back(id))
        };
        // The sender is ours, so it is never gone.
        let _ = self.inventory.subscribe().wait_for(is_back).await;
    }

    async fn hear_out(&self, output: ChildStdout, spoke: &mut bool) -> std::io::Result<()> {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        loop {
            line.clear();
            let most = u64::try_from(CARDS_LINE_BYTES_MAX).unwrap_or(u64::MAX);
            let mut part = (&mut output).take(most);
            let read =
                tokio::time::timeout(SILENCE_MAX, part.read_until(b'\n', &mut line)).await??;
            if read == 0 {
                return Ok(());
            }
            if line.last() != Some(&b'\n') {
                return Err(std::io::Error::other("a line that is too long, or cut off"));
            }
            // What else a vendor's library prints is not for us.
            if let Ok(now) = serde_json::from_slice::<CardsNow>(&line) {
                *spoke = true;
                self.hear(now).await;
            }
        }
    }
}

/// Ends a child, and waits until it has gone.
async fn end(child: &mut Child) {
    // One that has ended by itself need not be killed.
    let _ = child.start_kill();
    if tokio::time::timeout(END_MAX, child.wait()).await.is_err() {
        tracing::error!(
            "the process that watches NVIDIA's cards cannot be ended: it hangs in their driver; the cards \
             are not watched until it has gone"
        );
        // What it left is nobody's.
        let _ = child.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_without_a_word_are_begun_ever_more_rarely() {
        let mut rest = RESTART_REST;
        let mut began = 0;
        let mut after = Duration::ZERO;
        while after < Duration::from_secs(24 * 3600) {
            rest = next_rest(rest, false);
            after += rest;
            began += 1;
        }
        assert!((140..160).contains(&began), "{began} in a day");
        assert_eq!(next_rest(rest, true), RESTART_REST);
    }

    /// Whether a future is over when it is asked once.
    async fn is_over(future: &mut (impl Future<Output = ()> + Unpin)) -> bool {
        let mut future = std::pin::Pin::new(future);
        std::future::poll_fn(|at| std::task::Poll::Ready(future.as_mut().poll(at).is_ready())).await
    }

    #[tokio::test]
    async fn cards_are_watched_on_for_a_moment_after_the_last_lease_and_not_for_longer() {
        let (wants, mut wanted) = watch::channel(true);
        let mut long = Box::pin(idle(&mut wanted, Duration::from_secs(3600)));
        for wants_now in [false, true, false, true] {
            assert!(!is_over(&mut long).await);
            wants.send_replace(wants_now);
        }
        assert!(!is_over(&mut long).await);
        drop(long);
        let mut short = Box::pin(idle(&mut wanted, Duration::ZERO));
        assert!(!is_over(&mut short).await);
        wants.send_replace(false);
        short.await;
        let mut abandoned = Box::pin(idle(&mut wanted, Duration::from_secs(3600)));
        assert!(!is_over(&mut abandoned).await);
        drop(wants);
        abandoned.await;
    }
}
