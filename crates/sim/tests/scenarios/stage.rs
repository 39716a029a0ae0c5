//! Plays a scenario and tells what happens.

mod told;

use crate::script::{self, Command};
use polder_engine::Policy;
use polder_model::{
    Bytes, Gang, GangKind, JobId, Mechanism, Micros, MilliCpu, Outcome, Permille, Quota,
    Reservation, Size, Tenant, Timestamp,
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
}

/// `4`, or `2..4`.
fn span(text: &str) -> Result<(u32, u32), String> {
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    let number = |part: &str| part.parse().map_err(|_| format!("{text} is no number of tasks"));
    Ok((number(min)?, number(max)?))
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

#[test]
fn begins_on_a_monday() {
    assert_eq!(BEGIN.0 / 86_400_000_000 % 7, 4, "day 0 of 1970 was a Thursday, four before Monday");
}
