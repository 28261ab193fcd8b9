//! A guest whose ports filter multicast as network cards do, and what `show-mcast` says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use dlmp_testbed::{
    GroupReceiver, GroupSender, Groups, Hardware, Members, Namespace, Pins, PortFilter, mac_of_group, up, veth,
};
use serde_json::Value;

use crate::command::{ip_json, json, typed, wait_for};
use crate::guest::{Guest, HOST};

/// How long a table of 100,000 groups may take to be right.
const PATIENCE: Duration = Duration::from_secs(120);
/// The groups' memory in the datapath has so many bits: as many of those that nobody wants get in as hit one
/// that is set (docs/datapath.md).
const BITS: f64 = 1_048_576.0;

/// The address of `eth0` of [`MulticastGuest::container`].
pub const CONTAINER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 7);

/// A card with room for every group.
pub const LARGE: Hardware = Hardware::with_slots(usize::MAX);

/// A guest with the aggregation `aggr0`, each of whose ports stands behind a filter.
#[derive(Debug)]
pub struct MulticastGuest {
    // Removed before the ports are.
    filters: [PortFilter; 2],
    /// The guest and what is around it.
    pub guest: Guest,
}

/// What `show-mcast -P` says of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRow {
    /// `active`, `standby` or `--`.
    pub role: String,
    /// `exact`, `all`, `none` or `short`.
    pub filter: String,
    /// Groups in its own filter.
    pub groups: u64,
    /// How many it can hold; `Null` when that is unknown.
    pub limit: Value,
}

/// What `show-mcast` says of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRow {
    /// Its MAC address, or `all`.
    pub group: String,
    /// The IP addresses by which it was reported.
    pub addresses: Vec<String>,
    /// Who wants it.
    pub askers: Vec<String>,
}

impl MulticastGuest {
    /// Builds it with these cards as `net0` and `net1`. What is not unlimited is told dlmp by `mcast-limit`.
    pub fn new(hardware: [Hardware; 2]) -> Self {
        let rig = Self::untold(hardware);
        for (port, card) in ["net0", "net1"].iter().zip(hardware) {
            if card != LARGE {
                typed(&rig.guest.dlmp, &format!("dladm set-linkprop -p mcast-limit={} {port}", card.slots));
            }
        }
        rig
    }

    /// The same, but dlmp is not told what the cards hold.
    pub fn untold(hardware: [Hardware; 2]) -> Self {
        let guest = Guest::new(Pins::Mounted);
        let filter = |port: usize| {
            let (near, far) = (format!("net{port}"), format!("p{port}"));
            PortFilter::new((&guest.namespace, &near), (&guest.switch, &far), hardware[port]).unwrap()
        };
        let filters = [filter(0), filter(1)];
        typed(&guest.dlmp, "dladm create-aggr -l net0 -l net1 aggr0");
        guest.give_address("");
        Self { filters, guest }
    }

    /// A container with the VNIC `vnic1` as its `eth0`, which has the address [`CONTAINER`].
    pub fn container(&self) -> Namespace {
        let container = Namespace::new("ee", "container").unwrap();
        typed(&self.guest.dlmp, "dladm create-vnic -l aggr0 vnic1");
        self.guest.namespace.ip(&format!("link set dev vnic1 netns {} name eth0", container.name())).unwrap();
        container.ip(&format!("link set dev eth0 up\naddress add {CONTAINER}/24 dev eth0")).unwrap();
        wait_for("its IPv6 address is checked", || {
            let shown = ip_json(&container, "-6 address show dev eth0 scope link")[0]["addr_info"].clone();
            shown.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(|one| one["tentative"].is_null()))
        });
        container
    }

    /// A bridge above `aggr0`, and a virtual machine behind it with the address 52:54:00:00:00:0a.
    pub fn guest_of_a_bridge(&self) -> Namespace {
        let host = &self.guest.namespace;
        host.ip("link add name br0 type bridge mcast_snooping 0\nlink set dev aggr0 master br0").unwrap();
        up(host, "br0").unwrap();
        let vm = Namespace::new("ee", "vm").unwrap();
        veth((&vm, "eth0"), (host, "tap0")).unwrap();
        vm.ip("link set dev eth0 address 52:54:00:00:00:0a\naddress add 10.9.0.10/24 dev eth0").unwrap();
        host.ip("link set dev tap0 master br0").unwrap();
        up(host, "tap0").unwrap();
        wait_for("the guest reaches the host", || {
            vm.run(&["ping", "-q", "-c", "1", "-W", "1", &HOST.to_string()]).unwrap().status.success()
        });
        vm
    }

    /// The filter before `net0` or `net1`.
    pub fn filter(&self, port: &str) -> &PortFilter {
        &self.filters[usize::from(port == "net1")]
    }

    /// What is said of each port.
    pub fn ports(&self) -> BTreeMap<String, PortRow> {
        let shown = json(&self.guest.dlmp, "dladm show-mcast -P -j aggr0");
        let row = |row: &Value| PortRow {
            role: row["role"].as_str().unwrap_or("--").to_owned(),
            filter: text(&row["filter"]),
            groups: row["groups"].as_u64().unwrap(),
            limit: row["limit"].clone(),
        };
        shown.as_array().unwrap().iter().map(|port| (text(&port["port"]), row(port))).collect()
    }

    /// The port that takes multicast, and the other one.
    pub fn active_and_other_port(&self) -> (&'static str, &'static str) {
        let ports = self.ports();
        let active: Vec<&String> = ports.iter().filter(|(_, row)| row.role == "active").map(|(name, _)| name).collect();
        let [active] = active[..] else { panic!("not one active port: {ports:?}") };
        if active == "net0" { ("net0", "net1") } else { ("net1", "net0") }
    }

    /// Waits until `port` takes multicast.
    pub fn wait_until_active(&self, port: &str) {
        wait_for(&format!("{port} takes multicast"), || self.ports()[port].role == "active");
    }

    /// What is said of groups.
    pub fn groups(&self) -> Vec<GroupRow> {
        let shown = json(&self.guest.dlmp, "dladm show-mcast -j aggr0");
        let texts = |value: &Value| value.as_array().unwrap().iter().map(text).collect();
        let row = |row: &Value| GroupRow {
            group: text(&row["group"]),
            addresses: texts(&row["addresses"]),
            askers: texts(&row["askedby"]),
        };
        shown.as_array().unwrap().iter().map(row).collect()
    }

    /// Why every group is wanted, if it is.
    pub fn reasons(&self) -> Vec<String> {
        self.groups().into_iter().find(|row| row.group == "all").map(|row| row.askers).unwrap_or_default()
    }

    /// The groups of the table that are of the kind that tests join, by MAC address, with who asked.
    pub fn table(&self) -> BTreeMap<String, Vec<String>> {
        let rows = self.groups().into_iter().filter(|row| is_of_a_test(&row.group));
        rows.map(|row| (row.group, row.askers)).collect()
    }

    /// Waits until the table has exactly these of the groups that tests join, and every port that has a filter has them.
    pub fn wait_until_table_is(&self, groups: &[Groups]) {
        let wanted: BTreeSet<String> = macs(groups);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let table: BTreeSet<String> = self.table().into_keys().collect();
            if table == wanted {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "after {PATIENCE:?} {} of {} groups are missing and {} are too many",
                wanted.difference(&table).count(),
                wanted.len(),
                table.difference(&wanted).count()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until both filters let all of these in: the port that takes multicast, and the one that would next.
    pub fn wait_until_both_ports_admit(&self, groups: &[Groups]) {
        let macs: Vec<[u8; 6]> = groups.iter().flat_map(|row| row.addresses()).map(mac_of_group).collect();
        let deadline = Instant::now() + PATIENCE;
        while !self.filters.iter().all(|filter| macs.iter().all(|&mac| filter.admits(mac))) {
            assert!(Instant::now() < deadline, "after {PATIENCE:?} a filter lacks groups: {:?}", self.ports());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Joins groups on `aggr0`, and waits until all is ready for them.
    pub fn join(&self, groups: &[Groups]) -> Members {
        let members = Members::join(&self.guest.namespace, "aggr0", groups).unwrap();
        self.wait_until_ready_for(groups);
        members
    }

    /// The same without any report ([`Members::join_quietly`]).
    pub fn join_quietly(&self, groups: &[Groups]) -> Members {
        let members = Members::join_quietly(&self.guest.namespace, "aggr0", groups).unwrap();
        self.wait_until_ready_for(groups);
        members
    }

    fn wait_until_ready_for(&self, groups: &[Groups]) {
        self.wait_until_table_is(groups);
        self.wait_until_both_ports_admit(groups);
    }

    /// A stream from the host to these groups, `rate` frames a second, which `aggr0` is to receive.
    pub fn stream(&self, groups: &[Groups], rate: u32) -> GroupStream {
        self.stream_to(&self.guest.namespace, "aggr0", groups, rate)
    }

    /// The same for another link.
    pub fn stream_to(&self, namespace: &Namespace, link: &str, groups: &[Groups], rate: u32) -> GroupStream {
        let receiver = GroupReceiver::start(namespace, link).unwrap();
        let sender = GroupSender::start(&self.guest.host, "net0", groups, rate).unwrap();
        GroupStream { sender, receiver }
    }

    /// What the datapath has counted by this rule, over all ports.
    pub fn counted(&self, rule: &str) -> u64 {
        let rows = json(&self.guest.dlmp, "dlstat show-aggr -v -j aggr0");
        rows[0]["rules"][rule].as_u64().unwrap_or_else(|| panic!("{rule} is not counted: {}", rows[0]["rules"]))
    }

    /// Has the switch send groups only to ports that have asked for them, and ask itself (bridge(8), ip-link(8)),
    /// and waits until it does.
    pub fn switch_snoops(&self) {
        // It asks twice, then not for two minutes, and for IPv6 only once it has an address.
        wait_for("the switch's IPv6 address is checked", || {
            let addresses = ip_json(&self.guest.switch, "-6 address show dev br0 scope link")[0]["addr_info"].clone();
            addresses.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(|one| one["tentative"].is_null()))
        });
        // Times in hundredths of a second. It waits for one such interval for others who ask, and only then begins; the
        // kernel would take the interval later if it came in the same command.
        self.guest
            .switch
            .ip("link set dev br0 type bridge mcast_query_response_interval 100 mcast_startup_query_interval 100 \
                 mcast_hash_max 16384\n\
                 link set dev br0 type bridge mcast_snooping 1 mcast_querier 1")
            .unwrap();
        // Somebody else on the switch, who asks for nothing.
        let other = Namespace::new("ee", "other").unwrap();
        veth((&other, "net0"), (&self.guest.switch, "p9")).unwrap();
        self.guest.switch.ip("link set dev p9 master br0").unwrap();
        up(&self.guest.switch, "p9").unwrap();
        let nobodys = [Groups::v4(2_000_000, 1), Groups::v6(2_000_000, 1)];
        wait_for("the switch keeps groups that nobody asked for to itself", || {
            let receiver = GroupReceiver::start(&other, "net0").unwrap();
            let sender = GroupSender::start(&self.guest.host, "net0", &nobodys, 1000).unwrap();
            let rounds = sender.rounds(3);
            sender.stop().unwrap();
            receiver.received(rounds, &[]).unwrap().foreign.is_empty()
        });
    }
}

/// A stream that is sent to many groups in turn, and what of it arrives.
#[derive(Debug)]
pub struct GroupStream {
    sender: GroupSender,
    receiver: GroupReceiver,
}

impl GroupStream {
    /// Asserts that the next rounds bring every group that is `wanted`, once and in order, and not more of the
    /// others, `unwanted`, than the datapath's memory of groups may mistake.
    ///
    /// A report of more groups than a program reads lets all groups in until the daemon has read it, which where other tests run
    /// besides takes it a while: then the rounds after that one bring no others.
    pub fn assert_brings(&self, when: &str, rounds: u32, wanted: &[Groups], unwanted: &[Groups]) {
        const ATTEMPTS: u32 = 5;
        let count = |groups: &[Groups]| groups.iter().map(|row| row.len() as f64).sum::<f64>();
        let mistaken = count(unwanted) * count(wanted) / BITS;
        // Five standard deviations of a Poisson distribution.
        let most = mistaken + 5.0 * mistaken.sqrt() + 1.0;
        let foreign = (0..ATTEMPTS).map(|_| self.foreign(when, rounds, wanted)).find(|foreign| *foreign as f64 <= most);
        assert!(foreign.is_some(), "{when}: more groups that nobody asked for than {most}, each of {ATTEMPTS} times");
    }

    /// The next rounds: every wanted group, once and in order. Returns how many others came.
    fn foreign(&self, when: &str, rounds: u32, wanted: &[Groups]) -> usize {
        let rounds = self.sender.rounds(rounds);
        let received = self.receiver.received(rounds, wanted).unwrap();
        assert!(received.lost.is_empty(), "{when}: {} groups lost, {:?} ...", received.lost.len(), received.lost[0]);
        assert!(received.duplicated.is_empty(), "{when}: groups came twice: {:?}", received.duplicated);
        assert!(received.overtaken.is_empty(), "{when}: groups came in disorder: {:?}", received.overtaken);
        received.foreign.len()
    }

    /// Ends it, and asserts that nothing at all came twice or in disorder, whatever happened.
    pub fn end(self, wanted: &[Groups]) {
        let all = 0..self.sender.round();
        self.sender.stop().unwrap();
        let received = self.receiver.received(all, wanted).unwrap();
        self.receiver.stop().unwrap();
        assert!(received.duplicated.is_empty(), "groups came twice: {:?}", received.duplicated);
        assert!(received.overtaken.is_empty(), "groups came in disorder: {:?}", received.overtaken);
    }
}

/// The MAC addresses of groups, as text.
pub fn macs(groups: &[Groups]) -> BTreeSet<String> {
    let text = |group| mac_of_group(group).map(|byte| format!("{byte:02x}")).join(":");
    groups.iter().flat_map(|row| row.addresses()).map(text).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// Whether a MAC address is one of [`Groups`], not one that the kernel joins by itself.
fn is_of_a_test(mac: &str) -> bool {
    match (mac.strip_prefix("01:00:5e:"), mac.strip_prefix("33:33:")) {
        (Some(rest), _) => !rest.starts_with("00:"),
        (_, Some(rest)) => !rest.starts_with("00:00:") && !rest.starts_with("ff:"),
        _ => false,
    }
}
