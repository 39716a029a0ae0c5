//! Writes an export for every function of the table that the sources do not have.

use polder_gpuapi::nvml::FUNCTIONS;
use std::fmt::Write;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libnvidia-ml.so.1");
    let mut sources = String::new();
    for file in std::fs::read_dir("src").expect("the sources") {
        let path = file.expect("a source").path();
        sources += &std::fs::read_to_string(path).expect("a source");
    }
    let names = sources.lines().filter_map(|line| line.split_once("fn nvml"));
    let ours: Vec<&str> = names.flat_map(|(_, rest)| rest.split(['(', ' ', '/'])).collect();
    let mut stubs = String::new();
    for entry in FUNCTIONS {
        let name = entry.name;
        let rest = name.strip_prefix("nvml").expect("every name begins so");
        if !ours.iter().any(|it| *it == rest || *it == name) {
            writeln!(
                stubs,
                "#[unsafe(no_mangle)] extern \"C\" fn {name}() -> u32 {{ crate::script::lacking(\"{name}\") }}"
            )
            .expect("a string");
        }
    }
    let out = std::env::var("OUT_DIR").expect("cargo says where");
    std::fs::write(Path::new(&out).join("exports.rs"), stubs).expect("a file to write");
}
