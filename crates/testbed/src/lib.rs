//! Network namespaces, topologies and measured traffic for the tests, the demo and the bench.
//!
//! Everything is real: namespaces as `ip netns add` makes them, veth pairs, bridges, taps, a DHCP
//! server, UDP packets. Everything made here is removed when its value is dropped, when a signal
//! ends the program ([`InterruptGuard`]), or, after a SIGKILL, when the next program of the same
//! prefix starts. It needs root, iproute2 and, for some parts, ethtool and dnsmasq-base.

mod cleanup;
mod clock;
mod control;
mod dhcp;
mod emulator;
mod environment;
mod flow;
mod foreign;
mod frames;
mod group_stream;
mod groups;
mod host;
mod igmp;
mod last_change;
mod namespace;
mod open_vswitch;
mod port_filter;
mod process;
mod scene;
mod stream;
mod sys;
mod topology;
mod watch;

pub use cleanup::InterruptGuard;
pub use control::LinkControl;
pub use dhcp::DhcpServer;
pub use emulator::Emulator;
pub use environment::{Environment, Pins};
pub use flow::{End, Event, Flow, Record};
pub use foreign::Foreign;
pub use frames::{FrameSocket, Look};
pub use group_stream::{GroupReceiver, GroupSender, Received};
pub use groups::{Groups, Members, mac_of_group};
pub use host::Host;
pub use igmp::{igmp_old_report, igmp_report, mld_report};
pub use last_change::kill_before_change;
pub use namespace::Namespace;
pub use open_vswitch::OpenVswitch;
pub use port_filter::{Dropped, Hardware, PortFilter};
pub use scene::Scene;
pub use stream::{Arrival, Fate, Outage, Report, Stream};
pub use topology::{Tap, bridge, up, veth, veth_down};
pub use watch::{PortTraffic, Sample};
