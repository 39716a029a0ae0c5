//! What a decision looks at, counted: it grows with what it touches and no faster.

use super::super::right::{Claimant, Manner, Right};
use super::super::room::{Demand, Piece, Room, Rooms};
use super::super::running::{GangFacts, MemberFacts, Running, Yields};
use super::super::select::{Found, Front, commit};
use super::super::trial::Trial;
use super::devices;
use crate::Held;
use crate::order::turn::Turn;
use polder_model::Bytes;

/// `nodes` of 8 devices, each with a job of tenant 0, which deserves nothing; tenant 1 deserves all.
fn full(nodes: usize) -> Running {
    let mut running = Running::default();
    running.add_tenant(None);
    running.add_tenant(None);
    running.set_tenant(0, devices(Some(0)), devices(None));
    running.set_tenant(1, devices(Some(nodes as u64 * 8)), devices(None));
    for node in 0..nodes {
        let room = Room::idle(80, None);
        running.add_node(Rooms { devices: vec![room; 8], cpu: 64, memory: 64, nic: 0, backing: 0 });
        for device in 0..8 {
            let facts = GangFacts {
                job: (node * 8 + device) as u64 + 1,
                tenant: 0,
                priority: 0,
                spot: false,
                turn: Turn::default(),
                lenders: Vec::new(),
                yields: Some(Yields { runtime_min: 0, interval: None, restart: 0 }),
                started_at: (node * 7 % 13) as u64,
                min: 1,
                is_complete: true,
            };
            let slices = vec![Piece { device, compute: 1000, memory: 80, cut: 0 }];
            running.add_gang(
                facts,
                vec![MemberFacts { node, slices, cpu: 1, host_memory: 1, nic: 0, backing: 0 }],
            );
        }
    }
    running
}

fn whole(tasks: u32, devices: u32) -> Demand {
    let (compute, whole, cpu, host_memory) = (1000, true, 1, 1);
    Demand { tasks, devices, compute, whole, cpu, host_memory, ..Demand::default() }
}

fn claimant(job: u64, demand: &Demand) -> Claimant {
    let devices = u64::from(demand.tasks) * u64::from(demand.devices);
    let held =
        Held { devices, compute: devices * 1000, memory: Bytes(0), leases: demand.tasks.into() };
    Claimant { job, tenant: 1, priority: 0, spot: false, turn: Turn::default(), home: None, held }
}

fn steps_for_a_gang(nodes: usize) -> u64 {
    let running = full(nodes);
    let demand = whole(u32::try_from(nodes / 2).unwrap(), 8);
    let mut trial = Trial::new(&running);
    let right = Right::new(&trial, claimant(1_000_000, &demand), Manner::End(super::ALL), 100);
    let mut front = Front::new(&trial, right, demand, &());
    let Found::Fits(ending) = front.find(&mut trial, &()) else { panic!("it fits") };
    assert_eq!(ending.victims.len(), nodes * 4);
    assert_eq!(ending.places.len(), nodes / 2);
    trial.steps()
}

#[test]
fn a_gang_on_half_of_a_full_pool_looks_at_each_device_a_few_times() {
    let (small, large) = (steps_for_a_gang(100), steps_for_a_gang(1000));
    assert!(large <= 1000 * 8 * 5, "{large} steps");
    assert!(large <= small * 11, "{small} steps, then {large}");
}

fn steps_for_many(nodes: usize) -> u64 {
    let running = full(nodes);
    let demand = whole(1, 1);
    let mut trial = Trial::new(&running);
    let right = Right::new(&trial, claimant(1_000_000, &demand), Manner::End(super::ALL), 100);
    let mut front = Front::new(&trial, right, demand, &());
    for job in 0..nodes as u64 * 8 {
        assert!(front.renew(&trial, claimant(1_000_000 + job, &demand)));
        let Found::Fits(ending) = front.find(&mut trial, &()) else { panic!("job {job}") };
        assert_eq!(ending.victims.len(), 1);
        commit(&mut trial, &front.right, &demand, &ending);
    }
    trial.steps()
}

#[test]
fn each_of_many_looks_at_its_node_only() {
    let (small, large) = (steps_for_many(50), steps_for_many(500));
    assert!(large <= 4000 * 60, "{large} steps");
    assert!(large <= small * 11, "{small} steps, then {large}");
}
