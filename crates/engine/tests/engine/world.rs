//! A small pool to tell scenarios in. Every event it applies is kept, and every promise checked.

use polder_engine::{Engine, Policy, Report};
use polder_model::{
    Address, Api, Ask, Bytes, Decision, Device, DeviceAsk, DeviceKind, Event, Gang, GangKind,
    Health, Hints, HostAsk, Inventory, Isolation, JobId, JobState, Lease, LeaseEnd, LeaseId,
    LeaseSample, LeaseState, Mechanism, Micros, MilliCpu, NodeFacts, NodeId, Outcome, Permille,
    PlaceAsk, Quota, Share, Stdio, Tenant, Timestamp, When, Work, Yields,
};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const GIB: u64 = 1 << 30;

pub(crate) fn gib(number: u64) -> Bytes {
    Bytes(number * GIB)
}

/// An ask for 30 % and 1 GiB of any device, for tenant `lab`.
pub(crate) fn ask() -> Ask {
    Ask {
        tenant: "lab".parse().unwrap(),
        user: "ada".parse().unwrap(),
        name: None,
        work: Work {
            command: vec!["true".into()],
            directory: "/".into(),
            environment: BTreeMap::new(),
            stdio: Stdio::Logs,
            umask: None,
            image: None,
        },
        gang: Gang::default(),
        devices: DeviceAsk {
            count: 1,
            whole: false,
            compute: Permille(300),
            compute_max: None,
            memory: gib(1),
            backing: None,
            models: vec![],
            features: BTreeSet::new(),
            isolation: None,
            mechanism: None,
            bandwidth: None,
        },
        host: HostAsk::default(),
        when: When::default(),
        yields: Yields::default(),
        place: PlaceAsk::default(),
        hints: Hints::default(),
    }
}

/// Short spellings for what scenarios change in an ask.
pub(crate) trait With: Sized {
    fn of(self, tenant: &str) -> Self;
    fn share(self, compute: u32, memory: Bytes) -> Self;
    fn whole(self) -> Self;
    fn devices(self, count: u32) -> Self;
    fn gang(self, min: u32, max: u32) -> Self;
    fn kind(self, kind: GangKind) -> Self;
    fn model(self, model: &str) -> Self;
    fn priority(self, priority: i32, expiry: Option<u64>) -> Self;
    fn retries(self, retries: u32) -> Self;
    fn time_limit(self, seconds: u64) -> Self;
    fn host(self, cpu: u32, memory: Bytes) -> Self;
}

impl With for Ask {
    fn of(mut self, tenant: &str) -> Self {
        self.tenant = tenant.parse().unwrap();
        self
    }
    fn share(mut self, compute: u32, memory: Bytes) -> Self {
        self.devices.compute = Permille(compute);
        self.devices.memory = memory;
        self
    }
    fn whole(mut self) -> Self {
        self.devices.whole = true;
        self.share(1000, Bytes(0))
    }
    fn devices(mut self, count: u32) -> Self {
        self.devices.count = count;
        self
    }
    fn gang(mut self, min: u32, max: u32) -> Self {
        self.gang = Gang { min, max, ..Gang::default() };
        self
    }
    fn kind(mut self, kind: GangKind) -> Self {
        self.gang.kind = kind;
        self
    }
    fn model(mut self, model: &str) -> Self {
        self.devices.models.push(model.to_owned());
        self
    }
    fn priority(mut self, priority: i32, expiry: Option<u64>) -> Self {
        self.when.priority = priority;
        self.when.priority_expiry = expiry.map(|seconds| Timestamp(seconds * 1_000_000));
        self
    }
    fn retries(mut self, retries: u32) -> Self {
        self.yields.retries = retries;
        self
    }
    fn time_limit(mut self, seconds: u64) -> Self {
        self.when.time_limit = Some(Micros::from_secs(seconds));
        self
    }
    fn host(mut self, cpu: u32, memory: Bytes) -> Self {
        self.host.cpu = Some(MilliCpu(cpu));
        self.host.memory = Some(memory);
        self
    }
}

pub(crate) fn device(id: &str, model: &str, memory: Bytes) -> Device {
    Device {
        id: id.parse().unwrap(),
        api: Api::Opencl,
        kind: if model.contains("CPU") { DeviceKind::Cpu } else { DeviceKind::Gpu },
        vendor: "vendor".into(),
        model: model.into(),
        driver: "1".into(),
        memory,
        allocation_max: None,
        granularity: Bytes(4096),
        memory_bandwidth: None,
        compute_units: 8,
        features: ["fp64".to_owned()].into(),
        health: Health::Healthy,
        pci_address: None,
        numa_node: None,
        island: None,
        rail: None,
        address: Address::Simulated,
        mechanisms: vec![Mechanism::Whole, Mechanism::TimeSlice],
        simulated: true,
    }
}

/// Rounds of planning at one moment, after which it would never end.
const SETTLE_ROUNDS_MAX: u32 = 10_000;

/// The pool, its journal and its clock.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) journal: Vec<(Timestamp, Event)>,
    pub(crate) decisions: Vec<Decision>,
    /// How each job that is over ended.
    pub(crate) over: BTreeMap<JobId, Outcome>,
    inventories: BTreeMap<NodeId, Inventory>,
    at: Timestamp,
    /// Whether promises are checked after every event.
    pub(crate) checks: bool,
}

impl World {
    /// A pool with tenant `lab` and nothing else.
    pub(crate) fn new() -> Self {
        let world = Self {
            engine: Engine::new(Policy::default()),
            journal: vec![],
            decisions: vec![],
            over: BTreeMap::new(),
            inventories: BTreeMap::new(),
            at: Timestamp(0),
            checks: true,
        };
        world.tenant("lab", Quota::default())
    }

    pub(crate) fn tenant(mut self, path: &str, quota: Quota) -> Self {
        self.set_tenant(path, quota);
        self
    }

    pub(crate) fn set_tenant(&mut self, path: &str, quota: Quota) {
        let tenant = Tenant { quota, ..Tenant::new(path.parse().unwrap()) };
        self.apply(Event::TenantSet { tenant });
    }

    pub(crate) fn set_share(&mut self, path: &str, share: Share) {
        let tenant = Tenant { share, ..Tenant::new(path.parse().unwrap()) };
        self.apply(Event::TenantSet { tenant });
    }

    pub(crate) fn set_user_quota(&mut self, path: &str, user_quota: Quota) {
        let tenant = Tenant { user_quota, ..Tenant::new(path.parse().unwrap()) };
        self.apply(Event::TenantSet { tenant });
    }

    /// Adds a device of 8 GiB to a node.
    pub(crate) fn device(self, node: &str, id: &str) -> Self {
        self.card(node, device(id, "Tide 8", gib(8)))
    }

    pub(crate) fn card(mut self, node: &str, device: Device) -> Self {
        self.inventory(node).devices.push(device);
        self.report(node);
        self
    }

    /// What a node has, to be changed and then reported.
    pub(crate) fn inventory(&mut self, node: &str) -> &mut Inventory {
        self.inventories.entry(node.parse().unwrap()).or_insert_with(|| Inventory {
            node: NodeFacts {
                address: "10.0.0.1".into(),
                cpu: MilliCpu(16_000),
                memory: gib(64),
                nic: None,
                backing: Bytes(0),
                agent: "1".into(),
                partitions: BTreeSet::new(),
                labels: BTreeSet::new(),
                enforcement: polder_model::Enforcement::default(),
            },
            devices: vec![],
        })
    }

    pub(crate) fn report(&mut self, node: &str) {
        let inventory = self.inventory(node).clone();
        self.apply(Event::NodeReported { node: node.parse().unwrap(), incarnation: 1, inventory });
    }

    pub(crate) fn silent(&mut self, node: &str) {
        self.apply(Event::NodeSilent { node: node.parse().unwrap() });
    }

    pub(crate) fn pass_seconds(&mut self, seconds: u64) {
        self.at = self.at.after(Micros::from_secs(seconds));
    }

    pub(crate) fn pass_until(&mut self, at: Timestamp) {
        self.at = self.at.max(at);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.at
    }

    pub(crate) fn try_apply(&mut self, event: Event) -> Result<(), String> {
        self.at = self.at.after(Micros(1));
        match self.engine.apply(self.at, &event) {
            Ok(()) => {
                self.journal.push((self.at, event));
                if self.checks {
                    assert_eq!(self.engine.check(), [], "after {:?}", self.journal.last());
                }
                Ok(())
            }
            // That it left the state alone shows when the journal, which lacks it, is replayed.
            Err(error) => Err(error.to_string()),
        }
    }

    pub(crate) fn apply(&mut self, event: Event) {
        self.try_apply(event.clone()).unwrap_or_else(|error| panic!("{error}: {event:?}"));
    }

    /// Submits as the server does: admit, then apply.
    pub(crate) fn try_submit(&mut self, ask: Ask) -> Result<JobId, String> {
        let job = self.engine.next_job_id();
        let event = Event::JobSubmitted { job, ask, key: None };
        self.engine.admit(self.at, &event).map_err(|refusal| refusal.to_string())?;
        self.try_apply(event)?;
        Ok(job)
    }

    pub(crate) fn submit(&mut self, ask: Ask) -> JobId {
        self.try_submit(ask).unwrap()
    }

    pub(crate) fn cancel(&mut self, job: JobId) {
        self.apply(Event::JobCancelled { job, by: "ada".parse().unwrap() });
    }

    /// Plans and applies until there is nothing to decide; gives the last report.
    pub(crate) fn settle(&mut self) -> Report {
        for _ in 0..SETTLE_ROUNDS_MAX {
            let (decisions, report) = self.engine.plan(self.at);
            assert_eq!(self.engine.plan(self.at).0, decisions, "planning twice differs");
            if decisions.is_empty() {
                return report;
            }
            for decision in decisions {
                if let Decision::Finish { job, outcome } = &decision {
                    self.over.insert(*job, outcome.clone());
                }
                self.decisions.push(decision.clone());
                self.apply(Event::Decided { decision });
            }
        }
        panic!("it decides for ever");
    }

    pub(crate) fn leases(&self, job: JobId) -> Vec<Lease> {
        self.engine.leases().filter(|lease| lease.job == job).cloned().collect()
    }

    /// `node/device+device` of each task, in order.
    pub(crate) fn spots(&self, job: JobId) -> Vec<String> {
        let spot = |lease: &Lease| {
            let devices: Vec<&str> = lease.slices.iter().map(|s| s.device.as_str()).collect();
            format!("{}/{}", lease.node, devices.join("+"))
        };
        self.leases(job).iter().map(spot).collect()
    }

    pub(crate) fn prepare(&mut self, lease: LeaseId) {
        let isolation = Isolation::Soft;
        let (master_port, not_enforced) = (Some(4000), vec![]);
        self.apply(Event::LeasePrepared { lease, isolation, master_port, not_enforced });
    }

    /// Prepares whatever was granted and starts whatever was told to, as agents do.
    pub(crate) fn run(&mut self) {
        self.settle();
        for lease in self.ordered(LeaseState::Granted, false) {
            self.prepare(lease);
        }
        self.settle();
        for lease in self.ordered(LeaseState::Prepared, true) {
            self.apply(Event::LeaseStarted { lease });
        }
        self.settle();
    }

    /// Leases in this state that their nodes should hold and, if `start`, run.
    fn ordered(&self, state: LeaseState, start: bool) -> Vec<LeaseId> {
        let orders = self.engine.nodes().flat_map(|node| self.engine.desired(node.id).0);
        let wanted = orders.filter(|order| order.lease.state == state && order.start == start);
        wanted.map(|order| order.lease.id).collect()
    }

    pub(crate) fn end_lease(&mut self, lease: LeaseId, outcome: Outcome) {
        let end = LeaseEnd { outcome, ran: Micros(1), sample: LeaseSample::default() };
        self.apply(Event::LeaseEnded { lease, end });
    }

    /// Ends every lease of a job alike.
    pub(crate) fn end(&mut self, job: JobId, outcome: Outcome) {
        for lease in self.leases(job) {
            self.end_lease(lease.id, outcome.clone());
        }
        self.settle();
    }

    /// Where a job stands, in words; how it ended, once it is over.
    pub(crate) fn state(&self, job: JobId) -> String {
        let state = self.engine.job(job).map(|job| job.state);
        let over =
            || self.over.get(&job).map(|outcome| JobState::Finished { outcome: outcome.clone() });
        state.or_else(over).map_or("unknown".to_owned(), |state| state.to_string())
    }

    /// The states of several jobs in one line.
    pub(crate) fn states(&self, jobs: &[JobId]) -> String {
        jobs.iter().map(|job| self.state(*job)).collect::<Vec<_>>().join(" ")
    }
}
