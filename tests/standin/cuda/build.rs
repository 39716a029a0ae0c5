//! Writes an export for every function of the table that the sources do not have, and a table of the
//! addresses of all.

use polder_gpuapi::cuda::FUNCTIONS;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcuda.so.1");
    let mut ours = BTreeSet::new();
    for file in std::fs::read_dir("src").expect("the sources") {
        let path = file.expect("a source").path();
        let module = path.file_stem().expect("a name").to_string_lossy().into_owned();
        for line in std::fs::read_to_string(&path).expect("a source").lines() {
            let Some(rest) = line.trim_start().strip_prefix("fn ") else { continue };
            let names = rest.split(['(', ' ', '/']).take_while(|it| !it.contains(':'));
            for name in names.filter(|name| name.starts_with("cu")) {
                ours.insert((name.to_owned(), module.clone()));
            }
        }
    }
    let module = |name: &str| ours.iter().find(|(it, _)| it == name).map(|(_, module)| module);
    let (mut stubs, mut table) = (String::new(), String::new());
    for entry in FUNCTIONS {
        let name = entry.name;
        let place = module(name).map_or_else(|| "self".to_owned(), |it| format!("crate::{it}"));
        if place == "self" {
            writeln!(
                stubs,
                "#[unsafe(no_mangle)] extern \"C\" fn {name}() -> u32 {{ crate::script::lacking(c\"{name}\") }}"
            )
            .expect("a string");
        }
        writeln!(table, "(\"{name}\", Address({place}::{name} as *const ())),").expect("a string");
    }
    let out = std::env::var("OUT_DIR").expect("cargo says where");
    let text = format!(
        "{stubs}\n/// Every export and where it lies.\npub(crate) static ADDRESSES: &[(&str, Address)] = &[\n{table}];\n"
    );
    std::fs::write(Path::new(&out).join("exports.rs"), text).expect("a file to write");
}
