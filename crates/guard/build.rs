//! Compiles the guard's programs with clang and turns their header into Rust, so that an installed
//! program needs nothing from the source tree.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::path::PathBuf;
use std::process::Command;
use std::{env, error::Error, fs};

const SOURCES: &str = "../../bpf";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={SOURCES}");
    println!("cargo::rerun-if-env-changed=CLANG");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let object = out.join("guard.o");

    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".into());
    // clang does not look into the multiarch folder for the bpf target.
    let multiarch = format!("/usr/include/{}-linux-gnu", env::var("CARGO_CFG_TARGET_ARCH")?);
    let status = Command::new(&clang)
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror"])
        .args(["-idirafter", &multiarch])
        .arg("-c")
        .arg(format!("{SOURCES}/guard.bpf.c"))
        .arg("-o")
        .arg(&object)
        .status()
        .map_err(|error| {
            format!("cannot run {clang}: {error}; install the Debian packages clang, libbpf-dev and libclang-dev")
        })?;
    if !status.success() {
        return Err("clang could not compile the guard's programs".into());
    }

    // By this number a daemon knows programs that are exactly its own.
    let mut build = DefaultHasher::new();
    build.write(&fs::read(&object)?);
    println!("cargo::rustc-env=GUARD_BUILD={}", build.finish());

    bindgen::Builder::default()
        .header_contents("guard_all.h", "#include <linux/types.h>\n#include \"guard.h\"\n")
        .clang_arg(format!("-I{SOURCES}"))
        .allowlist_item("(guard|GUARD)_.*")
        .prepend_enum_name(false)
        .derive_default(true)
        .derive_eq(true)
        .layout_tests(false)
        .generate()?
        .write_to_file(out.join("guard.rs"))?;
    Ok(())
}
