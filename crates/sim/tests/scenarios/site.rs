//! The network that most scenarios begin with.

use std::net::IpAddr;
use std::time::Duration;

use dlmp_sim::{HostId, LinkId, Setup, SwitchId, World};

pub const SEEDS: u64 = 20;
pub const SECOND: Duration = Duration::from_secs(1);

pub const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Ports on switches of their own, which hang on a common one with a router and another host.
pub struct Site {
    seed: u64,
    pub world: World,
    pub ports: Vec<LinkId>,
    pub uplinks: Vec<LinkId>,
    pub core: SwitchId,
    pub near: Vec<SwitchId>,
    pub router: HostId,
    pub other: HostId,
}

impl Site {
    pub fn new(seed: u64, ports: usize) -> Self {
        let mut world = World::new(seed);
        let core = world.switch();
        let near: Vec<SwitchId> = (0..ports).map(|_| world.switch()).collect();
        let uplinks = near.iter().map(|&switch| world.join(switch, core)).collect();
        let (router, other) = (world.host(core), world.host(core));
        let ports = near.iter().map(|&switch| world.port(switch)).collect();
        Self { seed, world, ports, uplinks, core, near, router, other }
    }

    /// Settled at the default detection time, with the router given as target.
    pub fn settled(seed: u64, ports: usize) -> Self {
        let mut site = Self::new(seed, ports);
        let target = site.world.address(site.router);
        site.settle(SECOND, vec![target]);
        site
    }

    pub fn settle(&mut self, fdt: Duration, given: Vec<IpAddr>) {
        self.settle_with(Setup { clients: 1, fdt: Some(fdt), given, routers: vec![] });
    }

    pub fn settle_with(&mut self, setup: Setup) {
        self.world.configure(&setup);
        // At a random moment of every rhythm.
        let fdt = setup.fdt.unwrap_or(SECOND);
        self.world.run(fdt * 3 + SECOND + fdt.mul_f64(fastrand::Rng::with_seed(self.seed).f64()));
        assert_eq!(self.world.moves(), 0, "nobody moves without a fault");
    }

    /// Lets the fault work for a while and says when this port was found failed, counted from now.
    pub fn time_to_fail(&mut self, port: usize, at_most: Duration) -> Duration {
        let before = self.world.now();
        self.world.run(at_most);
        let at = self.world.failed_at(port).filter(|&at| at >= before);
        at.expect("the port is found failed in time") - before
    }
}

/// Runs a scenario from each of several seeds.
pub fn for_seeds(seeds: u64, scenario: impl Fn(u64)) {
    match std::env::var("DLMP_SIM_SEED") {
        Ok(seed) => scenario(seed.parse().expect("DLMP_SIM_SEED is a number")),
        Err(_) => (0..seeds).for_each(scenario),
    }
}
