//! Compiles the BPF programs with clang and turns their header into Rust, so that an installed
//! program needs nothing from the source tree.

use std::path::PathBuf;
use std::process::Command;
use std::{env, error::Error};

const SOURCES: &str = "../../bpf";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={SOURCES}");
    println!("cargo::rerun-if-env-changed=CLANG");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".into());
    // clang does not look into the multiarch folder for the bpf target.
    let multiarch = format!("/usr/include/{}-linux-gnu", env::var("CARGO_CFG_TARGET_ARCH")?);
    let status = Command::new(&clang)
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror"])
        .args(["-idirafter", &multiarch])
        .arg("-c")
        .arg(format!("{SOURCES}/dlmp.bpf.c"))
        .arg("-o")
        .arg(out.join("dlmp.o"))
        .status()
        .map_err(|error| {
            format!("cannot run {clang}: {error}; install the Debian packages clang, libbpf-dev and libclang-dev")
        })?;
    if !status.success() {
        return Err("clang could not compile the BPF programs".into());
    }

    bindgen::Builder::default()
        .header_contents("dlmp_all.h", "#include <linux/types.h>\n#include \"dlmp.h\"\n")
        .clang_arg(format!("-I{SOURCES}"))
        .allowlist_item("(dlmp|DLMP)_.*")
        .prepend_enum_name(false)
        .derive_default(true)
        .derive_eq(true)
        .layout_tests(false)
        .generate()?
        .write_to_file(out.join("dlmp.rs"))?;
    Ok(())
}
