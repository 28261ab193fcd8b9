//! Adding, removing, stopping and starting domains.

use clap::Args;
use dlmp_api::ldm::{Ldmd, NewDomain};

use crate::command::Run;
use crate::daemon::{self, answer};
use crate::failure::{Failure, Result};

/// Add a domain: a network namespace or a virtual machine
///
/// Without an option it is the named network namespace of the domain's name, which is made if it is missing.
#[derive(Debug, Args)]
pub struct Add {
    #[command(flatten)]
    place: Place,
    /// Name of the domain
    name: String,
}

/// What the domain is.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct Place {
    /// A named network namespace, made if it is missing
    #[arg(long, value_name = "NAME")]
    netns: Option<String>,
    /// The file of a network namespace
    #[arg(long, value_name = "FILE")]
    path: Option<String>,
    /// The network namespace of a process
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
    pid: Option<i64>,
    /// A virtual machine, by its emulator's control socket (QMP), which need not exist yet
    #[arg(long, value_name = "SOCKET")]
    vm: Option<String>,
}

/// Remove a domain; what was made for it is removed with it
#[derive(Debug, Args)]
pub struct Remove {
    /// The domain
    name: String,
}

/// Stop a domain: its virtual links go down, and those of its switches
#[derive(Debug, Args)]
pub struct Stop {
    /// The domain
    name: String,
}

/// Start a domain that was stopped
#[derive(Debug, Args)]
pub struct Start {
    /// The domain
    name: String,
}

impl Run for Add {
    async fn run(self) -> Result<()> {
        let Place { netns, path, pid, vm } = self.place;
        let request = NewDomain {
            name: self.name,
            namespace: netns,
            path: path.map(absolute).transpose()?,
            pid,
            vm: vm.map(absolute).transpose()?,
        };
        answer(daemon::ldmd()?.add_domain(&request).await)
    }
}

impl Run for Remove {
    async fn run(self) -> Result<()> {
        answer(daemon::ldmd()?.remove_domain(&self.name).await)
    }
}

impl Run for Stop {
    async fn run(self) -> Result<()> {
        answer(daemon::ldmd()?.stop_domain(&self.name).await)
    }
}

impl Run for Start {
    async fn run(self) -> Result<()> {
        answer(daemon::ldmd()?.start_domain(&self.name).await)
    }
}

/// The path as the daemon finds it, which runs in another directory.
fn absolute(path: String) -> Result<String> {
    let absolute = std::path::absolute(&path)?.into_os_string().into_string();
    absolute.map_err(|_| Failure::Refused(format!("the directory that {path:?} is in has a name that is not UTF-8")))
}
