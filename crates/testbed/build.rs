//! Compiles the BPF programs of the port filter and those that others might hang on a link with clang.

use std::path::PathBuf;
use std::process::Command;
use std::{env, error::Error};

const PROGRAMS: [&str; 2] = ["port_filter", "foreign"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=CLANG");
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".into());
    // clang does not look into the multiarch folder for the bpf target.
    let multiarch = format!("/usr/include/{}-linux-gnu", env::var("CARGO_CFG_TARGET_ARCH")?);
    for name in PROGRAMS {
        let source = format!("bpf/{name}.bpf.c");
        println!("cargo::rerun-if-changed={source}");
        let status = Command::new(&clang)
            .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror"])
            .args(["-idirafter", &multiarch, "-c", &source, "-o"])
            .arg(PathBuf::from(env::var("OUT_DIR")?).join(format!("{name}.o")))
            .status()
            .map_err(|error| {
                format!("cannot run {clang}: {error}; install the Debian packages clang and libbpf-dev")
            })?;
        if !status.success() {
            return Err(format!("clang could not compile {source}").into());
        }
    }
    Ok(())
}
