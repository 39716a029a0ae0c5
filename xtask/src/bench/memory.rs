//! Device memory: the cap to the byte, a killed holder's bytes, and a storm of processes.

use super::figures::{Figures, Target};
use super::tenants::Bench;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::process::Stdio;

/// Runs the `storm` program under a lease; it reports what the API itself answered.
pub(crate) fn run(bench: &mut Bench, figures: &mut Figures) -> Result<()> {
    let cap = storm(bench, &["--cap"])?;
    let granted = number(&cap, "granted_bytes")? / 1_048_576.0;
    let limit = number(&cap, "limit_bytes")? / 1_048_576.0;
    figures.add("allocations up to the cap", granted, "MiB", Some(limit), Target::Within(0.0));
    let code = number(&cap, "error_past_cap")?;
    let name = "the first byte past it: CL_MEM_OBJECT_ALLOCATION_FAILURE";
    figures.add(name, code, "error code", Some(-4.0), Target::Within(0.0));

    let kills = bench.choose("300", "20");
    bench.step(&format!("{kills} holders killed"));
    let killed = storm(bench, &["--kills", kills])?;
    let p99 = number(&killed, "freed_ms_p99")?;
    let name = "memory of a killed holder is free after its exit, p99";
    figures.add(name, p99, "ms", Some(100.0), Target::AtMost(100.0));

    random(bench, figures)
}

/// Random steps over many processes that also fork, become other programs and are killed.
pub(crate) fn random(bench: &mut Bench, figures: &mut Figures) -> Result<()> {
    let steps = bench.choose("10000", "500");
    bench.step(&format!("{steps} random steps over 16 processes"));
    let random = storm(bench, &["--steps", steps, "--processes", "16"])?;
    let held = number(&random, "held_at_end")?;
    let name = format!("held after {steps} random allocate/free/fork/exec/kill steps");
    figures.add(name, held, "bytes", Some(0.0), Target::AtMost(0.0));
    let over = number(&random, "most_held")? / number(&random, "limit_bytes")? * 100.0;
    let name = "the most ever held during them";
    figures.add(name, over, "% of cap", Some(100.0), Target::AtMost(100.0));
    for (name, what) in [("forks", "forks"), ("execs", "execs"), ("killed", "killed with SIGKILL")]
    {
        figures.add(format!("of them {what}"), number(&random, name)?, "", None, Target::Shown);
    }
    let name = "the slowest allocation among them";
    figures.add(name, number(&random, "slowest_ms")?, "ms", None, Target::Shown);
    Ok(())
}

fn number(answer: &Value, name: &str) -> Result<f64> {
    answer.get(name).and_then(Value::as_f64).with_context(|| format!("no {name} in {answer}"))
}

fn storm(bench: &mut Bench, flags: &[&str]) -> Result<Value> {
    let program = bench.workload().with_file_name("storm").display().to_string();
    let mut line = vec!["run", "--quiet", "--tenant", "a", "--compute", "30%"];
    line.extend(["--memory", "64MiB", "--", &program]);
    line.extend(flags);
    let output = bench.pool.command(line).stderr(Stdio::piped()).output()?;
    if !output.status.success() {
        bail!("storm {}: {}", flags.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(serde_json::from_str(text.lines().last().context("storm printed nothing")?)?)
}
