//! The client against a real server, in network namespaces: it needs root and dnsmasq.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::fs;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Child;
use std::time::{Duration, SystemTime};

use dlmp_dhcp::{Client, Event, Lease, Options};
use dlmp_netlink::{Lifetime, Netlink};
use dlmp_testbed::{Namespace, veth};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A guest and a host with a DHCP server, joined by a link that is `net0` at both ends.
struct Site {
    guest: Namespace,
    host: Namespace,
    files: TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self {
            guest: Namespace::new("nl", "guest").unwrap(),
            host: Namespace::new("nl", "host").unwrap(),
            files: tempfile::tempdir().unwrap(),
        };
        site.connect();
        site
    }

    fn connect(&self) {
        veth((&self.guest, "net0"), (&self.host, "net0")).unwrap();
        self.host.ip("address add 192.0.2.1/24 dev net0").unwrap();
    }

    /// Starts the server; it grants leases of two minutes, the shortest that dnsmasq knows, to be
    /// renewed after `t1` seconds, at least 3. Ends when dropped, or with the host.
    fn serve(&self, t1: u32) -> Server {
        let file = |name| self.files.path().join(name).display().to_string();
        let process = (self.host.command("dnsmasq"))
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--pid-file="])
            .args(["--no-ping", "--dhcp-authoritative", "--bind-dynamic", "--interface=net0", "--log-dhcp"])
            .arg("--dhcp-range=192.0.2.50,192.0.2.60,255.255.255.0,2m")
            .arg(format!("--dhcp-option=option:T1,{t1}"))
            .arg("--dhcp-option=option:dns-server,192.0.2.3")
            .arg(format!("--dhcp-leasefile={}", file("leases")))
            .arg(format!("--log-facility={}", file("log")))
            .spawn()
            .unwrap();
        self.wait_for_log("DHCP, IP range");
        Server(process)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.files.path().join("log")).unwrap_or_default()
    }

    fn wait_for_log(&self, text: &str) {
        while !self.log().contains(text) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs a test as a process of the guest would be.
    fn in_guest<F: Future<Output = ()>>(&self, test: impl FnOnce() -> F + Send) {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(test());
        };
        self.guest.enter(run).unwrap();
    }
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a client on `net0`.
fn start(options: Options) -> (Client, UnboundedReceiver<Event>) {
    let (sender, events) = unbounded_channel();
    let tell = move |event| {
        // The test may not want the last ones.
        let _ = sender.send(event);
    };
    (Client::start("net0", options, tell).unwrap(), events)
}

/// The next event, which must be a lease.
async fn bound(events: &mut UnboundedReceiver<Event>) -> Lease {
    match events.recv().await.unwrap() {
        Event::Bound(lease) => lease,
        other => panic!("{other:?} instead of a lease"),
    }
}

/// Puts the address of a lease on the link, as the client's user does.
async fn apply(lease: &Lease) {
    let netlink = Netlink::connect().unwrap();
    let index = netlink.link("net0").await.unwrap().unwrap().index;
    let address = IpAddr::V4(lease.address);
    netlink.add_address(index, address, lease.prefix_len, Lifetime::Forever).await.unwrap();
}

/// A lease of an address that nobody asked the server for, with so many seconds left.
fn invented(address: [u8; 4], remaining: u64) -> Lease {
    let lease_time = Duration::from_secs(120);
    Lease {
        address: address.into(),
        prefix_len: 24,
        routers: vec![SERVER],
        dns: Vec::new(),
        server: SERVER,
        obtained: SystemTime::now() - (lease_time - Duration::from_secs(remaining)),
        lease_time,
        t1: lease_time / 2,
        t2: lease_time * 7 / 8,
    }
}

fn granted(lease: &Lease) -> bool {
    let [a, b, c, host] = lease.address.octets();
    [a, b, c] == [192, 0, 2] && (50..=60).contains(&host)
}

#[test]
fn a_lease_is_what_the_server_grants() {
    let site = Site::new();
    let _server = site.serve(60);
    site.in_guest(async || {
        let hostname = Some("guest1".to_owned());
        let (client, mut events) = start(Options { hostname, previous: None });
        let lease = bound(&mut events).await;
        assert!(granted(&lease), "{lease:?}");
        assert_eq!((lease.prefix_len, lease.server), (24, SERVER));
        assert_eq!((lease.routers, lease.dns), (vec![SERVER], vec![Ipv4Addr::new(192, 0, 2, 3)]));
        assert_eq!((lease.lease_time, lease.t1), (Duration::from_secs(120), Duration::from_secs(60)));
        client.stop(false).await;
    });
    let leases = fs::read_to_string(site.files.path().join("leases")).unwrap();
    assert!(leases.contains(" guest1 "), "{leases}");
}

#[test]
fn a_lease_is_renewed_before_it_ends() {
    let site = Site::new();
    let _server = site.serve(3);
    site.in_guest(async || {
        let (client, mut events) = start(Options::default());
        let mut lease = bound(&mut events).await;
        apply(&lease).await;
        for _ in 0..2 {
            let renewed = bound(&mut events).await;
            assert_eq!(renewed.address, lease.address);
            assert!(renewed.obtained > lease.obtained);
            lease = renewed;
        }
        client.stop(false).await;
    });
    assert_eq!(site.log().matches("DHCPDISCOVER(net0)").count(), 1, "{}", site.log());
}

#[test]
fn a_stopped_client_releases_its_lease_if_asked_to() {
    let site = Site::new();
    let _server = site.serve(60);
    site.in_guest(async || {
        let (client, mut events) = start(Options::default());
        apply(&bound(&mut events).await).await;
        client.stop(true).await;
    });
    site.wait_for_log("DHCPRELEASE(net0)");
}

#[test]
fn a_stopped_client_keeps_its_lease_otherwise() {
    let site = Site::new();
    let _server = site.serve(60);
    site.in_guest(async || {
        let mut addresses = Vec::new();
        // The second one also shows that the server has read all that the first one sent.
        for _ in 0..2 {
            let (client, mut events) = start(Options::default());
            let lease = bound(&mut events).await;
            apply(&lease).await;
            addresses.push(lease.address);
            client.stop(false).await;
        }
        assert_eq!(addresses[0], addresses[1]);
    });
    assert!(!site.log().contains("DHCPRELEASE"), "{}", site.log());
}

#[test]
fn a_restarted_client_has_its_lease_at_once_and_renews_it() {
    let site = Site::new();
    let _server = site.serve(60);
    site.in_guest(async || {
        let (client, mut events) = start(Options::default());
        let lease = bound(&mut events).await;
        apply(&lease).await;
        client.stop(false).await;

        let (client, mut events) = start(Options { hostname: None, previous: Some(lease.clone()) });
        assert_eq!(bound(&mut events).await, lease);
        let renewed = bound(&mut events).await;
        assert_eq!(renewed.address, lease.address);
        assert!(renewed.obtained > lease.obtained);
        client.stop(false).await;
    });
    assert_eq!(site.log().matches("DHCPDISCOVER(net0)").count(), 1, "{}", site.log());
}

#[test]
fn a_lease_that_nobody_renews_is_lost_at_its_end_and_replaced() {
    let site = Site::new();
    let mut server = None;
    site.in_guest(async || {
        let previous = Some(invented([192, 0, 2, 50], 5));
        let (client, mut events) = start(Options { hostname: None, previous: previous.clone() });
        assert_eq!(Some(bound(&mut events).await), previous);
        let event = events.recv().await.unwrap();
        assert_eq!(event, Event::Lost("no DHCP server renewed the lease".to_owned()));
        server = Some(site.serve(60));
        assert!(granted(&bound(&mut events).await));
        client.stop(false).await;
    });
}

#[test]
fn a_lease_that_the_server_refuses_is_lost_and_replaced() {
    let site = Site::new();
    let _server = site.serve(60);
    site.in_guest(async || {
        // An address of another network, as after a move.
        let previous = Some(invented([198, 51, 100, 9], 6));
        let (client, mut events) = start(Options { hostname: None, previous });
        bound(&mut events).await;
        assert!(matches!(events.recv().await.unwrap(), Event::Lost(_)));
        assert!(granted(&bound(&mut events).await));
        client.stop(false).await;
    });
    assert!(site.log().contains("DHCPNAK(net0) 198.51.100.9"), "{}", site.log());
}

#[test]
fn a_server_that_comes_late_is_found_and_its_absence_told_once() {
    let site = Site::new();
    let mut server = None;
    site.in_guest(async || {
        let (client, mut events) = start(Options::default());
        let event = events.recv().await.unwrap();
        assert_eq!(event, Event::Problem("no DHCP server answers on net0".to_owned()));
        server = Some(site.serve(60));
        assert!(granted(&bound(&mut events).await));
        client.stop(false).await;
    });
}

#[test]
fn a_link_without_carrier_is_waited_for() {
    let site = Site::new();
    let _server = site.serve(60);
    site.host.ip("link set net0 down").unwrap();
    site.in_guest(async || {
        let (client, mut events) = start(Options::default());
        let event = events.recv().await.unwrap();
        assert_eq!(event, Event::Problem("net0 has no carrier".to_owned()));
        site.host.ip("link set net0 up").unwrap();
        assert!(granted(&bound(&mut events).await));
        // A lease outlives its carrier.
        site.host.ip("link set net0 down").unwrap();
        site.host.ip("link set net0 up").unwrap();
        client.stop(false).await;
        assert_eq!(events.recv().await, None);
    });
}

#[test]
fn a_link_that_goes_takes_the_lease_along_and_one_that_comes_gets_another() {
    let site = Site::new();
    let _server = site.serve(60);
    site.in_guest(async || {
        let (client, mut events) = start(Options::default());
        bound(&mut events).await;
        site.guest.ip("link delete net0").unwrap();
        let gone = "there is no link net0".to_owned();
        assert_eq!(events.recv().await.unwrap(), Event::Lost(gone.clone()));
        assert_eq!(events.recv().await.unwrap(), Event::Problem(gone));
        site.connect();
        assert!(granted(&bound(&mut events).await));
        client.stop(false).await;
    });
}
