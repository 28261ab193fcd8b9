//! Compiles the BPF program of the port filter with clang.

use std::path::PathBuf;
use std::process::Command;
use std::{env, error::Error};

const SOURCE: &str = "bpf/port_filter.bpf.c";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=CLANG");
    let object = PathBuf::from(env::var("OUT_DIR")?).join("port_filter.o");
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".into());
    // clang does not look into the multiarch folder for the bpf target.
    let multiarch = format!("/usr/include/{}-linux-gnu", env::var("CARGO_CFG_TARGET_ARCH")?);
    let status = Command::new(&clang)
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror"])
        .args(["-idirafter", &multiarch, "-c", SOURCE, "-o"])
        .arg(object)
        .status()
        .map_err(|error| format!("cannot run {clang}: {error}; install the Debian packages clang and libbpf-dev"))?;
    if !status.success() {
        return Err("clang could not compile the BPF program of the port filter".into());
    }
    Ok(())
}
