//! `polder top`: devices and leases, live.

use super::{Context, Done};
use crate::client::Client;
use crate::client::Query;
use crate::failure::Failure;
use crate::output::{self, Paint, Screen, Table, bar};
use crate::terminal::Keys;
use clap::Args;
use polder_model::{DeviceId, LeaseId, LeaseState, Micros, NodeId, Timestamp};
use polder_server::api::{DeviceList, DeviceView, LIST_LIMIT_MAX, LeaseList, LeaseView, QueueView};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// What is achieved is measured over this many rounds, so that samples which come in their own
/// rhythm do not make it jump.
const ROUNDS_KEPT: usize = 6;
const BAR_WIDTH: usize = 40;

/// Flags of `polder top`.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Print once and end; what is achieved is then since each lease's start.
    #[arg(long)]
    once: bool,
    /// How often to look.
    #[arg(long, value_name = "TIME", default_value = "1s", allow_hyphen_values = true)]
    interval: Micros,
}

/// One look at the pool.
#[derive(Debug, Serialize)]
struct Look {
    devices: DeviceList,
    leases: LeaseList,
    waiting: u64,
}

impl Top {
    pub(super) async fn execute(self, context: &Context) -> Done {
        let client = context.client()?;
        let mut history = History::default();
        let first = look(&client).await?;
        if context.out.json_wanted() {
            context.out.json(&first)?;
            return Ok(0);
        }
        if self.once || !output::can_redraw() {
            context.out.text(&render(&first, &history, output::paint_stdout()))?;
            return Ok(0);
        }
        history.keep(&first);
        self.live(&client, first, history).await?;
        Ok(0)
    }

    async fn live(
        &self,
        client: &Client,
        first: Look,
        mut history: History,
    ) -> Result<(), Failure> {
        let watch = |kind| {
            signal(kind).map_err(|error| Failure::failed(format!("watching for signals: {error}")))
        };
        let (mut interrupt, mut terminate, mut hangup) = (
            watch(SignalKind::interrupt())?,
            watch(SignalKind::terminate())?,
            watch(SignalKind::hangup())?,
        );
        let screen = Screen::open()?;
        let mut keys = Keys::watch();
        let ends = if keys.is_some() { "q or Ctrl-C ends" } else { "Ctrl-C ends" };
        let paint = output::paint_stdout();
        let mut shown = first;
        loop {
            let mut text = render(&shown, &history, paint);
            let _ = write!(text, "\n{}", paint.dim(ends));
            screen.draw(&text)?;
            let interval = self.interval.to_duration().max(Duration::from_millis(100));
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = quit(keys.as_mut()) => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                _ = hangup.recv() => return Ok(()),
            }
            shown = look(client).await?;
            history.keep(&shown);
        }
    }
}

/// Returns when somebody presses `q`.
async fn quit(keys: Option<&mut Keys>) {
    let Some(keys) = keys else { return std::future::pending().await };
    while keys.next().await != b'q' {}
}

async fn look(client: &Client) -> Result<Look, Failure> {
    let leases: LeaseList =
        client.get(Query::new(&["leases"]).with("limit", LIST_LIMIT_MAX)).await?;
    let devices: DeviceList = client.get("devices").await?;
    let queue: QueueView = client.get("queue").await?;
    Ok(Look { devices, leases, waiting: queue.total })
}

/// What leases had used of devices at the last few looks.
#[derive(Debug, Default)]
struct History {
    looks: VecDeque<(Timestamp, Sums)>,
}

/// What each lease had used of each device.
type Sums = BTreeMap<(LeaseId, DeviceId), Used>;

/// Sums of one lease on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Used {
    device_time: Micros,
    waited: Micros,
}

impl History {
    fn keep(&mut self, look: &Look) {
        let mut used = Sums::new();
        for view in &look.leases.leases {
            let Some(sample) = &view.sample else { continue };
            for device in &sample.devices {
                let sums = Used { device_time: device.device_time, waited: sample.waited };
                used.insert((view.lease.id, device.device.clone()), sums);
            }
        }
        self.looks.push_back((look.leases.now, used));
        while self.looks.len() > ROUNDS_KEPT {
            self.looks.pop_front();
        }
    }

    /// Thousandths of the time between the oldest look that knows this lease and now; since the
    /// lease's start when there is none.
    fn rates(&self, view: &LeaseView, device: &DeviceId, now: Timestamp) -> Option<(u64, u64)> {
        let sample = view.sample.as_ref()?;
        let used = sample.devices.iter().find(|used| used.device == *device)?;
        let key = (view.lease.id, device.clone());
        let older = self.looks.iter().find_map(|(at, used)| Some((*at, *used.get(&key)?)));
        let (since, base) = older.filter(|(at, _)| *at < now).or_else(|| {
            Some((view.lease.started_at?, Used { device_time: Micros(0), waited: Micros(0) }))
        })?;
        let length = u128::from(now.since(since).0.max(1));
        let rate = |sum: Micros, base: Micros| {
            let part = u128::from(sum.0.saturating_sub(base.0)) * 1000 / length;
            u64::try_from(part.min(1000)).unwrap_or(1000)
        };
        Some((rate(used.device_time, base.device_time), rate(sample.waited, base.waited)))
    }
}

fn render(look: &Look, history: &History, paint: Paint) -> String {
    let mut text = String::new();
    let running = look.leases.leases.iter().filter(|v| v.lease.state == LeaseState::Started);
    let _ = writeln!(
        text,
        "{}, {} running, {} waiting",
        crate::show::count(look.devices.devices.len() as u64, "device"),
        crate::show::count(running.count() as u64, "lease"),
        crate::show::count(look.waiting, "job")
    );
    for device in &look.devices.devices {
        device_lines(&mut text, device, &look.leases, paint);
    }
    text.push('\n');
    text.push_str(&table(look, history).render(paint, output::terminal_width()));
    text
}

/// Slices of the leases on one device, in the order of the list.
fn on<'a>(
    leases: &'a LeaseList,
    node: &'a NodeId,
    device: &'a DeviceId,
) -> impl Iterator<Item = (&'a LeaseView, &'a polder_model::Slice)> {
    leases.leases.iter().filter(move |view| view.lease.node == *node).flat_map(move |view| {
        view.lease.slices.iter().filter(move |s| s.device == *device).map(move |s| (view, s))
    })
}

fn device_lines(text: &mut String, view: &DeviceView, leases: &LeaseList, paint: Paint) {
    let device = &view.device;
    let simulated = if device.simulated { ", simulated" } else { "" };
    let silent = if view.reachable { "" } else { ", node silent" };
    let _ = writeln!(
        text,
        "\n{} on {}: {} ({}{simulated}{silent})",
        paint.bold(device.id.as_str()),
        view.node,
        crate::show::plain(&device.model),
        device.memory
    );
    let slices: Vec<_> = on(leases, &view.node, &device.id).map(|(_, slice)| slice).collect();
    let compute: Vec<u32> = slices.iter().map(|slice| slice.compute.0).collect();
    let memory_all = u128::from(device.memory.0.max(1));
    let memory: Vec<u32> = slices
        .iter()
        .map(|slice| u32::try_from(u128::from(slice.memory.0) * 1000 / memory_all).unwrap_or(1000))
        .collect();
    let _ = writeln!(
        text,
        "  compute {} {}",
        bar(paint, &compute, BAR_WIDTH),
        if view.whole { "whole".to_owned() } else { view.compute_held.to_string() }
    );
    let _ = writeln!(text, "  memory  {} {}", bar(paint, &memory, BAR_WIDTH), view.memory_held);
    // Every lease on a device is told the same of it.
    let slowed = on(leases, &view.node, &device.id)
        .map(|(lease, _)| crate::show::throttle(lease, &device.id))
        .find(|reasons| !reasons.is_empty());
    if let Some(reasons) = slowed {
        let _ = writeln!(text, "  slowed by {reasons}");
    }
}

/// Of the table of leases, those that are always there.
const COLUMNS: [&str; 13] = [
    ">LEASE",
    ">JOB",
    "TENANT",
    "DEVICE",
    "STATE",
    ">ASKED",
    ">ACHIEVED",
    ">WAITING",
    ">MEMORY",
    ">PEAK",
    ">OF",
    ">ON-HOST",
    "ISOLATION",
];
/// Where a lease's programs have pinned host memory: of all its devices together, beside the first.
const PINNED: &str = ">HOST-PINNED";
/// Where a lease has device time to pay back before its next turn.
const OWES: &str = ">OWES";
/// Where a lease's device is slowed.
const SLOWED: &str = "SLOWED BY";

fn table(look: &Look, history: &History) -> Table {
    // A column that is empty on most nodes is there only when it says something.
    let slowed = look.leases.leases.iter().any(|view| {
        let devices = view.sample.iter().flat_map(|sample| &sample.devices);
        devices.into_iter().any(|device| !device.throttle.is_empty())
    });
    let pinned = look.leases.leases.iter().any(|view| !crate::show::pinned(view).is_empty());
    let owes = look.leases.leases.iter().any(|view| {
        let devices = view.lease.slices.iter().map(|slice| &slice.device);
        devices.into_iter().any(|device| !crate::show::owed(view, device).is_empty())
    });
    let titles = COLUMNS.into_iter().chain(pinned.then_some(PINNED)).chain(owes.then_some(OWES));
    let titles: Vec<&str> = titles.chain(slowed.then_some(SLOWED)).collect();
    let mut table = Table::new(&titles, "no leases");
    for view in &look.leases.leases {
        let lease = &view.lease;
        for (place, slice) in lease.slices.iter().enumerate() {
            let used = view
                .sample
                .as_ref()
                .and_then(|sample| sample.devices.iter().find(|used| used.device == slice.device));
            let whole = slice.mechanism == polder_model::Mechanism::Whole;
            // Nobody meters a whole device, or what a vendor's driver holds: zeros would be untrue.
            let metered = !whole && slice.mechanism != polder_model::Mechanism::Spatial;
            let rates =
                if metered { history.rates(view, &slice.device, look.leases.now) } else { None };
            let used = used.filter(|_| metered);
            let mut row = vec![
                lease.id.to_string(),
                lease.job.to_string(),
                lease.tenant.to_string(),
                format!("{}/{}", lease.node, crate::show::device(&slice.device)),
                format!("{:?}", lease.state).to_lowercase(),
                if whole { "whole".to_owned() } else { slice.compute.to_string() },
                rates.map_or_else(String::new, |(achieved, _)| percent(achieved)),
                rates.map_or_else(String::new, |(_, waiting)| percent(waiting)),
                used.map_or_else(String::new, |used| used.memory.to_string()),
                used.map_or_else(String::new, |used| used.memory_peak.to_string()),
                slice.memory.to_string(),
                backed(used, slice),
                crate::show::isolation(lease, Some(slice)),
            ];
            if pinned {
                row.push(if place == 0 { crate::show::pinned(view) } else { String::new() });
            }
            if owes {
                row.push(crate::show::owed(view, &slice.device));
            }
            if slowed {
                row.push(crate::show::throttle(view, &slice.device));
            }
            table.row(row);
        }
    }
    table
}

/// What a lease holds of the host memory behind its slice, where it has any.
fn backed(used: Option<&polder_model::DeviceSample>, slice: &polder_model::Slice) -> String {
    let held = used.map_or(polder_model::Bytes(0), |used| used.backing);
    let is_backed = !slice.backing.is_zero();
    if is_backed { format!("{held} of {}", slice.backing) } else { String::new() }
}

fn percent(thousandths: u64) -> String {
    format!("{}.{}%", thousandths / 10, thousandths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_model::{
        Bytes, DeviceSample, Isolation, JobId, Lease, LeaseSample, Mechanism, Permille, Slice,
    };

    fn view(device_time: u64) -> LeaseView {
        let device: DeviceId = "gpu0".parse().unwrap();
        let slice = Slice {
            instance: None,
            device: device.clone(),
            mechanism: Mechanism::TimeSlice,
            compute: Permille(300),
            compute_max: Permille(1000),
            memory: Bytes(1 << 30),
            backing: Bytes(0),
        };
        let used = DeviceSample {
            device,
            device_time: Micros(device_time),
            contended_time: Micros(0),
            memory: Bytes(0),
            memory_peak: Bytes(0),
            refused: 0,
            backing: Bytes(0),
            throttle: Vec::new(),
            owed: Micros(0),
        };
        LeaseView {
            lease: Lease {
                id: LeaseId(1),
                job: JobId(1),
                task: 0,
                attempt: 1,
                tenant: "lab".parse().unwrap(),
                user: "ada".parse().unwrap(),
                node: "n".parse().unwrap(),
                slices: vec![slice],
                leaving: Bytes(0),
                resizes: 0,
                state: LeaseState::Started,
                isolation: Some(Isolation::Soft),
                not_enforced: Vec::new(),
                findings: Vec::new(),
                granted_at: Timestamp(0),
                started_at: Some(Timestamp(1_000_000)),
                class: polder_model::WorkClass::default(),
                priority: 0,
                contact_limit: Micros(0),
            },
            sample: Some(LeaseSample { devices: vec![used], ..LeaseSample::default() }),
            ending: None,
        }
    }

    fn look(now: u64, device_time: u64) -> Look {
        let leases =
            LeaseList { leases: vec![view(device_time)], now: Timestamp(now), cursor: None };
        Look { devices: DeviceList { devices: vec![] }, leases, waiting: 0 }
    }

    fn achieved(history: &History, now: u64, device_time: u64) -> Option<u64> {
        let look = look(now, device_time);
        let rates = history.rates(&look.leases.leases[0], &"gpu0".parse().unwrap(), Timestamp(now));
        rates.map(|rates| rates.0)
    }

    #[test]
    fn what_is_achieved_is_measured_between_looks_or_since_the_start() {
        let mut history = History::default();
        assert_eq!(achieved(&history, 3_000_000, 600_000), Some(300), "0.6 s of 2 s");
        history.keep(&look(3_000_000, 600_000));
        assert_eq!(achieved(&history, 4_000_000, 1_600_000), Some(1000), "1 s of 1 s");
        assert_eq!(achieved(&history, 4_000_000, 600_000), Some(0));
    }

    #[test]
    fn old_looks_are_forgotten() {
        let mut history = History::default();
        for round in 0..20 {
            history.keep(&look(round, 0));
        }
        assert_eq!(history.looks.len(), ROUNDS_KEPT);
    }

    #[test]
    fn a_lease_without_a_sample_has_dashes() {
        let mut look = look(5, 0);
        look.leases.leases[0].sample = None;
        let text = render(&look, &History::default(), Paint(false));
        assert!(text.contains("30%"), "{text}");
        assert!(!text.contains("0.0%"), "{text}");
    }

    #[test]
    fn pinned_host_memory_is_shown_apart_and_once_for_a_lease() {
        let mut look = look(5, 0);
        let without = render(&look, &History::default(), Paint(false));
        assert!(!without.contains("HOST-PINNED"), "{without}");
        let view = &mut look.leases.leases[0];
        view.sample.as_mut().unwrap().host_pinned = Bytes(48 << 20);
        let second = view.lease.slices[0].clone();
        view.lease.slices.push(second);
        let text = render(&look, &History::default(), Paint(false));
        assert!(text.contains("HOST-PINNED"), "{text}");
        assert_eq!(text.matches("48 MiB").count(), 1, "{text}");
        let lines = crate::show::all_pinned(&look.leases.leases);
        assert_eq!(lines, ["48 MiB of n's host memory, by lease L1"]);
    }

    #[test]
    fn a_lease_that_has_time_to_pay_back_says_how_much() {
        let mut look = look(5, 0);
        let quiet = render(&look, &History::default(), Paint(false));
        assert!(!quiet.contains("OWES"), "{quiet}");
        look.leases.leases[0].sample.as_mut().unwrap().devices[0].owed = Micros(4_960_000);
        let text = render(&look, &History::default(), Paint(false));
        assert!(text.contains("OWES") && text.contains("4.9 s"), "{text}");
        let lines = crate::show::all_owed(&look.leases.leases);
        assert!(lines[0].starts_with("4.9 s of n/gpu0, by lease L1: "), "{lines:?}");
    }

    #[test]
    fn a_lease_on_a_device_that_is_slowed_says_by_what() {
        let mut look = look(5, 0);
        let quiet = render(&look, &History::default(), Paint(false));
        assert!(!quiet.contains("SLOWED"), "{quiet}");
        let sample = look.leases.leases[0].sample.as_mut().unwrap();
        sample.devices[0].throttle = polder_model::Throttle::of_nvml(0x44);
        let text = render(&look, &History::default(), Paint(false));
        assert!(
            text.contains("SLOWED BY") && text.contains("power cap, heat (hardware)"),
            "{text}"
        );
        let lines = crate::show::slowed(&look.leases.leases);
        assert!(lines[0].contains("gpu0 of lease L1: power cap, heat (hardware)"), "{lines:?}");
    }
}
