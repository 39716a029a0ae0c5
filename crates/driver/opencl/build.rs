//! The library patches the vendor's dispatch table with its own functions, so it must never be
//! unmapped while the process lives.

fn main() {
    let directives = ["rerun-if-changed=build.rs", "rustc-cdylib-link-arg=-Wl,-z,nodelete"];
    let mut out = std::io::stdout();
    for directive in directives {
        std::io::Write::write_all(&mut out, format!("cargo:{directive}\n").as_bytes())
            .expect("cargo reads what a build script says");
    }
}
