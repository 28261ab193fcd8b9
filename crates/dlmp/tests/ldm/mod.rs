//! The commands of `ldm` from outside: what they ask the manager for, what they show, and what they say without it.

use crate::fake;
use crate::place::within;
use crate::refused;

#[test]
fn without_the_manager_every_command_says_how_to_start_it() {
    within("ldm-none", |place| {
        for line in [
            "ldm add-domain ldg6",
            "ldm remove-domain ldg6",
            "ldm stop-domain ldg6",
            "ldm start-domain ldg6",
            "ldm add-vsw vsw0 primary",
            "ldm set-vsw mtu=9000 vsw0",
            "ldm rm-vsw vsw0",
            "ldm add-vnet vnet0 vsw0 ldg6",
            "ldm set-vnet mtu=9000 vnet0 ldg6",
            "ldm rm-vnet vnet0 ldg6",
            "ldm list",
            "ldm list -j",
            "ldm list-netdev",
            "ldm list-services",
        ] {
            refused(&place.run(line), 1, &["ldmd is not running", "try: ldmd &"]);
        }
        // Another daemon's answer would be none.
        fake::serve();
        refused(&place.run("ldm list"), 1, &["ldmd is not running"]);
    });
}

#[test]
fn a_manager_that_hangs_up_is_an_error() {
    within("ldm-silence", |place| {
        fake::ldm::serve_silence();
        for line in ["ldm list", "ldm add-domain ldg6"] {
            refused(&place.run(line), 1, &["ldmd did not answer", "ldm list -l"]);
        }
    });
}

#[test]
fn domains_are_asked_for_as_typed() {
    within("ldm-domains", |place| {
        fake::ldm::serve();
        let here = std::env::current_dir().unwrap();
        let here = here.to_str().unwrap();
        for (line, asked) in [
            ("add-domain ldg6", r#"name: "ldg6", namespace: None, path: None, pid: None, vm: None"#.to_owned()),
            ("add-domain --netns web ldg6", r#"namespace: Some("web")"#.into()),
            ("add-domain --pid 7 ldg6", "pid: Some(7)".into()),
            ("add-domain --path ns ldg6", format!(r#"path: Some("{here}/ns")"#)),
            ("add-domain --vm /run/qmp ldg6", r#"vm: Some("/run/qmp")"#.into()),
            ("add-domain ldg6", "\n  try: ldm list\n".into()),
            ("remove-domain ldg6", "ldm: remove-domain: remove ldg6\n".into()),
            ("stop ldg6", "ldm: stop: stop ldg6\n".into()),
            ("start-domain ldg6", "start ldg6\n".into()),
        ] {
            refused(&place.run(&format!("ldm {line}")), 1, &[&asked]);
        }
        refused(&place.run("ldm add-domain --netns a --vm b ldg6"), 2, &["cannot be used with"]);
    });
}

#[test]
fn properties_of_switches_and_devices_are_passed_on_as_typed() {
    within("ldm-properties", |place| {
        fake::ldm::serve();
        for (line, asked) in [
            (
                "add-vsw -q net-dev=net0 vid=2,3 colour=red vsw0 primary",
                r#"vsw0 in primary: net-dev to "net0", vid to "2,3", colour to "red""#,
            ),
            ("add-vsw vsw0 primary", "vsw0 in primary: \n"),
            ("set-vsw net-dev= vsw0", r#"vsw0: net-dev to """#),
            ("rm-vsw vsw0", "remove vsw0 false"),
            ("remove-vsw -f vsw0", "remove vsw0 true"),
            (
                "add-vnet linkprop=phys-state custom/max-vlans=9 vnet6 vsw0 ldg6",
                r#"vnet6 on vsw0 in ldg6: linkprop to "phys-state", custom/max-vlans to "9""#,
            ),
            ("set-vnet vswitch=vsw1 vnet6 ldg6", r#"vnet6 in ldg6: vswitch to "vsw1""#),
            ("rm-vnet vnet6 ldg6", "remove vnet6 in ldg6"),
        ] {
            refused(&place.run(&format!("ldm {line}")), 1, &[asked]);
        }
        refused(
            &place.run("ldm add-vsw net-dev vsw0 primary"),
            2,
            &["ldm: add-vsw: \"net-dev\" is no property=value", "Usage: ldm add-vsw [-q]"],
        );
        refused(&place.run("ldm set-vnet mtu=1 mtu=2 vnet6 ldg6"), 2, &["mtu is given twice"]);
    });
}

#[test]
fn what_the_manager_knows_is_shown() {
    within("ldm-shown", |place| {
        fake::ldm::serve();
        let list = place.run("ldm list");
        let lines: Vec<Vec<_>> = list.out.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["NAME", "STATE", "FLAGS", "CONS", "VCPU", "MEMORY", "UTIL", "UPTIME"]);
        assert_eq!(lines[1], ["ldg6", "inactive", "------", "--", "--", "--", "--", "--"]);
        assert_eq!(lines[2], ["primary", "active", "-n-cv-", "--", "--", "--", "--", "1m"]);
        assert_eq!(list.out.lines().nth(3), Some("Problem of ldg6: the network namespace ldg6 is not there"));
        assert_eq!(place.run("ldm list -j ldg6").out.matches("\"state\":\"inactive\"").count(), 1);
        assert_eq!(place.run("ldm ls -p primary").out.lines().count(), 2);
        refused(&place.run("ldm list ldg7"), 1, &["there is no domain ldg7", "try: ldm list"]);

        let network = place.run("ldm list -o network ldg6").out;
        assert_eq!(network.matches("primary-vsw0@primary").count(), 2, "{network}");
        assert_eq!(place.run("ldm list -o network -j ldg6").out.matches("\"physstate\":true").count(), 2);
        assert_eq!(place.run("ldm list -o net -p ldg6").out.matches("\nVNET|name=vnet").count(), 2);
        assert_eq!(place.run("ldm list -l").out.matches("VSW\n").count(), 1);
        assert_eq!(place.run("ldm list -l ldg6").out.matches("VSW\n").count(), 0);

        assert!(place.run("ldm list-services").out.starts_with("VSW\n    NAME "));
        assert_eq!(place.run("ldm list-services -j").out.matches("\"netdev\":\"net0\"").count(), 1);
        assert!(
            place.run("ldm ls-services -p").out.starts_with("VERSION 1.0\nDOMAIN|name=primary\nVSW|name=primary-vsw0|")
        );
    });
}

#[test]
fn devices_are_shown_of_one_domain_or_of_all() {
    within("ldm-netdevs", |place| {
        fake::ldm::serve();
        let one = place.run("ldm list-netdev ldg6").out;
        let first = |out: &str| out.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(first(&one), ["NAME", "----", "net0", "net1"]);
        let all = place.run("ldm list-netdev -o name").out;
        assert_eq!(all.matches("DOMAIN\n").count(), 2, "{all}");
        assert_eq!(place.run("ldm list-netdev -o mtu primary").out, "MTU\n---\n1500\n");
        assert_eq!(place.run("ldm list-netdev -j primary").out.matches("\"class\":\"PHYS\"").count(), 1);
        assert!(place.run("ldm list-netdev -p primary").out.starts_with("DOMAIN|name=primary\nname=net0|class=PHYS|"));
        refused(&place.run("ldm list-netdev -o colour"), 2, &["unknown field \"colour\"", "macaddress, mtu, all"]);
    });
}
