//! Adding, changing and removing virtual network devices.

use clap::Args;
use dlmp_api::ldm::{Ldmd, NewVnet};

use super::operands::{divide, divide_change};
use crate::command::Run;
use crate::daemon::{self, answer};
use crate::failure::Result;

const ADD: &str = "ldm add-vnet [PROPERTY=VALUE]... NAME VSWITCH DOMAIN";
const SET: &str = "ldm set-vnet PROPERTY=VALUE... NAME DOMAIN";

/// Add a virtual network device to a domain
///
/// Properties: mac-addr, alt-mac-addrs, auto-alt-mac-addrs, pvid, vid, mtu, maxbw, linkprop, custom,
/// custom/max-mac-addrs, custom/max-vlans, protection, allowed-ips, priority, cos, id.
#[derive(Debug, Args)]
#[command(override_usage = ADD)]
pub struct Add {
    /// Properties, then the names of the device, its virtual switch and its domain
    #[arg(value_name = "OPERAND", required = true)]
    operands: Vec<String>,
}

/// Set properties of a virtual network device; an empty value resets one
///
/// Properties: vswitch and those of add-vnet.
#[derive(Debug, Args)]
#[command(override_usage = SET)]
pub struct Set {
    /// Properties, then the names of the device and its domain
    #[arg(value_name = "OPERAND", required = true)]
    operands: Vec<String>,
}

/// Remove a virtual network device from a domain
#[derive(Debug, Args)]
pub struct Remove {
    /// The device
    name: String,
    /// Its domain
    domain: String,
}

impl Run for Add {
    async fn run(self) -> Result<()> {
        let (settings, [name, switch, domain]) = divide(self.operands, ADD)?;
        answer(daemon::ldmd()?.add_vnet(&NewVnet { name, switch, domain, settings }).await)
    }
}

impl Run for Set {
    async fn run(self) -> Result<()> {
        let (settings, [name, domain]) = divide_change(self.operands, SET)?;
        answer(daemon::ldmd()?.set_vnet(&name, &domain, &settings).await)
    }
}

impl Run for Remove {
    async fn run(self) -> Result<()> {
        answer(daemon::ldmd()?.remove_vnet(&self.name, &self.domain).await)
    }
}
