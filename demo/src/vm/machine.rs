//! The guest: a virtual machine in QEMU, without hardware acceleration, whose network cards are vnets.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dlmp_testbed::{Host, Scene};
use serde_json::{Value, json};

/// How long a machine may take to start, to answer or to migrate: its processor is emulated.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(50);
/// Stands behind the output of a line.
const END: &str = "-- done ";

/// The cards: name of the vnet, and its MAC address.
const CARDS: [(&str, &str); 2] = [("vnet6", Scene::NET0), ("vnet1", Scene::NET1)];

/// A running emulator. Dropping it ends it.
pub struct Machine {
    process: Child,
    directory: PathBuf,
    shell: UnixStream,
}

/// How a migration went, as the emulator measures it.
pub struct Migration {
    /// From its start to its end.
    pub total: Duration,
    /// While the machine ran on neither host.
    pub downtime: Duration,
}

impl Machine {
    /// The socket over which `ldmd` of a host speaks to the emulator.
    pub fn control(host: &Host) -> PathBuf {
        host.dlmp().runtime_dir().join("qmp")
    }

    /// Starts the machine on a host, as the domain ldg6 there. With `incoming` it waits for one that migrates to this socket.
    ///
    /// # Errors
    /// When the emulator is missing or ends at once, with what it said.
    pub fn start(host: &Host, images: &Path, incoming: Option<&Path>) -> Result<Self> {
        let directory = host.dlmp().runtime_dir();
        let at = |name: &str| directory.join(name).display().to_string();
        let mut qemu = host.dlmp().command("qemu-system-x86_64");
        qemu.args(["-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "256M", "-nodefaults"])
            .args(["-display", "none", "-no-reboot"])
            .arg("-kernel")
            .arg(images.join("vmlinuz"))
            .arg("-initrd")
            .arg(images.join("initrd"))
            .args(["-append", "console=ttyS0 quiet panic=-1 net.ifnames=0 mitigations=off random.trust_cpu=on"])
            .args(["-serial", &format!("file:{}", at("console"))])
            .args(["-serial", &format!("unix:{},server=on,wait=off", at("shell"))])
            // Each serves one program: the first ldmd, the second us.
            .args(["-qmp", &format!("unix:{},server=on,wait=off", Self::control(host).display())])
            .args(["-qmp", &format!("unix:{},server=on,wait=off", at("qmp-demo"))]);
        for (vnet, mac) in CARDS {
            qemu.args(["-netdev", &format!("tap,id={vnet},helper=ldm attach-vnet {vnet} ldg6")])
                .args(["-device", &format!("virtio-net-pci,netdev={vnet},mac={mac}")]);
        }
        if let Some(socket) = incoming {
            qemu.args(["-incoming", &format!("unix:{}", socket.display())]);
        }
        let said = fs::File::create(directory.join("qemu.log")).context("cannot make a log")?;
        let mut process = qemu.stdin(Stdio::null()).stderr(said).spawn().context("cannot run qemu-system-x86_64")?;
        let deadline = Instant::now() + PATIENCE;
        let shell = loop {
            match UnixStream::connect(directory.join("shell")) {
                Ok(shell) => break shell,
                Err(_) if process.try_wait()?.is_none() && Instant::now() < deadline => thread::sleep(LOOK),
                Err(error) => {
                    let said = fs::read_to_string(directory.join("qemu.log")).unwrap_or_default();
                    // It may not have ended, and nobody would end it.
                    let _ = process.kill();
                    bail!("the emulator does not start ({error}): {said}");
                }
            }
        };
        shell.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { process, directory, shell })
    }

    /// Waits until the machine is ready for lines.
    ///
    /// # Errors
    /// It is not within a minute.
    pub fn boot(&mut self) -> Result<()> {
        let mut lines = BufReader::new(&self.shell).lines();
        while lines.next().context("the emulator has ended")?.context("the machine does not start")? != "ready" {}
        // What the shell says of itself stands in front of the answer to the first line.
        self.run("true").map(drop)
    }

    /// Runs a line in the machine and returns what it printed, and its exit code.
    ///
    /// # Errors
    /// The machine does not answer.
    pub fn run(&mut self, line: &str) -> Result<(String, i32)> {
        writeln!(self.shell, "{line}\necho \"{END}$?\"")?;
        let mut printed = String::new();
        for answer in BufReader::new(&self.shell).lines() {
            let answer = answer.context("the machine does not answer")?;
            if let Some(code) = answer.strip_prefix(END) {
                return Ok((printed, code.parse().context("no exit code")?));
            }
            printed += &answer;
            printed.push('\n');
        }
        bail!("the emulator has ended")
    }

    /// Migrates the machine to the emulator that waits at this socket, and returns when it runs there.
    ///
    /// # Errors
    /// What the emulator says.
    pub fn migrate(&self, to: &Path) -> Result<Migration> {
        let mut control = Control::open(&self.directory.join("qmp-demo"))?;
        // As fast as the memory is read: what it would be limited to is meant for shared networks.
        control.ask("migrate-set-parameters", &json!({ "max-bandwidth": 1u64 << 32 }))?;
        control.ask("migrate", &json!({ "uri": format!("unix:{}", to.display()) }))?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let state = control.ask("query-migrate", &json!({}))?;
            let time = |field: &str| Duration::from_millis(state[field].as_u64().unwrap_or_default());
            match state["status"].as_str() {
                Some("completed") => return Ok(Migration { total: time("total-time"), downtime: time("downtime") }),
                Some("failed" | "cancelled") => bail!("the migration failed: {state}"),
                _ => thread::sleep(LOOK),
            }
        }
        bail!("the migration does not end")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The emulator's control socket.
struct Control {
    answers: BufReader<UnixStream>,
    commands: UnixStream,
}

impl Control {
    fn open(socket: &Path) -> Result<Self> {
        let commands = UnixStream::connect(socket).context("cannot reach the emulator")?;
        commands.set_read_timeout(Some(PATIENCE))?;
        let mut control = Self { answers: BufReader::new(commands.try_clone()?), commands };
        control.ask("qmp_capabilities", &json!({}))?;
        Ok(control)
    }

    fn ask(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        writeln!(self.commands, "{}", json!({ "execute": command, "arguments": arguments }))?;
        loop {
            let mut line = String::new();
            ensure!(self.answers.read_line(&mut line)? > 0, "the emulator has ended");
            let mut answer: Value = serde_json::from_str(&line)?;
            if let Some(error) = answer.get("error") {
                bail!("{command}: {error}");
            }
            // The greeting and events come in between.
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
        }
    }
}
