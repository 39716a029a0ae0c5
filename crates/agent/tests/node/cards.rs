//! An agent on a node with a stand-in card, of which the stand-in NVML of `tests/standin` tells. No card
//! is there; the leases, their shims and their processes are real.

use crate::entry::{FAIL_VARIABLE, FAILED_PERIOD_VARIABLE, STANDIN_VARIABLES};
use crate::kit::{Stage, order};
use polder_agent::shim::ShimPhase;
use polder_model::{Health, LeaseOrder, Mechanism, Outcome, Rule, StopReason, Throttle};
use polder_standin_host::{Ask, Client, Hosted, Script};
use std::path::PathBuf;
use std::process::{Child, Command};

/// What the stand-in's one device is called.
const CARD: &str = "GPU-7374616e-642d-696e-2064-657669636530";

/// A stand-in H200, and a node that has it.
struct Scene {
    stage: Stage,
    socket: PathBuf,
    _host: Hosted,
    _folder: tempfile::TempDir,
}

async fn scene() -> Scene {
    scene_with(&[]).await
}

async fn scene_with(variables: &[(&str, &str)]) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("device");
    let host = Hosted::start(&socket, Script { model: 3 });
    let mut stage = Stage::without_agent();
    let built = std::env::current_exe().unwrap().with_file_name("libstandin_nvml.so");
    let [device, nvml] = STANDIN_VARIABLES;
    let mut all = vec![(device, socket.clone()), (nvml, built)];
    all.extend(variables.iter().map(|(name, value)| (*name, PathBuf::from(value))));
    stage.start_agent_with(&all);
    let scene = Scene { stage, socket, _host: host, _folder: folder };
    scene.stage.until("the card", |_| scene.health() == Some(Health::Healthy)).await;
    scene
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stage.kill_agent();
    }
}

impl Scene {
    /// Why the card has failed, if it has.
    fn failed(&self) -> Option<String> {
        match self.health() {
            Some(Health::Failed(why)) => Some(why),
            _ => None,
        }
    }

    fn health(&self) -> Option<Health> {
        let card = |script: &crate::server::Script| {
            let devices = &script.inventory.as_ref()?.devices;
            let card = devices.iter().find(|device| device.id.as_str() == CARD)?;
            Some(card.health.clone())
        };
        self.stage.server.look(card)
    }

    /// An order for the card.
    fn order(&self, lease: u64, mechanism: Mechanism) -> LeaseOrder {
        let mut order = order(lease, "exec sleep 600");
        order.lease.slices[0].device = CARD.parse().unwrap();
        order.lease.slices[0].mechanism = mechanism;
        order
    }

    /// The process of a started lease.
    fn process(&self, lease: u64) -> u32 {
        match self.stage.shim(lease).phase {
            ShimPhase::Started { pid, .. } => pid,
            other => panic!("{other:?}"),
        }
    }

    /// A process is on the card from now on, as its driver sees it.
    fn on_card(&self, pid: u32) -> Client {
        let client = Client::connect(&self.socket, pid).unwrap();
        assert_eq!(client.ask(Ask::Open).unwrap()[0], 0);
        client
    }

    async fn found(&self, lease: u64, rule: Rule, pid: u32) -> polder_model::Finding {
        let of = |stage: &Stage| {
            let findings = stage.report(lease)?.findings;
            findings.into_iter().find(|one| one.rule == rule && one.pid == pid)
        };
        self.stage.until(&format!("{rule:?} of {pid}"), |stage| of(stage).is_some()).await;
        of(&self.stage).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_card_says_of_itself_reaches_its_lease_and_the_inventory() {
    let scene = scene().await;
    let stage = &scene.stage;
    stage.run(scene.order(1, Mechanism::Whole)).await;
    stage.until_started(1).await;
    let device = Client::connect(&scene.socket, 4321).unwrap();
    device.tell(Ask::Throttle { reasons: 0x84, speed: 500 }).unwrap();
    let slowed = |stage: &Stage| {
        let sample = stage.report(1).and_then(|report| report.sample);
        sample.map(|sample| sample.devices[0].throttle.clone())
    };
    let expect = Some(vec![Throttle::PowerCap, Throttle::PowerBrake]);
    stage.until("the reasons", |stage| slowed(stage) == expect).await;
    device.tell(Ask::Throttle { reasons: 0, speed: 1000 }).unwrap();
    stage.until("no reasons", |stage| slowed(stage) == Some(vec![])).await;

    device.tell(Ask::Fail { xid: 13, pid: 1 }).unwrap();
    let finding = scene.found(1, Rule::DeviceFault, 0).await;
    assert!(finding.evidence.contains("XID 13") && !finding.ended, "{finding:?}");
    assert_eq!(scene.health(), Some(Health::Healthy));

    device.tell(Ask::Fail { xid: 48, pid: 0 }).unwrap();
    stage.until("the card has failed", |_| scene.failed().is_some()).await;
    let why = scene.failed().unwrap();
    assert!(why.contains("XID 48") && why.contains("reset the card"), "{why}");
    // What follows is the server's to say.
    stage.bury(1, StopReason::DeviceLost { why: why.clone() });
    assert_eq!(stage.end_of(1).await.outcome, Outcome::Lost { why });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_failed_comes_back_when_it_is_found_healthy_and_is_watched_again() {
    let scene = scene_with(&[(FAILED_PERIOD_VARIABLE, "50")]).await;
    let stage = &scene.stage;
    // Nobody watches a card that no lease has: the first fault is heard once one has.
    stage.run(scene.order(1, Mechanism::Whole)).await;
    stage.until_started(1).await;
    let device = Client::connect(&scene.socket, 4321).unwrap();
    device.tell(Ask::Throttle { reasons: 0x84, speed: 500 }).unwrap();
    let is_watched = |stage: &Stage| {
        let sample = stage.report(1).and_then(|report| report.sample);
        sample.is_some_and(|sample| !sample.devices[0].throttle.is_empty())
    };
    stage.until("the card is watched", is_watched).await;
    for _ in 0..2 {
        device.tell(Ask::Fail { xid: 48, pid: 0 }).unwrap();
        stage.until("the card has failed", |_| scene.failed().is_some()).await;
        stage.until("nobody watches it", |stage| !is_watched(stage)).await;
        stage.until("it is back", |_| scene.health() == Some(Health::Healthy)).await;
        stage.until("it is watched again", is_watched).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_whose_driver_asks_for_a_reset_has_failed() {
    // NVML_ERROR_RESET_REQUIRED, in a call that the look at devices does not make.
    let fails =
        "nvmlDeviceGetCurrentClocksThrottleReasons:16,nvmlDeviceGetCurrentClocksEventReasons:16";
    let scene = scene_with(&[(FAIL_VARIABLE, fails)]).await;
    let stage = &scene.stage;
    stage.run(scene.order(1, Mechanism::Whole)).await;
    stage.until("the card has failed", |_| scene.failed().is_some()).await;
    let why = scene.failed().unwrap();
    assert!(why.contains("asks for a reset") && why.contains("--gpu-reset"), "{why}");
}

/// A process that ends with the test.
struct Stranger(Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_the_driver_lists_without_a_slot_is_found_and_a_leases_own_is_ended() {
    let scene = scene().await;
    let stage = &scene.stage;
    stage.run(scene.order(1, Mechanism::TimeSlice)).await;
    stage.until_started(1).await;
    let stranger = Stranger(Command::new("sleep").arg("600").spawn().unwrap());
    let _other = scene.on_card(stranger.0.id());
    let finding = scene.found(1, Rule::Stranger, stranger.0.id()).await;
    assert!(finding.evidence.contains(CARD) && !finding.ended, "{finding:?}");
    assert_eq!(finding.program, "sleep");

    let pid = scene.process(1);
    let _own = scene.on_card(pid);
    let finding = scene.found(1, Rule::NoSlot, pid).await;
    assert!(finding.evidence.contains("lists it on GPU-") && finding.ended, "{finding:?}");
    assert!(matches!(stage.end_of(1).await.outcome, Outcome::Signalled { signal: 9 }));
}
