//! Programs in Python that play the other side: they know the messages from published C declarations alone.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use dlmp_testbed::Namespace;

/// A running program of `tests/peers`. It ends with this value.
#[derive(Debug)]
pub struct Peer {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// A manager that answers (`manager.py respond`), once it listens.
    pub fn manager(namespace: &Namespace, options: &str) -> Self {
        Self::start(namespace, &format!("manager.py respond --seconds 600 {options}"))
    }

    /// A multicast router between two links of its namespace.
    pub fn router(namespace: &Namespace, group: &str, links: [&str; 2]) -> Self {
        Self::start(namespace, &format!("router.py {group} {} {}", links[0], links[1]))
    }

    /// A local user who means ill (`local_user.py`), started by way of `wrapper`, such as `setpriv` with options.
    pub fn local_user(namespace: &Namespace, wrapper: &str, line: &str) -> Self {
        Self::wrapped(namespace, wrapper, &format!("local_user.py {line}"))
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// The next line that it prints.
    pub fn next_line(&mut self) -> String {
        self.line()
    }

    /// A router with these addresses on the link `net0` of its namespace that answers nobody without an address, and
    /// neighbour solicitations from `known` only.
    pub fn wary(namespace: &Namespace, addresses: &str, known: &str) -> Self {
        Self::start(namespace, &format!("wary.py --know {known} net0 {addresses}"))
    }

    fn start(namespace: &Namespace, line: &str) -> Self {
        Self::wrapped(namespace, "env", line)
    }

    fn wrapped(namespace: &Namespace, wrapper: &str, line: &str) -> Self {
        let mut process = python(namespace, wrapper, line).stdout(Stdio::piped()).spawn().unwrap();
        let mut peer = Self { output: BufReader::new(process.stdout.take().unwrap()), process };
        assert_eq!(peer.line(), "ready");
        peer
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Ends it and returns what it received up to then: sender, TTL and hexadecimal digits of each datagram.
    pub fn received(mut self) -> Vec<[String; 3]> {
        self.process.kill().unwrap();
        let lines = (&mut self.output).lines().map(|line| line.unwrap());
        lines.filter_map(|line| received(&line)).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a client prints (`manager.py`), which ends by itself.
pub fn client(namespace: &Namespace, line: &str) -> Vec<String> {
    let output = python(namespace, "env", &format!("manager.py {line}")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Sender, TTL and hexadecimal digits of a datagram, of a line that tells of one.
pub fn received(line: &str) -> Option<[String; 3]> {
    let fields: Vec<_> = line.strip_prefix("received ")?.split(' ').map(str::to_owned).collect();
    fields.try_into().ok()
}

fn python(namespace: &Namespace, wrapper: &str, line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut wrapper = wrapper.split_whitespace();
    let mut command = namespace.command(wrapper.next().unwrap());
    command.args(wrapper).arg("python3");
    command.arg(format!("{}/peers/{}", env!("CARGO_MANIFEST_DIR"), words.next().unwrap())).args(words);
    command
}
