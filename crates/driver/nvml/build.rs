//! Programs ask for `libnvidia-ml.so.1`, and find this library under any file name by its soname. It is
//! never unmapped: programs begin and end NVML many times, and keep what they were given.

fn main() {
    let directives = [
        "rerun-if-changed=build.rs",
        "rustc-cdylib-link-arg=-Wl,-soname,libnvidia-ml.so.1",
        "rustc-cdylib-link-arg=-Wl,-z,nodelete",
    ];
    let mut out = std::io::stdout();
    for directive in directives {
        std::io::Write::write_all(&mut out, format!("cargo:{directive}\n").as_bytes())
            .expect("cargo reads what a build script says");
    }
}
