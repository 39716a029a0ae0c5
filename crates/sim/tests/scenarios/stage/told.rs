//! What a scenario is told of: what was asked about, and what happened.

use super::{Played, Stage};
use crate::script::Command;
use polder_model::{
    Decision, Event, Ground, JobId, JobState, Lease, LeaseId, Outcome, Permille, Shrink, Slice,
    Spot, Timestamp,
};
use std::fmt::Write;

impl Stage {
    pub(super) fn expect(&mut self, command: &Command) -> Played {
        let job = self.label(command)?;
        let wanted = command.words[1..].join(" ");
        let over = self.over.get(&job).cloned();
        let state = self.world()?.engine().job(job).map(|job| job.state);
        let state = state.or(over.map(|outcome| JobState::Finished { outcome }));
        let state = state.map_or("unknown".to_owned(), |state| state.to_string());
        if state == wanted { Ok(()) } else { Err(format!("expected {wanted}, it is {state}")) }
    }

    pub(super) fn explain(&mut self, command: &Command) -> Played {
        let job = self.label(command)?;
        let world = self.world()?;
        let (begin, now) = (world.begin(), world.server_time());
        let Some(said) = world.engine().explain(now, job) else {
            self.told += "  it is over\n";
            return Ok(());
        };
        let place = said.position.map_or(String::new(), |place| format!(", place {place}"));
        let _ = writeln!(self.told, "  {}{place}", said.state);
        for reason in &said.reasons {
            let _ = writeln!(self.told, "  why: {reason}");
        }
        if let Some(start) = said.predicted_start {
            let _ = writeln!(self.told, "  at the latest: {}", moment(begin, start));
        }
        for help in &said.help {
            let _ = writeln!(self.told, "  help: {help}");
        }
        if let Some(resized) = &said.resized {
            let _ = writeln!(self.told, "  resized: {resized}");
        }
        Ok(())
    }

    pub(super) fn queue(&mut self) -> Played {
        let world = self.world()?;
        let ids: Vec<JobId> = world.engine().queue(world.server_time()).collect();
        let names: Vec<String> = ids.into_iter().map(|id| self.name(id)).collect();
        let _ = writeln!(self.told, "  queue: {}", names.join(" "));
        Ok(())
    }

    pub(super) fn held(&mut self) -> Played {
        let world = self.world()?;
        let mut lines = String::new();
        for node in world.engine().nodes() {
            let silent = if node.silent { " (silent)" } else { "" };
            let _ = write!(lines, "  {}{silent}:", node.id);
            for device in &node.inventory.devices {
                let held = node.held.get(&device.id).copied().unwrap_or_default();
                let compute = Permille(u32::try_from(held.compute).unwrap_or(u32::MAX));
                let _ = write!(lines, " {} {compute} {}", device.id, held.memory);
            }
            lines.push('\n');
        }
        self.told += &lines;
        Ok(())
    }

    pub(super) fn what_happened(&mut self) {
        let Some(world) = &mut self.world else { return };
        let begin = world.begin();
        for (at, event) in world.take_journal() {
            if let Event::Decided { decision: Decision::Finish { job, outcome } } = &event {
                self.over.insert(*job, outcome.clone());
            }
            if let Some(line) = self.line(&event) {
                let _ = writeln!(self.told, "  {} {line}", moment(begin, at));
            }
        }
    }

    fn line(&self, event: &Event) -> Option<String> {
        Some(match event {
            Event::TenantSet { .. } | Event::JobSubmitted { .. } => return None,
            Event::LeasePrepared { lease, .. } => format!("{lease} is prepared"),
            Event::LeaseStarted { lease } => format!("{lease} runs"),
            Event::LeaseShrunk { lease } => format!("{lease} has shrunk"),
            Event::LeaseEnded { lease, end } => format!("{lease} ended: {}", outcome(&end.outcome)),
            Event::NodeReported { node, inventory, .. } => {
                format!("{node} reports {} devices", inventory.devices.len())
            }
            Event::NodeSilent { node } => format!("{node} is silent"),
            Event::NodeBack { node } => format!("{node} is back"),
            Event::JobScaled { job, min, max, .. } => {
                format!("{} is scaled to {min}..{max}", self.name(*job))
            }
            Event::JobResized { job, .. } => format!("{} is resized", self.name(*job)),
            Event::JobCancelled { job, .. } => format!("{} is cancelled", self.name(*job)),
            Event::ClockStepped { behind, .. } => format!("the clock is {behind} behind"),
            Event::PolicySet { .. } => "the policy is set".to_owned(),
            Event::ReservationSet { reservation } => format!("{} is reserved", reservation.name),
            Event::ReservationRemoved { name } => format!("{name} is no longer reserved"),
            Event::Decided { decision } => self.decision(decision),
            other => format!("{other:?}"),
        })
    }

    fn name(&self, job: JobId) -> String {
        let label = self.labels.iter().find(|(_, id)| **id == job);
        label.map_or_else(|| job.to_string(), |(label, _)| label.clone())
    }

    fn decision(&self, decision: &Decision) -> String {
        let name = |job: &JobId| self.name(*job);
        match decision {
            Decision::Grant { job, leases } => {
                let leases: Vec<String> = leases.iter().map(spot).collect();
                format!("grant {}: {}", name(job), leases.join(", "))
            }
            Decision::Grow { job, leases } => {
                let leases: Vec<String> = leases.iter().map(spot).collect();
                format!("grow {}: {}", name(job), leases.join(", "))
            }
            Decision::Shrink { job, leases, .. } => {
                let leases: Vec<String> = leases.iter().map(LeaseId::to_string).collect();
                format!("give up {} of {}", leases.join(" "), name(job))
            }
            Decision::Preempt { job, shrinks, ground: Ground::Elastic, .. } => {
                let of = |shrink: &Shrink| {
                    let leases: Vec<String> =
                        shrink.leases.iter().map(LeaseId::to_string).collect();
                    format!("{} by {}", name(&shrink.job), leases.join(" "))
                };
                let shrinks: Vec<String> = shrinks.iter().map(of).collect();
                format!("shrink {} for {}", shrinks.join(", "), name(job))
            }
            Decision::Preempt { job, victims, ground, moves, .. } => {
                let victims: Vec<String> = victims.iter().map(name).collect();
                let ground = format!("{ground:?}").to_lowercase();
                let moves = moves.iter().map(|moved| {
                    let spots: Vec<String> = moved.spots.iter().map(kept).collect();
                    format!("; {} goes to {}", name(&moved.job), spots.join(", "))
                });
                let moves: String = moves.collect();
                format!("preempt {} for {} ({ground}){moves}", victims.join(" "), name(job))
            }
            Decision::Release { job } => format!("release what was kept for {}", name(job)),
            Decision::Start { job } => format!("start {}", name(job)),
            Decision::Return { job, reason } => format!("return {}: {reason:?}", name(job)),
            Decision::Stop { job, reason } => format!("stop {}: {reason:?}", name(job)),
            Decision::Retry { job, attempt } => format!("retry {}: try {attempt}", name(job)),
            Decision::Finish { job, outcome: end } => {
                format!("finish {}: {}", name(job), outcome(end))
            }
        }
    }
}

fn spot(lease: &Lease) -> String {
    let device = |slice: &Slice| match &slice.instance {
        Some(part) => format!("{}:{}@{}", slice.device, part.profile, part.start),
        None => slice.device.to_string(),
    };
    let devices: Vec<String> = lease.slices.iter().map(device).collect();
    let size = lease
        .slices
        .first()
        .map_or(String::new(), |slice| format!(" {} {}", slice.compute, slice.memory));
    format!("{} {}/{}{size}", lease.id, lease.node, devices.join("+"))
}

/// A place that is kept for a task.
fn kept(spot: &Spot) -> String {
    let devices: Vec<&str> = spot.devices.iter().map(|device| device.as_str()).collect();
    let parts = spot.instances.iter().map(|part| format!(":{}@{}", part.profile, part.start));
    format!("{}/{}{}", spot.node, devices.join("+"), parts.collect::<String>())
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Lost { why } | Outcome::NotStarted { why } => format!("{outcome}, {why}"),
        other => other.to_string(),
    }
}

/// Time since the beginning, to the millisecond.
fn moment(begin: Timestamp, at: Timestamp) -> String {
    let millis = at.since(begin).0 / 1000;
    match millis % 1000 {
        0 => format!("{}s", millis / 1000),
        part => format!("{}.{part:03}s", millis / 1000),
    }
}
