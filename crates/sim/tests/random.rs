//! Random networks and random faults: the promises hold at every step, and when all is repaired every
//! port is used again and nothing is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use dlmp_engine::Detection;
use dlmp_sim::{Behaviour, Clock, Direction, HostId, LinkId, Setup, World};

/// Networks that are tried; DLMP_SIM_RUNS tries more, DLMP_SIM_SEED one of them again.
const RUNS: u64 = 25;
const FAULTS: usize = 25;

/// A network and what can break in it.
struct Site {
    world: World,
    random: fastrand::Rng,
    links: Vec<LinkId>,
    ports: Vec<LinkId>,
    hosts: Vec<HostId>,
}

impl Site {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::new(seed);
        let core = world.switch();
        let near: Vec<_> = (0..random.usize(1..4)).map(|_| world.switch()).collect();
        let mut links: Vec<LinkId> = near.iter().map(|&switch| world.join(switch, core)).collect();
        let hosts: Vec<HostId> = (0..random.usize(1..4)).map(|_| world.host(core)).collect();
        let ports: Vec<LinkId> = (0..random.usize(1..6)).map(|port| world.port(near[port % near.len()])).collect();
        links.extend(&ports);
        for &link in &links {
            let delay = Duration::from_micros(random.u64(1..400));
            world.delay(link, delay, delay * random.u32(0..3));
        }
        world.limit_sources(random.u16(1..10));
        let given = hosts.iter().map(|&host| world.address(host)).collect();
        let fdt = [10, 100, 1000, 1000, 1000, 5000].map(Duration::from_millis)[random.usize(..6)];
        world.configure(&Setup { clients: random.u16(1..10), fdt: Some(fdt), given, routers: vec![] });
        Self { world, random, links, ports, hosts }
    }

    fn wait(&mut self) {
        let time = Duration::from_millis(self.random.u64(1..3000));
        self.world.run(time);
    }

    /// Breaks or repairs something.
    fn fault(&mut self) {
        let random = &mut self.random;
        let link = self.links[random.usize(..self.links.len())];
        let host = self.hosts[random.usize(..self.hosts.len())];
        match random.u8(..11) {
            0 => self.world.cut(link, random.bool()),
            1 => {
                let direction = if random.bool() { Direction::Forth } else { Direction::Back };
                self.world.cut_one_way(link, direction, random.bool());
            }
            2 => self.world.carrier(link, random.bool()),
            3 => self.world.lose(link, random.f64() * 0.4),
            4 => {
                let alive = random.bool();
                let limit = random.bool().then(|| random.u32(1..40));
                let delay = Duration::from_millis(random.u64(0..60));
                let (echo, strangers) = (alive && random.bool(), random.bool());
                let behaviour = Behaviour { arp: alive, strangers, echo, multicast: alive, delay, limit };
                self.world.behave(host, behaviour);
            }
            5 => self.world.sleep(Duration::from_millis(random.u64(1..5000))),
            6 => {
                let clock = if random.bool() { Clock::Stops } else { Clock::Jumps };
                self.world.stop(Duration::from_millis(random.u64(1..20_000)), clock);
            }
            7 => self.world.restart(),
            8 => {
                let direction = if random.bool() { Direction::Forth } else { Direction::Back };
                self.world.lose_one_way(link, direction, random.f64());
            }
            _ => self.repair(link),
        }
    }

    fn repair(&mut self, link: LinkId) {
        self.world.cut(link, false);
        self.world.lose(link, 0.0);
        self.world.carrier(link, true);
    }
}

fn run(seed: u64) -> u64 {
    let mut site = Site::new(seed);
    for _ in 0..FAULTS {
        site.wait();
        site.fault();
    }
    for link in site.links.clone() {
        site.repair(link);
    }
    for host in site.hosts.clone() {
        site.world.behave(host, Behaviour::GOOD);
    }
    // Damping: a port that failed often has to be well for up to a minute, and dead targets are asked
    // again after two.
    site.world.run(Duration::from_secs(200));
    assert_eq!(site.world.active().len(), site.ports.len(), "every port is used again");
    assert!(matches!(site.world.detection(), Detection::Probes | Detection::NoTargets), "{:?}", site.world.detection());
    let first = site.world.data();
    site.world.run(Duration::from_secs(2));
    assert_eq!(site.world.lost(first..site.world.data() - 4), 0, "nothing is lost any more");
    site.world.steps()
}

#[test]
fn whatever_breaks_the_promises_hold_and_after_repair_all_is_well_again() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = number("DLMP_SIM_SEED") {
        run(seed);
        return;
    }
    let steps: u64 = (0..number("DLMP_SIM_RUNS").unwrap_or(RUNS)).map(run).sum();
    assert!(steps > 1_000_000, "{steps} steps");
}
