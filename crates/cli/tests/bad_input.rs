//! What makes no sense is refused with the name of the thing and what to do, and nothing is done.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;
#[path = "bad_input/place.rs"]
mod place;

use common::{Pool, RACK, ended, polder, read_until, say};
use std::fs;
use std::process::{Command, Stdio};

/// Runs the binary in an empty state folder and compares everything it says.
#[track_caller]
fn check(words: &[&str], code: i32, expect: &str) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let said = say(polder([&["--state", state], words].concat()));
    let stderr = said.stderr.replace(state, "STATE");
    assert_eq!((said.code, stderr.trim_end()), (code, expect), "{words:?}");
    assert_eq!(said.stdout, "", "{words:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{words:?} left something behind");
}

/// What `polder up` says against these flags, before it serves anybody.
#[track_caller]
fn up(flags: &[&str], expect: &str) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let said = say(polder([&["--state", state, "up", "--no-listen"], flags].concat()));
    assert_ne!(said.code, 0, "{flags:?}");
    assert!(said.stderr.contains(expect) && !said.stderr.contains("is up"), "{said:?}");
}

#[test]
fn a_daemon_says_which_card_or_folder_is_not_there() {
    let here = env!("CARGO_MANIFEST_DIR");
    up(&["--driver-folder", here], "holds neither libcuda.so.1 nor libnvidia-ml.so.1");
    up(&["--driver-folder", "/no/such"], "/no/such holds neither libcuda.so.1");
    up(&["--spatial", "GPU-none"], "--spatial names GPU-none, and this node has ");
    let folder = tempfile::tempdir().unwrap();
    let rack = folder.path().join("rack.toml");
    fs::write(&rack, RACK).unwrap();
    let flags = ["--simulate", rack.to_str().unwrap(), "--spatial", "sim-0,GPU-none"];
    up(&flags, "--spatial names GPU-none, and this node has sim-0, sim-1: name one of these");
}

#[test]
fn a_daemon_says_which_file_is_no_library() {
    let driver = tempfile::tempdir().unwrap();
    let library = driver.path().join("libcuda.so.1");
    let flags = ["--driver-folder", driver.path().to_str().unwrap()];
    let refused = |wrong: &str| {
        let path = library.canonicalize().unwrap();
        let expect = format!("{} {wrong}: name the folder where NVIDIA's driver", path.display());
        up(&flags, &expect);
    };
    let own = fs::read(env!("CARGO_BIN_EXE_polder")).unwrap();
    fs::write(&library, "").unwrap();
    refused("is empty");
    fs::write(&library, "put the driver here\n").unwrap();
    refused("is no library: it does not begin as one (ELF)");
    fs::write(&library, &own[..4096]).unwrap();
    up(&flags, "libcuda.so.1 is cut off: it has 4096 bytes and its header tells of ");
    // The other of the two is looked at likewise, whatever the first is.
    fs::remove_file(&library).unwrap();
    fs::write(driver.path().join("libnvidia-ml.so.1"), "no\n").unwrap();
    up(&flags, "libnvidia-ml.so.1 is no library: it does not begin as one (ELF): name the folder");
}

#[test]
fn a_daemon_whose_own_library_is_damaged_holds_nobody_to_it() {
    let place = tempfile::tempdir().unwrap();
    let exe = place.path().join("polder");
    let built = env!("CARGO_BIN_EXE_polder");
    fs::hard_link(built, &exe).or_else(|_| fs::copy(built, &exe).map(|_| ())).unwrap();
    let library = place.path().join("libpolder_opencl.so");
    fs::write(&library, "\x7fELF").unwrap();
    let mut command = Command::new(&exe);
    command.arg("--state").arg(place.path().join("state")).args(["up", "--no-listen"]);
    let said = say(command);
    assert_eq!(said.code, 1, "{said:?}");
    let damaged = format!(
        "{} is cut off: it has 4 bytes and its header tells of 64, and it is Polder's own: install \
         Polder again",
        library.canonicalize().unwrap().display()
    );
    assert!(said.stderr.contains(&damaged) && !said.stderr.contains("is up"), "{said:?}");
}

/// The first line that the binary says against these flags of `submit`.
#[track_caller]
fn flag(flags: &[&str], expect: &str) {
    let said = say(polder([&["submit"], flags, &["--", "true"]].concat()));
    let first = said.stderr.lines().next().unwrap_or_default();
    assert_eq!((said.code, first), (2, expect), "{flags:?}");
}

#[test]
fn a_daemon_whose_socket_is_gone_is_named() {
    let Some(pool) = Pool::start() else { return };
    fs::remove_file(pool.path().join("polder.sock")).unwrap();
    let said = pool.say(&["queue"]);
    assert_eq!(said.code, 1, "{said:?}");
    let kill = format!("`kill {}`", pool.pid());
    assert!(said.stderr.contains(&kill) && said.stderr.contains("`polder up`"), "{said:?}");
}

#[test]
fn a_daemon_that_is_stopped_is_waited_for_aloud() {
    let Some(pool) = Pool::start() else { return };
    let signal = |signal| {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pool.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    };
    signal(rustix::process::Signal::STOP);
    let mut nodes = pool.polder(["nodes"]);
    let mut nodes = nodes.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let said = read_until(nodes.stderr.as_mut().unwrap(), "\n");
    signal(rustix::process::Signal::CONT);
    assert!(said.ends_with(" has not answered for 5 seconds; waiting 25 more\n"), "{said}");
    assert_eq!(ended(&mut nodes).code(), Some(0), "once it goes on it answers");
}

#[test]
fn a_queue_of_nobody_says_so() {
    let Some(pool) = Pool::shared() else { return };
    for (flag, kind) in [("--tenant", "tenant"), ("--user", "user")] {
        for all in [&[][..], &["--all"]] {
            let said = pool.say(&[&["queue", flag, "nope"], all].concat());
            let expect = format!("there is no {kind} nope");
            assert!(said.code == 3 && said.stderr.contains(&expect), "{said:?}");
        }
    }
}

#[test]
fn without_a_daemon_every_command_says_how_to_start_one() {
    let expect = "error: no polder is running for STATE\n\
                  help: start it with `polder up`, or name another state folder with --state";
    for words in [
        &["queue"][..],
        &["show", "1"],
        &["explain", "1"],
        &["logs", "1"],
        &["cancel", "1"],
        &["nodes"],
        &["top"],
        &["usage"],
        &["down"],
        &["submit", "--", "true"],
        &["admin", "tenant", "list"],
        &["admin", "user", "list"],
        &["admin", "backup", "/tmp/never"],
    ] {
        check(words, 1, expect);
    }
    // Codes that are not taken for a job's.
    check(&["run", "--", "true"], 125, expect);
    check(&["wait", "1"], 125, expect);
    check(&["logs", "-f", "1"], 125, expect);
}

#[test]
fn shares_and_sizes_that_make_no_sense_are_named() {
    let range = "is out of range: a share of one device lies between 0.1% and 100%";
    flag(
        &["--compute", "0%"],
        &format!("error: invalid value '0%' for '--compute <SHARE>': \"0%\" {range}"),
    );
    flag(
        &["--compute", "900%"],
        &format!("error: invalid value '900%' for '--compute <SHARE>': \"900%\" {range}"),
    );
    flag(
        &["--compute", "-5%"],
        "error: invalid value '-5%' for '--compute <SHARE>': \"-5%\" is not a share of a device: \
         write 30% or 0.3",
    );
    flag(
        &["--compute", "30"],
        "error: invalid value '30' for '--compute <SHARE>': \"30\" could mean two things: write \
         30% of one device or --devices 30 for 30 devices",
    );
    flag(
        &["--memory", "-1GiB"],
        "error: invalid value '-1GiB' for '--memory <SIZE>': \"-1GiB\" is not a size: write \
         512MiB, 1.5GiB or 2GB",
    );
    flag(
        &["--memory", "1G"],
        "error: invalid value '1G' for '--memory <SIZE>': \"1G\" could mean two things: write \
         1GiB (powers of 1024) or 1GB (powers of 1000)",
    );
    flag(
        &["--memory", "99999999999999999999GiB"],
        "error: invalid value '99999999999999999999GiB' for '--memory <SIZE>': \
         \"99999999999999999999GiB\" is out of range: a size of memory lies between 1 B and 4 PiB",
    );
    flag(
        &["--memory", "1"],
        "error: invalid value '1' for '--memory <SIZE>': \"1\" could mean two things: write 1GiB or \
         1B for so many bytes",
    );
    flag(&["--memory", "0"], "error: --memory is 0 B: it must lie between 1 B and 4 PiB");
    flag(
        &["--memory", "5PiB"],
        "error: invalid value '5PiB' for '--memory <SIZE>': \"5PiB\" is out of range: a size of memory \
         lies between 1 B and 4 PiB",
    );
    flag(
        &["--nic", "10"],
        "error: invalid value '10' for '--nic <RATE>': \"10\" could mean two things: write 10Gb or 10b \
         for so many bits a second",
    );
    flag(
        &["--time-limit", "99999d"],
        "error: invalid value '99999d' for '--time-limit <TIME>': \"99999d\" is out of range: a length \
         of time lies between 0s and 3660d",
    );
    flag(
        &["--service", "--replicas", "2", "--estimate", "1h"],
        "error: a service runs until it is cancelled: leave out --estimate",
    );
    flag(
        &["--time-limit", "5"],
        "error: invalid value '5' for '--time-limit <TIME>': \"5\" is not a length of time: write \
         90s, 15m, 2h or 1d",
    );
    flag(
        &["--devices", "0", "--compute", "30%"],
        "error: --devices is 0 and yet something is asked of devices: leave it out, or ask for one",
    );
    flag(&["--devices", "1000"], "error: --devices is 1000: it must lie between 0 and 16");
    flag(&["--tasks", "0"], "error: tasks is 0: at least 1 and at most 4096 start together");
    flag(
        &["--tasks", "5..2"],
        "error: tasks is 5..2: the first number is the least and cannot be above the second",
    );
    for name in ["a\nb", "a\u{202e}b", "\u{2066}"] {
        let character = name.chars().find(|c| !c.is_ascii_lowercase()).unwrap().escape_unicode();
        let expect = format!(
            "error: the name holds {character}, which would mislead who reads it: leave it out"
        );
        flag(&["--name", name], &expect);
    }
    flag(&["--priority", "5000"], "error: --priority is 5000: it must lie between -1000 and 1000");
    for text in ["1e5", "high", "2.5", "99999999999", ""] {
        let expect = format!(
            "error: invalid value '{text}' for '--priority <N>': {text:?} is not a priority: write a \
             whole number from -1000 to 1000, as 10 or -5"
        );
        flag(&["--priority", text], &expect);
        let said = say(polder(["resize", "1", "--priority", text]));
        assert_eq!((said.code, said.stderr.lines().next()), (2, Some(&*expect)), "{text}");
    }
    flag(&["--retries", "101"], "error: --retries is 101: it must lie between 0 and 100");
    flag(
        &["--compute", "50%", "--compute-max", "20%"],
        "error: the most compute (20%) is below the guaranteed compute (50%): raise it or leave \
         it out",
    );
    flag(&["--env", "=x"], "error: invalid value '=x' for '--env <NAME=VALUE>': write NAME=VALUE");
    flag(
        &["--tenant", "../x"],
        "error: invalid value '../x' for '--tenant <TENANT>': \"../x\" is not a tenant: use 1 to \
         200 of a-z, A-Z, 0-9, '.', '_' and '-', with '/' between levels",
    );
    flag(
        &["--whole", "--compute", "30%"],
        "error: the argument '--whole' cannot be used with '--compute <SHARE>'",
    );
}

#[test]
fn unknown_words_are_named_with_the_nearest_known_one() {
    let first = |words: &[&str]| {
        let said = say(polder(words));
        assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{words:?}");
        said.stderr
    };
    let text = first(&["submit", "--computer", "30%", "--", "true"]);
    assert!(text.contains("'--computer' found") && text.contains("'--compute'"), "{text}");
    let text = first(&["qeue"]);
    assert!(text.contains("unrecognized subcommand 'qeue'") && text.contains("'queue'"), "{text}");
    let text = first(&["rn", "--", "true"]);
    assert!(text.contains("unrecognized subcommand 'rn'") && text.contains("'run'"), "{text}");
    let text = first(&["run", "true"]);
    assert!(text.contains("'true' found") && text.contains("-- <COMMAND>"), "{text}");
    let text = first(&["run"]);
    assert!(text.contains("<COMMAND>"), "{text}");
    let text = first(&["show", "first"]);
    assert!(text.contains("\"first\" is not a job: write 12"), "{text}");
    let text = first(&["usage", "--since", "tomorrow"]);
    assert!(text.contains("write how long ago"), "{text}");
    let text = first(&["admin", "quota", "set", "lab"]);
    assert!(text.contains("--devices"), "{text}");
    let text = first(&["admin", "quota", "set", "lab", "--compute", "lots"]);
    assert!(text.contains("write 250%, 2.5 or none"), "{text}");
    let text = first(&["admin", "user", "add", "ada", "--role", "king"]);
    assert!(text.contains("tenant-admin"), "{text}");
}

#[test]
fn servers_and_listeners_elsewhere_are_refused() {
    check(
        &["--server", "https://example.org", "queue"],
        2,
        "error: --server \"https://example.org\": not an http:// URL\n\
         help: write http://127.0.0.1:PORT, as `polder up` printed it",
    );
    check(
        &["--server", "http://127.0.0.1:1", "run", "--", "true"],
        2,
        "error: a command cannot get this terminal over HTTP\n\
         help: leave out --server and POLDER_SERVER on the daemon's machine, or use `polder \
         submit` and `polder logs -f`",
    );
    let said = say(polder(["up", "--listen", "0.0.0.0:80"]));
    assert_eq!(said.code, 2);
    assert!(said.stderr.contains("\"0.0.0.0\" is not 127.0.0.1"), "{}", said.stderr);
    let said = say(polder(["--server", "http://127.0.0.1:1", "queue"]));
    assert_eq!(said.code, 1);
    let expect = "error: no polder answers at 127.0.0.1:1: Connection refused";
    assert!(said.stderr.starts_with(expect), "{}", said.stderr);
}

#[test]
fn a_directory_that_was_removed_under_its_caller_is_named() {
    let Some(pool) = Pool::shared() else { return };
    let gone = |words: &str| {
        let script = format!("d=$(mktemp -d) && cd \"$d\" && rmdir \"$d\" && exec \"$0\" {words}");
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_polder")]);
        shell.env("POLDER_STATE", pool.path());
        say(shell)
    };
    let expect = "error: the current directory, where the command is to run, has been removed\n\
                  help: change to a directory that is there (`cd`), and try again\n";
    for (words, code) in [("run -- true", 127), ("submit -- true", 2), ("profile -- true", 127)] {
        let said = gone(words);
        assert_eq!((said.code, said.stderr.as_str()), (code, expect), "{words}");
    }
    let job = pool.file("whole-path.toml");
    fs::write(&job, "directory = \"/\"\ndevices.count = 0\n").unwrap();
    let said = gone(&format!("submit --file {} -- true", job.display()));
    assert_eq!(said.code, 0, "a job that names a whole path cares for no other: {said:?}");
}

#[test]
fn replicas_are_asked_about_as_they_are_submitted() {
    let words = |flags: &[&'static str]| [&["what-if"], flags, &["--", "true"]].concat();
    check(
        &words(&["--replicas", "2"]),
        2,
        "error: --replicas says how many replicas a service has\n\
         help: add --service, or say --tasks for tasks that start together",
    );
    let Some(pool) = Pool::shared() else { return };
    let flags = ["--service", "--replicas", "2", "--compute", "1%", "--memory", "1MiB"];
    let answer = pool.json(&words(&flags));
    let starts = answer["starts"].as_array().unwrap();
    assert_eq!(starts[0]["spots"].as_array().map(Vec::len), Some(2), "{answer}");
}

#[test]
fn a_resize_that_changes_nothing_is_told_in_flags() {
    check(
        &["resize", "7"],
        2,
        "error: nothing of job 7 is to change\n\
         help: say what is: --compute, --compute-max, --memory, --priority or --class",
    );
}

/// What `submit --file` says of a job file, with its path as FILE.
fn job_file(name: &str, text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    let said = say(polder(["submit", "--file", path.to_str().unwrap(), "--", "true"]));
    assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{text}");
    said.stderr.replace(path.to_str().unwrap(), "FILE")
}

#[test]
fn job_files_are_checked_to_the_key() {
    let help = "help: `polder submit --help` shows every key of a job file\n";
    assert_eq!(
        job_file("job.toml", "name = \"x\"\n\n[devices]\ncomputer = \"30%\"\n"),
        format!(
            "error: job file FILE, line 4: unknown key `computer`, expected one of `count`, \
             `whole`, `compute`, `compute_max`, `memory`, `models`, `features`\n{help}"
        )
    );
    let text = job_file("job.yaml", "name: x\ndevices:\n  computer: 30%\n");
    assert!(text.contains("FILE, line 3: unknown key") && text.contains("compute_max"), "{text}");
    assert_eq!(
        job_file("job.toml", "[devices]\ncompute = \"130%\"\n"),
        format!(
            "error: job file FILE, line 2: \"130%\" is out of range: a share of one device lies \
             between 0.1% and 100%\n{help}"
        )
    );
    // What is out of range only as a number, or beside other keys, is told in the same way.
    let priority = "when.priority is 5000: it must lie between -1000 and 1000\n";
    let text = job_file("job.toml", "name = \"x\"\n[when]\ntime_limit = \"1h\"\npriority = 5000\n");
    assert_eq!(text, format!("error: job file FILE, line 4: {priority}"));
    let text = job_file("job.yaml", "name: x\nwhen:\n  time_limit: 1h\n  priority: 5000\n");
    assert_eq!(text, format!("error: job file FILE, line 4: {priority}"));
    let text = job_file("job.toml", "[terms]\nservice = true\nestimate = \"1h\"\n");
    let expect = "a service runs until it is cancelled: leave out terms.estimate\n";
    assert_eq!(text, format!("error: job file FILE, line 3: {expect}"));
    let text = job_file("job.yaml", "when:\n  priority: 5\n  priority_for: 0s\n");
    assert!(text.starts_with("error: job file FILE, line 3: priority_for is 0: "), "{text}");
    // What flags say is theirs, whatever the file says beside.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.toml");
    fs::write(&path, "[when]\npriority = 5\n").unwrap();
    let flags = ["submit", "--file", path.to_str().unwrap(), "--priority", "5000", "--", "true"];
    let expect = "error: --priority is 5000: it must lie between -1000 and 1000\n";
    assert_eq!(say(polder(flags)).stderr, expect);
    let text = job_file("job.toml", "[devices\n");
    assert!(text.starts_with("error: job file FILE, line 1: "), "{text}");
    let text = job_file("job.toml", &"#".repeat((1 << 20) + 1));
    assert!(text.starts_with("error: job file FILE: longer than 1 MiB"), "{text}");
    let said = say(polder(["submit", "--file", "/no/such/job.toml", "--", "true"]));
    let expect = "error: job file /no/such/job.toml: No such file or directory (os error 2)\n";
    assert_eq!((said.code, said.stderr.as_str()), (2, expect));
}

#[test]
fn a_simulation_file_that_is_not_one_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rack.toml");
    for (text, expect) in [
        ("[[device]]\nmodle = \"X\"\n", "rack.toml"),
        ("", "rack.toml is no list of simulated devices: it names no device: write a [[device]]"),
    ] {
        fs::write(&path, text).unwrap();
        let state = folder.path().join("state");
        let mut command = polder(["--state"]);
        command.arg(&state).args(["up", "--no-listen", "--simulate"]).arg(&path);
        let said = say(command);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.stderr.contains(expect), "{said:?}");
        assert!(!state.exists());
    }
}

#[test]
fn a_negative_number_is_refused_for_what_it_is() {
    for words in [
        &["wait", "1", "--timeout", "-1s"][..],
        &["top", "--interval", "-1s"],
        &["logs", "1", "--task", "-1"],
        &["logs", "1", "--tail", "-1KiB"],
        &["usage", "--ahead", "-1"],
        &["show", "--limit", "-1"],
        &["sim", "t.csv", "--checkpoint", "-1m"],
        &["admin", "reservation", "set", "r", "--node", "n", "--for", "-1h"],
    ] {
        let said = say(polder(words));
        let value = words.last().unwrap_or(&"");
        let first = said.stderr.lines().next().unwrap_or_default();
        let expect = format!("error: invalid value '{value}' for '--");
        assert_eq!(said.code, 2, "{words:?}");
        assert!(first.starts_with(&expect), "{words:?}: {first}");
    }
}

#[test]
fn completions_and_help_go_to_standard_output() {
    for shell in ["bash", "zsh", "fish"] {
        let said = say(polder(["completions", shell]));
        assert_eq!((said.code, said.stderr.as_str()), (0, ""));
        assert!(said.stdout.contains("explain") && !said.stdout.contains('\x1b'));
    }
    let said = say(polder(["--help"]));
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    assert!(said.stdout.contains("Exit codes:") && said.stdout.contains("5  timed out"));
    assert!(!said.stdout.contains("probe-devices") && !said.stdout.contains("shim"));
}

#[test]
fn colour_is_for_terminals_or_whoever_insists() {
    let coloured = |set: Option<&str>| {
        let mut command = polder(["--state", "/no/such", "queue"]);
        command.envs(set.map(|name| (name, "1")));
        say(command).stderr.contains('\x1b')
    };
    assert!(!coloured(None));
    assert!(coloured(Some("CLICOLOR_FORCE")));
    assert!(!coloured(Some("NO_COLOR")));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut command = polder(["completions", "bash"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
