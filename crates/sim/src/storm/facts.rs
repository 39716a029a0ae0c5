//! What happens to jobs, nodes, tenants and clocks in a storm.

use super::{Step, Storm, draw};
use polder_model::{
    Event, GangKind, Health, Inventory, Isolation, JobId, LeaseId, LeaseSample, Micros, Quota,
    Role, Size, Timestamp, User,
};

/// Nodes that may join.
const NODES_MAX: u64 = 16;

impl Storm {
    /// Submits as the server does: admission first.
    pub(super) fn submit(&mut self) -> Step {
        let ask = draw::ask(&mut self.random, self.at);
        let event = Event::JobSubmitted { job: self.engine.next_job_id(), ask, key: None };
        if self.engine.admit(self.at, &event).is_err() {
            self.told.refused += 1;
            return Ok(());
        }
        self.apply(event)
    }

    /// Somebody ends a job, or changes how many replicas it has, if it is a service.
    pub(super) fn cancel(&mut self) -> Step {
        let by = draw::user(&mut self.random);
        let services = self.engine.jobs().filter(|job| job.ask.gang.kind == GangKind::Service);
        let services: Vec<JobId> = services.map(|job| job.id).collect();
        if self.random.below(2) == 0
            && let Some(job) = draw::pick(&mut self.random, &services)
        {
            let (min, max) = draw::span(&mut self.random);
            return self.try_apply(&Event::JobScaled { job, min, max, by }).map(drop);
        }
        let Some(job) = self.any_job() else { return Ok(()) };
        self.try_apply(&Event::JobCancelled { job, by }).map(drop)
    }

    /// Somebody changes the size of a job, as the server does: admission first.
    pub(super) fn resize(&mut self) -> Step {
        let by = draw::user(&mut self.random);
        let Some(job) = self.any_job() else { return Ok(()) };
        let Some(ask) = self.engine.job(job).map(|job| job.ask) else { return Ok(()) };
        let to = draw::size(&mut self.random, Size::of(&ask));
        // Journals of before version 4 freed at once what was given back.
        let until_shrunk = self.random.below(4) > 0;
        let event = Event::JobResized { job, to, by, until_shrunk };
        if self.engine.admit(self.at, &event).is_err() {
            self.told.refused += 1;
            return Ok(());
        }
        self.apply(event)
    }

    pub(super) fn prepare(&mut self, lease: LeaseId) -> Step {
        let isolation = Isolation::Soft;
        let master_port = Some(4000);
        let not_enforced = Vec::new();
        let event = Event::LeasePrepared { lease, isolation, master_port, not_enforced };
        self.try_apply(&event).map(drop)
    }

    pub(super) fn end(&mut self, lease: LeaseId) -> Step {
        let outcome = draw::outcome(&mut self.random);
        let ran = Micros(self.random.below(7_200_000_000));
        let end = polder_model::LeaseEnd { outcome, ran, sample: LeaseSample::default() };
        self.try_apply(&Event::LeaseEnded { lease, end }).map(drop)
    }

    pub(super) fn end_one(&mut self) -> Step {
        match self.any_lease() {
            Some((lease, _)) => self.end(lease),
            None => self.cancel(),
        }
    }

    /// A node joins, loses devices or gets them back, falls silent or answers again.
    pub(super) fn node(&mut self) -> Step {
        let number = self.random.below(NODES_MAX);
        let node = draw::node(number);
        let Some(whole) = self.inventories.get(&node).cloned() else { return self.join(number) };
        match self.random.below(10) {
            0 | 1 => self.apply(Event::NodeSilent { node }),
            2..5 => self.apply(Event::NodeBack { node }),
            5 | 6 => self.report(number, whole),
            7 => {
                // An agent from before the last restart.
                let incarnation = 0;
                let event = Event::NodeReported { node, incarnation, inventory: whole };
                self.try_apply(&event).map(drop)
            }
            _ => {
                let changed = self.changed(whole);
                self.report(number, changed)
            }
        }
    }

    pub(super) fn join(&mut self, number: u64) -> Step {
        let inventory = draw::inventory(&mut self.random, number);
        self.inventories.insert(draw::node(number), inventory.clone());
        self.report(number, inventory)
    }

    fn report(&mut self, number: u64, inventory: Inventory) -> Step {
        let node = draw::node(number);
        let restarted = u64::from(self.random.below(5) == 0);
        let incarnation = self.incarnations.entry(node.clone()).or_insert(1);
        *incarnation += restarted;
        let incarnation = *incarnation;
        self.apply(Event::NodeReported { node, incarnation, inventory })
    }

    /// The same node with something gone, broken or different.
    fn changed(&mut self, mut inventory: Inventory) -> Inventory {
        let devices = &mut inventory.devices;
        let place = usize::try_from(self.random.below(8)).unwrap_or(0);
        match self.random.below(7) {
            0 => devices.truncate(place),
            1 if place < devices.len() => drop(devices.remove(place)),
            2 => devices.clear(),
            3 => inventory.node.partitions.clear(),
            4 => inventory.node.cpu.0 /= 2,
            how => {
                if let Some(device) = devices.get_mut(place) {
                    if how == 5 {
                        device.health = Health::Faulty("hot".to_owned());
                    } else {
                        device.memory.0 /= 2;
                    }
                }
            }
        }
        inventory
    }

    /// Time passes: a little, to the moment at which something is due, or very much; or the
    /// machine's clock goes back, which the journal's time does not.
    pub(super) fn time(&mut self) -> Step {
        let seconds = |seconds: u64| Micros(seconds * 1_000_000);
        match self.random.below(12) {
            0 => {
                let behind = seconds(self.random.below(100_000));
                let clock = Timestamp(self.at.0.saturating_sub(behind.0));
                return self.apply(Event::ClockStepped { clock, behind });
            }
            1 => self.at = self.at.after(seconds(self.random.below(3600))),
            2 if self.random.below(20) == 0 => {
                self.at = self.at.after(seconds(self.random.below(40 * 86_400)));
            }
            3..6 => {
                // As far as a year: what is due later can wait.
                let wake = self.engine.next_wake(self.at);
                let most = self.at.after(seconds(86_400));
                self.at = wake.map_or(self.at, |wake| wake.min(most));
            }
            _ => self.at = self.at.after(seconds(self.random.below(60))),
        }
        Ok(())
    }

    pub(super) fn tenant(&mut self) -> Step {
        let tenant = draw::tenant(&mut self.random);
        if self.random.below(6) > 0 {
            return self.apply(Event::TenantSet { tenant });
        }
        // One that has nothing below it, and is most often in use.
        let path = draw::name("guest");
        if self.try_apply(&Event::TenantRemoved { tenant: path })? {
            let mut guest = tenant;
            guest.path = draw::name("guest");
            guest.quota = Quota::default();
            self.apply(Event::TenantSet { tenant: guest })?;
        }
        Ok(())
    }

    pub(super) fn policy(&mut self) -> Step {
        let policy = Box::new(draw::policy(&mut self.random));
        let event = match self.random.below(6) {
            0 => Event::PolicyRolledBack,
            1 => Event::PolicyShadowed { policy: Some(policy) },
            2 => Event::PolicyShadowed { policy: None },
            _ => Event::PolicySet { policy },
        };
        self.try_apply(&event).map(drop)
    }

    pub(super) fn reservation(&mut self) -> Step {
        let names: Vec<String> = self.engine.reservations().map(|one| one.name.clone()).collect();
        // Few at a time, else no node is open to anybody.
        if names.len() > 2 || self.random.below(2) == 0 {
            let Some(name) = draw::pick(&mut self.random, &names) else { return Ok(()) };
            return self.apply(Event::ReservationRemoved { name });
        }
        let reservation = draw::reservation(&mut self.random, self.at);
        self.try_apply(&Event::ReservationSet { reservation }).map(drop)
    }

    /// Users come and go, and another writer takes over.
    pub(super) fn people(&mut self) -> Step {
        let name = draw::user(&mut self.random);
        let event = match self.random.below(3) {
            0 => Event::UserRemoved { user: name },
            1 => Event::Fenced { writer: "next".to_owned(), engine: 1 },
            _ => {
                let tenants = vec![draw::name("lab")];
                let user = User { name, role: Role::User, tenants, added_at: self.at };
                Event::UserSet { user }
            }
        };
        self.try_apply(&event).map(drop)
    }
}
