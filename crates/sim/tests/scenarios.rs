//! What probing promises, fault by fault. Every scenario runs from several seeds; the promises of the
//! design are checked at every step on the way.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::net::IpAddr;
use std::time::Duration;

use dlmp_engine::Detection;
use dlmp_sim::{Behaviour, Direction, HostId, LinkId, Setup, SwitchId, World};

const SEEDS: u64 = 20;
const SECOND: Duration = Duration::from_secs(1);

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Ports on switches of their own, which hang on a common one with a router and another host.
struct Site {
    seed: u64,
    world: World,
    ports: Vec<LinkId>,
    uplinks: Vec<LinkId>,
    near: Vec<SwitchId>,
    router: HostId,
    other: HostId,
}

impl Site {
    fn new(seed: u64, ports: usize) -> Self {
        let mut world = World::new(seed);
        let core = world.switch();
        let near: Vec<SwitchId> = (0..ports).map(|_| world.switch()).collect();
        let uplinks = near.iter().map(|&switch| world.join(switch, core)).collect();
        let (router, other) = (world.host(core), world.host(core));
        let ports = near.iter().map(|&switch| world.port(switch)).collect();
        Self { seed, world, ports, uplinks, near, router, other }
    }

    /// Settled at the default detection time, with the router given as target.
    fn settled(seed: u64, ports: usize) -> Self {
        let mut site = Self::new(seed, ports);
        let target = site.world.address(site.router);
        site.settle(SECOND, vec![target]);
        site
    }

    fn settle(&mut self, fdt: Duration, given: Vec<IpAddr>) {
        self.settle_with(Setup { clients: 1, fdt: Some(fdt), given, routers: vec![] });
    }

    fn settle_with(&mut self, setup: Setup) {
        self.world.configure(&setup);
        // At a random moment of every rhythm.
        let fdt = setup.fdt.unwrap_or(SECOND);
        self.world.run(fdt * 3 + SECOND + fdt.mul_f64(fastrand::Rng::with_seed(self.seed).f64()));
        assert_eq!(self.world.moves(), 0, "nobody moves without a fault");
    }

    /// Lets the fault work for a while and says when this port was found failed, counted from now.
    fn time_to_fail(&mut self, port: usize, at_most: Duration) -> Duration {
        let before = self.world.now();
        self.world.run(at_most);
        let at = self.world.failed_at(port).filter(|&at| at >= before);
        at.expect("the port is found failed in time") - before
    }
}

fn for_seeds(seeds: u64, scenario: impl Fn(u64)) {
    match std::env::var("DLMP_SIM_SEED") {
        Ok(seed) => scenario(seed.parse().expect("DLMP_SIM_SEED is a number")),
        Err(_) => (0..seeds).for_each(scenario),
    }
}

#[test]
fn of_two_uplinks_with_a_silent_break_the_right_one_is_chosen_in_time() {
    for_seeds(SEEDS, |seed| {
        let mut site = Site::settled(seed, 2);
        let place = site.world.place(0);
        site.world.cut(site.uplinks[place], true);
        let time = site.time_to_fail(place, SECOND);
        assert!(time <= ms(100), "{time:?}");
        assert_eq!(site.world.active(), [1 - place]);
        assert_eq!(site.world.place(0), 1 - place);
    });
}

#[test]
fn the_same_with_a_router_that_nobody_named_and_with_a_host_that_was_found() {
    for_seeds(SEEDS, |seed| {
        for found in [false, true] {
            let mut site = Site::new(seed, 2);
            let router = site.world.address(site.router);
            let routers = if found { vec![] } else { vec![router] };
            site.world.configure(&Setup { clients: 1, fdt: Some(SECOND), given: vec![], routers });
            if found {
                site.world.found(site.other);
            }
            site.world.run(3 * SECOND);
            site.world.cut(site.uplinks[0], true);
            let time = site.time_to_fail(0, SECOND);
            assert!(time <= ms(100), "{time:?}");
            assert_eq!(site.world.active(), [1]);
        }
    });
}

#[test]
fn an_idle_uplink_that_breaks_moves_nobody() {
    for_seeds(SEEDS, |seed| {
        let mut site = Site::settled(seed, 2);
        let idle = 1 - site.world.place(0);
        site.world.cut(site.uplinks[idle], true);
        site.time_to_fail(idle, SECOND);
        assert_eq!((site.world.moves(), site.world.active()), (0, vec![1 - idle]));
    });
}

#[test]
fn of_three_uplinks_one_and_then_two_may_fail() {
    for_seeds(SEEDS, |seed| {
        let mut site = Site::settled(seed, 3);
        site.world.cut(site.uplinks[0], true);
        assert!(site.time_to_fail(0, SECOND) <= ms(100));
        assert_eq!(site.world.active(), [1, 2]);
        let place = site.world.place(0);
        site.world.cut(site.uplinks[place], true);
        assert!(site.time_to_fail(place, SECOND) <= ms(400), "a burst has just been");
        assert_eq!(site.world.active(), [3 - place]);
    });
}

#[test]
fn a_one_way_break_is_a_break_in_each_direction() {
    for_seeds(SEEDS, |seed| {
        for direction in [Direction::Forth, Direction::Back] {
            let mut site = Site::settled(seed, 2);
            let place = site.world.place(0);
            site.world.cut_one_way(site.ports[place], direction, true);
            assert!(site.time_to_fail(place, SECOND) <= ms(100));
            assert_eq!(site.world.place(0), 1 - place);
        }
    });
}

#[test]
fn a_target_that_dies_moves_nobody_and_detection_says_so() {
    for_seeds(SEEDS, |seed| {
        let mut site = Site::settled(seed, 2);
        site.world.behave(site.router, Behaviour::DEAD);
        site.world.run(10 * SECOND);
        assert_eq!((site.world.moves(), site.world.active()), (0, vec![0, 1]));
        assert_eq!(site.world.detection(), Detection::TargetsSilent);
        site.world.behave(site.router, Behaviour::GOOD);
        site.world.run(3 * SECOND);
        assert_eq!(site.world.detection(), Detection::Probes);
    });
}

#[test]
fn with_two_targets_one_may_die_and_the_other_vouches() {
    for_seeds(SEEDS, |seed| {
        let mut site = Site::new(seed, 2);
        let targets = vec![site.world.address(site.router), site.world.address(site.other)];
        site.settle(SECOND, targets);
        site.world.behave(site.router, Behaviour::DEAD);
        site.world.run(10 * SECOND);
        assert_eq!((site.world.moves(), site.world.detection()), (0, Detection::Probes));
        site.world.cut(site.uplinks[0], true);
        assert!(site.time_to_fail(0, SECOND) <= ms(400));
        assert_eq!(site.world.active(), [1]);
    });
}

#[test]
fn both_uplinks_on_one_switch_that_is_cut_off_fail_nobody() {
    for_seeds(SEEDS, |seed| {
        let mut world = World::new(seed);
        let (near, core) = (world.switch(), world.switch());
        let uplink = world.join(near, core);
        let router = world.host(core);
        world.port(near);
        world.port(near);
        let given = vec![world.address(router)];
        world.configure(&Setup { clients: 1, fdt: Some(SECOND), given, routers: vec![] });
        world.run(3 * SECOND);
        world.cut(uplink, true);
        world.run(5 * SECOND);
        assert_eq!((world.moves(), world.active()), (0, vec![0, 1]));
        assert_eq!(world.detection(), Detection::TargetsSilent);
    });
}

#[test]
fn an_island_without_the_target_fails_on_whichever_side_that_is() {
    for_seeds(SEEDS, |seed| {
        for far_side in [false, true] {
            let mut world = World::new(seed);
            let (left, right) = (world.switch(), world.switch());
            let between = world.join(left, right);
            let router = world.host(if far_side { right } else { left });
            for switch in [left, left, right, right] {
                world.port(switch);
            }
            let given = vec![world.address(router)];
            world.configure(&Setup { clients: 4, fdt: Some(SECOND), given, routers: vec![] });
            world.run(3 * SECOND);
            world.cut(between, true);
            world.run(SECOND / 2);
            assert_eq!(world.active(), if far_side { [2, 3] } else { [0, 1] });
        }
    });
}

#[test]
fn a_near_switch_that_answers_for_itself_above_a_dead_uplink_does_not_win() {
    for_seeds(SEEDS, |seed| {
        let mut site = Site::new(seed, 2);
        // Both near switches answer, and so does the router.
        let managed: Vec<HostId> = site.near.clone().into_iter().map(|switch| site.world.host(switch)).collect();
        let mut targets: Vec<IpAddr> = managed.iter().map(|&host| site.world.address(host)).collect();
        targets.push(site.world.address(site.router));
        site.settle(SECOND, targets);
        let place = site.world.place(0);
        site.world.cut(site.uplinks[place], true);
        assert!(site.time_to_fail(place, SECOND) <= ms(100));
        assert_eq!(site.world.active(), [1 - place]);
    });
}

#[test]
fn a_found_host_that_one_port_alone_reaches_vouches_for_nothing() {
    for_seeds(SEEDS, |seed| {
        let mut site = Site::new(seed, 2);
        let beside = site.world.host(site.near[0]);
        // It answers its own switch only: nothing from behind the uplink reaches it.
        let link = site.world.link_of(beside);
        site.world.isolate(site.near[0], &[site.uplinks[0], link]);
        site.world.configure(&Setup { clients: 1, fdt: Some(SECOND), given: vec![], routers: vec![] });
        site.world.found(beside);
        site.world.run(10 * SECOND);
        assert_eq!((site.world.moves(), site.world.active()), (0, vec![0, 1]));
        assert_eq!(site.world.detection(), Detection::NoTargets);
    });
}

#[test]
fn with_all_paths_dead_nobody_moves_until_the_first_one_returns() {
    for_seeds(SEEDS, |seed| {
        let mut site = Site::settled(seed, 2);
        let place = site.world.place(0);
        for uplink in site.uplinks.clone() {
            site.world.cut(uplink, true);
        }
        site.world.run(5 * SECOND);
        assert_eq!((site.world.moves(), site.world.active()), (0, vec![]));
        assert!(matches!(site.world.detection(), Detection::Prober(_)));
        site.world.cut(site.uplinks[1 - place], false);
        site.world.run(SECOND);
        assert_eq!((site.world.place(0), site.world.active()), (1 - place, vec![1 - place]));
    });
}

#[test]
fn thirty_percent_loss_each_way_for_a_minute_fails_nobody() {
    for_seeds(SEEDS, |seed| {
        let mut site = Site::settled(seed, 2);
        for port in site.ports.clone() {
            site.world.lose(port, 0.3);
        }
        site.world.run(60 * SECOND);
        assert_eq!((site.world.moves(), site.world.active()), (0, vec![0, 1]));
    });
}

#[test]
fn a_sleeping_host_fails_no_port_however_long_it_slept() {
    for_seeds(SEEDS, |seed| {
        let mut site = Site::settled(seed, 2);
        for time in [15, 40, 100, 700, 3000, 10_000, 120_000] {
            site.world.sleep(ms(time));
            site.world.run(ms(time) + SECOND);
        }
        assert_eq!((site.world.moves(), site.world.active()), (0, vec![0, 1]));
    });
}

#[test]
fn a_host_that_is_always_late_fails_no_port_and_still_finds_a_break() {
    for_seeds(SEEDS, |seed| {
        let mut site = Site::settled(seed, 2);
        for _ in 0..200 {
            site.world.sleep(ms(35));
            site.world.run(ms(37));
        }
        assert_eq!(site.world.active(), [0, 1]);
        let place = site.world.place(0);
        site.world.cut(site.uplinks[place], true);
        for _ in 0..100 {
            site.world.sleep(ms(35));
            site.world.run(ms(37));
        }
        assert_eq!(site.world.active(), [1 - place]);
    });
}

#[test]
fn a_repaired_path_is_used_again_after_a_row_of_answers_and_nothing_is_lost_by_it() {
    for_seeds(SEEDS, |seed| {
        let mut site = Site::new(seed, 2);
        let target = site.world.address(site.router);
        site.settle_with(Setup { clients: 4, fdt: Some(SECOND), given: vec![target], routers: vec![] });
        site.world.cut(site.uplinks[0], true);
        site.world.run(2 * SECOND);
        assert_eq!(site.world.active(), [1]);
        let (repaired, first) = (site.world.now(), site.world.data());
        site.world.cut(site.uplinks[0], false);
        site.world.run(SECOND * 9 / 10);
        assert_eq!(site.world.active(), [1], "not after {:?}", site.world.now() - repaired);
        site.world.run(2 * SECOND);
        assert_eq!(site.world.active(), [0, 1]);
        assert_eq!((0..4).filter(|&client| site.world.place(client) == 0).count(), 2, "the load is spread again");
        assert_eq!(site.world.lost(first..site.world.data() - 3), 0);
    });
}

#[test]
fn a_flapping_path_is_left_alone_for_longer_and_longer() {
    for_seeds(3, |seed| {
        let mut site = Site::settled(seed, 2);
        let mut used = Vec::new();
        for _ in 0..4 {
            let before = site.world.moves();
            for _ in 0..5 {
                site.world.cut(site.uplinks[0], true);
                site.world.run(SECOND);
                site.world.cut(site.uplinks[0], false);
                site.world.run(2 * SECOND);
            }
            used.push((site.world.moves() - before, site.world.active().contains(&0)));
        }
        assert_eq!(used.last(), Some(&(0, false)), "{used:?}");
    });
}

#[test]
fn ports_that_cannot_reach_each_other_are_watched_by_targets_within_the_detection_time() {
    for_seeds(SEEDS, |seed| {
        for fdt in [ms(100), SECOND, 10 * SECOND] {
            let mut world = World::new(seed);
            let (access, core) = (world.switch(), world.switch());
            world.join(access, core);
            let near = [world.switch(), world.switch()];
            let uplinks = near.map(|switch| world.join(switch, access));
            let router = world.host(core);
            for switch in near {
                world.port(switch);
            }
            // A private VLAN: the ports reach the router, never each other.
            world.isolate(access, &uplinks);
            let given = vec![world.address(router)];
            world.configure(&Setup { clients: 1, fdt: Some(fdt), given, routers: vec![] });
            world.run(fdt * 5);
            assert_eq!(world.active(), [0, 1]);
            let before = world.now();
            world.cut(uplinks[world.place(0)], true);
            world.run(fdt * 2);
            let time = world.failed_at(0).expect("the port is found failed") - before;
            assert!(time <= fdt, "{time:?} of {fdt:?}");
            assert_eq!((world.place(0), world.active()), (1, vec![1]));
        }
    });
}

#[test]
fn a_port_that_was_dead_from_the_start_is_found_failed() {
    for_seeds(SEEDS, |seed| {
        let mut site = Site::new(seed, 2);
        site.world.cut(site.uplinks[0], true);
        let target = site.world.address(site.router);
        site.world.configure(&Setup { clients: 1, fdt: Some(SECOND), given: vec![target], routers: vec![] });
        site.world.run(3 * SECOND);
        assert_eq!((site.world.place(0), site.world.active()), (1, vec![1]));
    });
}

#[test]
fn a_router_hears_at_most_one_and_a_half_echoes_a_second_while_all_is_well() {
    for_seeds(5, |seed| {
        for (ports, clients) in [(1, 1), (2, 1), (2, 8), (8, 64)] {
            let mut site = Site::new(seed, ports);
            let target = site.world.address(site.router);
            site.settle_with(Setup { clients, fdt: Some(SECOND), given: vec![target], routers: vec![] });
            let from = site.world.now();
            site.world.run(20 * SECOND);
            let rate = site.world.echoes_a_second(site.router, from..site.world.now());
            assert!((0.5..=1.5).contains(&rate), "{rate} with {ports} ports and {clients} addresses");
        }
    });
}

#[test]
fn slow_and_rate_limiting_targets_fail_nobody_and_a_break_is_found_all_the_same() {
    for_seeds(SEEDS, |seed| {
        let slow = Behaviour { delay: ms(80), ..Behaviour::GOOD };
        let limited = Behaviour { limit: Some(10), ..Behaviour::GOOD };
        let silent_to_echo = Behaviour { echo: false, ..Behaviour::GOOD };
        for behaviour in [slow, limited, silent_to_echo] {
            let mut site = Site::new(seed, 2);
            site.world.behave(site.router, behaviour);
            let target = site.world.address(site.router);
            site.settle(SECOND, vec![target]);
            site.world.run(20 * SECOND);
            assert_eq!(site.world.active(), [0, 1], "{behaviour:?}");
            let place = site.world.place(0);
            site.world.cut(site.uplinks[place], true);
            assert!(site.time_to_fail(place, SECOND) <= ms(500), "{behaviour:?}");
            assert_eq!(site.world.active(), [1 - place], "{behaviour:?}");
        }
    });
}

#[test]
fn every_detection_time_is_kept() {
    for_seeds(5, |seed| {
        for fdt in [10, 20, 50, 200, 1000, 10_000, 600_000].map(ms) {
            let mut site = Site::new(seed, 2);
            for link in site.ports.iter().chain(&site.uplinks).copied().collect::<Vec<_>>() {
                site.world.delay(link, Duration::from_micros(5), Duration::from_micros(5));
            }
            let target = site.world.address(site.router);
            site.settle(fdt, vec![target]);
            let place = site.world.place(0);
            site.world.cut(site.uplinks[place], true);
            let time = site.time_to_fail(place, fdt * 2);
            assert!(time <= fdt, "{time:?} of {fdt:?}");
        }
    });
}

#[test]
fn large_aggregations_lose_the_right_ports() {
    for_seeds(3, |seed| {
        for ports in [8, 32] {
            let mut site = Site::new(seed, ports);
            let target = site.world.address(site.router);
            site.settle_with(Setup { clients: 40, fdt: Some(SECOND), given: vec![target], routers: vec![] });
            for dead in [0, 3, 5] {
                site.world.cut(site.uplinks[dead], true);
            }
            site.world.run(SECOND);
            let alive: Vec<usize> = (0..ports).filter(|port| ![0, 3, 5].contains(port)).collect();
            assert_eq!(site.world.active(), alive);
        }
    });
}

#[test]
fn a_port_whose_carrier_returns_has_to_prove_its_path() {
    for_seeds(SEEDS, |seed| {
        let mut site = Site::settled(seed, 2);
        site.world.carrier(site.ports[0], false);
        assert_eq!(site.world.active(), [1]);
        // The cable is back, but the switch behind it leads nowhere.
        site.world.cut(site.uplinks[0], true);
        site.world.carrier(site.ports[0], true);
        site.world.run(5 * SECOND);
        assert_eq!(site.world.active(), [1]);
        site.world.cut(site.uplinks[0], false);
        site.world.run(3 * SECOND);
        assert_eq!(site.world.active(), [0, 1]);
    });
}

#[test]
fn the_last_link_that_is_left_is_used_without_proof() {
    for_seeds(SEEDS, |seed| {
        let mut site = Site::settled(seed, 2);
        site.world.carrier(site.ports[1], false);
        site.world.carrier(site.ports[0], false);
        site.world.carrier(site.ports[1], true);
        assert_eq!((site.world.place(0), site.world.active()), (1, vec![1]));
    });
}
