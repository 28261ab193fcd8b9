//! Properties of aggregations: what persists and what does not, what `probe-ip` comes to, and watching what
//! probes do without holding anybody up.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::fs;
use std::process::Stdio;

use dlmp_testbed::Pins;
use dlmp_tests::{GUEST, Guest, HOST, refused, run, typed, wait_for};
use nix::sys::signal::Signal;

/// A name for [`HOST`] that needs no name server: the resolver takes hexadecimal addresses (inet_aton(3)).
const NAME_OF_HOST: &str = "0x0a090001";

/// What `show-linkprop` says of a property.
fn shown(guest: &Guest, field: &str, property: &str) -> String {
    let line = format!("dladm show-linkprop -c -o {field} -p {property} aggr0");
    typed(&guest.dlmp, &line).trim_end().to_owned()
}

#[test]
fn a_temporary_value_lasts_until_the_next_boot_and_what_is_set_beside_it_persists() {
    let guest = Guest::with_aggregation(Pins::None);
    typed(&guest.dlmp, "dladm set-linkprop -p probe-fdt=2 aggr0");
    typed(&guest.dlmp, "dladm set-linkprop -t -p probe-fdt=50ms aggr0");
    typed(&guest.dlmp, "dladm set-linkprop -p probe-vlan-id=7 aggr0");
    assert_eq!(typed(&guest.dlmp, "dladm show-aggr -p -o temporary aggr0"), "no\n");
    let values = || ["probe-fdt", "probe-vlan-id"].map(|property| shown(&guest, "value", property));
    assert_eq!(values(), ["50ms", "7"]);

    guest.end_daemon(Signal::SIGTERM);
    guest.start_daemon();
    assert_eq!(values(), ["50ms", "7"]);

    guest.reboot();
    assert_eq!(values(), ["2s", "7"]);

    typed(&guest.dlmp, "dladm reset-linkprop aggr0");
    assert_eq!(values(), ["", ""]);
    assert!(!fs::read_to_string(guest.dlmp.config()).unwrap().contains("probe-"));
}

#[test]
fn names_and_address_objects_come_to_the_addresses_that_they_have_now() {
    let guest = Guest::with_aggregation(Pins::None);
    guest.probe(&format!("probe-ip=aggr0/v4+{NAME_OF_HOST}"));
    assert_eq!(shown(&guest, "value", "probe-ip"), format!("aggr0/v4+{NAME_OF_HOST}"));
    assert_eq!(shown(&guest, "effective", "probe-ip"), format!("{GUEST}+{HOST}"));

    // The next daemon resolves them again.
    guest.end_daemon(Signal::SIGTERM);
    guest.start_daemon();
    wait_for("the name is resolved", || shown(&guest, "effective", "probe-ip") == format!("{GUEST}+{HOST}"));

    typed(&guest.dlmp, "ipadm delete-addr aggr0/v4");
    assert_eq!(shown(&guest, "effective", "probe-ip"), "");
    typed(&guest.dlmp, "ipadm create-addr -a 10.9.0.77/24 aggr0/v4");
    assert_eq!(shown(&guest, "effective", "probe-ip"), format!("10.9.0.77+{HOST}"));
}

#[test]
fn an_aggregation_starts_without_the_names_that_do_not_resolve() {
    let guest = Guest::with_aggregation(Pins::None);
    typed(&guest.dlmp, &format!("dladm set-linkprop -p probe-ip=+{HOST} aggr0"));
    guest.end_daemon(Signal::SIGTERM);
    let text = fs::read_to_string(guest.dlmp.config()).unwrap();
    let list = format!("+no.such.host.invalid,[aggr0]+{HOST}");
    fs::write(guest.dlmp.config(), text.replace(&format!("+{HOST}"), &list)).unwrap();
    guest.start_daemon();
    assert_eq!(shown(&guest, "value", "probe-ip"), list);
    assert_eq!(shown(&guest, "effective", "probe-ip"), format!("[aggr0]+{HOST}"));
    wait_for("probes decide", || guest.detection() == "link and probes");
}

#[test]
fn what_can_be_no_source_or_target_is_refused_also_by_name() {
    let guest = Guest::with_aggregation(Pins::None);
    for (value, reason) in [
        ("+localhost", "our own address"),
        // 192.0.2.1
        ("+0xc0000201", "10.9.0.0/24"),
        ("[net0]+", "neither aggr0 nor a VNIC"),
        ("aggr0/v9+", "no address object aggr0/v9"),
        ("no.such.host.invalid+", "does not resolve"),
    ] {
        let message = refused(&guest.dlmp, &format!("dladm set-linkprop -p probe-ip={value} aggr0"));
        assert!(message.contains(reason) && message.contains("try:"), "{value}: {message}");
        assert_eq!(shown(&guest, "value", "probe-ip"), "", "{value}");
    }
}

#[test]
fn a_watcher_that_reads_nothing_holds_nobody_up_and_is_forgotten_when_it_goes() {
    let guest = Guest::with_aggregation(Pins::None);
    // Sockets of that file that are connected (SS_CONNECTED is 03, proc_net_unix): the daemon's ends.
    let served = || {
        let sockets = run(guest.namespace.command("cat").arg("/proc/net/unix")).output;
        sockets.lines().filter(|line| line.contains(" 03 ") && line.ends_with("/dlmpd.sock")).count()
    };
    wait_for("nobody is served", || served() == 0);
    // No news: its end is seen all the same.
    let mut quiet = guest.dlmp.line("exec dlmp monitor").stdout(Stdio::piped()).spawn().unwrap();
    wait_for("it is served", || served() == 1);
    quiet.kill().unwrap();
    quiet.wait().unwrap();
    wait_for("it is forgotten", || served() == 0);

    guest.probe(&format!("probe-ip=+{HOST},probe-fdt=10ms"));
    let mut stuck = guest.dlmp.line("exec dlstat show-aggr -n -P all").stdout(Stdio::piped()).spawn().unwrap();
    // Long enough for its pipe and the socket to fill: thousands of probes go out in a second.
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(stuck.try_wait().unwrap().is_none());
    typed(&guest.dlmp, "dladm set-linkprop -p probe-fdt=1 aggr0");
    stuck.kill().unwrap();
    stuck.wait().unwrap();
    wait_for("it is forgotten", || served() == 0);
}
