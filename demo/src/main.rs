//! Plays the story of a rebooted service domain on real kernel devices: a guest makes an
//! aggregation of two virtual network devices, gets an address by DHCP and talks to an external
//! host while the service domain behind one of the devices reboots.
//!
//! It ends with exit code 0 only if the traffic was interrupted for less than 200 ms and no packet
//! arrived twice. Everything happens in network namespaces of its own, which are removed at the
//! end, also when it is interrupted.

mod picture;
mod story;
mod verdict;
mod vm;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use dlmp_testbed::{InterruptGuard, Pins};

use crate::picture::Style;
use crate::verdict::Verdict;

/// Plays the story of a rebooted service domain on real kernel devices.
#[derive(Parser)]
#[command(name = "dlmp-demo", version)]
struct Arguments {
    /// Give the daemon a bpffs, so that it attaches its programs by tcx and pins them
    #[arg(long)]
    bpffs: bool,
    /// Play it with a guest that is a virtual machine, which scripts/vm-guest made in this directory
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "bpffs")]
    vm: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let pins = if arguments.bpffs { Pins::Mounted } else { Pins::None };
    let play = || match &arguments.vm {
        Some(images) => play_with_machine(images),
        None => play(pins),
    };
    let (result, guard) = match InterruptGuard::install() {
        Ok(guard) => (play(), Some(guard)),
        Err(error) => (Err(error), None),
    };
    // An interrupted story fails for that reason; the guard then ends the process here.
    drop(guard);
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("dlmp-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Plays the story, shows what happened to the traffic and says whether it was good.
fn play(pins: Pins) -> Result<bool> {
    check_requirements(&[])?;
    let out = &mut io::stdout();
    let record = story::play(out, pins)?;
    let style = Style::from_environment();
    let verdict = Verdict::of(&record);
    writeln!(out, "{}", verdict.table(style))?;
    for picture in picture::pictures(&record, style) {
        writeln!(out, "{picture}")?;
    }
    writeln!(out, "{}", verdict.sentence())?;
    Ok(verdict.good())
}

/// The same with a guest that is a virtual machine.
fn play_with_machine(images: &Path) -> Result<bool> {
    check_requirements(&[("qemu-system-x86_64", "qemu-system-x86")])?;
    let images = images.canonicalize().with_context(|| format!("cannot find the machine in {}", images.display()))?;
    let out = &mut io::stdout();
    let verdict = vm::play(out, &images)?;
    writeln!(out, "{}", verdict.table())?;
    writeln!(out, "{}", verdict.sentence())?;
    Ok(verdict.good())
}

/// Root and the programs that the scene is built with, and further ones.
fn check_requirements(further: &[(&str, &str)]) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("making network namespaces needs root\n  try: sudo make demo");
    }
    for (program, package) in [("ip", "iproute2"), ("dnsmasq", "dnsmasq-base")].iter().chain(further) {
        if !in_path(program) {
            bail!("the program {program} is not in PATH\n  try: apt-get install {package}");
        }
    }
    Ok(())
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| Path::new(&directory).join(program).is_file())
}
