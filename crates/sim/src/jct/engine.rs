//! The Muri traces through the whole engine: every decision is [`polder_engine::Engine`]'s, in the
//! world that the rest of the simulator uses.
//!
//! The pool is the published one, 8 nodes of 8 devices, and jobs run as long as in the published
//! model. What differs from [`super::replay`]:
//! * placement is real: a job stays on the devices it has, so room can be in pieces; the published
//!   model lays everything anew at every event;
//! * only who is made to yield stops and pays the published start overhead, once, when it starts
//!   again; there, every running job pays at every event;
//! * who yields is what the engine's rules let yield, nobody before a whole gang then fits, and the
//!   least costly first; there, whoever is first in the order runs.

use super::published::{self, NODE_DEVICES};
use super::replay::Outcome;
use super::trace::{Job, Seen};
use crate::num::count;
use crate::pool;
use crate::workload::{WorkJob, Workload, ask_whole};
use crate::world::{Delays, Setup, World, WorldError};
use polder_engine::Policy;
use polder_model::{Backfill, Believe, Gang, Micros, Order, Reclaim, TenantPath, Term, UserName};
use thiserror::Error;

/// The promises are recomputed after so many events.
const CHECK_EVERY: u64 = 1_000;
/// Jobs save their work so often: what yields loses next to nothing, as in the published model.
const CHECKPOINT: Micros = Micros::from_secs(1);

/// Why a trace cannot be run.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The world.
    #[error(transparent)]
    World(#[from] WorldError),
    /// A job that never ended.
    #[error("job {id} of the trace did not end: {state}")]
    Unended {
        /// The `job_id` of its row.
        id: u64,
        /// How it stands.
        state: String,
    },
    /// The pool or a name.
    #[error("{0}")]
    Setup(String),
}

/// A policy whose order also says who yields.
#[must_use]
pub fn policy(by: Term) -> Policy {
    Policy {
        order: Order { by: vec![by], ..Order::default() },
        reclaim: Reclaim { order: true, ..Reclaim::default() },
        ..Policy::default()
    }
}

/// The same, and who fits beside the first that waits may start before it, as far as predictions
/// are believed.
#[must_use]
pub fn beside(policy: Policy) -> Policy {
    Policy { backfill: Backfill { reserved: 1, believe: Believe::Predicted }, ..policy }
}

/// Runs a trace through the engine under a policy. Nothing of a job's length is told.
///
/// # Errors
/// The engine broke a promise, or a job did not end.
pub fn run(jobs: &[Job], policy: Policy) -> Result<Outcome, EngineError> {
    let setup_error = |error: String| EngineError::Setup(error);
    let pool = pool::preset("muri").map_err(|error| setup_error(error.to_string()))?;
    let mut setup = Setup::new(pool, policy);
    (setup.delays, setup.check_every) = (Delays::none(), CHECK_EVERY);
    let mut world = World::new(setup)?;
    world.load(workload(jobs).map_err(setup_error)?);
    let records = world.finish(None)?;
    let mut outcome = Outcome { completion: Vec::new(), makespan: 0.0, events: 0 };
    for (job, record) in jobs.iter().zip(&records.jobs) {
        let Some(completion) = record.completion() else {
            let state = record.state.clone();
            return Err(EngineError::Unended { id: job.seen.id, state });
        };
        let seconds = completion.0 as f64 / 1e6;
        outcome.completion.push(seconds);
        outcome.makespan = f64::max(outcome.makespan, job.seen.submitted + seconds);
    }
    outcome.events = usize::try_from(records.events).unwrap_or(usize::MAX);
    Ok(outcome)
}

fn workload(jobs: &[Job]) -> Result<Workload, String> {
    let tenant: TenantPath = "muri".parse().map_err(|error| format!("{error}"))?;
    let user: UserName = "muri".parse().map_err(|error| format!("{error}"))?;
    let micros = |seconds: f64| Micros(count(seconds * 1e6).max(1));
    let job = |job: &Job| {
        let (tasks, each) = shape(&job.seen);
        let mut ask = ask_whole(tenant.clone(), user.clone(), each);
        ask.gang = Gang { min: tasks, max: tasks, ..Gang::default() };
        ask.name = Some(job.seen.model.chars().take(100).collect());
        // What a user's script would tell: what is trained, and with which batch.
        ask.hints.script = Some(format!("{} {}", job.seen.model, job.seen.batch));
        ask.yields.preemptible = true;
        ask.yields.checkpoint_interval = Some(CHECKPOINT);
        ask.yields.restart_cost = micros(published::overhead(&job.seen));
        let runs = job.iterations * published::alone(&job.seen);
        WorkJob::new(Micros(count(job.seen.submitted * 1e6)), ask, micros(runs))
    };
    Ok(Workload { name: "muri".into(), jobs: jobs.iter().map(job).collect(), notes: Vec::new() })
}

/// Tasks and the devices of each: a gang wider than a node has whole nodes.
fn shape(seen: &Seen) -> (u32, u32) {
    match seen.devices {
        wide if wide > NODE_DEVICES && wide.is_multiple_of(NODE_DEVICES) => {
            (wide / NODE_DEVICES, NODE_DEVICES)
        }
        wide if wide > NODE_DEVICES => (wide, 1),
        narrow => (1, narrow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jct::trace;

    const SMALL: &str = "\
        job_id,num_gpu,submit_time,iterations,model_name,batch_size,duration,interval,\
        iteration_time,resource_time_0,resource_time_1,resource_time_2,priority\n\
        0,64,0,400000,bert,4,1,1,1000,435,8,1,0\n\
        1,32,3600000,100,gpt2,4,1,1,1000,435,8,1,0\n\
        2,8,3600000,100,dqn,4,1,1,1000,435,8,1,0\n";

    #[test]
    fn a_long_job_makes_room_for_short_ones_and_ends() {
        let jobs = trace::parse("small", SMALL.as_bytes()).unwrap();
        let times = |by: Term| {
            let outcome = run(&jobs, policy(by)).unwrap();
            outcome.completion.iter().map(|time| time.round()).collect::<Vec<_>>()
        };
        for by in [Term::LeastService, Term::Gittins] {
            // 101.5 s each for the short ones, and those and a start for the long one.
            let [long, second, third] = times(by)[..] else { panic!("three jobs") };
            assert!((second, third) == (102.0, 102.0), "{second} {third}");
            assert!((406_101.0..406_130.0).contains(&long), "{long}");
        }
        let waits = times(Term::Arrival);
        assert!(waits[1] > 400_000.0, "{waits:?}");
    }
}
