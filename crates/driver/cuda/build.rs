//! Programs ask for `libcuda.so.1`, and find this library under any file name by its soname. It is
//! never unmapped: the driver may call back into it for as long as the process lives.

fn main() {
    let directives = [
        "rerun-if-changed=build.rs",
        "rustc-cdylib-link-arg=-Wl,-soname,libcuda.so.1",
        "rustc-cdylib-link-arg=-Wl,-z,nodelete",
    ];
    let mut out = std::io::stdout();
    for directive in directives {
        std::io::Write::write_all(&mut out, format!("cargo:{directive}\n").as_bytes())
            .expect("cargo reads what a build script says");
    }
}
