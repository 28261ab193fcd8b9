//! A request that is refused says what was refused, why and what to type next, and changes nothing.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use dlmp_testbed::{Pins, Tap, veth};
use dlmp_tests::{Guest, refused, run, typed};
use nix::sys::signal::Signal;

/// Everything that a refused request must leave as it is.
fn everything(guest: &Guest) -> (Vec<String>, Option<String>) {
    let lines = [
        "dladm show-aggr -x -j",
        "dladm show-vnic -j",
        "ipadm show-if -j",
        "ip -o link",
        "ip -o -4 address",
        "tc qdisc",
    ];
    let shown = lines.map(|line| run(&mut guest.dlmp.line(line)).output).to_vec();
    (shown, fs::read_to_string(guest.dlmp.config()).ok())
}

/// Asserts that a line is refused with exit code 1, that the message has all these words, and that
/// nothing has changed.
fn assert_refused(guest: &Guest, line: &str, words: &[&str]) {
    let before = everything(guest);
    let message = refused(&guest.dlmp, line);
    for word in words {
        assert!(message.contains(word), "`{line}` does not say {word:?}: {message}");
    }
    assert_eq!(everything(guest), before, "`{line}` was refused but changed something");
}

/// A guest with an aggregation and the further links `spare0` and `spare1`.
fn guest_with_spare_links() -> Guest {
    let guest = Guest::with_aggregation(Pins::None);
    for link in ["spare0", "spare1"] {
        veth((&guest.namespace, link), (&guest.host, link)).unwrap();
    }
    guest
}

#[test]
fn a_port_that_does_not_exist() {
    let guest = guest_with_spare_links();
    assert_refused(&guest, "dladm create-aggr -l spare0 -l nope aggr1", &["no link nope", "dladm show-phys"]);
    assert_refused(&guest, "dladm add-aggr -l nope aggr0", &["no link nope", "dladm show-phys"]);
}

#[test]
fn a_port_of_another_aggregation() {
    let guest = guest_with_spare_links();
    let words = ["net0", "aggr0", "dladm remove-aggr -l net0 aggr0"];
    assert_refused(&guest, "dladm create-aggr -l spare0 -l net0 aggr1", &words);
    assert_refused(&guest, "dladm add-aggr -l net0 aggr0", &words);
    assert_refused(&guest, "dladm create-aggr -l aggr0 aggr1", &["aggr0 belongs to an aggregation"]);
}

#[test]
fn the_loopback_as_a_port() {
    let guest = guest_with_spare_links();
    assert_refused(&guest, "dladm create-aggr -l lo aggr1", &["lo is the loopback"]);
    assert_refused(&guest, "dladm add-aggr -f -l lo aggr0", &["lo is the loopback"]);
}

#[test]
fn a_port_of_a_bridge_until_the_named_command_is_typed() {
    let guest = guest_with_spare_links();
    guest.namespace.ip("link add br1 type bridge\nlink set dev spare0 master br1").unwrap();
    let line = "dladm create-aggr -l spare0 aggr1";
    assert_refused(&guest, line, &["spare0 is a port of the bridge br1", "ip link set spare0 nomaster"]);
    typed(&guest.dlmp, "ip link set spare0 nomaster");
    typed(&guest.dlmp, line);
}

#[test]
fn a_port_with_an_address_until_the_named_command_is_typed() {
    let guest = guest_with_spare_links();
    guest.namespace.ip("address add 10.7.0.1/24 dev spare0").unwrap();
    guest.namespace.ip("address add fd00::7/64 dev spare1 nodad").unwrap();
    for (link, address) in [("spare0", "10.7.0.1/24"), ("spare1", "fd00::7/64")] {
        let line = format!("dladm create-aggr -l {link} aggr-{link}");
        let remedy = format!("ip address delete {address} dev {link}");
        assert_refused(&guest, &line, &[link, address, &remedy]);
        assert_refused(&guest, &format!("dladm add-aggr -l {link} aggr0"), &[link, address, &remedy]);
        typed(&guest.dlmp, &remedy);
        typed(&guest.dlmp, &line);
    }
}

#[test]
fn ports_of_different_speed_unless_forced() {
    let guest = guest_with_spare_links();
    let _slow = Tap::new(&guest.namespace, "slow0", 100).unwrap();
    let _fast = Tap::new(&guest.namespace, "fast0", 1000).unwrap();
    let words = ["slow0", "100 Mb/s", "fast0", "1000 Mb/s", "-f"];
    assert_refused(&guest, "dladm create-aggr -l slow0 -l fast0 aggr1", &words);

    typed(&guest.dlmp, "dladm create-aggr -l fast0 aggr1");
    assert_refused(&guest, "dladm add-aggr -l slow0 aggr1", &words);
    typed(&guest.dlmp, "dladm add-aggr -f -l slow0 aggr1");
    let ports = typed(&guest.dlmp, "dladm show-aggr -x -p -o port,speed aggr1");
    assert_eq!(ports.lines().skip(1).collect::<Vec<_>>(), ["fast0:1000Mb", "slow0:100Mb"]);
}

#[test]
fn the_same_port_twice() {
    let guest = guest_with_spare_links();
    assert_refused(&guest, "dladm create-aggr -l spare0 -l spare0 aggr1", &["spare0 is named twice"]);
    assert_refused(&guest, "dladm add-aggr -l spare0 -l spare0 aggr0", &["spare0 is named twice"]);
    assert_refused(&guest, "dladm remove-aggr -l net0 -l net0 aggr0", &["net0 is named twice"]);
}

#[test]
fn a_name_that_is_taken_too_long_or_none() {
    let guest = guest_with_spare_links();
    assert_refused(&guest, "dladm create-aggr -l spare0 aggr0", &["aggr0 exists already", "dladm show-aggr aggr0"]);
    assert_refused(&guest, "dladm create-aggr -l spare0 spare1", &["spare1 is taken", "dladm show-link"]);
    assert_refused(&guest, "dladm create-aggr -l spare0 aggregation67890", &["at most 15", "16"]);
    assert_refused(&guest, "dladm create-aggr -l spare0 ../aggr1", &["no name for a link"]);
    assert_refused(&guest, "dladm create-aggr -l spare0 ''", &["no name for a link"]);
    typed(&guest.dlmp, "dladm create-aggr -l spare0 aggregation6789");
}

#[test]
fn another_mode_or_no_address() {
    let guest = guest_with_spare_links();
    assert_refused(&guest, "dladm create-aggr -m trunk -l spare0 aggr1", &["trunk", "-m dlmp"]);
    assert_refused(&guest, "dladm create-aggr -L active -l spare0 aggr1", &["trunk"]);
    assert_refused(&guest, "dladm create-aggr -u 01:00:5e:00:00:01 -l spare0 aggr1", &["multicast"]);
}

#[test]
fn deleting_an_aggregation_with_addresses_on_it() {
    let guest = guest_with_spare_links();
    assert_refused(&guest, "dladm delete-aggr aggr0", &["aggr0", "ipadm delete-ip aggr0"]);
    typed(&guest.dlmp, "ipadm delete-ip aggr0");
    guest.namespace.ip("address add 10.7.0.1/24 dev aggr0").unwrap();
    assert_refused(&guest, "dladm delete-aggr aggr0", &["10.7.0.1/24", "ip address delete 10.7.0.1/24 dev aggr0"]);
    typed(&guest.dlmp, "ip address delete 10.7.0.1/24 dev aggr0");
    typed(&guest.dlmp, "dladm delete-aggr aggr0");
}

#[test]
fn ports_that_cannot_be_removed() {
    let guest = guest_with_spare_links();
    assert_refused(&guest, "dladm remove-aggr -l spare0 aggr0", &["spare0 is no port of aggr0"]);
    assert_refused(&guest, "dladm remove-aggr -l net0 -l net1 aggr0", &["at least one port", "dladm delete-aggr"]);
    for line in ["delete-aggr aggr9", "add-aggr -l spare0 aggr9", "remove-aggr -l net0 aggr9", "show-aggr aggr9"] {
        assert_refused(&guest, &format!("dladm {line}"), &["there is no aggregation aggr9", "dladm show-aggr"]);
    }
}

#[test]
fn addresses_that_cannot_be_made_or_deleted() {
    let guest = guest_with_spare_links();
    assert_refused(&guest, "ipadm create-ip nope", &["no link nope", "dladm show-link"]);
    assert_refused(&guest, "ipadm create-ip net0", &["net0 is a port of the aggregation aggr0"]);
    assert_refused(&guest, "ipadm create-ip aggr0", &["aggr0 exists already"]);
    assert_refused(
        &guest,
        "ipadm create-addr -T dhcp spare0/v4",
        &["no IP interface spare0", "ipadm create-ip spare0"],
    );
    assert_refused(&guest, "ipadm create-addr -a 10.9.0.3/24 aggr0/v4", &["aggr0/v4 exists already"]);
    assert_refused(&guest, "ipadm create-addr -a 10.9.0.2/24 aggr0/again", &["10.9.0.2"]);
    assert_refused(&guest, "ipadm delete-addr aggr0/v5", &["no address object aggr0/v5", "ipadm show-addr"]);
    assert_refused(&guest, "ipadm delete-addr -r aggr0/v4", &["not from DHCP", "ipadm delete-addr aggr0/v4"]);
    assert_refused(&guest, "ipadm delete-ip spare0", &["no IP interface spare0"]);
}

#[test]
fn vnics_that_cannot_be_made() {
    let guest = guest_with_spare_links();
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 -m 2:8:20:0:0:7 -v 7 vnic1");
    typed(&guest.dlmp, "dladm create-aggr -t -l spare0 aggr1");
    let net0 = typed(&guest.dlmp, "cat /sys/class/net/net0/address").trim().to_owned();
    let aggr0 = typed(&guest.dlmp, "cat /sys/class/net/aggr0/address").trim().to_owned();
    for (arguments, words) in [
        ("-l aggr9 vnic2", &["there is no aggregation aggr9", "dladm show-aggr"][..]),
        ("-l spare1 vnic2", &["spare1 is no aggregation", "dladm show-aggr"]),
        ("-l vnic1 vnic2", &["vnic1 is no aggregation"]),
        ("-l aggr1 vnic2", &["after the next boot", "dladm create-vnic -t -l aggr1 vnic2"]),
        ("-l aggr0 vnic1", &["vnic1 over aggr0 exists already", "dladm show-vnic vnic1"]),
        ("-l aggr0 aggr0", &["the aggregation aggr0 exists already"]),
        ("-l aggr0 spare1", &["spare1 is taken", "dladm show-link"]),
        ("-l aggr0 vnic45678901234x", &["at most 15"]),
        ("-l aggr0 ../vnic2", &["no name for a link"]),
        ("-l aggr0 -v 4095 vnic2", &["4095", "0 to 4094"]),
        ("-l aggr0 -v 70000 vnic2", &["70000", "0 to 4094"]),
        ("-l aggr0 -m 1:0:5e:0:0:1 vnic2", &["multicast"]),
        ("-l aggr0 -m 0:0:0:0:0:0 vnic2", &["no address that a link can have"]),
        ("-l aggr0 -m 2:8:20:0:0:7 -v 7 vnic2", &["the VNIC vnic1 has the address"]),
        (&format!("-l aggr0 -m {net0} vnic2"), &["the link net0 has the address"]),
        (&format!("-l aggr0 -m {aggr0} -v 9 vnic2"), &["the aggregation aggr0 has the address"]),
    ] {
        assert_refused(&guest, &format!("dladm create-vnic {arguments}"), words);
    }
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 -m 2:8:20:0:0:7 -v 8 vnic2");
    assert_refused(&guest, "dladm create-aggr -l spare1 vnic2", &["vnic2 is taken"]);
    guest.namespace.ip(&format!("link set dev vnic2 netns {}", guest.host.name())).unwrap();
    assert_refused(&guest, "dladm create-aggr -l spare1 vnic2", &["the VNIC vnic2 over aggr0", "namespace"]);
    assert_refused(&guest, "dladm create-vnic -l aggr0 vnic2", &["the VNIC vnic2 over aggr0", "namespace"]);
    assert_refused(&guest, "dladm create-aggr -l vnic1 aggr2", &["vnic1 belongs to an aggregation"]);
}

#[test]
fn deleting_what_something_is_on() {
    let guest = guest_with_spare_links();
    typed(&guest.dlmp, "ipadm delete-ip aggr0");
    typed(&guest.dlmp, "dladm create-vnic -l aggr0 vnic1");
    typed(&guest.dlmp, "ipadm create-ip vnic1");
    // With a fixed address it is active whatever the kernel does with its own.
    typed(&guest.dlmp, "ipadm create-addr -T static -a 10.7.0.9/24 vnic1/v4");
    assert_refused(&guest, "dladm delete-vnic vnic9", &["there is no VNIC vnic9", "dladm show-vnic"]);
    assert_refused(&guest, "dladm delete-vnic aggr0", &["there is no VNIC aggr0"]);
    for (line, remedy) in [
        ("dladm delete-aggr aggr0", "dladm delete-vnic vnic1"),
        ("dladm delete-aggr -t aggr0", "dladm delete-vnic vnic1"),
        ("dladm delete-vnic vnic1", "ipadm delete-ip vnic1"),
    ] {
        assert_refused(&guest, line, &[remedy]);
    }
    typed(&guest.dlmp, "ipadm delete-ip vnic1");
    guest.namespace.ip("address add 10.7.0.1/24 dev vnic1").unwrap();
    assert_refused(&guest, "dladm delete-vnic vnic1", &["10.7.0.1/24", "ip address delete 10.7.0.1/24 dev vnic1"]);
    typed(&guest.dlmp, "ip address delete 10.7.0.1/24 dev vnic1");
    typed(&guest.dlmp, "dladm delete-vnic vnic1");
    typed(&guest.dlmp, "dladm delete-aggr aggr0");
}

/// The command where everybody may run it, under its name `dladm`.
struct ForEverybody(PathBuf);

impl ForEverybody {
    fn new(guest: &Guest) -> Self {
        let directory = std::env::temp_dir().join(guest.namespace.name());
        fs::create_dir(&directory).unwrap();
        fs::copy(guest.dlmp.bin().join("dlmp"), directory.join("dladm")).unwrap();
        for path in [directory.clone(), directory.join("dladm")] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self(directory)
    }

    fn as_nobody(&self, arguments: &str) -> String {
        format!("setpriv --reuid=65534 --regid=65534 --clear-groups {}/dladm {arguments}", self.0.display())
    }
}

impl Drop for ForEverybody {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_user_who_is_not_root_may_look_but_not_change() {
    let guest = guest_with_spare_links();
    let program = ForEverybody::new(&guest);
    let shown = typed(&guest.dlmp, &program.as_nobody("show-aggr -x"));
    assert_eq!(shown, typed(&guest.dlmp, "dladm show-aggr -x"));
    for line in [
        "create-aggr -l spare0 aggr1",
        "add-aggr -l spare0 aggr0",
        "remove-aggr -l net0 aggr0",
        "create-vnic -l aggr0 v1",
    ] {
        assert_refused(&guest, &program.as_nobody(line), &["may look but not change", "group dlmp", "sudo"]);
    }
}

#[test]
fn a_user_who_is_not_root_cannot_start_the_daemon() {
    let guest = Guest::new(Pins::None);
    let program = ForEverybody::new(&guest);
    let line = program.as_nobody("create-aggr -l net0 -l net1 aggr0");
    assert_refused(&guest, &line, &["dlmpd is not running", "only root", "sudo"]);
    assert!(!guest.daemon_runs());
}

#[test]
fn a_daemon_without_a_capability_that_it_needs() {
    for name in ["net_admin", "net_raw", "sys_admin"] {
        let guest = Guest::new(Pins::None);
        let line = format!("setpriv --bounding-set=-{name} dladm create-aggr -l net0 -l net1 aggr0");
        assert_refused(&guest, &line, &[&format!("CAP_{}", name.to_uppercase()), "grep CapEff"]);
    }
}

#[test]
fn a_change_without_a_running_daemon() {
    let guest = guest_with_spare_links();
    guest.end_daemon(Signal::SIGTERM);
    for line in ["dladm delete-aggr aggr0", "dladm add-aggr -l spare0 aggr0", "ipadm delete-addr aggr0/v4"] {
        assert_refused(&guest, line, &["dlmpd is not running", "dlmpd &"]);
    }
    assert_refused(&guest, "dladm show-aggr", &["dlmpd is not running", "aggr0", "nobody watches"]);
    assert!(!guest.daemon_runs());
}

#[test]
fn a_second_daemon_in_a_namespace() {
    let guest = guest_with_spare_links();
    let first = guest.dlmp.daemons();
    assert_refused(&guest, "dlmpd", &["another dlmpd serves this network namespace"]);
    let elsewhere = "dlmpd --config /nonexistent/dlmpd.toml --runtime-dir /nonexistent/run";
    assert_refused(&guest, elsewhere, &["another dlmpd serves this network namespace"]);
    assert!(!PathBuf::from("/nonexistent").exists());
    assert_eq!(guest.dlmp.daemons(), first);
}

#[test]
fn garbage_after_every_command_is_a_usage_error() {
    let guest = guest_with_spare_links();
    let commands = [
        (
            "dladm",
            &[
                "create-aggr",
                "delete-aggr",
                "add-aggr",
                "remove-aggr",
                "show-aggr",
                "create-vnic",
                "delete-vnic",
                "show-vnic",
                "show-link",
                "show-phys",
            ][..],
        ),
        ("dlstat", &["show-link", "show-aggr"]),
        ("ipadm", &["create-ip", "delete-ip", "create-addr", "delete-addr", "show-addr", "show-if", "show-ip"]),
        ("dlmp", &["create-aggr", "show-aggr", "stat-link", "stat-aggr", "create-addr", "no-such-command"]),
        ("dlmpd", &[""]),
    ];
    let before = everything(&guest);
    let wrong_values = [
        "dladm create-aggr -u nonsense -l spare0 aggr1",
        "dladm create-aggr -m nonsense -l spare0 aggr1",
        "dladm show-aggr -o nonsense",
        "dladm create-vnic -l aggr0 -m nonsense vnic1",
        "dladm create-vnic -l aggr0 -v nonsense vnic1",
        "dladm create-vnic vnic1",
        "ipadm create-addr -T nonsense aggr0/again",
        "ipadm create-addr -a 10.9.0.2/33 aggr0/again",
        "dlstat show-link -i nonsense",
    ];
    let garbled = commands.iter().flat_map(|(program, subcommands)| {
        subcommands.iter().flat_map(move |subcommand| {
            ["--nonsense", "aggr0 and three more words", "-l", "-o", "-\u{1}"]
                .map(|garbage| format!("{program} {subcommand} {garbage}"))
        })
    });
    for line in garbled.chain(wrong_values.map(str::to_owned)) {
        let outcome = run(&mut guest.dlmp.line(&line));
        assert_eq!(outcome.code, 2, "`{line}`: {outcome:?}");
        assert!(!outcome.message.is_empty() && outcome.output.is_empty(), "`{line}`: {outcome:?}");
    }
    assert_eq!(everything(&guest), before);
}
