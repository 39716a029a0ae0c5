//! What a lease that ends has not paid: the next lease of the same tenant on the device pays on.
//!
//! **Invariant.** A row of short leases of one tenant has no more of a device beside others than one
//! lease that lasts. What is left behind never grows and goes to one lease alone; it falls as it would have been
//! paid: by the share, the cap or the rank that the lease had, of the time that goes by, and what is
//! owed to the fair queue also as the others move on.

use super::account::{Standing, WHOLE};
use super::{Arbiter, DEBT_NS, Lease};
use polder_model::{LeaseId, TenantPath};
use std::collections::BTreeMap;

/// Leases of one tenant on one device whose debts are remembered; beyond, the least is forgotten.
const LEFT_MAX: usize = 64;

/// Device time that is owed, nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Owed {
    /// To the others in the fair queue.
    pub(super) share_ns: u64,
    /// To its own cap.
    pub(super) cap_ns: u64,
    /// To those of lower rank, before whom it went.
    pub(super) rank_ns: u64,
}

impl Owed {
    fn and(self, more: Self) -> Self {
        let sum = |one: u64, more: u64| one.saturating_add(more).min(DEBT_NS);
        Self {
            share_ns: sum(self.share_ns, more.share_ns),
            cap_ns: sum(self.cap_ns, more.cap_ns),
            rank_ns: sum(self.rank_ns, more.rank_ns),
        }
    }

    fn most(self) -> u64 {
        self.share_ns.max(self.cap_ns).max(self.rank_ns)
    }
}

/// What one lease has left behind.
#[derive(Debug)]
struct Left {
    owed: Owed,
    at_ns: u64,
    /// How it stood: its share, cap and place in the queue say how fast it would have paid.
    standing: Standing,
}

impl Left {
    /// What of it is still owed.
    fn now(&self, now_ns: u64, device_vtime: u128) -> Owed {
        let wall_ns = now_ns.saturating_sub(self.at_ns);
        let paid = |rate: u64| wall_ns.saturating_mul(rate) / WHOLE;
        let by_share_ns = self.owed.share_ns.saturating_sub(paid(self.standing.share()));
        Owed {
            share_ns: by_share_ns.min(self.standing.ahead_ns(device_vtime)),
            cap_ns: self.owed.cap_ns.saturating_sub(paid(self.standing.cap())),
            rank_ns: self.owed.rank_ns.saturating_sub(paid(self.standing.share())),
        }
    }
}

/// Debts of leases that have ended, by tenant and place of the device in [`Arbiter::devices`].
#[derive(Debug, Default)]
pub(super) struct Debts(BTreeMap<(TenantPath, usize), Vec<Left>>);

impl Debts {
    /// Takes what a tenant's leases have left on a device. What is owed to a cap waits for one that
    /// has a cap.
    fn take(&mut self, key: &(TenantPath, usize), now_ns: u64, vtime: u128, capped: bool) -> Owed {
        let Some(left) = self.0.get_mut(key) else { return Owed::default() };
        let mut sum = Owed::default();
        for one in left {
            let mut owed = one.now(now_ns, vtime);
            if !capped {
                owed.cap_ns = 0;
            }
            sum = sum.and(owed);
            let cap_ns = if capped { 0 } else { one.owed.cap_ns };
            one.owed = Owed { cap_ns, ..Owed::default() };
        }
        sum
    }

    fn keep(&mut self, key: (TenantPath, usize), left: Left) {
        let all = self.0.entry(key).or_default();
        all.push(left);
        if all.len() > LEFT_MAX {
            let least = all.iter().enumerate().min_by_key(|(_, one)| one.owed.most());
            if let Some((at, _)) = least {
                all.swap_remove(at);
            }
        }
    }
}

impl Arbiter {
    /// What a lease owes of each of its devices, nanoseconds: it has no turn before that is paid, unless
    /// nobody else wants the device and it has no cap.
    pub fn owed(&self, lease: LeaseId) -> impl Iterator<Item = u64> {
        let standing = self.leases.get(&lease).into_iter().flat_map(|lease| &lease.standing);
        standing
            .map(|one| one.ahead_ns(self.devices[one.device].vtime).max(one.beyond_its_cap_ns()))
    }

    /// A lease of `tenant` that is about to begin pays on what earlier ones have left.
    pub(super) fn take_over(&mut self, tenant: Option<&TenantPath>, standing: &mut [Standing]) {
        let Some(tenant) = tenant else { return };
        for one in standing {
            let vtime = self.devices[one.device].vtime;
            let key = (tenant.clone(), one.device);
            one.owe(self.debts.take(&key, self.now_ns, vtime, one.cap() < WHOLE));
        }
    }

    /// Remembers what a lease that ends owes, and forgets what is paid.
    pub(super) fn leave(&mut self, lease: Lease) {
        let (now_ns, devices) = (self.now_ns, &self.devices);
        if let Some(tenant) = lease.tenant {
            for standing in lease.standing {
                let key = (tenant.clone(), standing.device);
                let owed = Owed::default().and(standing.owes(devices[standing.device].vtime));
                self.debts.keep(key, Left { owed, at_ns: now_ns, standing });
            }
        }
        self.debts.0.retain(|(_, device), all| {
            all.retain(|one| one.now(now_ns, devices[*device].vtime) != Owed::default());
            !all.is_empty()
        });
    }
}
