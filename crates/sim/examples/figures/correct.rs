//! Whether the engine keeps its promises: storms of random events against it, and brute force
//! beside it. What is counted here is what was run; one disagreement ends the part with an error
//! that repeats it.

use polder_sim::figure::{Figure, Target};
use polder_sim::oracle::ORACLES;
use polder_sim::random::Random;
use polder_sim::storm::{Storm, Told};

/// Storms of many events, checked on every 1,000th and the last.
const STORMS: [u64; 4] = [1, 2, 3, 4];
/// Events of all of them together.
const EVENTS: u64 = 1_000_000;
const EVERY: u64 = 1000;
/// Storms of which every event is checked.
const CLOSE: [u64; 4] = [11, 12, 13, 14];
/// Events of all of those together.
const CLOSE_EVENTS: u64 = 20_000;
/// Cases of each oracle.
const CASES: u64 = 20_000;

/// Measures, and gives the figures.
pub(crate) fn run(quick: bool) -> Result<Vec<Figure>, String> {
    let part = if quick { 100 } else { 1 };
    let (events, close, cases) = (EVENTS / part, CLOSE_EVENTS / part, CASES / part);
    let wide = storms(&STORMS, events, EVERY)?;
    let near = storms(&CLOSE, close, 1)?;
    let least = |number: u64| Target::AtLeast(as_f64(number));
    let mut figures = vec![
        Figure::shown("random events without a violation", as_f64(wide.applied), "1")
            .target(least(events)),
        Figure::shown("of them, checked at so many moments", as_f64(wide.checks), "1"),
        Figure::shown("random events without a violation, each checked", as_f64(near.applied), "1")
            .target(least(close)),
        Figure::shown("violations", 0.0, "1").target(Target::AtMost(0.0)),
        Figure::shown("events that make no sense, refused", as_f64(wide.refused), "1"),
        Figure::shown(
            "events replayed from their written form: equal state",
            as_f64(wide.applied + near.applied),
            "1",
        ),
        Figure::shown(
            "plans of a replay: equal decisions",
            as_f64(wide.plans_compared + near.plans_compared),
            "1",
        ),
        Figure::shown("snapshots that a replay went on from", as_f64(wide.snapshots), "1"),
        Figure::shown("jobs explained", as_f64(wide.explained), "1"),
    ];
    for (kind, number) in &wide.kinds {
        figures.push(Figure::shown(format!("random events: {kind}"), as_f64(*number), "1"));
    }
    for oracle in ORACLES {
        eprintln!("{cases} cases of {}", oracle.name);
        for seed in 0..cases {
            let mut random = Random::stream(seed, oracle.name);
            (oracle.case)(&mut random)
                .map_err(|why| format!("{}, seed {seed}: {why}", oracle.name))?;
        }
        let name = format!("cases without a disagreement: {}", oracle.name);
        figures.push(Figure::shown(name, as_f64(cases), "1").target(least(cases)));
    }
    Ok(figures)
}

fn as_f64(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// So many events in storms of these seeds.
fn storms(seeds: &[u64], events: u64, every: u64) -> Result<Told, String> {
    let mut all = Told::default();
    for seed in seeds {
        let each = events / u64::try_from(seeds.len()).unwrap_or(1);
        eprintln!("a storm of {each} events, seed {seed}, checked after every {every}");
        let mut storm = Storm::new(*seed, every);
        storm.run(each).map_err(|broken| broken.to_string())?;
        all.add(storm.told());
    }
    Ok(all)
}
