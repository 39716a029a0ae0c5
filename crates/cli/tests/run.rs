//! `polder run` behaves like the command it runs.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use common::{Pool, ended, read_until, say, soon};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Small enough that many run at one time.
const SMALL: [&str; 4] = ["--compute", "1%", "--memory", "1MiB"];

/// Runs `sh -c script` and compares exit code and output.
#[track_caller]
fn check(pool: &Pool, script: &str, code: i32, stdout: &str, stderr: &str) {
    let said = say(pool.run(&[&["--quiet"], &SMALL[..]].concat(), script));
    assert_eq!(
        (said.code, said.stdout.as_str(), said.stderr.as_str()),
        (code, stdout, stderr),
        "{script}"
    );
}

#[test]
fn exit_codes_and_output_are_the_commands() {
    let Some(pool) = Pool::shared() else { return };
    check(&pool, "echo out; echo err >&2", 0, "out\n", "err\n");
    check(&pool, "exit 7", 7, "", "");
    check(&pool, "kill -TERM $$", 143, "", "");
    check(&pool, "kill -KILL $$", 137, "", "");
    check(&pool, "[ -t 0 ] || [ -t 1 ] || [ -t 2 ] || echo plain", 0, "plain\n", "");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let Some(pool) = Pool::shared() else { return };
    let words = [&["run"], &SMALL[..], &["--", "no-such-program"]].concat();
    let said = pool.say(&words);
    assert_eq!((said.code, said.stdout.as_str()), (127, ""));
    assert!(said.stderr.contains("no-such-program"), "{}", said.stderr);
}

#[test]
fn input_directory_and_environment_are_the_callers() {
    let Some(pool) = Pool::shared() else { return };
    let script = "cat; pwd; echo \"$FRUIT\"; echo ${POLDER_TOKEN-none}; umask";
    let run = pool.run(&SMALL, script);
    // Through a shell, which sets a umask of its own first.
    let mut command = Command::new("sh");
    command.args(["-c", "umask 0027; exec \"$@\"", "sh"]).arg(run.get_program());
    command.args(run.get_args());
    let folder = tempfile::tempdir().unwrap();
    command.current_dir(folder.path()).env("FRUIT", "a  pear").env("POLDER_TOKEN", "secret");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"from the pipe\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let expect = format!("from the pipe\n{}\na  pear\nnone\n0027\n", folder.display());
    assert_eq!(String::from_utf8_lossy(&output.stdout), expect);
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Starts a script whose first words say that it is ready.
fn start(pool: &Pool, script: &str) -> Child {
    let mut child =
        pool.run(&SMALL, script).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let read = read_until(child.stdout.as_mut().unwrap(), "ready");
    assert!(read.ends_with("ready"), "{read}");
    child
}

fn rest(mut child: Child) -> (i32, String) {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    (ended(&mut child).code().unwrap(), text)
}

#[test]
fn signals_reach_the_command() {
    let Some(pool) = Pool::shared() else { return };
    for (number, name) in [
        (Signal::INT, "INT"),
        (Signal::TERM, "TERM"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::WINCH, "WINCH"),
        (Signal::ALARM, "ALRM"),
        (Signal::VTALARM, "VTALRM"),
        (Signal::XCPU, "XCPU"),
        (Signal::POWER, "PWR"),
        (Signal::ABORT, "ABRT"),
        (Signal::SEGV, "SEGV"),
        (Signal::BUS, "BUS"),
        (Signal::ILL, "ILL"),
        (Signal::FPE, "FPE"),
        (Signal::PIPE, "PIPE"),
    ] {
        let script = format!(
            "trap 'echo got {name}; exit 3' {name}; printf ready; while :; do sleep 0.05; done"
        );
        let child = start(&pool, &script);
        signal(&child, number);
        assert_eq!(rest(child), (3, format!("got {name}\n")));
    }
    let child = start(&pool, "printf ready; sleep 100");
    signal(&child, Signal::INT);
    assert_eq!(rest(child), (130, String::new()));
    // One without a name.
    let child = start(&pool, "trap 'exit 4' 40; printf ready; while :; do sleep 0.05; done");
    let kill = format!("kill -40 {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    assert_eq!(rest(child).0, 4);
}

/// A shell script around `polder run`, which is `"$@"` there.
fn around(run: &Command, script: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", script, "bash"]).arg(run.get_program()).args(run.get_args());
    command.stdin(Stdio::null());
    command
}

#[test]
fn signals_that_the_caller_ignores_stay_ignored() {
    let Some(pool) = Pool::shared() else { return };
    let ignored = "grep SigIgn /proc/self/status";
    let bits = |said: common::Said| {
        assert_eq!(said.code, 0, "{said:?}");
        u64::from_str_radix(said.stdout.split_whitespace().last().unwrap(), 16).unwrap()
    };
    assert_eq!(bits(say(pool.run(&SMALL, ignored))), 0);
    let hup_int_usr1 = (1 << 0) | (1 << 1) | (1 << 9);
    let trap = around(&pool.run(&SMALL, ignored), "trap '' HUP INT USR1; \"$@\"");
    assert_eq!(bits(say(trap)), hup_int_usr1);
    // Under nohup a hangup ends neither the client nor the command.
    let file = pool.file("hung-up");
    let script = format!("printf ready; while [ ! -e {} ]; do sleep 0.05; done", file.display());
    let mut nohup = around(&pool.run(&SMALL, &script), "exec nohup \"$@\"");
    let mut child = nohup.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let read = read_until(child.stdout.as_mut().unwrap(), "ready");
    assert!(read.ends_with("ready"), "{read}");
    signal(&child, Signal::HUP);
    fs::write(&file, "").unwrap();
    assert_eq!(rest(child), (0, String::new()));
    // What the daemon starts by itself is as the system has it.
    let submit = ["submit", "--compute", "1%", "--memory", "1MiB", "--", "sh", "-c", ignored];
    let job = say(around(&pool.polder(submit), "trap '' HUP INT USR1; \"$@\"")).stdout;
    assert_eq!(pool.say(&["wait", job.trim()]).code, 0);
    assert_eq!(pool.ok(&["logs", job.trim()]), format!("SigIgn:\t{}\n", "0".repeat(16)));
}

#[test]
fn open_descriptors_are_the_commands_under_the_same_numbers() {
    let Some(pool) = Pool::shared() else { return };
    let file = pool.file("given");
    fs::write(&file, "from nine\n").unwrap();
    let script = format!("9<{} \"$@\"", file.display());
    // Others of this program's threads may have some open just now. Of five, one is of `ls` itself.
    let alone = "for n in {3..8} {10..254}; do eval \"exec $n>&-\"; done";
    let run = pool.run(&SMALL, "cat <&9; ls /proc/self/fd | wc -l");
    let said = say(around(&run, &format!("{alone}; {script}")));
    assert_eq!((said.code, said.stdout.as_str()), (0, "from nine\n5\n"), "{said:?}");
    let words = [&["run"], &SMALL[..], &["--", "cat"]].concat();
    let said = say(around(&pool.polder(words), "\"$@\" <(echo substituted)"));
    assert_eq!((said.code, said.stdout.as_str()), (0, "substituted\n"), "{said:?}");
    // Those of several packets, and numbers that the shim itself uses.
    let all = "for n in {3..9} {11..600}; do eval \"exec $n<<<$n\"; done; \"$@\"";
    let read = "for n in 3 8 11 255 256 599 600; do eval \"read line <&$n\"; echo $line; done";
    let words = [&["run"], &SMALL[..], &["--", "bash", "-c", read]].concat();
    let said = say(around(&pool.polder(words), all));
    assert_eq!((said.code, said.stdout.as_str()), (0, "3\n8\n11\n255\n256\n599\n600\n"));
    // The client keeps none: who reads waits for the command alone.
    let closed = around(
        &pool.run(&SMALL, "exec 9>&-; read line; echo $line"),
        "mkfifo $0.in $0.out; (cat $0.out; echo over > $0.in) & \"$@\" 9>$0.out <>$0.in",
    );
    let mut command = Command::new("bash");
    let arguments: Vec<_> = closed.get_args().map(ToOwned::to_owned).collect();
    command.args(&arguments[..2]).arg(pool.file("pipe")).args(&arguments[3..]);
    let said = say(command);
    assert_eq!((said.code, said.stdout.as_str()), (0, "over\n"), "{said:?}");
    let many = "ulimit -n 4096; for n in {20..1100}; do eval \"exec $n</dev/null\"; done; \"$@\"";
    let said = say(around(&pool.run(&SMALL, "echo ran"), many));
    assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{said:?}");
    assert!(said.stderr.contains(" descriptors are open besides"), "{said:?}");
}

#[test]
fn a_client_that_is_killed_while_it_waits_takes_its_job_with_it() {
    let Some(pool) = Pool::start() else { return };
    let holder = pool.submit(&["--compute", "100%", "--memory", "1MiB"], "sleep 1000");
    pool.wait_state(&holder, "running");
    let mut command = pool.run(&["--compute", "60%", "--memory", "1MiB"], "echo never");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    read_until(child.stderr.as_mut().unwrap(), "waits, place 1");
    child.kill().unwrap();
    child.wait().unwrap();
    pool.wait_state("2", "finished");
    assert_eq!(pool.json(&["show", "2"])["job"]["state"]["outcome"]["outcome"], "cancelled");
    assert_eq!(pool.state(&holder), "running", "it ended long before its turn");
}

/// The state letter of a process, or `?` when it is gone.
fn letter(pid: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('?')
}

#[test]
fn stopping_and_continuing_stops_and_continues_the_command() {
    let Some(pool) = Pool::shared() else { return };
    let file = pool.file("stopped.pid");
    let script = format!("echo $$ > {}; printf ready; exec sleep 1000", file.display());
    // A job of somebody who could continue it: in a group of its own.
    let mut command = pool.run(&SMALL, &script);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().unwrap();
    read_until(child.stdout.as_mut().unwrap(), "ready");
    let task: u32 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    signal(&child, Signal::TSTP);
    soon("a stopped client", || (letter(child.id()) == 'T').then_some(()));
    soon("a stopped task", || (letter(task) == 'T').then_some(()));
    signal(&child, Signal::CONT);
    soon("a task that goes on", || (letter(task) != 'T').then_some(()));
    // Killed while both are stopped, it leaves nothing stopped behind.
    signal(&child, Signal::TSTP);
    soon("a stopped task", || (letter(task) == 'T').then_some(()));
    signal(&child, Signal::KILL);
    soon("a task that goes on", || (letter(task) != 'T').then_some(()));
    ended(&mut child);
    kill_process(Pid::from_raw(task.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn a_stop_where_nobody_would_continue_it_is_void() {
    let Some(pool) = Pool::shared() else { return };
    let mut command = Command::new("setsid");
    let run = pool.run(&SMALL, "trap 'exit 9' INT; printf ready; while :; do sleep 0.05; done");
    command.arg(run.get_program()).args(run.get_args());
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    read_until(child.stdout.as_mut().unwrap(), "ready");
    // It leads a session of its own: nobody above it is of that.
    signal(&child, Signal::TSTP);
    signal(&child, Signal::INT);
    assert_eq!(rest(child).0, 9);
}

/// Runs a script at a new terminal of 91 columns; returns it and our end.
fn at_terminal(pool: &Pool, script: &str) -> (Child, fs::File) {
    open_terminal(pool.run(&SMALL, script))
}

/// An interactive shell at a new terminal, which it controls.
fn at_shell() -> (Child, fs::File) {
    let mut command = Command::new("setsid");
    command.args(["--ctty", "bash", "--norc", "--noprofile", "-i"]).env("HISTFILE", "");
    let (child, mut ours) = open_terminal(command);
    ours.write_all(b"PS1=; bind 'set enable-bracketed-paste off'; echo at-$((40 + 2))\n").unwrap();
    read_until(&mut ours, "at-42");
    (child, ours)
}

fn open_terminal(mut command: Command) -> (Child, fs::File) {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    resize(&ours, 91);
    let theirs =
        || Stdio::from(ioctl_tiocgptpeer(&ours, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap());
    command.env("TERM", "xterm").stdin(theirs()).stdout(theirs()).stderr(theirs());
    (command.spawn().unwrap(), fs::File::from(ours))
}

fn resize(terminal: impl std::os::fd::AsFd, columns: u16) {
    let size = rustix::termios::Winsize { ws_row: 33, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size).unwrap();
}

#[test]
fn at_a_terminal_the_command_gets_one_of_its_own() {
    let Some(pool) = Pool::shared() else { return };
    let script = "tty; stty size; echo x > /dev/tty; printf 'name? '; read name; echo hi $name; \
                  stty raw; echo end";
    let (mut child, mut ours) = at_terminal(&pool, script);
    let before = rustix::termios::tcgetattr(&ours).unwrap();
    let read = read_until(&mut ours, "name? ");
    assert!(read.contains("/dev/pts/") && read.contains("33 91\r\nx\r\n"), "{read:?}");
    ours.write_all(b"ada\r").unwrap();
    let read = read_until(&mut ours, "end");
    assert!(read.contains("hi ada\r\n"), "{read:?}");
    assert_eq!(ended(&mut child).code(), Some(0));
    let after = rustix::termios::tcgetattr(&ours).unwrap();
    assert_eq!(before.local_modes, after.local_modes, "the terminal is as it was");
    assert_eq!(before.input_modes, after.input_modes);
    assert_eq!(before.output_modes, after.output_modes);
}

/// Waits until the terminal makes signals of keys, or does not: only a command in front that has it
/// does not.
fn wait_signals(ours: &fs::File, signals: bool) {
    soon("other modes of the terminal", || {
        let modes = rustix::termios::tcgetattr(ours).unwrap().local_modes;
        (modes.contains(rustix::termios::LocalModes::ISIG) == signals).then_some(())
    });
}

/// The words of `polder run -- sh -c script`, to be typed. Both what they say and what a shell
/// echoes is read: a script says nothing that it spells.
fn typed(pool: &Pool, script: &str) -> String {
    let run = pool.run(&SMALL, &format!("'{script}'"));
    let words = run.get_args().map(|word| word.to_str().unwrap());
    [&[common::POLDER], &words.collect::<Vec<_>>()[..]].concat().join(" ")
}

#[test]
fn in_a_shells_background_it_runs_on_and_comes_to_the_front() {
    let Some(pool) = Pool::shared() else { return };
    let (mut shell, mut ours) = at_shell();
    let quiet = typed(&pool, "sleep 0.3; echo done-$((40 + 2))");
    ours.write_all(format!("{quiet} &\n").as_bytes()).unwrap();
    read_until(&mut ours, "done-42");
    ours.write_all(b"wait; echo code-$?-$((40 + 3))\n").unwrap();
    let read = read_until(&mut ours, "-43");
    assert!(read.contains("code-0-43") && !read.contains("Stopped"), "{read:?}");
    let asks = typed(&pool, "echo begun-$((40 + 4)); read word; echo got-$word-$((40 + 5))");
    ours.write_all(format!("{asks} &\n").as_bytes()).unwrap();
    read_until(&mut ours, "begun-44");
    // The shell still gets what is typed.
    ours.write_all(b"echo mine-$((40 + 6)); jobs; fg\n").unwrap();
    let read = read_until(&mut ours, "mine-46");
    assert!(!read.contains("got-"), "{read:?}");
    let read = read_until(&mut ours, "Running");
    assert!(!read.contains("Stopped"), "{read:?}");
    read_until(&mut ours, "-c");
    wait_signals(&ours, false);
    ours.write_all(b"plum\r").unwrap();
    let read = read_until(&mut ours, "-45");
    assert!(read.contains("got-plum-45"), "{read:?}");
    wait_signals(&ours, true);
    ours.write_all(b"exit 6\n").unwrap();
    assert_eq!(ended(&mut shell).code(), Some(6));
}

#[test]
fn ctrl_z_stops_client_and_command_and_fg_continues_both() {
    let Some(pool) = Pool::shared() else { return };
    let (mut shell, mut ours) = at_shell();
    let file = pool.file("ctrl-z.pid");
    let script = format!(
        "echo $$ > {}; echo begun-$((40 + 2)); read word; echo got-$word-$((40 + 3))",
        file.display()
    );
    ours.write_all(format!("{}\n", typed(&pool, &script)).as_bytes()).unwrap();
    read_until(&mut ours, "begun-42");
    let task: u32 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    wait_signals(&ours, false);
    ours.write_all(b"\x1a").unwrap();
    read_until(&mut ours, "Stopped");
    soon("a stopped task", || (letter(task) == 'T').then_some(()));
    // In the background it goes on and reads nothing.
    ours.write_all(b"bg; echo again-$((40 + 4))\n").unwrap();
    read_until(&mut ours, "again-44");
    soon("a task that goes on", || (letter(task) != 'T').then_some(()));
    ours.write_all(b"fg\n").unwrap();
    wait_signals(&ours, false);
    ours.write_all(b"pear\r").unwrap();
    let read = read_until(&mut ours, "-43");
    assert!(read.contains("got-pear-43"), "{read:?}");
    wait_signals(&ours, true);
    ours.write_all(b"exit 7\n").unwrap();
    assert_eq!(ended(&mut shell).code(), Some(7));
}

#[test]
fn ctrl_c_and_a_new_window_size_reach_a_command_at_a_terminal() {
    let Some(pool) = Pool::shared() else { return };
    let script = "trap 'stty size' WINCH; trap 'echo interrupted; exit 9' INT; echo ready; \
                  while :; do sleep 0.05; done";
    let (mut child, mut ours) = at_terminal(&pool, script);
    read_until(&mut ours, "ready");
    resize(&ours, 66);
    // The kernel tells only the foreground group of the terminal; here that is us.
    signal(&child, Signal::WINCH);
    let read = read_until(&mut ours, "33 66");
    assert!(read.contains("33 66"), "{read:?}");
    ours.write_all(b"\x03").unwrap();
    let read = read_until(&mut ours, "interrupted");
    assert!(read.contains("interrupted"), "{read:?}");
    assert_eq!(ended(&mut child).code(), Some(9));
}

#[test]
fn at_a_terminal_the_place_is_one_line_drawn_again() {
    let Some(pool) = Pool::start() else { return };
    let go = pool.file("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display());
    let holder = pool.submit(&["--compute", "100%", "--memory", "1MiB"], &wait);
    pool.wait_state(&holder, "running");
    let (mut child, mut ours) = at_terminal(&pool, "echo ran");
    let read = read_until(&mut ours, "\x1b[K");
    assert!(read.starts_with("\rjob 2 waits, place 1: "), "{read:?}");
    fs::write(&go, "").unwrap();
    let read = read_until(&mut ours, "ran");
    assert!(read.ends_with("\r\x1b[Kran"), "{read:?}");
    assert!(!read.contains('\n'), "{read:?}");
    assert_eq!(ended(&mut child).code(), Some(0));
}

#[test]
fn top_draws_on_a_second_screen_and_leaves_the_first_as_it_was() {
    let Some(pool) = Pool::shared() else { return };
    let (mut child, mut ours) = open_terminal(pool.polder(["top", "--interval", "100ms"]));
    let read = read_until(&mut ours, "Ctrl-C ends");
    assert!(read.starts_with("\x1b[?1049h") && read.contains("compute ["), "{read:?}");
    let again = read_until(&mut ours, "Ctrl-C ends");
    assert!(again.contains("\x1b[H"), "{again:?}");
    signal(&child, Signal::INT);
    let read = read_until(&mut ours, "\x1b[?1049l");
    assert!(read.ends_with("\x1b[?25h\x1b[?1049l"), "{read:?}");
    assert_eq!(ended(&mut child).code(), Some(0));
}

#[test]
fn q_ends_top_and_the_terminal_echoes_again() {
    let Some(pool) = Pool::shared() else { return };
    let (mut child, mut ours) = open_terminal(pool.polder(["top", "--interval", "1h"]));
    let echoes = |terminal: &fs::File| {
        let modes = rustix::termios::tcgetattr(terminal).unwrap().local_modes;
        modes.contains(rustix::termios::LocalModes::ECHO)
    };
    assert!(echoes(&ours));
    read_until(&mut ours, "q or Ctrl-C ends");
    assert!(!echoes(&ours));
    ours.write_all(b"xq").unwrap();
    let read = read_until(&mut ours, "\x1b[?1049l");
    assert!(read.ends_with("\x1b[?25h\x1b[?1049l") && !read.contains('x'), "{read:?}");
    assert_eq!(ended(&mut child).code(), Some(0));
    assert!(echoes(&ours));
}

#[test]
fn much_output_arrives_whole() {
    let Some(pool) = Pool::shared() else { return };
    let (mut child, mut ours) = at_terminal(&pool, "seq 1 200000; echo the-end");
    let read = read_until(&mut ours, "the-end");
    assert!(read.contains("\r\n199999\r\n200000\r\n"), "{} bytes", read.len());
    assert_eq!(ended(&mut child).code(), Some(0));
}

#[test]
fn limits_that_the_node_cannot_set_are_said() {
    let Some(pool) = Pool::start_without_cgroups() else { return };
    let limits = ["--cpu", "1", "--host-memory", "1GiB", "--pids", "64"];
    let said = say(pool.run(&[&limits, &SMALL[..]].concat(), "echo on"));
    assert_eq!((said.code, said.stdout.as_str()), (0, "on\n"), "{said:?}");
    let node = pool.json(&["nodes"])["nodes"][0]["id"].as_str().unwrap().to_owned();
    let lines: Vec<String> = ["CPU", "host memory", "process"]
        .iter()
        .map(|limit| {
            format!(
                "the {limit} limit is not enforced on {node}: this kernel or container offers no \
                 such controller: run the daemon as root, or under systemd with Delegate=yes"
            )
        })
        .collect();
    let warned = lines.iter().map(|line| format!("warning: job 1: {line}\n"));
    assert_eq!(said.stderr, warned.collect::<String>());
    let shown = pool.ok(&["show", "1"]);
    for line in &lines {
        assert!(shown.contains(&format!("\nwarning    {line}\n")), "{line} in {shown}");
    }
    let lease = &pool.json(&["show", "1"])["leases"][0]["lease"];
    let named = lease["not_enforced"].as_array().unwrap().iter();
    let named: Vec<_> = named.map(|one| one["limit"].as_str().unwrap()).collect();
    assert_eq!(named, ["cpu", "memory", "pids"]);
    let said = say(pool.run(&SMALL, "echo on"));
    assert_eq!((said.stderr.as_str(), said.code), ("", 0), "no limit was asked for");
    assert!(!pool.ok(&["show", "2"]).contains("warning"));
}

#[test]
fn retries_run_here_again() {
    let Some(pool) = Pool::shared() else { return };
    let file = pool.file("tries");
    let script = format!("echo try >> {0}; [ $(wc -l < {0}) = 3 ] && echo third", file.display());
    let said = say(pool.run(&[&["--retries", "5"], &SMALL[..]].concat(), &script));
    assert_eq!((said.code, said.stdout.as_str()), (0, "third\n"), "{said:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "try\ntry\ntry\n");
    let said = say(pool.run(&[&["--retries", "1"], &SMALL[..]].concat(), "echo no; exit 4"));
    assert_eq!((said.code, said.stdout.as_str()), (4, "no\nno\n"), "{said:?}");
}

#[test]
fn a_time_limit_ends_it() {
    let Some(pool) = Pool::shared() else { return };
    let flags = [&["--time-limit", "300ms", "--grace", "1s"], &SMALL[..]].concat();
    let said =
        say(pool.run(&flags, "trap 'echo ending; exit 0' TERM; while :; do sleep 0.05; done"));
    assert_eq!((said.code, said.stdout.as_str()), (124, "ending\n"), "{said:?}");
    assert!(said.stderr.contains("time limit"), "{said:?}");
}

#[test]
fn while_it_waits_it_says_where_and_ctrl_c_cancels_it() {
    let Some(pool) = Pool::start() else { return };
    let holder = pool.submit(&["--compute", "100%", "--memory", "1MiB"], "sleep 1000");
    pool.wait_state(&holder, "running");
    let mut command = pool.run(&["--compute", "60%", "--memory", "1MiB"], "echo never");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let said = read_until(child.stderr.as_mut().unwrap(), "\n");
    assert!(said.starts_with("job 2 waits, place 1: ") && said.contains("60%"), "{said}");
    signal(&child, Signal::INT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "job 2 is cancelled\n");
    assert_eq!(pool.json(&["show", "2"])["job"]["state"]["outcome"]["outcome"], "cancelled");
    assert_eq!(pool.state(&holder), "running");
}

#[test]
fn where_lines_stay_the_end_of_the_wait_is_said_too() {
    let Some(pool) = Pool::start() else { return };
    let holder = pool.submit(&["--compute", "100%", "--memory", "1MiB"], "sleep 1000");
    pool.wait_state(&holder, "running");
    let mut command = pool.run(&["--compute", "60%", "--memory", "1MiB"], "echo ran");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    read_until(child.stderr.as_mut().unwrap(), "waits, place 1");
    pool.ok(&["cancel", &holder]);
    let output = child.wait_with_output().unwrap();
    let (stdout, stderr) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
    assert_eq!((output.status.code(), stdout.as_slice()), (Some(0), &b"ran\n"[..]), "{stderr}");
    assert!(stderr.ends_with("job 2 runs\n"), "{stderr}");
    let said = say(pool.run(&SMALL, "echo at once"));
    assert!(!said.stderr.contains("runs"), "nobody waited: {said:?}");
}

#[test]
fn a_run_outlives_the_daemon_and_keeps_its_exit_code() {
    let Some(pool) = Pool::start() else { return };
    let go = pool.file("go");
    let script =
        format!("printf ready; while [ ! -e {} ]; do sleep 0.05; done; exit 6", go.display());
    let child = start(&pool, &script);
    pool.wait_state("1", "running");
    pool.crash();
    fs::write(&go, "").unwrap();
    assert_eq!(rest(child).0, 6);
    pool.restart();
    pool.wait_state("1", "finished");
    assert_eq!(pool.say(&["wait", "1"]).code, 6, "the daemon learns it too");
}

#[test]
fn a_run_that_waits_survives_a_restart_of_the_daemon() {
    let Some(pool) = Pool::start() else { return };
    let go = pool.file("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display());
    let holder = pool.submit(&["--compute", "100%", "--memory", "1MiB"], &wait);
    pool.wait_state(&holder, "running");
    let mut command = pool.run(&["--compute", "60%", "--memory", "1MiB"], "echo at last; exit 5");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    read_until(child.stderr.as_mut().unwrap(), "\n");
    pool.crash();
    pool.restart();
    fs::write(&go, "").unwrap();
    assert_eq!(ended(&mut child).code(), Some(5));
    let mut text = String::new();
    child.stdout.unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "at last\n");
}
