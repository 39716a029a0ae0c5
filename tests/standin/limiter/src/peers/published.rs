//! What the first simulation of HAMi-core's bucket showed (one saturating process, mean of the
//! driver's utilisation readings in the second half of 30 s): a port that does not lead there is not
//! the same algorithm.

use polder_standin::{A100, BLACKWELL188, H200, Kernel, Model, RTX3080, V100, Work};

/// One cell: device, kernel, limit in percent, and the mean reading in percent.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    /// The device.
    pub model: Model,
    /// The kernel's blocks and length in nanoseconds.
    pub kernel: (u32, u64),
    /// The limit, percent.
    pub limit: u32,
    /// The mean of the readings, percent.
    pub reading: f64,
}

impl Published {
    /// The kernel as work. The threads of its blocks do not matter to the bucket.
    #[must_use]
    pub fn work(&self) -> Work {
        Work::Kernel(Kernel::scripted(self.kernel.0, 256, self.kernel.1))
    }
}

/// By limit and mean reading, percent.
type Cells = &'static [(u32, u32)];

const KERNELS: [(u32, u64); 4] =
    [(132, 10_000), (1024, 50_000), (4096, 1_000_000), (65_536, 200_000)];

/// By device, its cells for each of [`KERNELS`].
const ROWS: [(Model, [Cells; 4]); 5] = [
    (
        V100,
        [
            &[(30, 31), (50, 51), (80, 80)],
            &[(30, 31), (50, 50), (80, 80)],
            &[(30, 36), (50, 58), (80, 85)],
            &[(30, 31), (50, 100), (80, 100)],
        ],
    ),
    (
        A100,
        [
            &[(30, 31), (50, 54)],
            &[(30, 31), (50, 50)],
            &[(10, 13), (30, 41), (50, 64)],
            &[(30, 29), (50, 50), (80, 100)],
        ],
    ),
    (
        H200,
        [
            &[(30, 35), (50, 57), (80, 84)],
            &[(30, 31), (50, 54)],
            &[(10, 17), (30, 43), (50, 67), (80, 90)],
            &[(30, 30), (50, 49), (80, 100)],
        ],
    ),
    (
        BLACKWELL188,
        [
            &[(30, 37), (50, 60)],
            &[(30, 34), (50, 58)],
            &[(10, 15), (30, 49), (50, 71), (80, 93)],
            &[(30, 31), (50, 50), (80, 100)],
        ],
    ),
    (
        RTX3080,
        [
            &[(30, 30), (50, 50)],
            &[(30, 31), (50, 51)],
            &[(30, 31), (50, 54)],
            &[(10, 21), (30, 48), (50, 100), (80, 100)],
        ],
    ),
];

/// Every cell.
#[must_use]
pub fn published() -> Vec<Published> {
    let mut all = Vec::new();
    for (model, rows) in ROWS {
        for (cells, kernel) in rows.iter().zip(KERNELS) {
            let cell =
                |&(limit, reading)| Published { model, kernel, limit, reading: f64::from(reading) };
            all.extend(cells.iter().map(cell));
        }
    }
    all
}
