//! `standin-host SOCKET [MODEL]`: serves a stand-in device until its standard input ends.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

use polder_standin::MODELS;
use polder_standin_host::{Script, serve};
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(path) = words.next().map(PathBuf::from) else {
        eprintln!("usage: standin-host SOCKET [MODEL]");
        return ExitCode::FAILURE;
    };
    let wanted = words.next().and_then(|word| word.into_string().ok()).unwrap_or_default();
    let Some(model) = MODELS.iter().position(|model| model.name.ends_with(&wanted)) else {
        let names: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
        eprintln!("no model {wanted:?}: the models are {}", names.join(", "));
        return ExitCode::FAILURE;
    };
    let over = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&over);
    std::thread::spawn(move || {
        // Whoever started this holds the other end; an error means that it is gone too.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        over.store(true, Ordering::Release);
    });
    println!("{} at {}", MODELS[model].name, path.display());
    match serve(&path, Script { model }, || stop.load(Ordering::Acquire)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("standin-host: {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}
