//! Completion times on the Muri traces under the published model: published rules reproduced, and
//! Polder's order without anything told of the future.

use polder_model::Term;
use polder_sim::figure::{Figure, Target};
use polder_sim::jct::baseline::{Shortest, Tiresias};
use polder_sim::jct::engine;
use polder_sim::jct::polder::Polder;
use polder_sim::jct::replay::{self, Outcome, Rule};
use polder_sim::jct::trace;
use polder_sim::traces;

/// How far a reproduced value may be from the published one, as a part of it.
const REPRODUCED_WITHIN: f64 = 0.03;
/// Polder's mean at most, as a part of our Tiresias.
const OF_TIRESIAS_AT_MOST: f64 = 0.65;
/// How far above Themis the 99th percentile and the makespan may be.
const TAIL_AT_MOST: f64 = 1.03;

/// Mean and 99th percentile of completion times and makespan, in seconds.
type Times = [f64; 3];

/// What was published for a trace (facts/scheduling.md 2.1).
struct Published {
    trace: &'static str,
    file: &'static str,
    srtf: Times,
    srsf: Times,
    tiresias: Times,
    themis: Times,
    muri_l: Times,
}

const PUBLISHED: [Published; 4] = [
    Published {
        trace: "1",
        file: "muri/trace1.csv",
        srtf: [1_370_603.2, 16_647_148.1, 26_045_465.5],
        srsf: [980_140.6, 15_529_913.2, 26_065_759.0],
        tiresias: [3_330_371.3, 14_739_851.5, 23_556_410.2],
        themis: [1_823_179.1, 17_159_064.1, 24_658_268.6],
        muri_l: [1_072_009.7, 11_322_989.6, 18_593_245.7],
    },
    Published {
        trace: "1'",
        file: "muri/trace1_pr.csv",
        srtf: [2_303_543.8, 19_871_388.3, 24_513_543.9],
        srsf: [1_801_860.0, 18_267_307.8, 24_272_529.6],
        tiresias: [6_921_682.8, 21_765_400.8, 21_990_477.8],
        themis: [3_314_303.2, 20_555_281.2, 23_369_493.5],
        muri_l: [2_141_936.5, 13_214_336.4, 16_639_500.4],
    },
    Published {
        trace: "2",
        file: "muri/trace2.csv",
        srtf: [2_665_607.4, 33_128_484.2, 48_847_005.2],
        srsf: [2_213_949.7, 31_241_250.8, 49_026_465.3],
        tiresias: [7_396_368.5, 37_913_098.5, 48_117_093.3],
        themis: [4_628_171.5, 37_238_062.1, 47_292_466.5],
        muri_l: [2_544_642.4, 22_192_059.1, 32_826_803.0],
    },
    Published {
        trace: "2'",
        file: "muri/trace2_pr.csv",
        srtf: [4_079_154.5, 36_640_840.0, 48_697_595.0],
        srsf: [3_384_600.4, 34_656_644.1, 47_972_347.6],
        tiresias: [10_555_502.0, 44_369_455.2, 47_686_997.6],
        themis: [12_529_490.8, 44_858_584.4, 49_310_174.6],
        muri_l: [4_152_485.5, 24_767_218.8, 31_782_578.8],
    },
];

pub(crate) fn run(quick: bool) -> Result<Vec<Figure>, String> {
    let mut figures = Vec::new();
    for published in &PUBLISHED[..if quick { 1 } else { PUBLISHED.len() }] {
        figures.extend(trace(published)?);
    }
    Ok(figures)
}

fn trace(published: &Published) -> Result<Vec<Figure>, String> {
    let path = traces::file(published.file)?;
    let jobs = trace::read(&path).map_err(|error| error.to_string())?;
    let run = |name: &str, mut rule: Box<dyn Rule>| {
        eprintln!("jct: trace {}, {name}", published.trace);
        let outcome = replay::run(&jobs, rule.as_mut());
        outcome.map(|outcome| times(&outcome)).map_err(|error| format!("{name}: {error}"))
    };
    let srtf = run("SRTF", Box::new(Shortest::time()))?;
    let srsf = run("SRSF", Box::new(Shortest::service()))?;
    let tiresias = run("Tiresias", Box::<Tiresias>::default())?;
    let told = run("Gittins", Box::new(Polder::told_lengths(&jobs)))?;
    let polder = run("Polder", Box::<Polder>::default())?;
    let sharing = run("Polder sharing", Box::new(Polder::sharing()))?;

    let figure = |rule: &str, what: usize, times: Times| {
        let name = ["mean", "p99", "makespan"][what];
        Figure::shown(format!("jct trace {}: {rule}, {name}", published.trace), times[what], "s")
    };
    let against = |rule: &str, what: usize, ours: Times, base: Times| {
        figure(rule, what, ours).against(base[what])
    };
    let at_most = |rule: &str, what: usize, ours: Times, base: Times, part: f64| {
        against(rule, what, ours, base).target(Target::AtMost(base[what] * part))
    };
    let mut figures = Vec::new();
    let reproduced = [
        ("SRTF reproduced", srtf, published.srtf),
        ("SRSF reproduced", srsf, published.srsf),
        ("Tiresias reproduced", tiresias, published.tiresias),
    ];
    for (rule, ours, base) in reproduced {
        let within = |what: usize| Target::Within(base[what] * REPRODUCED_WITHIN);
        figures.extend((0..3).map(|what| against(rule, what, ours, base).target(within(what))));
    }
    let mark = "Gittins told the lengths by width, against our SRSF";
    figures.extend((0..3).map(|what| against(mark, what, told, srsf)));
    let themis = |what: usize, part: f64| {
        at_most("Polder against Themis", what, polder, published.themis, part)
    };
    figures.extend([
        at_most("Polder against our Tiresias", 0, polder, tiresias, OF_TIRESIAS_AT_MOST),
        themis(0, 1.0),
        themis(1, TAIL_AT_MOST),
        themis(2, TAIL_AT_MOST),
        against("Polder against our SRSF", 0, polder, srsf),
    ]);
    let policies = [
        ("the index", engine::policy(Term::Gittins)),
        ("the index, EASY on predictions", engine::beside(engine::policy(Term::Gittins))),
        ("least service", engine::policy(Term::LeastService)),
    ];
    for (name, policy) in policies {
        eprintln!("jct: trace {}, the engine by {name}", published.trace);
        let outcome = engine::run(&jobs, policy).map_err(|error| error.to_string())?;
        let (ours, rule) = (times(&outcome), format!("the whole engine by {name}"));
        let rule = format!("{rule}, against our Tiresias");
        let mean = if name.contains("EASY") {
            at_most(&rule, 0, ours, tiresias, OF_TIRESIAS_AT_MOST)
        } else {
            against(&rule, 0, ours, tiresias)
        };
        figures.push(mean);
        figures.extend([1, 2].map(|what| against(&rule, what, ours, tiresias)));
    }
    let rule = "Polder sharing against Muri-L";
    figures.push(at_most(rule, 0, sharing, published.muri_l, 1.0));
    figures.extend([1, 2].map(|what| against(rule, what, sharing, published.muri_l)));
    Ok(figures)
}

fn times(outcome: &Outcome) -> Times {
    [outcome.mean(), outcome.p99(), outcome.makespan]
}
