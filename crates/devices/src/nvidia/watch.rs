//! What NVIDIA's cards say while leases run: faults, reasons to run slower, processes.
//!
//! A child of its own watches, because the vendor's library never enters the agent: it prints one line
//! of JSON for each look, and ends with the agent. While it watches it holds the cards open, so one that
//! has had a fault of its own is let go: to reset it nobody may hold it.

use super::xid::{XidClass, xid_class};
use super::{CARDS_MAX, Nvidia};
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, EventSet, Nvml};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Between two lines.
const LOOK_PERIOD: Duration = Duration::from_millis(400);
/// Faults of one card that one line tells; more come with the next.
const XIDS_PER_LINE_MAX: usize = 64;
/// Longest line that is read, in bytes: 256 cards with a thousand processes each are less.
pub const CARDS_LINE_BYTES_MAX: usize = 4 << 20;

/// What the agent asks of the child that watches; recognised by its first field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchRequest {
    /// Always true.
    pub watch_nvidia: bool,
    /// Another management library than the system's.
    #[serde(default)]
    pub library: Option<PathBuf>,
    /// Cards to leave alone, by UUID: they have failed, and somebody may want to reset them.
    #[serde(default)]
    pub without: Vec<String>,
}

/// What one look found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardsNow {
    /// By card, in the driver's order.
    pub cards: Vec<CardNow>,
}

/// What one card says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardNow {
    /// As the catalogue names it.
    pub uuid: String,
    /// Why it runs slower than it could: NVML's clock event reasons.
    #[serde(default)]
    pub reasons: u64,
    /// Processes that compute on it; none where its driver does not say.
    #[serde(default)]
    pub processes: Option<Vec<u32>>,
    /// What each of them has of its memory, bytes, where its driver says.
    #[serde(default)]
    pub used: Vec<(u32, u64)>,
    /// Faults since the last look, by XID, oldest first.
    #[serde(default)]
    pub xids: Vec<u32>,
    /// It does not answer any more.
    #[serde(default)]
    pub lost: bool,
    /// Its driver does nothing with it until it has been reset.
    #[serde(default)]
    pub reset: bool,
}

/// A card that is watched, until it has had a fault of its own.
struct Watched<'a> {
    uuid: String,
    card: Device<'a>,
    events: Option<EventSet<'a>>,
}

/// Prints a line for each look until nobody reads them, no card is left to be watched, or the process is
/// ended.
pub(crate) fn watch(request: &WatchRequest) {
    let nvidia = Nvidia { library: request.library.clone() };
    // What is wrong with the library the probe has said.
    let Ok(Some(nvml)) = nvidia.open() else { return };
    let mut watched = cards(&nvml, &request.without);
    let mut out = std::io::stdout().lock();
    while !watched.is_empty() {
        let until = Instant::now() + LOOK_PERIOD;
        let mut cards: Vec<CardNow> = watched.iter().map(Watched::faults_until(until)).collect();
        for (now, card) in cards.iter_mut().zip(&watched) {
            card.look(now);
        }
        watched = watched
            .into_iter()
            .zip(&cards)
            .filter(|(_, now)| !now.is_at_fault())
            .map(|(card, _)| card)
            .collect();
        let Ok(mut line) = serde_json::to_string(&CardsNow { cards }) else { return };
        line.push('\n');
        if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

fn cards<'a>(nvml: &'a Nvml, without: &[String]) -> Vec<Watched<'a>> {
    let count = nvml.device_count().unwrap_or(0).min(CARDS_MAX);
    let each = (0..count).filter_map(|index| {
        let card = nvml.device_by_index(index).ok()?;
        let uuid = card.uuid().ok().filter(|uuid| !without.contains(uuid))?;
        // One set for each card: a set is lost when a card refuses to be in it.
        let set = nvml.create_event_set().ok();
        let events =
            set.and_then(|set| card.register_events(EventTypes::CRITICAL_XID_ERROR, set).ok());
        Some(Watched { uuid, card, events })
    });
    each.collect()
}

impl CardNow {
    /// Whether it has had a fault of its own.
    #[must_use]
    pub fn is_at_fault(&self) -> bool {
        self.lost || self.reset || self.xids.iter().any(|xid| xid_class(*xid) == XidClass::Device)
    }
}

impl CardNow {
    /// Whether an error says that the card is of no use any more; that is noted.
    fn takes(&mut self, error: &NvmlError) -> bool {
        match error {
            NvmlError::GpuLost => self.lost = true,
            NvmlError::ResetRequired => self.reset = true,
            _ => return false,
        }
        true
    }
}

impl Watched<'_> {
    /// Hears of faults until then; cards that come later in the list hear of theirs in no time.
    fn faults_until(until: Instant) -> impl Fn(&Self) -> CardNow {
        move |watched| {
            let mut now = CardNow { uuid: watched.uuid.clone(), ..CardNow::default() };
            let Some(events) = &watched.events else {
                std::thread::sleep(until.saturating_duration_since(Instant::now()));
                return now;
            };
            while now.xids.len() < XIDS_PER_LINE_MAX {
                let left = until.saturating_duration_since(Instant::now());
                match events.wait(u32::try_from(left.as_millis()).unwrap_or(0)) {
                    Ok(event) => match event.event_data {
                        Some(XidError::Value(number)) => {
                            now.xids.push(u32::try_from(number).unwrap_or(u32::MAX));
                        }
                        Some(XidError::Unknown) | None => {}
                    },
                    Err(NvmlError::Timeout) => return now,
                    Err(error) if now.takes(&error) => return now,
                    Err(_) => {
                        std::thread::sleep(until.saturating_duration_since(Instant::now()));
                        return now;
                    }
                }
                // A fault is told at once.
                if !now.xids.is_empty() && left > Duration::ZERO {
                    return now;
                }
            }
            now
        }
    }

    /// Everything else that it says now.
    fn look(&self, now: &mut CardNow) {
        match self.card.current_throttle_reasons() {
            Ok(reasons) => now.reasons = reasons.bits(),
            Err(error) => {
                now.takes(&error);
            }
        }
        match self.card.running_compute_processes() {
            Ok(all) => {
                now.used = all.iter().filter_map(used).collect();
                now.processes = Some(all.iter().map(|one| one.pid).collect());
            }
            Err(error) => {
                now.takes(&error);
            }
        }
    }
}

/// A process and what it has of the card's memory, where the driver says.
fn used(process: &ProcessInfo) -> Option<(u32, u64)> {
    match process.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some((process.pid, bytes)),
        UsedGpuMemory::Unavailable => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written_and_an_older_one_too() {
        let (uuid, xids, used) = ("GPU-1".to_owned(), vec![31, 79], vec![(7, 400 << 20)]);
        let card = CardNow {
            uuid,
            reasons: 4,
            processes: Some(vec![7]),
            xids,
            used,
            ..CardNow::default()
        };
        assert!(card.is_at_fault());
        let now = CardsNow { cards: vec![card] };
        let line = serde_json::to_string(&now).unwrap();
        assert_eq!(serde_json::from_str::<CardsNow>(&line).unwrap(), now);
        let bare: CardsNow = serde_json::from_str(r#"{"cards":[{"uuid":"GPU-1"}]}"#).unwrap();
        assert!(!bare.cards[0].is_at_fault());
        for (error, expect) in [
            (NvmlError::GpuLost, (true, false)),
            (NvmlError::ResetRequired, (false, true)),
            (NvmlError::NotSupported, (false, false)),
        ] {
            let mut card = CardNow::default();
            let at_fault = card.takes(&error);
            assert_eq!((card.lost, card.reset), expect);
            assert_eq!(card.is_at_fault(), at_fault);
        }
        assert!(serde_json::from_str::<CardsNow>(r#"{"devices":[],"problems":[]}"#).is_err());
    }

    #[test]
    fn a_request_to_watch_is_told_from_one_to_probe() {
        let without = vec!["GPU-1".to_owned()];
        let request = WatchRequest { watch_nvidia: true, library: None, without };
        let request = serde_json::to_string(&request).unwrap();
        assert!(serde_json::from_str::<WatchRequest>(&request).is_ok());
        let probe = r#"{"source":{"nvidia":{}},"measure_bandwidth":false}"#;
        assert!(serde_json::from_str::<WatchRequest>(probe).is_err());
        assert!(serde_json::from_str::<WatchRequest>("{}").is_err());
    }
}
