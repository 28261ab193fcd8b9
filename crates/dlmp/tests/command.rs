//! The command from outside: exit codes, messages, and what it does with a daemon and without one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod fake;
mod ldm;
mod place;

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use place::{Outcome, within};

/// Asserts how a command ended and that its message says something.
#[track_caller]
fn refused(outcome: &Outcome, code: i32, said: &[&str]) {
    assert_eq!(outcome.code, code, "{outcome:?}");
    for text in said {
        assert!(outcome.err.contains(text), "{text:?} is not in: {}", outcome.err);
    }
    assert_eq!(outcome.out, "");
}

#[test]
fn without_daemon_and_aggregation_there_is_nothing_to_show() {
    within("nothing", |place| {
        for line in [
            "dladm show-aggr",
            "dladm show-aggr -x",
            "dladm show-aggr -C",
            "dladm show-vnic",
            "dlstat show-aggr",
            "dladm",
            "dlstat",
            "dladm show-phys",
        ] {
            let shown = place.run(line);
            assert_eq!((shown.code, shown.out.lines().count()), (0, 1), "{line}: {shown:?}");
            assert!(shown.out.starts_with("LINK"), "{line}: {shown:?}");
        }
        for line in ["dladm show-aggr -j", "dlmp show-link -j", "dlmp stat-aggr -j"] {
            assert_eq!(place.run(line).out, "[]\n", "{line}");
        }
        assert!(place.run("ipadm").out.starts_with("NAME"));
    });
}

#[test]
fn links_are_shown_to_everybody_and_without_a_daemon() {
    within("links", |place| {
        place.ip("link add net0 type veth peer name net1");
        place.ip("link set net0 up");
        place.ip("link set net1 up");
        let phys = place.run_as_nobody("dladm show-phys -p -o link,media,state,duplex,device");
        assert_eq!((phys.code, phys.err.as_str()), (0, ""));
        let mut lines: Vec<_> = phys.out.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["net0:Ethernet:up:full:veth", "net1:Ethernet:up:full:veth"]);
        refused(&place.run("dladm show-phys net7"), 1, &["there is no link net7"]);
        assert_eq!(place.run("dladm show-link -p -o class,link net1").out, "phys:net1\n");
    });
}

#[test]
fn links_that_are_no_aggregation_are_shown_whatever_is_wrong_with_the_daemon() {
    within("wrong", |place| {
        place.ip("link add net0 type veth peer name net1");
        fake::serve_silence();
        for line in ["dladm", "dladm show-link net0", "dladm show-phys", "dlstat"] {
            let shown = place.run(line);
            assert_eq!((shown.code, shown.err.as_str()), (0, ""), "{line}");
            assert!(shown.out.contains("net0"), "{line}: {shown:?}");
        }
        place.alias("net1", "dlmp aggregation");
        refused(&place.run("dladm show-link"), 1, &["dlmpd did not answer"]);
        assert_eq!(place.run("dladm show-link net0").code, 0);
    });
}

#[test]
fn an_aggregation_without_its_daemon_is_reported_and_its_links_are_still_shown() {
    within("orphan", |place| {
        place.ip("link add aggr0 type veth peer name below");
        place.alias("aggr0", "dlmp aggregation");
        place.alias("below", "dlmp lower end of aggr0");
        for line in ["dladm show-aggr", "dladm show-aggr -x -j", "dlstat show-aggr"] {
            refused(&place.run(line), 1, &["dlmpd is not running", "keeps forwarding", "try: dlmpd"]);
        }
        let links = place.run("dladm show-link");
        assert_eq!(links.code, 0, "{links:?}");
        assert!(links.out.contains("aggr0") && !links.out.contains("below"), "{links:?}");
        let addresses = place.run("ipadm show-addr");
        assert_eq!(addresses.code, 1, "{addresses:?}");
        assert!(addresses.out.starts_with("ADDROBJ"), "{addresses:?}");
    });
}

#[test]
fn changes_to_what_only_a_daemon_knows_say_how_to_start_it() {
    within("changes", |place| {
        for line in [
            "dladm delete-aggr aggr0",
            "dladm add-aggr -l net0 aggr0",
            "dladm remove-aggr -l net0 aggr0",
            "ipadm delete-ip aggr0",
            "ipadm delete-addr aggr0/v4",
            "dladm set-linkprop -p probe-fdt=1 aggr0",
            "dladm reset-linkprop aggr0",
            "dladm modify-aggr aggr0",
            "dladm create-vnic -l aggr0 vnic1",
            "dladm delete-vnic vnic1",
            "dlmp monitor",
            "dlstat show-aggr -P all",
        ] {
            refused(&place.run(line), 1, &["dlmpd is not running", "try: dlmpd"]);
        }
    });
}

#[test]
fn only_root_can_start_the_daemon() {
    within("nobody", |place| {
        for line in ["dladm create-aggr -l net0 aggr0", "ipadm create-ip aggr0", "ipadm create-addr -T dhcp aggr0"] {
            refused(&place.run_as_nobody(line), 1, &["only root can start it"]);
        }
        assert!(!place.path("run").exists());
    });
}

#[test]
fn a_daemon_that_cannot_start_is_reported_with_the_end_of_its_log() {
    within("broken", |place| {
        refused(&place.run("dladm create-aggr -l net0 aggr0"), 1, &["neither beside this one nor in PATH"]);
        place.script("dlmpd", "echo the configuration is damaged >&2\nexit 3");
        fs::create_dir(place.path("run")).unwrap();
        fs::write(place.path("run/dlmpd.log"), "an old line\n").unwrap();
        let outcome = place.run("dladm create-aggr -l net0 aggr0");
        refused(&outcome, 1, &["dladm: create-aggr: dlmpd could not start", "the configuration is damaged"]);
        assert!(!outcome.err.contains("an old line"), "{outcome:?}");
    });
}

#[test]
fn a_started_daemon_is_waited_for_and_keeps_nothing_of_its_caller() {
    within("start", |place| {
        place.script("dlmpd", "echo $$ >\"$DLMP_RUNTIME_DIR/pid\"\nread line || exec /bin/sleep 60");
        let script = "exec 9</; exec ipadm create-ip aggr0";
        let command = place.shell(script).stderr(Stdio::piped()).spawn().unwrap();
        let pid = loop {
            match fs::read_to_string(place.path("run/pid")) {
                Ok(text) if text.ends_with('\n') => break text.trim().to_owned(),
                _ => thread::sleep(Duration::from_millis(5)),
            }
        };
        fake::serve();
        let output = command.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "ipadm: create-ip: aggr0 false exists already\n");

        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let session = stat.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap();
        let inherited = fs::symlink_metadata(format!("/proc/{pid}/fd/9"));
        let pid_number = nix::unistd::Pid::from_raw(pid.parse().unwrap());
        nix::sys::signal::kill(pid_number, nix::sys::signal::Signal::SIGKILL).unwrap();
        assert_eq!(session, pid);
        assert_eq!(inherited.unwrap_err().kind(), std::io::ErrorKind::NotFound);
    });
}

#[test]
fn the_daemon_is_asked_for_what_was_typed_and_its_refusal_is_shown() {
    within("asked", |place| {
        fake::serve();
        refused(
            &place.run("dladm create-aggr -t -f -m dlmp -u 2:8:20:0:0:1 -l net0 -l net1 aggr0"),
            1,
            &[
                "dladm: create-aggr: NewAggregation",
                r#"name: "aggr0""#,
                r#"ports: ["net0", "net1"]"#,
                r#"mac: Some("02:08:20:00:00:01")"#,
                "temporary: true",
                "force: true",
                "\n  try: dladm show-phys\n",
            ],
        );
        refused(&place.run("dladm delete-aggr -t aggr0"), 1, &["dladm: delete-aggr: not aggr0 true\n"]);
        refused(
            &place.run("dladm add-aggr -f -l net2 aggr0"),
            1,
            &[r#"ports: ["net2"], temporary: false, force: true"#],
        );
        refused(&place.run("dladm remove-aggr -t -l net2 aggr0"), 1, &["temporary: true, force: false"]);
        refused(&place.run("ipadm create-ip -t aggr0"), 1, &["aggr0 true exists already"]);
        refused(&place.run("ipadm delete-ip aggr0"), 1, &["no interface aggr0"]);
        refused(&place.run("ipadm delete-addr -r aggr0/v4"), 1, &["no object aggr0/v4 to release: true"]);
        refused(&place.run("ipadm create-addr -a local=192.0.2.1/24 aggr0"), 1, &["192.0.2.1/24 is in use"]);
    });
}

#[test]
fn what_the_daemon_knows_is_shown() {
    within("shown", |place| {
        fake::serve();
        assert_eq!(place.run("dladm show-aggr \u{2013}xp -o port,state").out, ":up\nnet0:up\nnet1:up\n");
        assert_eq!(
            place.run("dlstat show-aggr -p -o link,port,ipkts").out,
            "aggr0::5007\naggr0:net0:5000\naggr0:net1:7\n"
        );
        let streamed = place.run("dlstat show-aggr -i 1 aggr0 2 -o ipkts");
        assert_eq!(
            streamed.out.split_whitespace().collect::<Vec<_>>(),
            ["IPKTS", "5.00K", "5.00K", "7", "0", "0", "0"]
        );
        for line in ["dladm show-aggr aggr7", "dlstat show-aggr aggr7"] {
            refused(&place.run(line), 1, &["there is no aggregation aggr7"]);
        }
        let absent = place.run("ipadm show-if -p -o ifname,class,state,active");
        assert!(absent.out.lines().any(|line| line == "aggr0:ip:disabled:no"), "{absent:?}");
    });
}

#[test]
fn vnics_are_asked_for_as_typed_and_shown_with_the_other_clients() {
    within("vnics", |place| {
        fake::serve();
        for (line, asked) in [
            (
                "create-vnic -t -l aggr0 -m 2:8:20:0:0:7 -v 415 vnic1",
                r#"name: "vnic1", link: "aggr0", mac: Some("02:08:20:00:00:07"), vlan: 415, temporary: true"#,
            ),
            ("create-vnic -l aggr0 -m auto vnic1", "mac: None, vlan: 0, temporary: false"),
            ("create-vnic -l aggr0 -v 4095 vnic1", "vlan: 4095"),
            ("delete-vnic -t vnic1", "not vnic1 true"),
        ] {
            refused(&place.run(&format!("dladm {line}")), 1, &[asked]);
        }
        refused(&place.run("dladm create-vnic vnic1"), 2, &["-l <LINK>"]);
        refused(&place.run("dladm create-vnic -l aggr0 -m nonsense vnic1"), 2, &["nonsense"]);
        refused(&place.run("dladm create-vnic -l aggr0 -v x vnic1"), 2, &["'x'"]);

        assert_eq!(place.run("dladm show-vnic -p -o link,over,vid").out, "vnic1:aggr0:0\nvnic2:aggr0:7\n");
        assert_eq!(place.run("dladm show-vnic -l aggr0 -j -o link,macaddress vnic2").out.matches("link").count(), 1);
        refused(&place.run("dladm show-vnic vnic7"), 1, &["there is no VNIC vnic7", "dladm show-vnic"]);
        refused(&place.run("dladm show-vnic -l aggr7"), 1, &["there is no aggregation aggr7"]);

        let clients = place.run("dladm show-aggr -C -p -o link,client,type,port");
        assert_eq!(clients.out, "aggr0:vnic1:vnic:net0\naggr0::learned:net0\naggr1:aggr1:primary:net0\n");
        assert_eq!(place.run("dladm show-aggr -C -p -o client aggr0").out, "vnic1\n\n");
        refused(&place.run("dladm show-aggr -C aggr7"), 1, &["there is no aggregation aggr7"]);
        refused(&place.run("dladm show-aggr -C -x"), 2, &["cannot be used with"]);
    });
}

#[test]
fn properties_are_asked_for_as_typed_and_shown() {
    within("properties", |place| {
        fake::serve();
        for (line, asked) in [
            (
                "set-linkprop -p probe-ip=10.0.0.1/24+10.0.0.9,[aggr0]+,probe-fdt=50ms aggr0",
                "aggr0 false: probe-ip to 10.0.0.1/24+10.0.0.9,[aggr0]+; probe-fdt to 50ms",
            ),
            ("set-linkprop -t -p probe-fdt=2 -p probe-ip= aggr0", "aggr0 true: probe-fdt to 2; probe-ip to "),
            ("set-linkprop -p colour=red aggr0", "aggr0 false: colour to red"),
            ("reset-linkprop -p probe-ip,probe-fdt aggr0", "aggr0 false: probe-ip reset; probe-fdt reset"),
            // All of them, whatever the link has.
            ("reset-linkprop -t aggr0", "aggr0 true: "),
        ] {
            refused(&place.run(&format!("dladm {line}")), 1, &[asked]);
        }
        assert_eq!(
            place.run("dladm show-linkprop -c -o property,value,effective aggr0").out,
            "probe-fdt::1s\nprobe-ip:+192.0.2.1,[aggr0]+:+192.0.2.1,[aggr0]+\nprobe-vlan-id::0\n"
        );
        assert_eq!(place.run("dladm show-linkprop -p probe-fdt -c -o effective").out, "1s\n");
        refused(&place.run("dladm show-linkprop net7"), 1, &["no aggregation or port net7"]);
        refused(
            &place.run("dladm show-linkprop -p colour"),
            2,
            &["learn-limit, mcast-limit, probe-fdt, probe-ip, probe-vlan-id"],
        );
        refused(&place.run("dladm set-linkprop -p probe-ip aggr0"), 2, &["no property=value"]);
    });
}

#[test]
fn what_probing_says_is_shown_with_what_it_rests_on() {
    within("probing", |place| {
        fake::serve();
        let shown = place.run("dladm show-aggr -nS");
        let lines: Vec<Vec<_>> = shown.out.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["aggr0", "net0", "u--3", "active", "192.0.2.1", "net1"]);
        assert_eq!(lines[2], ["--", "net1", "u-2-", "active", "--", "net0"]);
        assert_eq!(lines[3].join(" "), "Detection of aggr0: link and probes");
        let fields = place.run("dladm show-aggr -nS -p -o link,port,detection");
        assert_eq!(fields.out, "aggr0:net0:link and probes\naggr0:net1:link and probes\n");
    });
}

#[test]
fn probes_are_streamed_by_kind_and_aggregation_and_what_was_missed_is_told() {
    within("stream", |place| {
        fake::serve();
        let all = place.run("dlstat show-aggr -n -P all -p -o aggr,target,probe,rtt -i 1 1");
        assert_eq!(all.out, "aggr0:192.0.2.1:i7:\naggr0:192.0.2.1:i7:0.62ms\naggr1:192.0.2.1:i8:\naggr0:net1:t9:\n");
        assert!(all.err.contains("12 missed"), "{all:?}");
        let transitive = place.run("dlstat show-aggr -n -P t -j -o probe,netrtt -i 1 aggr0 1");
        assert_eq!(transitive.out, "{\"probe\":\"t9\",\"netrtt\":null}\n");
        let icmp = place.run("dlstat show-aggr -n -P i -j -o probe,netrtt -i 1 aggr0 1");
        assert_eq!(icmp.out, "{\"probe\":\"i7\",\"netrtt\":null}\n{\"probe\":\"i7\",\"netrtt\":0.62}\n");
        refused(&place.run("dlstat show-aggr -P all aggr7"), 1, &["there is no aggregation aggr7"]);
    });
}

#[test]
fn changes_of_state_are_streamed_until_the_daemon_ends() {
    within("monitor", |place| {
        fake::serve();
        let shown = place.run("dlmp monitor");
        assert_eq!((shown.code, shown.err.contains("dlmpd has ended")), (1, true), "{shown:?}");
        assert_eq!(
            shown.out,
            "00:00:00.000Z aggr0 net1 failed: its link is down\n00:00:00.000Z aggr1 net1 failed: its link is down\n"
        );
        let objects = place.run("dlmp monitor -j aggr0").out;
        assert_eq!(objects.lines().count(), 1);
        assert!(objects.contains(r#""reason":"its link is down""#), "{objects}");
        refused(&place.run("dlmp monitor aggr7"), 1, &["there is no aggregation aggr7"]);
    });
}

#[test]
fn create_addr_waits_for_the_lease_and_prints_the_name_that_was_chosen() {
    within("lease", |place| {
        fake::serve();
        let bound = place.run("ipadm create-addr \u{2013}T dhcp aggr0");
        assert_eq!((bound.code, bound.out.as_str(), bound.err.as_str()), (0, "aggr0/late\n", ""));
        refused(
            &place.run("ipadm create-addr -T dhcp -w 0 aggr0/never"),
            1,
            &["aggr0/never has no address", "nobody answers", "in the background", "ipadm show-addr aggr0/never"],
        );
        refused(&place.run("ipadm create-addr -T dhcp aggr0/deleted"), 1, &["aggr0/deleted was deleted"]);
    });
}

#[test]
fn a_daemon_that_hangs_up_is_an_error() {
    within("silence", |place| {
        fake::serve_silence();
        refused(&place.run("dladm show-aggr"), 1, &["dladm: show-aggr: dlmpd did not answer"]);
        refused(&place.run("dladm delete-aggr aggr0"), 1, &["dlmpd did not answer"]);
    });
}

#[test]
fn usage_errors_end_with_2_and_help_with_0() {
    within("usage", |place| {
        refused(&place.run("dladm nonsense"), 2, &["dladm: unrecognized subcommand 'nonsense'"]);
        refused(&place.run("dladm create-aggr"), 2, &["dladm: create-aggr: the following required"]);
        refused(
            &place.run("dladm show-link -o colour"),
            2,
            &["unknown field \"colour\"", "link, class, mtu, state, over"],
        );
        refused(&place.run("dlstat show-link -i 1 -o colour"), 2, &["unknown field"]);
        refused(&place.run("ipadm create-addr aggr0"), 2, &["ipadm: create-addr: either -T dhcp, -T addrconf or -a"]);
        refused(&place.run("ldm nonsense"), 2, &["ldm: unrecognized subcommand 'nonsense'"]);
        for line in ["dladm --help", "dlmp help", "dlmp --version", "ipadm create-addr --help", "dladm create-aggr -h"]
        {
            let help = place.run(line);
            assert_eq!((help.code, help.err.as_str()), (0, ""), "{line}");
            assert!(!help.out.is_empty(), "{line}");
        }
    });
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_command_quietly() {
    within("pipe", |place| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = place.command("dladm show-link").stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &[][..]));

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = place.command("dladm nonsense").stderr(writer).status().unwrap();
        assert_eq!(status.code(), Some(2));
    });
}
