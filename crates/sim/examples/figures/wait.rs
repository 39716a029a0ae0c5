//! Waiting: the Gaia trace of three months through a flat pool of 2,004 processors.

use polder_sim::figure::{Figure, Target};
use polder_sim::learn::{Paired, Search, Split, Verdict};
use polder_sim::wait::{
    Counted, Oracle, Rules, Summary, Trace, accuracy, daily_waits, demand, learned, read_file,
    replay,
};

/// Weeks of the trace; the last is not whole.
const WEEKS: usize = 13;
/// Days of the trace; the last is not whole.
const DAYS: u32 = 90;
/// Mean wait that the trace itself recorded, in seconds.
const HISTORICAL_WAIT_SECONDS: f64 = 885.0;

/// Measures it all; a smoke run takes the first three weeks and searches little.
pub(crate) fn run(quick: bool) -> Result<Vec<Figure>, String> {
    let path = polder_sim::traces::file("gaia/UniLu-Gaia-2014-2.swf.gz")?;
    let whole = read_file(&path).map_err(|error| error.to_string())?;
    eprintln!("{} jobs, {} rows left out", whole.jobs.len(), whole.refused_lines.len());
    let trace = if quick { whole.first(3 * 7 * 86_400) } else { whole };
    let mut figures = predictions(&trace);
    figures.extend(by_weeks(&trace, if quick { 3 } else { WEEKS }));
    figures.extend(tuned(&trace, quick)?);
    Ok(figures)
}

fn name(rest: &str) -> String {
    format!("Gaia, {rest}")
}

fn predictions(trace: &Trace) -> Vec<Figure> {
    eprintln!("predictions");
    let of = |oracle| accuracy(trace, oracle);
    let (estimates, last) = (of(Oracle::Estimates), of(Oracle::LastTwo));
    let (median, engine) = (of(Oracle::UserMedian), of(Oracle::Engine));
    let ratio = |who: &str, value: f64| {
        Figure::shown(name(&format!("{who}: median error")), value, "times")
    };
    let under = |who: &str, value: f64| {
        Figure::shown(name(&format!("{who}: ran longer than said")), 100.0 * value, "%")
    };
    let mut figures = vec![
        ratio("users' estimates", estimates.ratio_median),
        ratio("last two runs of the user", last.ratio_median).against(estimates.ratio_median),
        ratio("median of the user's last 32", median.ratio_median).against(estimates.ratio_median),
        ratio("predicted", engine.ratio_median)
            .against(median.ratio_median)
            .target(Target::AtMost(median.ratio_median)),
        Figure::shown(name("predicted: nine of ten are off by at most"), engine.ratio_p90, "times")
            .against(median.ratio_p90),
        under("users' estimates", estimates.under),
        under("last two runs of the user", last.under),
        under("median of the user's last 32", median.under),
        under("predicted p50", engine.under),
    ];
    if let Some(covered) = engine.covered {
        let covered =
            Figure::shown(name("predicted: at most as long as p90"), 100.0 * covered, "%");
        figures.push(covered.against(90.0).target(Target::Within(3.0)));
    }
    if let Some((sure, unsure)) = engine.ratio_by_doubt {
        figures.push(ratio("predicted, the half with less doubt", sure).against(unsure));
    }
    let hours = demand(trace);
    let error = |who: &str, value: f64| {
        Figure::shown(
            name(&format!("demand of an hour, a day ahead, {who}: mean error")),
            value,
            "processors",
        )
    };
    figures.push(error("the same hour a week before", hours.last_week));
    figures.push(error("the same hour a day before", hours.last_day));
    figures.push(error("the mean so far", hours.mean));
    let best = hours.last_week.min(hours.last_day).min(hours.mean);
    figures.push(error("predicted", hours.engine).against(best).target(Target::AtMost(best)));
    figures
}

fn rows(rules: &Rules, summary: &Summary) -> Vec<Figure> {
    let row = |what: &str, value: f64, unit: &str| {
        Figure::shown(name(&format!("{}: {what}", rules.name)), value, unit)
    };
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (p99, lost) =
        (summary.wait_p99_seconds as f64, summary.lost_processor_seconds as f64 / 86_400.0);
    let [interactive, default, yielding] = summary.queues.map(|queue| queue.wait_mean_seconds());
    vec![
        row("mean wait", summary.all.wait_mean_seconds(), "s").against(HISTORICAL_WAIT_SECONDS),
        row("p99 wait", p99, "s"),
        row("mean bounded slowdown", summary.all.slowdown_mean(), "times"),
        row("mean wait, interactive", interactive, "s"),
        row("mean wait, default queue", default, "s"),
        row("mean wait, best effort", yielding, "s"),
        row("utilisation", 100.0 * summary.utilisation, "%"),
        row("preempted work", lost, "processor days"),
    ]
}

/// A paired difference and its interval, as three figures.
fn interval(what: &str, over: &str, unit: &str, paired: Option<Paired>) -> Vec<Figure> {
    let Some(paired) = paired else { return Vec::new() };
    let figure =
        |part: &str, value: f64| Figure::shown(name(&format!("{what}, {part}")), value, unit);
    vec![
        figure(&format!("mean of {} {over}", paired.pairs), paired.mean),
        figure("lower end of the 95 % interval", paired.low),
        figure("upper end of the 95 % interval", paired.high),
    ]
}

fn by_weeks(trace: &Trace, weeks: usize) -> Vec<Figure> {
    let mut figures = Vec::new();
    let (mut estimates, mut waits, mut means) = (None, Vec::new(), Vec::new());
    for rules in Rules::table() {
        eprintln!("{}", rules.name);
        let summary = replay(trace, &rules).summary;
        let mut rows = rows(&rules, &summary);
        let mean = summary.all.wait_mean_seconds();
        match (rules.name.as_str(), estimates) {
            ("EASY, users' estimates", _) => estimates = Some(mean),
            ("EASY, predicted", Some(estimates)) => {
                if let Some(first) = rows.first_mut() {
                    *first = first.clone().against(estimates).target(Target::AtMost(estimates));
                }
            }
            _ => {}
        }
        figures.extend(rows);
        means.push((rules.name.clone(), mean));
        let of_weeks: Vec<_> = summary.weeks().into_iter().take(weeks).collect();
        waits.push((rules.name, of_weeks));
    }
    let of = |name: &str, value: fn(&Counted) -> f64| -> Vec<f64> {
        let weeks = waits.iter().find(|(rules, _)| rules == name).map(|(_, weeks)| weeks);
        weeks.into_iter().flatten().map(value).collect()
    };
    figures.extend(recovered(&means));
    let easy = "EASY, users' estimates";
    for rules in ["EASY, predicted", "time of day, predicted", "shortest predicted first"] {
        let less = |value| Paired::of(&of(rules, value), &of(easy, value));
        let what = |what: &str| format!("{rules}: {what} less that of EASY on users' estimates");
        figures.extend(interval(
            &what("mean wait"),
            "weeks",
            "s",
            less(Counted::wait_mean_seconds),
        ));
        let slowdown = less(Counted::slowdown_mean);
        figures.extend(interval(&what("mean bounded slowdown"), "weeks", "times", slowdown));
    }
    figures
}

/// What predictions gain over users' estimates, against what true run times gain. A job's run is
/// what it is, so what waits become shorter completion times do too.
fn recovered(means: &[(String, f64)]) -> Vec<Figure> {
    let mean = |rules: &str| means.iter().find(|(name, _)| name == rules).map(|(_, mean)| *mean);
    let orders = [
        ("EASY", "EASY, users' estimates", "EASY, predicted", "mark: EASY, true run times"),
        (
            "shortest first",
            "shortest first, users' estimates",
            "shortest predicted first",
            "mark: shortest first, true run times",
        ),
    ];
    let mut figures = Vec::new();
    for (order, said, predicted, truth) in orders {
        let (Some(said), Some(predicted), Some(truth)) = (mean(said), mean(predicted), mean(truth))
        else {
            continue;
        };
        let gain = |who: &str, value: f64| {
            let what = format!("{order}: completion sooner than by users' estimates, {who}");
            Figure::shown(name(&what), value, "s")
        };
        figures.push(gain("true run times", said - truth));
        figures.push(gain("predicted", said - predicted).against(said - truth));
    }
    figures
}

fn tuned(trace: &Trace, quick: bool) -> Result<Vec<Figure>, String> {
    let (search, split) = if quick {
        let split = Split { train: 0..7, held_out: 7..14, shadow: 14..21 };
        (Search { seed: 42, generations: 1, children: 2 }, split)
    } else {
        let split = Split { train: 0..49, held_out: 49..77, shadow: 77..DAYS };
        (Search { seed: 42, generations: 12, children: 10 }, split)
    };
    eprintln!("tuning weights of an order on days {:?}", split.train);
    let (record, rules) = learned(trace, search, &split);
    let text = serde_json::to_string_pretty(&record).map_err(|error| error.to_string())?;
    eprintln!("{text}");
    let mut figures = rows(&rules, &replay(trace, &rules).summary);
    let was_admitted = f64::from(u8::from(record.verdict == Verdict::Admitted));
    figures.push(Figure::shown(name("learned: admitted (1) or refused (0)"), was_admitted, ""));
    let what = |against: &str| format!("learned: mean wait of a day less that of {against}");
    let found = &record.found;
    let trained = Figure::shown(name("learned: mean wait of a day of training"), found.cost, "s");
    figures.push(trained.against(found.cost_at_start));
    for beside in &record.beside {
        let what = format!("{}, days not seen", what(&beside.name));
        figures.extend(interval(&what, "days", "s", beside.difference));
    }
    let shadow = format!("{}, shadow run", what("shortest predicted first"));
    figures.extend(interval(&shadow, "days", "s", record.shadow));
    // Days follow from one another; weeks hardly do. The same comparison by whole weeks.
    let unseen = split.held_out.start..split.shadow.end;
    for plain in Rules::table() {
        if matches!(plain.name.as_str(), "EASY, predicted" | "shortest predicted first") {
            let weeks = |rules: &Rules| {
                let days = daily_waits(trace, rules, unseen.clone());
                let weeks = days.chunks_exact(7).map(|week| week.iter().sum::<f64>() / 7.0);
                weeks.collect::<Vec<f64>>()
            };
            let paired = Paired::of(&weeks(&rules), &weeks(&plain));
            let what = format!("{}, all later weeks", what(&plain.name));
            figures.extend(interval(&what, "weeks", "s", paired));
        }
    }
    Ok(figures)
}
