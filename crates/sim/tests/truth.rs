//! Random breaks and repairs against the truth: the simulator knows which paths live, so it can say
//! where clients must sit. Whenever a path lives, every client sits on one that does, as soon as the
//! engine had the time that it claims.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use dlmp_engine::Detection;
use dlmp_sim::{Behaviour, Direction, HostId, LinkId, Setup, World};

/// Networks that are tried; DLMP_SIM_RUNS tries more, DLMP_SIM_SEED one of them again.
const RUNS: u64 = 60;
const FAULTS: usize = 20;

/// A tree of switches: ports on near ones, hosts on the core.
struct Site {
    world: World,
    random: fastrand::Rng,
    fdt: Duration,
    ports: usize,
    clients: u16,
    /// The hosts answer ARP to nobody without an address, and so many clients have one.
    wary: Option<u16>,
    breakable: Vec<LinkId>,
    hosts: Vec<HostId>,
    faults: Vec<String>,
}

impl Site {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::new(seed);
        let core = world.switch();
        let near: Vec<_> = (0..random.usize(1..4)).map(|_| world.switch()).collect();
        let mut breakable: Vec<LinkId> = near.iter().map(|&switch| world.join(switch, core)).collect();
        let hosts: Vec<HostId> = (0..random.usize(1..4)).map(|_| world.host(core)).collect();
        let ports = random.usize(2..6);
        breakable.extend((0..ports).map(|port| world.port(near[port % near.len()])));
        let fdt = [50, 200, 1000, 1000, 5000].map(Duration::from_millis)[random.usize(..5)];
        let named = hosts.iter().map(|&host| world.address(host)).collect();
        let (given, routers) = if random.bool() { (named, vec![]) } else { (vec![], named) };
        let clients = random.u16(1..10);
        let wary = random.bool().then(|| random.u16(1..=3));
        if let Some(sources) = wary {
            world.limit_sources(sources);
            hosts.iter().for_each(|&host| world.behave(host, Behaviour::WARY));
        }
        world.configure(&Setup { clients, fdt: Some(fdt), given, routers });
        // Every port has reached the targets once.
        world.run(fdt * 5);
        Self { world, random, fdt, ports, clients, wary, breakable, hosts, faults: Vec::new() }
    }

    fn fault(&mut self) {
        let at = self.random.usize(..self.breakable.len());
        let (link, kind, on) = (self.breakable[at], self.random.u8(..4), self.random.bool());
        let direction = if self.random.bool() { Direction::Forth } else { Direction::Back };
        self.faults.push(format!("{:?} {link:?} {kind} {on} {direction:?}", self.world.now()));
        match kind {
            0 => self.world.cut(link, on),
            1 => self.world.cut_one_way(link, direction, on),
            2 => self.world.carrier(link, !on),
            _ => {
                self.world.cut(link, false);
                self.world.carrier(link, true);
            }
        }
    }

    fn hears(&self, port: usize) -> bool {
        self.hosts.iter().any(|&host| self.world.hears(port, host))
    }

    /// A verdict, and if that was that no path lives, a turn of every port as prober, before which nobody may have
    /// heard others for a second if a source has to be lent.
    fn patience(&self) -> Duration {
        let turns = self.fdt * (self.ports as u32 + 1) / 5;
        self.fdt + turns + if self.wary.is_some() { Duration::from_secs(1) + turns } else { Duration::ZERO }
    }

    fn live(&self) -> Vec<usize> {
        (0..self.ports).filter(|&port| self.hosts.iter().all(|&host| self.world.reaches(port, host))).collect()
    }

    fn check(&self) {
        let live = self.live();
        // Every port has lost its link since a target last answered: the links alone decide, as is shown.
        if self.world.detection() == Detection::NoTargets {
            return;
        }
        let lost = matches!(self.world.detection(), Detection::Prober(_));
        for client in (0..self.clients).filter(|_| !live.is_empty()) {
            let place = self.world.place(client);
            // Who still hears others is not lent to another port to ask from there: his own may be well.
            let sources =
                || (0..self.wary.unwrap_or_default().min(self.clients)).map(|source| self.world.place(source));
            if lost && sources().any(|port| self.hears(port)) {
                continue;
            }
            // A port that came up while no target vouched, and that cannot ask itself: nothing is known of it.
            if self.wary.is_some() && self.world.is_unknown(place) && sources().all(|port| port != place) {
                continue;
            }
            assert!(
                live.contains(&place),
                "at {:?}, {:?}: client {client} sits on {place}, paths live on {live:?}, active are {:?}, {:?}; {:#?}",
                self.world.now(),
                self.fdt,
                self.world.active(),
                self.world.detection(),
                self.faults
            );
        }
    }
}

fn run(seed: u64) {
    let mut site = Site::new(seed);
    for _ in 0..FAULTS {
        // A few at once sometimes.
        for _ in 0..site.random.usize(1..3) {
            site.fault();
        }
        site.world.run(site.patience());
        site.check();
        let rest = site.fdt.mul_f64(site.random.f64() * 4.0);
        site.world.run(rest);
        site.check();
    }
}

#[test]
fn whenever_a_path_lives_every_client_sits_on_one_that_does() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match number("DLMP_SIM_SEED") {
        Some(seed) => run(seed),
        None => (0..number("DLMP_SIM_RUNS").unwrap_or(RUNS)).for_each(run),
    }
}
