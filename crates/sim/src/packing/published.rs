//! What was published for these workloads: the mean of ten seeds at 130 % arrived, in hundredths of
//! all device compute (Weng et al., ATC 2023, expected results of the artifact).

/// A workload and its published values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Published {
    /// The list of pods.
    pub workload: &'static str,
    /// Best fit, per cent of all device compute.
    pub best_fit: f64,
    /// Fragmentation gradient descent, per cent of all device compute.
    pub fgd: f64,
}

const fn of(workload: &'static str, best_fit: f64, fgd: f64) -> Published {
    Published { workload, best_fit, fgd }
}

/// All workloads.
pub const PUBLISHED: [Published; 17] = [
    of("default", 93.08, 95.39),
    of("cpu050", 93.79, 95.21),
    of("cpu100", 93.44, 95.35),
    of("cpu200", 92.40, 95.04),
    of("cpu250", 91.45, 93.41),
    of("gpushare40", 91.69, 94.15),
    of("gpushare60", 89.36, 91.40),
    of("gpushare80", 87.01, 89.30),
    of("gpushare100", 85.01, 86.90),
    of("multigpu20", 93.93, 95.65),
    of("multigpu30", 94.72, 96.46),
    of("multigpu40", 95.24, 96.99),
    of("multigpu50", 95.74, 97.18),
    of("gpuspec10", 93.30, 94.95),
    of("gpuspec20", 93.30, 94.84),
    of("gpuspec25", 93.23, 94.74),
    of("gpuspec33", 93.09, 94.55),
];

/// Seeds on which rules may be tuned.
pub const SEEDS_TUNED: [u64; 2] = [42, 43];
/// Seeds on which rules are judged, and not tuned.
pub const SEEDS_JUDGED: [u64; 3] = [44, 45, 46];
