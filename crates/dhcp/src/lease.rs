//! What a server grants, and for how long.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use mozim::DhcpV4Lease;
use serde::{Deserialize, Serialize};

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Length of the network part in bits.
    pub prefix_len: u8,
    /// Default routers, best first.
    pub routers: Vec<Ipv4Addr>,
    /// Name servers, best first.
    pub dns: Vec<Ipv4Addr>,
    /// The server, which renewals and the release go to.
    pub server: Ipv4Addr,
    /// When it was granted or renewed.
    pub obtained: SystemTime,
    /// How long it lasts from then.
    pub lease_time: Duration,
    /// When its server is asked to renew it, from then (RFC 2131, section 4.4.5).
    pub t1: Duration,
    /// When any server is asked to renew it, from then.
    pub t2: Duration,
}

impl Lease {
    /// How long it lasts from `now` on; zero when it has ended.
    pub fn remaining(&self, now: SystemTime) -> Duration {
        self.lease_time.saturating_sub(self.age(now))
    }

    /// A clock that was set back makes no lease older or younger than it was.
    fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.obtained).unwrap_or_default()
    }

    /// The lease as the protocol engine goes on with it after a restart: in force, and due to be
    /// renewed at once. `None` when too little is left of it.
    pub(crate) fn resumed(&self, now: SystemTime) -> Option<DhcpV4Lease> {
        // The engine counts in seconds and wants them in this order: T1, T2, end.
        const T1: u32 = 1;
        let end = seconds(self.remaining(now));
        if end < T1 + 2 {
            return None;
        }
        let mut lease = DhcpV4Lease::default();
        lease.yiaddr = self.address;
        lease.srv_id = self.server;
        lease.t1_sec = T1;
        lease.t2_sec = seconds(self.t2.saturating_sub(self.age(now))).clamp(T1 + 1, end - 1);
        lease.lease_time_sec = end;
        Some(lease)
    }
}

impl From<&DhcpV4Lease> for Lease {
    /// A lease that was granted just now.
    fn from(lease: &DhcpV4Lease) -> Self {
        // RFC 3442: a client that gets classless routes must ignore the router option.
        let routers = match &lease.classless_routes {
            Some(routes) => {
                (routes.iter()).filter(|route| route.prefix_length == 0).map(|route| route.router).collect()
            }
            None => lease.gateways.clone().unwrap_or_default(),
        };
        Self {
            address: lease.yiaddr,
            // Without a netmask nothing is known to be on the link but the address itself.
            prefix_len: if lease.subnet_mask.is_unspecified() { 32 } else { lease.prefix_length() },
            routers,
            dns: lease.dns_srvs.clone().unwrap_or_default(),
            server: lease.srv_id,
            obtained: SystemTime::now(),
            lease_time: Duration::from_secs(lease.lease_time_sec.into()),
            t1: Duration::from_secs(lease.t1_sec.into()),
            t2: Duration::from_secs(lease.t2_sec.into()),
        }
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use mozim::DhcpV4ClasslessRoute;

    use super::*;

    const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn granted() -> DhcpV4Lease {
        let mut lease = DhcpV4Lease::default();
        lease.yiaddr = Ipv4Addr::new(192, 0, 2, 50);
        lease.srv_id = ROUTER;
        lease.subnet_mask = Ipv4Addr::new(255, 255, 240, 0);
        lease.gateways = Some(vec![ROUTER]);
        lease.lease_time_sec = 1000;
        lease.t1_sec = 500;
        lease.t2_sec = 875;
        lease
    }

    #[test]
    fn a_lease_is_taken_over_in_full() {
        let lease = Lease::from(&granted());
        assert_eq!((lease.address, lease.prefix_len), (Ipv4Addr::new(192, 0, 2, 50), 20));
        assert_eq!((lease.routers.as_slice(), lease.server), (&[ROUTER][..], ROUTER));
        assert_eq!(lease.lease_time, Duration::from_secs(1000));
    }

    #[test]
    fn classless_routes_replace_the_router_option() {
        let other = Ipv4Addr::new(192, 0, 2, 2);
        let route = |destination, prefix_length, router| DhcpV4ClasslessRoute { destination, prefix_length, router };
        let mut granted = granted();
        granted.classless_routes =
            Some(vec![route(Ipv4Addr::new(198, 51, 100, 0), 24, ROUTER), route(Ipv4Addr::UNSPECIFIED, 0, other)]);
        assert_eq!(Lease::from(&granted).routers, [other]);
        granted.classless_routes = Some(Vec::new());
        assert!(Lease::from(&granted).routers.is_empty());
    }

    #[test]
    fn a_missing_netmask_is_no_network_of_the_whole_world() {
        let mut granted = granted();
        granted.subnet_mask = Ipv4Addr::UNSPECIFIED;
        assert_eq!(Lease::from(&granted).prefix_len, 32);
    }

    #[test]
    fn time_runs_off_a_lease() {
        let lease = Lease::from(&granted());
        let after = |seconds| lease.remaining(lease.obtained + Duration::from_secs(seconds));
        assert_eq!(after(0), Duration::from_secs(1000));
        assert_eq!(after(400), Duration::from_secs(600));
        assert_eq!(after(2000), Duration::ZERO);
        let set_back = lease.obtained - Duration::from_secs(3600);
        assert_eq!(lease.remaining(set_back), Duration::from_secs(1000));
    }

    #[test]
    fn a_resumed_lease_is_renewed_at_once_and_ends_when_it_would_have() {
        let lease = Lease::from(&granted());
        for (age, t2, end) in [(0, 875, 1000), (400, 475, 600), (900, 2, 100), (997, 2, 3)] {
            let resumed = lease.resumed(lease.obtained + Duration::from_secs(age)).unwrap();
            assert_eq!((resumed.t1_sec, resumed.t2_sec, resumed.lease_time_sec), (1, t2, end), "{age} s");
        }
        for age in [998, 1000, 5000] {
            assert_eq!(lease.resumed(lease.obtained + Duration::from_secs(age)), None, "{age} s");
        }
    }

    #[test]
    fn a_lease_survives_being_written_down() {
        let lease = Lease::from(&granted());
        let text = serde_json::to_string(&lease).unwrap();
        assert_eq!(serde_json::from_str::<Lease>(&text).unwrap(), lease);
    }
}
