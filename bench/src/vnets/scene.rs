//! Where vnets are measured: two guests on a virtual switch, and two more on a plain bridge beside it.
//!
//! ```text
//!   guest0: net0 --- \                     plain0: net0 --- \
//!                     vsw0 --- net0 --- outside              br0 --- net1 --- outside
//!   guest1: net0 --- /        (host)       plain1: net0 --- /        (host)
//! ```

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use dlmp_testbed::{Host, Namespace, bridge, up, veth};

use crate::network::output;
use crate::way::Way;

/// The guests' link, and that of the host by which packets reach the outside.
const LINK: &str = "net0";
/// The link of the outside behind the virtual switch, and that behind the plain bridge.
pub const OUTSIDE: [&str; 2] = ["out0", "out1"];

/// The namespaces with their links.
pub struct Scene {
    /// Its `ldmd` shows the link state.
    _host: Host,
    /// What is behind the uplinks.
    pub outside: Namespace,
    /// The guests on the virtual switch.
    pub guests: [Namespace; 2],
    plain: [Namespace; 2],
}

impl Scene {
    /// Builds it.
    pub fn new() -> Result<Self> {
        let namespace = |name| Namespace::new("bn", name);
        let [host, outside] = [namespace("host")?, namespace("outside")?];
        let guests = [namespace("guest0")?, namespace("guest1")?];
        let plain = [namespace("plain0")?, namespace("plain1")?];
        veth((&host, "net0"), (&outside, OUTSIDE[0]))?;
        veth((&host, "net1"), (&outside, OUTSIDE[1]))?;
        for (index, guest) in plain.iter().enumerate() {
            veth((guest, LINK), (&host, &format!("p{index}")))?;
        }
        bridge(&host, "br0", &["net1", "p0", "p1"])?;
        let host = Host::new(&host)?;
        host.start()?;
        let mut lines = vec!["ldm add-vsw net-dev=net0 vsw0 primary".to_owned()];
        for (index, guest) in guests.iter().enumerate() {
            lines.push(format!("ldm add-domain --netns {} guest{index}", guest.name()));
            lines.push(format!("ldm add-vnet linkprop=phys-state custom=enable vnet0 vsw0 guest{index}"));
        }
        for line in lines {
            output(&mut host.dlmp().line(&line))?;
        }
        for (subnet, ends) in [&guests, &plain].into_iter().enumerate() {
            outside.ip(&format!("address add {}/24 dev {}", address(subnet, 1), OUTSIDE[subnet]))?;
            for (index, guest) in ends.iter().enumerate() {
                guest.ip(&format!("address add {}/24 dev {LINK}", address(subnet, 10 + index)))?;
                up(guest, LINK)?;
            }
        }
        Ok(Self { _host: host, outside, guests, plain })
    }

    /// From a guest to the outside: by a vnet, and by the plain bridge.
    pub fn to_uplink(&self) -> [Way<'_>; 2] {
        let way = |subnet, from| Way { from, to: &self.outside, address: address(subnet, 1), link: OUTSIDE[subnet] };
        [way(0, &self.guests[0]), way(1, &self.plain[0])]
    }

    /// From one guest to the other.
    pub fn to_each_other(&self) -> [Way<'_>; 2] {
        [between(0, &self.guests), between(1, &self.plain)]
    }
}

fn between(subnet: usize, [from, to]: &[Namespace; 2]) -> Way<'_> {
    Way { from, to, address: address(subnet, 11), link: LINK }
}

fn address(subnet: usize, host: usize) -> IpAddr {
    // Both are small numbers.
    IpAddr::V4(Ipv4Addr::new(10, 7, subnet as u8, host as u8))
}
