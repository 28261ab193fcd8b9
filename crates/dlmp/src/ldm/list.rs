//! `ldm list`: the domains, with `-l` all that they have, with `-o network` their virtual network devices.

use std::iter::once;

use clap::{Args, ValueEnum};
use dlmp_api::ldm::{Domain, Ldmd, Switch, Vnet};

use super::network::{blocks, vnet_problems, vnet_record};
use super::record::VERSION;
use super::summary::{domain_record, domain_table};
use super::switch::{switch_problems, switch_record, switch_table};
use super::{indented, json, problems};
use crate::command::Run;
use crate::daemon;
use crate::failure::{Failure, Result};
use crate::output;

/// List domains
#[derive(Debug, Args)]
pub struct List {
    /// Show all that they have: their places, switches and virtual network devices
    #[arg(short)]
    long: bool,
    /// Show one kind of what they have
    #[arg(short = 'o', value_enum, value_name = "KIND", conflicts_with = "long")]
    only: Option<Kind>,
    /// Parseable: a line a record, of fields joined by `|`
    #[arg(short, conflicts_with = "json")]
    parseable: bool,
    /// Print JSON
    #[arg(short)]
    json: bool,
    /// Only this domain
    name: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// Their virtual network devices
    #[value(alias = "net")]
    Network,
}

/// What is listed, each kind as the daemon sorts it; of switches and devices what was asked for.
#[derive(Debug, Default)]
struct Listing {
    domains: Vec<Domain>,
    switches: Vec<Switch>,
    vnets: Vec<Vnet>,
}

impl Run for List {
    async fn run(self) -> Result<()> {
        let listing = self.ask().await?;
        output::print(&match (self.parseable, self.json, self.only) {
            (true, _, _) => listing.records(),
            (_, true, None) => json(&listing.domains)?,
            (_, true, Some(Kind::Network)) => json(&listing.vnets)?,
            (_, _, Some(Kind::Network)) => listing.network(self.name.is_none())?,
            _ if self.long => listing.long()?,
            _ => listing.short()?,
        })
    }
}

impl List {
    async fn ask(&self) -> Result<Listing> {
        let mut ldmd = daemon::ldmd()?;
        let mut listing = Listing {
            domains: daemon::list(ldmd.list_domains().await, |reply| reply.domains).await?,
            ..Listing::default()
        };
        if self.long {
            listing.switches = daemon::list(ldmd.list_switches().await, |reply| reply.switches).await?;
        }
        if self.long || self.only.is_some() {
            listing.vnets = daemon::list(ldmd.list_vnets().await, |reply| reply.vnets).await?;
        }
        if let Some(name) = &self.name {
            listing.domains.retain(|domain| domain.name == *name);
            listing.switches.retain(|switch| switch.domain == *name);
            listing.vnets.retain(|vnet| vnet.domain == *name);
            if listing.domains.is_empty() {
                return Err(Failure::refused(format!("there is no domain {name}"), "ldm list"));
            }
        }
        Ok(listing)
    }
}

impl Listing {
    fn short(&self) -> Result<String> {
        Ok(domain_table(&self.domains)? + &self.problems())
    }

    fn long(&self) -> Result<String> {
        let mut parts = Vec::new();
        for domain in &self.domains {
            parts.push(domain_table(std::slice::from_ref(domain))?);
            parts.push("PLACE\n".to_owned() + &indented(&format!("{} {}", domain.kind, domain.place)));
            let switches = of(&self.switches, domain, |switch| &switch.domain);
            if !switches.is_empty() {
                parts.push(switch_table(&switches)?);
            }
            let vnets = of(&self.vnets, domain, |vnet| &vnet.domain);
            if !vnets.is_empty() {
                parts.push("NETWORK\n".to_owned() + &blocks(&vnets, true)?);
            }
        }
        parts.extend(Some(self.problems()).filter(|problems| !problems.is_empty()));
        Ok(parts.join("\n"))
    }

    /// The devices; `of_several` domains are told apart by their names.
    fn network(&self, of_several: bool) -> Result<String> {
        if !of_several || self.vnets.is_empty() {
            return Ok(blocks(&self.vnets, false)? + &self.problems());
        }
        let mut parts = Vec::new();
        for vnets in self.vnets.chunk_by(|one, next| one.domain == next.domain) {
            parts.push(format!("NAME\n{}\n", vnets[0].domain));
            parts.push(blocks(vnets, false)?);
        }
        Ok(parts.join("\n") + &self.problems())
    }

    fn problems(&self) -> String {
        problems(self.domains.iter().map(|domain| (domain.name.clone(), &domain.problem)))
            + &switch_problems(&self.switches)
            + &vnet_problems(&self.vnets)
    }

    fn records(&self) -> String {
        let records = |domain: &Domain| {
            let switches = of(&self.switches, domain, |switch| &switch.domain);
            let vnets = of(&self.vnets, domain, |vnet| &vnet.domain);
            let below = switches.iter().map(switch_record).chain(vnets.iter().map(vnet_record));
            once(domain_record(domain)).chain(below).collect::<String>()
        };
        once(VERSION.to_owned()).chain(self.domains.iter().map(records)).collect()
    }
}

/// What belongs to a domain.
fn of<T: Clone>(all: &[T], domain: &Domain, domain_of: impl Fn(&T) -> &String) -> Vec<T> {
    all.iter().filter(|one| *domain_of(one) == domain.name).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::network::tests::published;
    use super::super::switch::tests::switches;
    use super::*;

    fn domain(name: &str, state: &str, kind: &str, place: &str, switches: i64) -> Domain {
        Domain {
            name: name.into(),
            state: state.into(),
            kind: kind.into(),
            place: place.into(),
            switches,
            vnets: 0,
            uptime: (state == "active").then_some(334_025),
            problem: None,
        }
    }

    fn listing() -> Listing {
        let gone = Domain {
            problem: Some("the network namespace ldg7 is not there".into()),
            ..domain("ldg7", "inactive", "namespace", "ldg7", 0)
        };
        let ill = Domain {
            problem: Some("a switch is not there".into()),
            ..domain("ldg5", "active", "namespace", "ldg5", 2)
        };
        Listing {
            domains: vec![
                ill,
                domain("ldg6", "active", "vm", "/run/ldg6.qmp", 0),
                gone,
                domain("ldg8", "bound", "namespace", "pid 7", 1),
                domain("primary", "active", "control", "this host", 1),
            ],
            switches: switches().into(),
            vnets: published().into(),
        }
    }

    #[test]
    fn domains_are_listed_with_their_states_and_problems() {
        let short = Listing { domains: listing().domains, ..Listing::default() };
        insta::assert_snapshot!(short.short().unwrap(), @r"
        NAME              STATE       FLAGS    CONS    VCPU  MEMORY   UTIL  UPTIME
        ldg5              active      -d--v-   --      --    --       --    3d 20h 47m
        ldg6              active      -n----   --      --    --       --    3d 20h 47m
        ldg7              inactive    ------   --      --    --       --    --
        ldg8              bound       ------   --      --    --       --    --
        primary           active      -n-cv-   --      --    --       --    3d 20h 47m
        Problem of ldg5: a switch is not there
        Problem of ldg7: the network namespace ldg7 is not there
        ");
    }

    #[test]
    fn the_long_listing_has_all_of_each_domain() {
        insta::assert_snapshot!(listing().long().unwrap(), @r"
        NAME              STATE       FLAGS    CONS    VCPU  MEMORY   UTIL  UPTIME
        ldg5              active      -d--v-   --      --    --       --    3d 20h 47m

        PLACE
            namespace ldg5

        VSW
            NAME             LDOM      MAC                NET-DEV   ID   DEVICE     LINKPROP    DEFAULT-VLAN-ID  PVID  VID    MTU    MODE  INTER-VNET-LINK
            ----             ----      ---                -------   --   ------     --------    ---------------  ----  ---    ---    ----  ---------------
            ldg5-vsw0        ldg5      00:14:4f:fb:9f:0d  net2      0    switch@0   phys-state  1                1     2,3    1500   --    auto
            stub             ldg5      00:14:4f:fb:9f:0d  --        1    switch@1   --          1                1     --     1500   --    auto

        NAME              STATE       FLAGS    CONS    VCPU  MEMORY   UTIL  UPTIME
        ldg6              active      -n----   --      --    --       --    3d 20h 47m

        PLACE
            vm /run/ldg6.qmp

        NETWORK
            NAME         SERVICE                MACADDRESS         PVID|PVLAN|VIDs
            ----         -------                ----------         ---------------
            vnet6        primary-vsw0@primary   00:14:4f:f9:cf:47  1|--|--
                    DEVICE     :network@0       ID   :0
                    LINKPROP   :phys-state      MTU  :1500
                    MAXBW      :--              MODE :--
                    CUSTOM     :enable
                    MAX-CUSTOM-MACS:4096        MAX-CUSTOM-VLANS:4096
                    STATE      :up              SPEED:1G
                    MACS-IN-USE:2               VLANS-IN-USE:0

            NAME         SERVICE                MACADDRESS         PVID|PVLAN|VIDs
            ----         -------                ----------         ---------------
            vnet1        ldg5-vsw0@ldg5         00:14:4f:fb:f5:33  1|--|--
                    DEVICE     :network@1       ID   :1
                    LINKPROP   :phys-state      MTU  :1500
                    MAXBW      :--              MODE :--
                    CUSTOM     :enable
                    MAX-CUSTOM-MACS:4096        MAX-CUSTOM-VLANS:4096
                    STATE      :up              SPEED:1G
                    MACS-IN-USE:2               VLANS-IN-USE:0

        NAME              STATE       FLAGS    CONS    VCPU  MEMORY   UTIL  UPTIME
        ldg7              inactive    ------   --      --    --       --    --

        PLACE
            namespace ldg7

        NAME              STATE       FLAGS    CONS    VCPU  MEMORY   UTIL  UPTIME
        ldg8              bound       ------   --      --    --       --    --

        PLACE
            namespace pid 7

        NAME              STATE       FLAGS    CONS    VCPU  MEMORY   UTIL  UPTIME
        primary           active      -n-cv-   --      --    --       --    3d 20h 47m

        PLACE
            control this host

        VSW
            NAME             LDOM      MAC                NET-DEV   ID   DEVICE     LINKPROP    DEFAULT-VLAN-ID  PVID  VID    MTU    MODE  INTER-VNET-LINK
            ----             ----      ---                -------   --   ------     --------    ---------------  ----  ---    ---    ----  ---------------
            primary-vsw0     primary   00:14:4f:fb:9f:0d  net0      0    switch@0   phys-state  1                1     2,3    1500   --    auto

        Problem of ldg5: a switch is not there
        Problem of ldg7: the network namespace ldg7 is not there
        Problem of stub: its bridge was deleted
        ");
    }

    #[test]
    fn devices_of_several_domains_stand_under_their_names() {
        let mut listing = Listing { switches: vec![], ..listing() };
        listing.domains.retain(|domain| domain.problem.is_none());
        assert_eq!(listing.network(false).unwrap(), blocks(&published(), false).unwrap());
        listing.vnets[0].domain = "ldg5".into();
        insta::assert_snapshot!(listing.network(true).unwrap(), @r"
        NAME
        ldg5

            NAME         SERVICE                MACADDRESS         PVID|PVLAN|VIDs
            ----         -------                ----------         ---------------
            vnet6        primary-vsw0@primary   00:14:4f:f9:cf:47  1|--|--
                    DEVICE     :network@0       ID   :0
                    LINKPROP   :phys-state      MTU  :1500
                    MAXBW      :--              MODE :--
                    CUSTOM     :enable
                    MAX-CUSTOM-MACS:4096        MAX-CUSTOM-VLANS:4096

        NAME
        ldg6

            NAME         SERVICE                MACADDRESS         PVID|PVLAN|VIDs
            ----         -------                ----------         ---------------
            vnet1        ldg5-vsw0@ldg5         00:14:4f:fb:f5:33  1|--|--
                    DEVICE     :network@1       ID   :1
                    LINKPROP   :phys-state      MTU  :1500
                    MAXBW      :--              MODE :--
                    CUSTOM     :enable
                    MAX-CUSTOM-MACS:4096        MAX-CUSTOM-VLANS:4096
        ");
    }

    #[test]
    fn scripts_get_each_domain_with_its_switches_and_devices() {
        insta::assert_snapshot!(listing().records(), @r"
        VERSION 1.0
        DOMAIN|name=ldg5|state=active|flags=degraded,vio-service|cons=|ncpu=|mem=|util=|uptime=334025
        VSW|name=ldg5-vsw0|mac-addr=00:14:4f:fb:9f:0d|net-dev=net2|dev=switch@0|default-vlan-id=1|pvid=1|vid=2,3|mode=|mtu=1500|linkprop=phys-state|id=0|inter-vnet-link=auto
        VSW|name=stub|mac-addr=00:14:4f:fb:9f:0d|net-dev=|dev=switch@1|default-vlan-id=1|pvid=1|vid=|mode=|mtu=1500|linkprop=|id=1|inter-vnet-link=auto
        DOMAIN|name=ldg6|state=active|flags=normal|cons=|ncpu=|mem=|util=|uptime=334025
        VNET|name=vnet6|dev=network@0|service=primary-vsw0@primary|mac-addr=00:14:4f:f9:cf:47|mode=|pvid=1|vid=|mtu=1500|linkprop=phys-state|id=0|alt-mac-addrs=|maxbw=|protection=|allowed-ips=|priority=|cos=|custom=enable|custom/max-mac-addrs=4096|custom/max-vlans=4096
        VNET|name=vnet1|dev=network@1|service=ldg5-vsw0@ldg5|mac-addr=00:14:4f:fb:f5:33|mode=|pvid=1|vid=|mtu=1500|linkprop=phys-state|id=1|alt-mac-addrs=|maxbw=|protection=|allowed-ips=|priority=|cos=|custom=enable|custom/max-mac-addrs=4096|custom/max-vlans=4096
        DOMAIN|name=ldg7|state=inactive|flags=|cons=|ncpu=|mem=|util=|uptime=
        DOMAIN|name=ldg8|state=bound|flags=|cons=|ncpu=|mem=|util=|uptime=
        DOMAIN|name=primary|state=active|flags=normal,control,vio-service|cons=|ncpu=|mem=|util=|uptime=334025
        VSW|name=primary-vsw0|mac-addr=00:14:4f:fb:9f:0d|net-dev=net0|dev=switch@0|default-vlan-id=1|pvid=1|vid=2,3|mode=|mtu=1500|linkprop=phys-state|id=0|inter-vnet-link=auto
        ");
    }
}
