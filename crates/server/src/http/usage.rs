//! What was leased and used: ended leases from the archive, live ones as of now.

use super::extract::Params;
use super::{ApiError, App, sees, visible};
use crate::api::{
    DemandAhead, DemandHour, DemandQuery, LIST_LIMIT_MAX, UsageBy, UsageQuery, UsageReport,
    UsageRow,
};
use crate::auth::{Action, Caller, decide};
use crate::journal::{EndedTerms, UsageSum};
use axum::Json;
use axum::extract::State;
use polder_engine::predict::HOURS_AHEAD_MAX;
use polder_model::{
    Device, Health, JobId, Lease, LeaseId, LeaseSample, Micros, TenantPath, Timestamp, UserName,
};
use std::collections::BTreeMap;

type Key = (TenantPath, Option<UserName>, Option<JobId>);

/// What tenants, users or jobs leased and used.
#[utoipa::path(
    get, path = "/api/v1/usage", tag = "usage", params(UsageQuery),
    responses((status = 200, description = "The sums", body = UsageReport))
)]
pub(super) async fn usage(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<UsageQuery>,
) -> Result<Json<UsageReport>, ApiError> {
    let by = query.by;
    let wanted = query.tenant.clone();
    // Live leases first: one that ends in between is then counted once or twice by the length of
    // this call, never lost; its archived row replaces the live one below.
    let (who, now, live) = app
        .read(caller, move |view, who| {
            let within = |lease: &&Lease| {
                sees(who, &lease.tenant)
                    && wanted.as_ref().is_none_or(|tenant| lease.tenant.is_within(tenant))
            };
            let live = view.engine.leases().filter(within).filter_map(|lease| {
                let ran = view.at.since(view.engine.term_since(lease.id)?);
                Some((lease.clone(), ran, view.nodes.sample(&lease.node, lease.id).cloned()))
            });
            Ok((who.clone(), view.at, live.collect::<Vec<_>>()))
        })
        .await?;
    let tenants = match query.tenant {
        Some(tenant) if sees(&who, &tenant) => Some(vec![tenant]),
        Some(_) => Some(Vec::new()),
        None => visible(&who),
    };
    let ended = app.archive.usage(tenants.as_deref(), query.since, by, LIST_LIMIT_MAX).await?;
    let ids: Vec<LeaseId> = live.iter().map(|(lease, ..)| lease.id).collect();
    let terms = app.archive.ended_terms(&ids, query.since).await?;
    Ok(Json(report(ended, &terms, &live, by, now)))
}

/// What jobs will probably ask for in each of the hours ahead, from the hours that were.
#[utoipa::path(
    get, path = "/api/v1/demand", tag = "usage", params(DemandQuery),
    responses((status = 200, description = "The hours ahead", body = DemandAhead))
)]
pub(super) async fn demand(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<DemandQuery>,
) -> Result<Json<DemandAhead>, ApiError> {
    const HOUR: u64 = 3_600_000_000;
    let most = HOURS_AHEAD_MAX;
    let hours = usize::try_from(query.hours).ok().filter(|hours| (1..=most).contains(hours));
    let Some(hours) = hours else {
        let detail = format!("hours is {}: it must lie between 1 and {most}", query.hours);
        return Err(ApiError::bad_request(detail));
    };
    let ahead = app.read(caller, move |view, who| {
        decide(who, Action::SeePool)?;
        let next = view.at.0 / HOUR + 1;
        let expected = view.engine.demand_ahead(view.at, hours);
        let hours = (next..).zip(expected).map(|(hour, expected)| DemandHour {
            from: Timestamp(hour * HOUR),
            mean: expected.is_known.then_some(expected.mean),
            p50: expected.p50,
            p90: expected.p90,
            p99: expected.p99,
        });
        let nodes = view.engine.nodes().filter(|node| !node.silent);
        let healthy = |device: &&Device| device.health == Health::Healthy;
        let devices = nodes.map(|node| node.inventory.devices.iter().filter(healthy).count());
        let devices = u64::try_from(devices.sum::<usize>()).unwrap_or(u64::MAX);
        Ok(DemandAhead { hours: hours.collect(), devices })
    });
    Ok(Json(ahead.await?))
}

fn report(
    ended: Vec<UsageSum>,
    terms: &BTreeMap<LeaseId, EndedTerms>,
    live: &[(Lease, Micros, Option<LeaseSample>)],
    by: UsageBy,
    now: Timestamp,
) -> UsageReport {
    let mut rows: BTreeMap<Key, UsageRow> = BTreeMap::new();
    for sum in ended {
        let row = row_of(&mut rows, (sum.tenant, sum.user, sum.job));
        row.leases = sum.leases;
        row.leased = Micros(sum.leased_micros);
        row.device_time = Micros(sum.device_micros);
        row.memory_mib_seconds = sum.memory_mib_seconds;
    }
    for (lease, ran, sample) in live {
        let user = (by != UsageBy::Tenant).then(|| lease.user.clone());
        let job = (by == UsageBy::Job).then_some(lease.job);
        let row = row_of(&mut rows, (lease.tenant.clone(), user, job));
        let terms = terms.get(&lease.id);
        // Its earlier terms are among what has ended.
        row.leases += u64::from(!terms.is_some_and(|terms| terms.counted));
        row.running += 1;
        for slice in &lease.slices {
            row.leased.0 += u64::from(slice.compute.0).saturating_mul(ran.0) / 1000;
            let byte_micros = u128::from(slice.memory.0) * u128::from(ran.0);
            let mib_seconds = u64::try_from(byte_micros / (1 << 20) / 1_000_000);
            row.memory_mib_seconds += mib_seconds.unwrap_or(u64::MAX);
        }
        let used = sample.iter().flat_map(|sample| &sample.devices);
        let used = used.map(|used| used.device_time.0).sum::<u64>();
        row.device_time.0 += used.saturating_sub(terms.map_or(0, |terms| terms.device_micros));
    }
    let rows_max = usize::try_from(LIST_LIMIT_MAX).unwrap_or(usize::MAX);
    UsageReport { rows: rows.into_values().take(rows_max).collect(), now }
}

fn row_of(rows: &mut BTreeMap<Key, UsageRow>, key: Key) -> &mut UsageRow {
    let (tenant, user, job) = key.clone();
    rows.entry(key).or_insert_with(|| UsageRow {
        tenant,
        user,
        job,
        leases: 0,
        running: 0,
        leased: Micros(0),
        device_time: Micros(0),
        memory_mib_seconds: 0,
    })
}
