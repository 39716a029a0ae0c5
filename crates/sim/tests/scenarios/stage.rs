//! Plays a scenario and tells what happens.

use crate::script::{self, Command};
use polder_engine::Policy;
use polder_model::{
    Bytes, Decision, Event, Gang, GangKind, Ground, JobId, JobState, Lease, LeaseId, Mechanism,
    Micros, MilliCpu, Outcome, Permille, Quota, Reservation, Shrink, Size, Slice, Spot, Tenant,
    Timestamp,
};
use polder_sim::pool;
use polder_sim::workload::{WorkJob, ask_share, ask_whole};
use polder_sim::world::{BEGIN, Delays, Interference, Setup, World};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a job that has no `runs` runs for: longer than any scenario.
const FOR_EVER: Micros = Micros::from_secs(1_000_000_000);

struct Stage {
    world: Option<World>,
    delays: Delays,
    interference: Interference,
    policy: Policy,
    labels: BTreeMap<String, JobId>,
    over: BTreeMap<JobId, Outcome>,
    told: String,
    failures: Vec<String>,
}

/// What a scenario leads to, and which of its expectations did not hold.
pub(crate) fn tell(text: &str) -> (String, Vec<String>) {
    let mut stage = Stage {
        world: None,
        delays: Delays::none(),
        interference: Interference { slowdown: 0.0 },
        policy: Policy::default(),
        labels: BTreeMap::new(),
        over: BTreeMap::new(),
        told: String::new(),
        failures: Vec::new(),
    };
    for (number, command) in script::parse(text).into_iter().enumerate() {
        let _ = writeln!(stage.told, "{}", command.text);
        if command.verb.is_empty() {
            continue;
        }
        if let Err(why) = stage.play(&command) {
            stage.failures.push(format!("line {}: {why}", number + 1));
        }
        stage.what_happened();
    }
    (stage.told, stage.failures)
}

type Played = Result<(), String>;

fn text(error: impl ToString) -> String {
    error.to_string()
}

fn value<T: std::str::FromStr<Err: ToString>>(
    command: &Command,
    key: &str,
) -> Result<Option<T>, String> {
    let Some(word) = command.keys.get(key) else { return Ok(None) };
    word.parse().map(Some).map_err(|error: T::Err| format!("{key}={word}: {}", error.to_string()))
}

/// A value that has a name in JSON.
fn named_value<T: serde::de::DeserializeOwned>(
    command: &Command,
    key: &str,
) -> Result<Option<T>, String> {
    let Some(word) = command.keys.get(key) else { return Ok(None) };
    serde_json::from_value(word.as_str().into()).map(Some).map_err(text)
}

fn word(command: &Command, at: usize) -> Result<&str, String> {
    let found = command.words.get(at).map(String::as_str);
    found.ok_or_else(|| format!("{} lacks a word", command.verb))
}

impl Stage {
    fn world(&mut self) -> Result<&mut World, String> {
        if self.world.is_none() {
            let mut setup = Setup::new(Vec::new(), self.policy.clone());
            (setup.delays, setup.interference) = (self.delays, self.interference);
            setup.journal = true;
            self.world = Some(World::new(setup).map_err(text)?);
        }
        self.world.as_mut().ok_or_else(|| "no world".to_owned())
    }

    fn play(&mut self, command: &Command) -> Played {
        match command.verb.as_str() {
            "delays" => return self.delays(command),
            "slowdown" => {
                self.interference.slowdown = word(command, 0)?.parse().map_err(text)?;
                return Ok(());
            }
            "policy" => return self.policy(command),
            "node" => self.node(command)?,
            "tenant" => self.tenant(command)?,
            "reserve" => self.reserve(command)?,
            "unreserve" => {
                let name = word(command, 0)?.to_owned();
                drop(self.world()?.unreserve(name).map_err(text)?);
            }
            "submit" => self.submit(command)?,
            "at" | "wait" => return self.time(command),
            "end" => self.end(command)?,
            "member" => self.member(command)?,
            "cancel" => self.cancel(command)?,
            "scale" => self.scale(command)?,
            "resize" => self.resize(command)?,
            "expect" => return self.expect(command),
            "explain" => return self.explain(command),
            "queue" => return self.queue(),
            "held" => return self.held(),
            "clock" => {
                let by: Micros = word(command, 1)?.parse().map_err(text)?;
                self.world()?.clock_back(by).map_err(text)?;
            }
            _ => self.fault(command)?,
        }
        self.settle()
    }

    /// Lets all happen that happens at this moment.
    fn settle(&mut self) -> Played {
        let world = self.world()?;
        world.run_until(world.now()).map_err(text)
    }

    fn delays(&mut self, command: &Command) -> Played {
        let delays = &mut self.delays;
        for (key, delay) in [
            ("prepare", &mut delays.prepare),
            ("start", &mut delays.start),
            ("stop", &mut delays.stop),
            ("silent", &mut delays.silent_after),
        ] {
            if let Some(time) = value(command, key)? {
                *delay = time;
            }
        }
        Ok(())
    }

    /// A policy's text, `;` between its lines; before the first node or as a live change.
    fn policy(&mut self, command: &Command) -> Played {
        let lines = command.text.trim_start_matches("policy").replace(';', "\n");
        let policy: Policy = match toml::from_str(&lines) {
            Ok(policy) => policy,
            Err(error) => {
                let _ = writeln!(self.told, "  refused: {}", error.message());
                return Ok(());
            }
        };
        if self.world.is_none() && policy.check().is_ok() {
            self.policy = policy;
            return Ok(());
        }
        if let Err(refusal) = self.world()?.set_policy(policy).map_err(text)? {
            let _ = writeln!(self.told, "  refused: {refusal}");
        }
        self.settle()
    }

    fn reserve(&mut self, command: &Command) -> Played {
        let begin = self.world()?.begin();
        let time = |key: &str| -> Result<Timestamp, String> {
            Ok(begin.after(value::<Micros>(command, key)?.ok_or_else(|| format!("no {key}="))?))
        };
        let nodes = word(command, 1)?.split(',').map(|node| node.parse().map_err(text));
        let reservation = Reservation {
            name: word(command, 0)?.to_owned(),
            tenant: value(command, "tenant")?,
            nodes: nodes.collect::<Result<_, _>>()?,
            from: time("from")?,
            until: time("until")?,
            why: String::new(),
        };
        if let Err(refusal) = self.world()?.reserve(reservation).map_err(text)? {
            let _ = writeln!(self.told, "  refused: {refusal}");
        }
        Ok(())
    }

    fn node(&mut self, command: &Command) -> Played {
        let cards: u32 = word(command, 1)?.parse().map_err(text)?;
        let memory: Bytes = word(command, 3)?.parse().map_err(text)?;
        let model = word(command, 2)?.to_owned();
        let mut devices = Vec::new();
        let each = |key: &str| value::<u32>(command, key);
        let (island, numa, rail) = (each("island")?, each("numa")?, each("rail")?);
        for number in 0..cards {
            let mut card = pool::device(&format!("gpu{number}"), &model, memory).map_err(text)?;
            card.island = island.map(|each| number / each.max(1));
            card.numa_node = numa.map(|each| number / each.max(1));
            card.rail = rail.map(|each| number / each.max(1));
            if command.words.iter().any(|word| word == "mig") {
                card.mechanisms.insert(0, Mechanism::Mig);
            }
            devices.push(card);
        }
        let cpus: MilliCpu = value(command, "cpus")?.unwrap_or(MilliCpu(64_000));
        let memory: Bytes = value(command, "memory")?.unwrap_or(Bytes(1 << 40));
        let id = word(command, 0)?.parse().map_err(text)?;
        let mut inventory = pool::node(cpus, memory, devices);
        inventory.node.nic = value(command, "nic")?;
        let label = |key: &str| command.keys.get(key).map(|name| format!("{key}={name}"));
        inventory.node.labels.extend(label("rack"));
        inventory.node.labels.extend(label("block"));
        inventory.node.partitions.extend(command.keys.get("partition").cloned());
        self.world()?.join(id, inventory).map_err(text)
    }

    fn tenant(&mut self, command: &Command) -> Played {
        let quota = Quota {
            devices: value(command, "devices")?,
            compute: value(command, "compute")?,
            memory: value(command, "memory")?,
        };
        let path = word(command, 0)?.parse().map_err(text)?;
        let mut tenant = Tenant { quota, ..Tenant::new(path) };
        tenant.share.deserved = value(command, "deserved")?.unwrap_or(0);
        tenant.share.weight = value(command, "weight")?.unwrap_or(1);
        tenant.user_quota.devices = value(command, "each")?;
        self.world()?.set_tenant(tenant).map_err(text)
    }

    fn submit(&mut self, command: &Command) -> Played {
        let job = self.job(command)?;
        let label = word(command, 0)?.to_owned();
        self.world()?.welcome(&job.ask.tenant).map_err(text)?;
        match self.world()?.submit(job).map_err(text)? {
            Ok(id) => {
                let _ = writeln!(self.told, "  job {id} is {label}");
                self.labels.insert(label, id);
            }
            Err(refusal) => {
                let _ = writeln!(self.told, "  refused: {refusal}");
            }
        }
        Ok(())
    }

    fn job(&mut self, command: &Command) -> Result<WorkJob, String> {
        let named = |key: &str, usual: &str| {
            command.keys.get(key).cloned().unwrap_or_else(|| usual.to_owned())
        };
        let tenant = named("tenant", "lab").parse().map_err(text)?;
        let user = named("user", "ada").parse().map_err(text)?;
        let mut ask = ask_whole(tenant, user, value(command, "devices")?.unwrap_or(1));
        if ask.devices.count == 0 {
            ask = ask_share(ask, Permille(0), Bytes(0));
        } else if !command.words.iter().any(|word| word == "whole") {
            let share: Permille = value(command, "share")?.unwrap_or(Permille(300));
            let memory: Bytes = value(command, "memory")?.unwrap_or(Bytes(1 << 30));
            ask = ask_share(ask, share, memory);
            ask.devices.compute_max = value(command, "most")?;
        }
        if let Some(gang) = command.keys.get("gang") {
            let (min, max) = span(gang)?;
            let has = |name: &str| command.words.iter().any(|word| word == name);
            let kind = match (has("elastic"), has("service")) {
                (true, _) => GangKind::Elastic,
                (_, true) => GangKind::Service,
                _ => GangKind::Rigid,
            };
            ask.gang = Gang { min, max, kind };
        }
        ask.devices.models.extend(command.keys.get("model").cloned());
        ask.devices.bandwidth = value(command, "bandwidth")?;
        ask.devices.mechanism =
            command.words.iter().any(|word| word == "mig").then_some(Mechanism::Mig);
        ask.place.island = named_value(command, "island")?.unwrap_or_default();
        ask.place.numa = named_value(command, "numa")?.unwrap_or_default();
        ask.place.rail = named_value(command, "rail")?.unwrap_or_default();
        ask.host.cpu = value(command, "cpus")?;
        ask.host.memory = value(command, "host")?;
        ask.host.nic = value(command, "nic")?;
        ask.when.priority = value(command, "priority")?.unwrap_or(0);
        let begin = self.world()?.begin();
        ask.when.priority_expiry = value(command, "until")?.map(|time| begin.after(time));
        ask.when.time_limit = value(command, "limit")?;
        ask.when.estimate = value(command, "estimate")?;
        ask.when.deadline = value(command, "deadline")?.map(|time| begin.after(time));
        ask.when.class = named_value(command, "class")?.unwrap_or_default();
        ask.when.market = named_value(command, "market")?.unwrap_or_default();
        ask.place.partition = value(command, "partition")?;
        ask.place.apart = value(command, "apart")?;
        ask.place.near = command.words.iter().any(|word| word == "near");
        ask.yields.preemptible = command.words.iter().any(|word| word == "preemptible");
        ask.yields.runtime_min = value(command, "least")?.unwrap_or(Micros(0));
        ask.yields.checkpoint_interval = value(command, "checkpoint")?;
        ask.yields.restart_cost = value(command, "restart")?.unwrap_or(Micros(0));
        ask.yields.retries = value(command, "retries")?.unwrap_or(0);
        let mut job = WorkJob::new(Micros(0), ask, value(command, "runs")?.unwrap_or(FOR_EVER));
        if let Some(uses) = value(command, "uses")? {
            job.uses = uses;
        }
        if let Some(code) = value(command, "fails")? {
            job.outcome = Outcome::Failed { code };
        }
        Ok(job)
    }

    fn time(&mut self, command: &Command) -> Played {
        let time: Micros = word(command, 0)?.parse().map_err(text)?;
        let waits = command.verb == "wait";
        let world = self.world()?;
        let from = if waits { world.now() } else { world.begin() };
        world.run_until(from.after(time)).map_err(text)
    }

    fn end(&mut self, command: &Command) -> Played {
        let job = self.label(command)?;
        let outcome = outcome_from(&command.words[1..])?;
        self.world()?.end_job(job, &outcome).map_err(text)
    }

    fn member(&mut self, command: &Command) -> Played {
        let job = self.label(command)?;
        let rank = word(command, 1)?.parse().map_err(|_| "which member?".to_owned())?;
        let outcome = outcome_from(&command.words[2..])?;
        self.world()?.end_member(job, rank, outcome).map_err(text)
    }

    fn cancel(&mut self, command: &Command) -> Played {
        let job = self.label(command)?;
        let by = "ada".parse().map_err(text)?;
        if let Err(refusal) = self.world()?.cancel(job, by).map_err(text)? {
            let _ = writeln!(self.told, "  refused: {refusal}");
        }
        Ok(())
    }

    fn scale(&mut self, command: &Command) -> Played {
        let job = self.label(command)?;
        let bounds = span(word(command, 1)?)?;
        let by = "ada".parse().map_err(text)?;
        if let Err(refusal) = self.world()?.scale(job, bounds, by).map_err(text)? {
            let _ = writeln!(self.told, "  refused: {refusal}");
        }
        Ok(())
    }

    fn resize(&mut self, command: &Command) -> Played {
        let job = self.label(command)?;
        let by = "ada".parse().map_err(text)?;
        let world = self.world()?;
        let now = world.engine().job(job).ok_or("it is over")?;
        let mut to = Size::of(&now.ask);
        to.compute = value(command, "share")?.unwrap_or(to.compute);
        to.compute_max = value(command, "most")?.unwrap_or(to.compute_max);
        to.memory = value(command, "memory")?.unwrap_or(to.memory);
        to.priority = value(command, "priority")?.unwrap_or(to.priority);
        if let Err(refusal) = world.resize(job, to, by).map_err(text)? {
            let _ = writeln!(self.told, "  refused: {refusal}");
        }
        Ok(())
    }

    fn fault(&mut self, command: &Command) -> Played {
        let target = word(command, 0)?.to_owned();
        let (node, device) = target.split_once('/').unwrap_or((target.as_str(), ""));
        let world = self.world()?;
        let node = world.node_named(node).map_err(text)?;
        match command.verb.as_str() {
            "crash" => world.crash(node),
            "cut" => world.cut(node),
            "stick" => world.stick(node, true),
            "unstick" => world.stick(node, false),
            "restore" => world.restore(node).map_err(text)?,
            "reach" => world.reach(node).map_err(text)?,
            verb @ ("lose" | "heal") => {
                let device = world.device_named(node, device).map_err(text)?;
                let change = if verb == "lose" { World::lose } else { World::heal };
                change(world, node, device).map_err(text)?;
            }
            other => return Err(format!("no command is called {other}")),
        }
        Ok(())
    }

    fn label(&self, command: &Command) -> Result<JobId, String> {
        let label = word(command, 0)?;
        self.labels.get(label).copied().ok_or_else(|| format!("no job is called {label}"))
    }

    fn name(&self, job: JobId) -> String {
        let label = self.labels.iter().find(|(_, id)| **id == job);
        label.map_or_else(|| job.to_string(), |(label, _)| label.clone())
    }

    // What is said.

    fn expect(&mut self, command: &Command) -> Played {
        let job = self.label(command)?;
        let wanted = command.words[1..].join(" ");
        let over = self.over.get(&job).cloned();
        let state = self.world()?.engine().job(job).map(|job| job.state);
        let state = state.or(over.map(|outcome| JobState::Finished { outcome }));
        let state = state.map_or("unknown".to_owned(), |state| state.to_string());
        if state == wanted { Ok(()) } else { Err(format!("expected {wanted}, it is {state}")) }
    }

    fn explain(&mut self, command: &Command) -> Played {
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

    fn queue(&mut self) -> Played {
        let world = self.world()?;
        let ids: Vec<JobId> = world.engine().queue(world.server_time()).collect();
        let names: Vec<String> = ids.into_iter().map(|id| self.name(id)).collect();
        let _ = writeln!(self.told, "  queue: {}", names.join(" "));
        Ok(())
    }

    fn held(&mut self) -> Played {
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

    fn what_happened(&mut self) {
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

/// `4`, or `2..4`.
fn span(text: &str) -> Result<(u32, u32), String> {
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    let number = |part: &str| part.parse().map_err(|_| format!("{text} is no number of tasks"));
    Ok((number(min)?, number(max)?))
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

fn outcome_from(words: &[String]) -> Result<Outcome, String> {
    let code = || words.get(1).and_then(|word| word.parse().ok()).ok_or("which code?".to_owned());
    Ok(match words.first().map_or("succeeded", String::as_str) {
        "succeeded" => Outcome::Succeeded,
        "failed" => Outcome::Failed { code: code()? },
        "signal" => Outcome::Signalled { signal: code()? },
        other => return Err(format!("no outcome is called {other}")),
    })
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

#[test]
fn begins_on_a_monday() {
    assert_eq!(BEGIN.0 / 86_400_000_000 % 7, 4, "day 0 of 1970 was a Thursday, four before Monday");
}
