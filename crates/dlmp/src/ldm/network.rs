//! How virtual network devices are listed: the blocks of `ldm list -o network`, and their records for scripts.

use dlmp_api::ldm::Vnet;

use super::record::{joined, maybe, record};
use super::{indented, linkprop, problems, rate};
use crate::cell::Cell;
use crate::failure::Result;
use crate::output::{Column, Format, Table};

/// Widths as in the published transcript.
const COLUMNS: [Column; 4] = [
    Column::new("NAME", 11),
    Column::new("SERVICE", 21),
    Column::new("MACADDRESS", 17),
    Column::new("PVID|PVLAN|VIDs", 15),
];

/// Characters of a block's left half.
const HALF: usize = 28;

/// A block for each, with a free line between them. With `state` also what is in use and what was counted.
///
/// # Errors
/// As [`Format::render`].
pub fn blocks(vnets: &[Vnet], state: bool) -> Result<String> {
    let mut blocks = Vec::new();
    for vnet in vnets {
        let mut block = heading(rows(vnet))? + &properties(vnet);
        if state {
            block += &in_use(vnet);
        }
        blocks.push(block);
    }
    if blocks.is_empty() { heading(vec![]) } else { Ok(blocks.join("\n")) }
}

/// What is wrong with them, a line each.
pub fn vnet_problems(vnets: &[Vnet]) -> String {
    problems(vnets.iter().map(|vnet| (format!("{} of {}", vnet.name, vnet.domain), &vnet.problem)))
}

/// A device for scripts.
pub fn vnet_record(vnet: &Vnet) -> String {
    record(
        "VNET",
        &[
            ("name", vnet.name.clone()),
            ("dev", device(vnet)),
            ("service", service(vnet)),
            ("mac-addr", vnet.mac.clone()),
            ("mode", String::new()),
            ("pvid", vnet.pvid.to_string()),
            ("vid", joined(&vnet.vids)),
            ("mtu", vnet.mtu.to_string()),
            ("linkprop", maybe(linkprop(vnet.physstate))),
            ("id", vnet.id.to_string()),
            ("alt-mac-addrs", joined(&vnet.alternates)),
            ("maxbw", maybe(vnet.maxbw)),
            ("protection", joined(&vnet.protection)),
            ("allowed-ips", joined(&vnet.allowedips)),
            ("priority", maybe(vnet.priority.as_ref())),
            ("cos", maybe(vnet.cos)),
            ("custom", custom(vnet).into()),
            ("custom/max-mac-addrs", vnet.maxmacs.to_string()),
            ("custom/max-vlans", vnet.maxvlans.to_string()),
        ],
    )
}

fn heading(rows: Vec<Vec<Cell>>) -> Result<String> {
    let table = Table { columns: &COLUMNS, rows }.underlined();
    Ok(indented(&Format::default().render(&table, true)?))
}

/// The device, and a row for each of its alternate addresses.
fn rows(vnet: &Vnet) -> Vec<Vec<Cell>> {
    let vids = if vnet.vids.is_empty() { "--".into() } else { joined(&vnet.vids) };
    let first = vec![
        Cell::Text(vnet.name.clone()),
        Cell::Text(service(vnet)),
        Cell::Text(vnet.mac.clone()),
        // Linux bridges have no private VLANs, so there is never one to show.
        Cell::Text(format!("{}|--|{vids}", vnet.pvid)),
    ];
    let alternate = |mac: &String| {
        let blank = || Cell::Repeated(String::new());
        vec![blank(), blank(), Cell::Text(mac.clone()), blank()]
    };
    std::iter::once(first).chain(vnet.alternates.iter().map(alternate)).collect()
}

fn properties(vnet: &Vnet) -> String {
    let maxbw = vnet.maxbw.map(|bits| rate(bits.unsigned_abs()));
    let mut text = pair(("DEVICE", device(vnet)), ("ID", vnet.id.to_string()));
    text += &pair(("LINKPROP", shown(linkprop(vnet.physstate))), ("MTU", vnet.mtu.to_string()));
    text += &pair(("MAXBW", shown(maxbw)), ("MODE", "--".into()));
    text += &values("CUSTOM", &[custom(vnet)]);
    if vnet.custom {
        text += &pair(("MAX-CUSTOM-MACS", vnet.maxmacs.to_string()), ("MAX-CUSTOM-VLANS", vnet.maxvlans.to_string()));
    }
    if vnet.priority.is_some() || vnet.cos.is_some() {
        text += &pair(("PRIORITY", shown(vnet.priority.as_ref())), ("COS", shown(vnet.cos)));
    }
    text + &values("PROTECTION", &vnet.protection) + &values("ALLOWED-IPS", &vnet.allowedips)
}

fn in_use(vnet: &Vnet) -> String {
    let speed = vnet.speed.map(|megabits| rate(megabits.unsigned_abs() * 1_000_000));
    let counted = vnet.counters.iter().filter(|counter| counter.count != 0);
    let counted: Vec<_> = counted.map(|counter| format!("{}={}", counter.name, counter.count)).collect();
    pair(("STATE", vnet.state.clone()), ("SPEED", shown(speed)))
        + &pair(("MACS-IN-USE", vnet.macs.to_string()), ("VLANS-IN-USE", vnet.vlans.to_string()))
        + &values("COUNTERS", &counted)
}

/// A line of a block: two labels with their values.
fn pair(left: (&str, String), right: (&str, String)) -> String {
    let left = format!("{:<11}:{}", left.0, left.1);
    format!("            {left:<HALF$}{:<5}:{}\n", right.0, right.1)
}

/// A label with values below each other; nothing without a value.
fn values<T: AsRef<str>>(label: &str, values: &[T]) -> String {
    let labels = std::iter::once((label, ":")).chain(std::iter::repeat(("", " ")));
    let line =
        |((label, colon), value): ((&str, &str), &T)| format!("            {label:<11}{colon}{}\n", value.as_ref());
    labels.zip(values).map(line).collect()
}

fn shown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "--".into(), |value| value.to_string())
}

fn device(vnet: &Vnet) -> String {
    format!("network@{}", vnet.id)
}

/// The switch, and where it is unless it was removed by force.
fn service(vnet: &Vnet) -> String {
    match vnet.service.as_str() {
        "" => vnet.switch.clone(),
        domain => format!("{}@{domain}", vnet.switch),
    }
}

fn custom(vnet: &Vnet) -> &'static str {
    if vnet.custom { "enable" } else { "disable" }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use dlmp_api::RuleCount;

    /// A device of the published transcript.
    pub fn vnet(name: &str, service: &str, mac: &str, id: i64) -> Vnet {
        Vnet {
            name: name.into(),
            domain: "ldg6".into(),
            switch: format!("{service}-vsw0"),
            service: service.into(),
            mac: mac.into(),
            alternates: vec![],
            pvid: 1,
            vids: vec![],
            id,
            physstate: true,
            mtu: 1500,
            maxbw: None,
            custom: true,
            maxmacs: 4096,
            maxvlans: 4096,
            priority: None,
            cos: None,
            protection: vec![],
            allowedips: vec![],
            state: "up".into(),
            speed: Some(1000),
            duplex: "full".into(),
            macs: 2,
            vlans: 0,
            counters: vec![],
            problem: None,
        }
    }

    /// Both of them.
    pub fn published() -> [Vnet; 2] {
        [vnet("vnet6", "primary", "00:14:4f:f9:cf:47", 0), vnet("vnet1", "ldg5", "00:14:4f:fb:f5:33", 1)]
    }

    /// One with every property that there is.
    fn full() -> Vnet {
        Vnet {
            alternates: vec!["00:14:4f:f8:00:01".into(), "00:14:4f:f8:00:02".into()],
            vids: vec![2, 3],
            physstate: false,
            maxbw: Some(100_000_000),
            custom: false,
            priority: Some("high".into()),
            cos: Some(7),
            protection: vec!["mac-nospoof".into(), "ip-nospoof".into()],
            allowedips: vec!["192.0.2.7".into()],
            speed: None,
            counters: vec![
                RuleCount { name: "mac-limit".into(), count: 3 },
                RuleCount { name: "vlan-limit".into(), count: 0 },
                RuleCount { name: "forged".into(), count: 1 },
            ],
            problem: Some("its switch is not there".into()),
            ..vnet("vnet3_ldg6", "primary", "00:14:4f:f8:dd:96", 2)
        }
    }

    #[test]
    fn list_o_network_is_as_in_the_published_transcript() {
        // The snapshot is compared without what all lines are indented by.
        assert!(blocks(&published(), false).unwrap().starts_with("    NAME "));
        insta::assert_snapshot!(blocks(&published(), false).unwrap(), @r"
        NAME         SERVICE                MACADDRESS         PVID|PVLAN|VIDs
        ----         -------                ----------         ---------------
        vnet6        primary-vsw0@primary   00:14:4f:f9:cf:47  1|--|--
                DEVICE     :network@0       ID   :0
                LINKPROP   :phys-state      MTU  :1500
                MAXBW      :--              MODE :--
                CUSTOM     :enable
                MAX-CUSTOM-MACS:4096        MAX-CUSTOM-VLANS:4096

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
    fn what_is_set_and_what_is_wrong_is_shown() {
        insta::assert_snapshot!(blocks(&[full()], true).unwrap() + &vnet_problems(&[full()]), @r"
            NAME         SERVICE                MACADDRESS         PVID|PVLAN|VIDs
            ----         -------                ----------         ---------------
            vnet3_ldg6   primary-vsw0@primary   00:14:4f:f8:dd:96  1|--|2,3
                                                00:14:4f:f8:00:01
                                                00:14:4f:f8:00:02
                    DEVICE     :network@2       ID   :2
                    LINKPROP   :--              MTU  :1500
                    MAXBW      :100M            MODE :--
                    CUSTOM     :disable
                    PRIORITY   :high            COS  :7
                    PROTECTION :mac-nospoof
                                ip-nospoof
                    ALLOWED-IPS:192.0.2.7
                    STATE      :up              SPEED:--
                    MACS-IN-USE:2               VLANS-IN-USE:0
                    COUNTERS   :mac-limit=3
                                forged=1
        Problem of vnet3_ldg6 of ldg6: its switch is not there
        ");
        let only_cos = Vnet { priority: None, ..full() };
        assert!(blocks(&[only_cos], false).unwrap().contains("PRIORITY   :--              COS  :7\n"));
    }

    #[test]
    fn a_switch_that_was_removed_is_nowhere() {
        assert_eq!(service(&published()[0]), "primary-vsw0@primary");
        assert_eq!(service(&Vnet { service: String::new(), ..published()[0].clone() }), "primary-vsw0");
    }

    #[test]
    fn without_a_device_there_is_the_heading() {
        insta::assert_snapshot!(blocks(&[], false).unwrap(), @r"
        NAME         SERVICE                MACADDRESS         PVID|PVLAN|VIDs
        ----         -------                ----------         ---------------
        ");
    }

    #[test]
    fn scripts_get_every_property() {
        insta::assert_snapshot!(vnet_record(&published()[0]) + &vnet_record(&full()), @r"
        VNET|name=vnet6|dev=network@0|service=primary-vsw0@primary|mac-addr=00:14:4f:f9:cf:47|mode=|pvid=1|vid=|mtu=1500|linkprop=phys-state|id=0|alt-mac-addrs=|maxbw=|protection=|allowed-ips=|priority=|cos=|custom=enable|custom/max-mac-addrs=4096|custom/max-vlans=4096
        VNET|name=vnet3_ldg6|dev=network@2|service=primary-vsw0@primary|mac-addr=00:14:4f:f8:dd:96|mode=|pvid=1|vid=2,3|mtu=1500|linkprop=|id=2|alt-mac-addrs=00:14:4f:f8:00:01,00:14:4f:f8:00:02|maxbw=100000000|protection=mac-nospoof,ip-nospoof|allowed-ips=192.0.2.7|priority=high|cos=7|custom=disable|custom/max-mac-addrs=4096|custom/max-vlans=4096
        ");
    }
}
