//! What the pool says of its leases, second by second.

use crate::polder::{Pool, items};
use anyhow::Result;
use serde_json::Value;

/// One lease as of one look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Its job.
    pub(crate) job: u64,
    /// Who pays.
    pub(crate) tenant: String,
    /// Guaranteed compute, thousandths.
    pub(crate) compute: u64,
    /// Memory asked, bytes.
    pub(crate) memory: u64,
    /// Device time charged so far, microseconds.
    pub(crate) device_time: u64,
    /// Of it, while another wanted the device.
    pub(crate) contended: u64,
    /// Bytes held now.
    pub(crate) held: u64,
    /// The most bytes held.
    pub(crate) peak: u64,
}

impl Seen {
    fn read(view: &Value) -> Self {
        let (lease, sample) = (&view["lease"], &view["sample"]["devices"][0]);
        let sample =
            if sample.is_null() { &view["ending"]["end"]["sample"]["devices"][0] } else { sample };
        let slice = &lease["slices"][0];
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        Self {
            job: number(&lease["job"]),
            tenant: lease["tenant"].as_str().unwrap_or_default().to_owned(),
            compute: number(&slice["compute"]),
            memory: number(&slice["memory"]),
            device_time: number(&sample["device_time"]),
            contended: number(&sample["contended_time"]),
            held: number(&sample["memory"]),
            peak: number(&sample["memory_peak"]),
        }
    }
}

/// The last lease of a job, running or over.
pub(crate) fn lease_of(pool: &Pool, job: u64) -> Result<Option<Seen>> {
    let detail = pool.json(["show", &job.to_string()])?;
    Ok(detail["leases"].as_array().and_then(|leases| leases.last()).map(Seen::read))
}

/// Jobs that are not over: number, state, name.
pub(crate) fn live_jobs(pool: &Pool) -> Result<Vec<(u64, String, String)>> {
    let answer = pool.json(["show", "--live"])?;
    let row = |job: &Value| {
        let state = job["state"]["state"].as_str().unwrap_or_default().to_owned();
        let name = job["ask"]["name"].as_str().unwrap_or_default().to_owned();
        Some((job["id"].as_u64()?, state, name))
    };
    Ok(items(&answer).iter().filter_map(row).collect())
}
