//! An agent on a node with a stand-in card, of which the stand-in NVML of `tests/standin` tells. No card
//! is there; the leases, their shims and their processes are real.

use crate::entry::STANDIN_VARIABLES;
use crate::kit::{Stage, order};
use polder_agent::shim::ShimPhase;
use polder_model::{Health, LeaseOrder, Mechanism, Outcome, Rule, StopReason, Throttle};
use polder_standin_host::{Ask, Client, Script, serve};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the stand-in's one device is called.
const CARD: &str = "GPU-7374616e-642d-696e-2064-657669636530";

/// A stand-in H200, and a node that has it.
struct Scene {
    stage: Stage,
    socket: PathBuf,
    over: Arc<AtomicBool>,
    host: Option<std::thread::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

async fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("device");
    let over = Arc::new(AtomicBool::new(false));
    let (at, told) = (socket.clone(), Arc::clone(&over));
    let script = Script { model: 3 };
    let host = std::thread::spawn(move || {
        serve(&at, script, || told.load(Ordering::Acquire)).unwrap();
    });
    let mut stage = Stage::without_agent();
    stage.until("the stand-in's socket", |_| socket.exists()).await;
    let built = std::env::current_exe().unwrap().with_file_name("libstandin_nvml.so");
    let [device, nvml] = STANDIN_VARIABLES;
    stage.start_agent_with(&[(device, socket.clone()), (nvml, built)]);
    let scene = Scene { stage, socket, over, host: Some(host), _folder: folder };
    scene.stage.until("the card", |_| scene.health() == Some(Health::Healthy)).await;
    scene
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stage.kill_agent();
        self.over.store(true, Ordering::Release);
        if let Some(host) = self.host.take() {
            // It has said what went wrong, if anything did.
            let _ = host.join();
        }
    }
}

impl Scene {
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
    let failed = |health: Option<Health>| match health {
        Some(Health::Failed(why)) => Some(why),
        _ => None,
    };
    stage.until("the card has failed", |_| failed(scene.health()).is_some()).await;
    let why = failed(scene.health()).unwrap();
    assert!(why.contains("XID 48") && why.contains("reset the card"), "{why}");
    // What follows is the server's to say.
    stage.bury(1, StopReason::DeviceLost { why: why.clone() });
    assert_eq!(stage.end_of(1).await.outcome, Outcome::Lost { why });
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
