//! Leases side by side on a card of AMD's, under masks of its compute units.
//!
//! No card is there: a STAND-IN for the vendor's OpenCL driver tells of one, and files like the kernel's
//! tell of its compute units. The agent, the shims and their programs are real, and nothing computes: what
//! is shown is which units each program is told.

use crate::entry::AMD_VARIABLE;
use crate::kit::{Stage, order};
use polder_model::{Device, LeaseOrder, Mechanism, Outcome, Permille, StopReason};
use std::path::{Path, PathBuf};

const CARD: &str = "opencl-0-0";
/// 60 compute units in three engines, of a kind that has them in pairs: atoms of six.
const KFD: &str = "simd_count 120\nsimd_per_cu 2\narray_count 6\nsimd_arrays_per_engine 2\n\
    gfx_target_version 110001\nlocation_id 768\ndomain 0\nunique_id 81985529216486895\nnum_xcc 1\n";

struct Scene {
    stage: Stage,
    root: tempfile::TempDir,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stage.kill_agent();
    }
}

impl Scene {
    /// A machine whose kernel tells of the card's units in this way, if it does.
    async fn new(kfd: Option<&str>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let vendors = root.path().join("vendors");
        std::fs::create_dir(&vendors).unwrap();
        let library = std::env::current_exe().unwrap().with_file_name("libstandin_opencl.so");
        std::fs::write(vendors.join("standin.icd"), library.display().to_string()).unwrap();
        let mut scene = Self { stage: Stage::without_agent(), root };
        kfd.inspect(|text| scene.tell(text));
        scene.start();
        scene.stage.until("the card", |_| scene.device().is_some()).await;
        scene
    }

    fn tell(&self, kfd: &str) {
        let node = self.root.path().join("sys/class/kfd/kfd/topology/nodes/1");
        std::fs::create_dir_all(&node).unwrap();
        std::fs::write(node.join("properties"), kfd).unwrap();
    }

    fn start(&mut self) {
        let root = self.root.path().to_owned();
        self.stage.start_agent_with(&[(AMD_VARIABLE, root)]);
    }

    fn device(&self) -> Option<Device> {
        self.stage.server.look(|script| {
            let devices = &script.inventory.as_ref()?.devices;
            devices.iter().find(|device| device.id.as_str() == CARD).cloned()
        })
    }

    /// Runs a program with a part of the card, which says what it was told and waits for `until`.
    async fn run(&self, lease: u64, compute: u32, until: &Path) -> Vec<String> {
        let script =
            format!("env; echo over; until [ -e {} ]; do sleep 0.02; done", until.display());
        self.stage.run(self.order(lease, compute, &script)).await;
        let over = |stage: &Stage| stage.output(lease).ends_with("over\n");
        self.stage.until_started(lease).await;
        self.stage.until("its environment", over).await;
        self.stage.output(lease).lines().map(str::to_owned).collect()
    }

    fn order(&self, lease: u64, compute: u32, script: &str) -> LeaseOrder {
        let mut order = order(lease, script);
        let slice = &mut order.lease.slices[0];
        slice.device = CARD.parse().unwrap();
        slice.mechanism = Mechanism::Spatial;
        (slice.compute, slice.compute_max) = (Permille(compute), Permille(compute));
        for name in ["HSA_CU_MASK", "ROC_GLOBAL_CU_MASK", "HIP_VISIBLE_DEVICES"] {
            order.work.environment.insert(name.into(), "0:0-59".into());
        }
        order
    }
}

fn has(environment: &[String], line: &str) {
    assert!(environment.iter().any(|it| it == line), "no {line} in {environment:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_told_units_of_their_own_across_agents() {
    let mut scene = Scene::new(Some(KFD)).await;
    let device = scene.device().unwrap();
    assert_eq!(device.mechanisms, [Mechanism::Spatial, Mechanism::Whole]);
    assert!(device.features.contains("cu_mask"), "{device:?}");
    assert_eq!(device.pci_address.as_deref(), Some("0000:03:00.0"));

    let until: PathBuf = scene.root.path().join("until");
    let first = scene.run(1, 300, &until).await;
    has(&first, "HSA_CU_MASK=0:0-17");
    has(&first, "ROCR_VISIBLE_DEVICES=GPU-0123456789abcdef");
    for name in ["ROC_GLOBAL_CU_MASK=", "HIP_VISIBLE_DEVICES=", "POLDER_SOCKET="] {
        assert!(!first.iter().any(|line| line.starts_with(name)), "{name} in {first:?}");
    }
    let second = scene.run(2, 250, &until).await;
    has(&second, "HSA_CU_MASK=0:18-29");

    // Another agent knows who has what, and what ends is free again.
    scene.stage.kill_agent();
    scene.start();
    let third = scene.run(3, 100, &until).await;
    has(&third, "HSA_CU_MASK=0:30-35");
    scene.stage.bury(1, StopReason::Cancelled { by: "ada".parse().unwrap() });
    scene.stage.end_of(1).await;
    let fourth = scene.run(4, 100, &until).await;
    has(&fourth, "HSA_CU_MASK=0:0-5");

    // Less than can be told apart is refused, and says what is enough.
    scene.stage.order(scene.order(5, 50, "true"));
    let end = scene.stage.end_of(5).await;
    let refused = |why: &str| why.contains("ask for 10%");
    assert!(matches!(&end.outcome, Outcome::NotStarted { why } if refused(why)), "{end:?}");
    std::fs::write(&until, "").unwrap();
    for lease in [2, 3, 4] {
        scene.stage.end_of(lease).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_whose_units_the_kernel_does_not_tell_stays_as_it_is() {
    let scene = Scene::new(None).await;
    let device = scene.device().unwrap();
    assert_eq!(device.mechanisms, [Mechanism::TimeSlice, Mechanism::Whole]);
    assert!(!device.features.contains("cu_mask"), "{device:?}");
}
