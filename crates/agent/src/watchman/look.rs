//! One look after another at the processes and pages of every lease.

use super::Ward;
use super::driver::{self, Strangers};
use super::maps::{self, Mapped};
use super::page::{self, Known};
use crate::prepare::EvidencePages;
use crate::runner::{Cgroup, Stat, all_processes, below, stat};
use crate::shim::{Attached, ShimClient, boot_micros};
use polder_devices::CardsNow;
use polder_model::{Enforcement, FINDINGS_MAX, Finding, LeaseId, Rule};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

/// Most processes of one lease whose memory map is read in one look. One that has more is looked at
/// in several, and what is found in it may take longer.
const MAPS_PER_LOOK_MAX: usize = 128;
/// Every so many looks all processes of the machine are asked whose they are; between them, those in
/// the leases' cgroups and those known already.
const LOOKS_PER_WALK: u32 = 2;

/// What of a lease is looked at: a copy, so that nobody waits for a look.
pub(super) struct Subject {
    lease: LeaseId,
    folder: PathBuf,
    libraries: Vec<String>,
    cards: Vec<String>,
    on_cpu: bool,
    pages: Option<Arc<EvidencePages>>,
    shim: u32,
    main: Option<u32>,
    cgroups: Vec<PathBuf>,
    attached: Vec<Attached>,
}

impl Subject {
    /// Whether anybody is looked for who uses its devices without a slot.
    fn is_guarded(&self) -> bool {
        !self.libraries.is_empty() || !self.cards.is_empty()
    }
}

/// What of each lease is looked at now.
pub(super) fn subjects(wards: &BTreeMap<LeaseId, Ward>) -> Vec<Subject> {
    let subject = |(lease, ward): (&LeaseId, &Ward)| Subject {
        lease: *lease,
        folder: ward.folder.clone(),
        libraries: ward.libraries.clone(),
        cards: ward.cards.clone(),
        on_cpu: ward.on_cpu,
        pages: ward.pages.clone(),
        shim: ward.shim,
        main: ward.main,
        cgroups: ward.cgroups.clone(),
        attached: ward.attached.clone(),
    };
    wards.iter().map(subject).collect()
}

/// What is remembered of a lease between looks.
#[derive(Debug, Default)]
struct Case {
    /// The mount namespace of its task, where it has one of its own.
    namespace: Option<PathBuf>,
    /// Its processes when all of the machine's were last asked.
    members: BTreeSet<u32>,
    /// Those that had nothing to do with a device, and what could not have changed since.
    cleared: BTreeMap<u32, Fingerprint>,
    suspects: BTreeMap<u32, Suspect>,
    /// Processes that are no lease's, on its cards.
    strangers: Strangers,
    page: page::Memory,
    reported: BTreeSet<(Rule, u32)>,
    /// Where reading memory maps goes on.
    next: u32,
}

/// While it is the same, a process has mapped nothing that it could have used: to use what was just
/// mapped, it must touch it for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    started: u64,
    faults: u64,
    address_space: u64,
}

impl Fingerprint {
    fn of(stat: &Stat) -> Self {
        let Stat { started, faults, address_space, .. } = *stat;
        Self { started, faults, address_space }
    }
}

/// A process that used a device without a slot when last looked at.
#[derive(Debug)]
struct Suspect {
    pidfd: OwnedFd,
    started: u64,
}

/// Looks, and remembers.
#[derive(Debug)]
pub(super) struct Looker {
    enforcement: Enforcement,
    cases: BTreeMap<LeaseId, Case>,
    looks: u32,
    tick_ns: u64,
    /// This process's own mount namespace, which tells no lease from another.
    own_namespace: Option<PathBuf>,
}

impl Looker {
    pub(super) fn new(enforcement: Enforcement) -> Self {
        let ticks = rustix::param::clock_ticks_per_second().max(1);
        Self {
            enforcement,
            cases: BTreeMap::new(),
            looks: 0,
            tick_ns: 1_000_000_000 / ticks,
            own_namespace: namespace("self"),
        }
    }

    /// Looks once. `subjects` is asked before the processes are looked at; what the shims say then
    /// is what they say before anybody is blamed.
    pub(super) fn look(
        &mut self,
        subjects: impl FnOnce() -> Vec<Subject>,
        cards: &CardsNow,
    ) -> Vec<(LeaseId, Finding)> {
        let subjects = subjects();
        self.cases.retain(|lease, _| subjects.iter().any(|subject| subject.lease == *lease));
        if self.looks.is_multiple_of(LOOKS_PER_WALK) {
            self.walk(&subjects);
        }
        self.looks = self.looks.wrapping_add(1);
        let (tick_ns, enforcement) = (self.tick_ns, self.enforcement);
        let attached = subjects.iter().flat_map(|subject| &subject.attached);
        let on_cards = driver::unslotted(cards, &attached.map(|holder| holder.pid).collect());
        let owned = if on_cards.is_empty() { BTreeSet::new() } else { self.owned(&subjects) };
        let mut found = Vec::new();
        for subject in &subjects {
            let case = self.cases.entry(subject.lease).or_default();
            let on_its_cards = on_cards.iter().filter(|(_, card)| subject.cards.contains(card));
            let on_its_cards: BTreeMap<u32, &str> =
                on_its_cards.map(|(pid, card)| (*pid, card.as_str())).collect();
            let mut all = case.processes(subject, &on_its_cards, enforcement);
            all.extend(case.strangers(&on_its_cards, &owned));
            all.extend(case.pages(subject, tick_ns));
            for finding in all {
                let new = case.reported.len() < FINDINGS_MAX
                    && case.reported.insert((finding.rule, finding.pid));
                if new {
                    found.push((subject.lease, finding));
                }
            }
        }
        found
    }

    /// Every process that is a lease's, as far as it is known.
    fn owned(&self, subjects: &[Subject]) -> BTreeSet<u32> {
        let listed = subjects.iter().flat_map(|it| Cgroup::from_paths(&it.cgroups).processes());
        let members = self.cases.values().flat_map(|case| case.members.iter().copied());
        members.chain(listed).collect()
    }

    /// Asks every process of the machine whose it is.
    fn walk(&mut self, subjects: &[Subject]) {
        let guarded = || subjects.iter().filter(|subject| subject.is_guarded());
        if guarded().next().is_none() {
            return;
        }
        let all = all_processes();
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for pid in &all {
            if let Some(stat) = stat(*pid) {
                children.entry(stat.parent).or_default().push(*pid);
            }
        }
        let mut places: Vec<(PathBuf, LeaseId)> = Vec::new();
        for subject in guarded() {
            let case = self.cases.entry(subject.lease).or_default();
            case.members = below(subject.shim, &mut children).into_iter().collect();
            if case.namespace.is_none() {
                let place = subject.main.and_then(|main| namespace(&main.to_string()));
                case.namespace = place.filter(|place| Some(place) != self.own_namespace.as_ref());
            }
            places.extend(case.namespace.clone().map(|place| (place, subject.lease)));
        }
        // Whoever entered a lease's namespace from outside descends from nobody in it.
        for pid in all.iter().filter(|_| !places.is_empty()) {
            let Some(place) = namespace(&pid.to_string()) else { continue };
            let Some((_, lease)) = places.iter().find(|(known, _)| *known == place) else {
                continue;
            };
            if let Some(case) = self.cases.get_mut(lease) {
                case.members.insert(*pid);
            }
        }
    }
}

/// The mount namespace of a process, as the kernel names it.
fn namespace(pid: &str) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok()
}

impl Case {
    /// Looks for processes that use a device without a slot. `on_cards` are those of the driver's list
    /// that have none.
    fn processes(
        &mut self,
        subject: &Subject,
        on_cards: &BTreeMap<u32, &str>,
        enforcement: Enforcement,
    ) -> Vec<Finding> {
        if !subject.is_guarded() {
            return Vec::new();
        }
        let listed = Cgroup::from_paths(&subject.cgroups).processes();
        let mut pids: BTreeSet<u32> = self.members.iter().copied().chain(listed).collect();
        pids.remove(&subject.shim);
        for holder in &subject.attached {
            pids.remove(&holder.pid);
        }
        self.cleared.retain(|pid, _| pids.contains(pid));
        self.suspects.retain(|pid, _| pids.contains(pid));
        let (after, before): (Vec<u32>, Vec<u32>) = pids.iter().partition(|pid| **pid >= self.next);
        let mut maps_read = 0;
        let mut again = Vec::new();
        self.next = 0;
        for pid in after.into_iter().chain(before) {
            let Some(now) = stat(pid) else { continue };
            let card = on_cards.get(&pid).copied();
            if card.is_none() && self.cleared.get(&pid) == Some(&Fingerprint::of(&now)) {
                continue;
            }
            if maps_read >= MAPS_PER_LOOK_MAX {
                self.next = pid;
                break;
            }
            maps_read += 1;
            again.extend(self.suspect(pid, &now, &subject.libraries, card));
        }
        again.into_iter().filter_map(|found| self.judge(found, subject, enforcement)).collect()
    }

    /// Looks at one process. Returns it when it was suspect before, with what shows its use.
    fn suspect(
        &mut self,
        pid: u32,
        now: &Stat,
        libraries: &[String],
        card: Option<&str>,
    ) -> Option<(u32, String)> {
        // Opened before the map is read, and found alive after: both tell of one process.
        let pidfd = open(pid).ok()?;
        // Where no library is the vendor's to have, the driver's word alone counts.
        let maps = if card.is_some() || libraries.is_empty() {
            Ok(Mapped::default())
        } else {
            maps::mapped(pid, libraries)
        };
        let Ok(Mapped { device_use, usage }) = maps else {
            // Gone, or another user's that only root may look at.
            self.suspects.remove(&pid);
            return None;
        };
        // A fork keeps its parent's mappings and threads none of its own; when it uses a device
        // through Polder's driver, it gets a slot.
        let inherited = now.is_fork && usage;
        let mapped = device_use.filter(|_| !inherited).map(|path| format!("it has {path} mapped"));
        let listed = card.map(|card| format!("the driver lists it on {card}"));
        let Some(device_use) = listed.or(mapped).filter(|_| alive(&pidfd)) else {
            self.suspects.remove(&pid);
            self.cleared.insert(pid, Fingerprint::of(now));
            return None;
        };
        let known = self.suspects.get(&pid);
        if known.is_some_and(|known| known.started == now.started && alive(&known.pidfd)) {
            return Some((pid, device_use));
        }
        self.suspects.insert(pid, Suspect { pidfd, started: now.started });
        None
    }

    /// Blames a process that was suspect twice, unless the lease's shim has given it a slot.
    fn judge(
        &mut self,
        (pid, device_use): (u32, String),
        subject: &Subject,
        enforcement: Enforcement,
    ) -> Option<Finding> {
        let shim = ShimClient::connect(&subject.folder).and_then(|mut shim| shim.hello());
        // Without a shim's word nobody is blamed; the next look asks again.
        let attached = shim.ok()?.state.attached;
        if attached.iter().any(|holder| holder.pid == pid) {
            return None;
        }
        let program = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let suspect = self.suspects.get(&pid)?;
        let ended = enforcement == Enforcement::Strict
            && pidfd_send_signal(&suspect.pidfd, Signal::KILL).is_ok();
        Some(Finding {
            rule: Rule::NoSlot,
            pid,
            program: program.trim_end().to_owned(),
            evidence: device_use,
            ended,
        })
    }

    /// Processes on the lease's cards that are no lease's, and have stayed. They are not Polder's to end.
    fn strangers(&mut self, on_cards: &BTreeMap<u32, &str>, owned: &BTreeSet<u32>) -> Vec<Finding> {
        let now = on_cards.keys().copied().filter(|pid| !owned.contains(pid)).collect();
        let stayed = self.strangers.see(&now);
        let new = stayed.into_iter().filter(|pid| !self.reported.contains(&(Rule::Stranger, *pid)));
        let finding = |pid| {
            let program = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let card = on_cards.get(&pid).copied().unwrap_or_default();
            let evidence = format!("the driver lists it on {card}, and it descends from no lease");
            let program = program.trim_end().to_owned();
            Finding { rule: Rule::Stranger, pid, program, evidence, ended: false }
        };
        new.map(finding).collect()
    }

    /// Looks for contradictions in the lease's page.
    fn pages(&mut self, subject: &Subject, tick_ns: u64) -> Vec<Finding> {
        let Some(pages) = &subject.pages else { return Vec::new() };
        let of = |one: &Attached| Some((one.pid, stat(one.pid)?));
        let stats = subject.attached.iter().filter_map(of).collect();
        let known = Known {
            lease: subject.lease.0,
            attached: &subject.attached,
            stats: &stats,
            boot_ns: boot_micros().saturating_mul(1000),
            tick_ns,
            on_cpu: subject.on_cpu,
        };
        let broken = page::look(&pages.usage, &pages.limits, &known, &mut self.page);
        let finding = |(rule, pid, evidence)| {
            let program = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            Finding { rule, pid, program: program.trim_end().to_owned(), evidence, ended: false }
        };
        // Those that were told already are not made into words again.
        let new = |(rule, pid, _): &page::Broken| !self.reported.contains(&(*rule, *pid));
        broken.into_iter().filter(new).map(finding).collect()
    }
}

fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Whether the process of a pidfd has not ended.
fn alive(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    matches!(rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
}
