//! The mode of an aggregation: dlmp, and refusing what belongs to trunk mode; `modify-aggr`.

use clap::{Args, ValueEnum};
use dlmp_api::client::Dlmpd;
use dlmp_wire::MacAddr;

use crate::aggr::only;
use crate::daemon::{self, answer};
use crate::failure::{Failure, Result};
use crate::table::Run;

/// Modify an aggregation
#[derive(Debug, Args)]
pub struct Modify {
    /// Until the next boot only
    #[arg(short)]
    temporary: bool,
    /// Mode of the aggregation
    #[arg(short, value_enum, default_value = "dlmp")]
    mode: Mode,
    #[command(flatten)]
    trunk: TrunkOptions,
    /// MAC address of the aggregation
    #[arg(short = 'u', value_name = "ADDRESS")]
    mac: Option<MacAddr>,
    /// The aggregation
    name: String,
}

/// What belongs to trunk mode: refused with a reason.
#[derive(Debug, Args)]
pub struct TrunkOptions {
    /// Load balancing of trunk mode
    #[arg(short = 'P', value_name = "POLICY", hide = true)]
    policy: Option<String>,
    /// LACP of trunk mode
    #[arg(short = 'L', value_name = "MODE", hide = true)]
    lacp_mode: Option<String>,
    /// LACP timer of trunk mode
    #[arg(short = 'T', value_name = "TIME", hide = true)]
    lacp_timer: Option<String>,
}

/// The mode of an aggregation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Ports that may go to different switches, none of which takes part.
    Dlmp,
    /// Solaris has it: refused with a reason instead of as a word that nobody knows.
    #[value(hide = true)]
    Trunk,
}

impl TrunkOptions {
    /// Refuses what belongs to trunk mode.
    ///
    /// # Errors
    /// Something does; names what to type instead.
    pub fn check(&self, mode: Mode, instead: &str) -> Result<()> {
        let trunk_only = [(&self.policy, "-P"), (&self.lacp_mode, "-L"), (&self.lacp_timer, "-T")];
        let refused = if mode == Mode::Trunk {
            "-m trunk: there is no trunk mode"
        } else if let Some((_, option)) = trunk_only.iter().find(|(value, _)| value.is_some()) {
            &format!("{option} belongs to trunk mode, which does not exist")
        } else {
            return Ok(());
        };
        Err(Failure::refused(
            format!("{refused} here: only dlmp, which needs no policy and no LACP on the switches"),
            instead,
        ))
    }
}

impl Run for Modify {
    async fn run(self) -> Result<()> {
        self.trunk.check(self.mode, &format!("dladm show-aggr {}", self.name))?;
        let aggregations = answer(daemon::require()?.list_aggregations().await)?.aggregations;
        let known = only(aggregations, Some(&self.name), |aggregation| &aggregation.name)?;
        match (self.mac, known.first()) {
            (Some(mac), Some(aggregation)) if mac.to_string() != aggregation.mac => Err(Failure::refused(
                format!("-u {mac}: the address of an aggregation stays the one that it was made with"),
                format!("dladm delete-aggr {0}, then create-aggr with -u {mac}", self.name),
            )),
            // The mode is dlmp, and the address is the one asked for: nothing is left to do.
            _ => Ok(()),
        }
    }
}
