//! A router that ignores ARP from 0.0.0.0, as ARP inspection does: a port without a source never reaches it.

use std::time::Duration;

use dlmp_engine::Detection;
use dlmp_sim::{Behaviour, Direction, Setup, World};

use crate::site::{SECOND, SEEDS, Site, for_seeds, ms};

/// Settled with such a router, given or found in the routes, and one source.
fn wary(seed: u64, ports: usize, given: bool) -> Site {
    let mut site = Site::new(seed, ports);
    site.world.behave(site.router, Behaviour::WARY);
    site.world.limit_sources(1);
    let router = vec![site.world.address(site.router)];
    let (given, routers) = if given { (router, vec![]) } else { (vec![], router) };
    site.settle_with(Setup { clients: 1, fdt: Some(SECOND), given, routers });
    assert_eq!(site.world.detection(), Detection::Probes);
    site
}

#[test]
fn the_busy_path_that_dies_is_left_in_time_again_and_again() {
    for_seeds(5, |seed| {
        for (ports, given) in [(2, true), (2, false), (3, true), (5, false)] {
            let mut site = wary(seed, ports, given);
            for _ in 0..3 {
                let place = site.world.place(0);
                site.world.cut(site.uplinks[place], true);
                assert!(site.time_to_fail(place, SECOND) <= ms(100));
                assert_ne!(site.world.place(0), place);
                assert_eq!(site.world.active().len(), ports - 1, "no other port fails");
                site.world.cut(site.uplinks[place], false);
                site.world.run(12 * SECOND);
                assert_eq!(site.world.active().len(), ports, "it is used again");
            }
        }
    });
}

#[test]
fn a_one_way_break_of_the_busy_path_is_a_break() {
    for_seeds(SEEDS, |seed| {
        for direction in [Direction::Forth, Direction::Back] {
            let mut site = wary(seed, 2, seed % 2 == 0);
            let place = site.world.place(0);
            site.world.cut_one_way(site.uplinks[place], direction, true);
            assert!(site.time_to_fail(place, SECOND) <= ms(100));
            assert_eq!((site.world.place(0), site.world.active()), (1 - place, vec![1 - place]));
        }
    });
}

#[test]
fn an_idle_path_that_dies_fails_and_moves_nobody() {
    for_seeds(SEEDS, |seed| {
        for ports in [2, 3] {
            let mut site = wary(seed, ports, true);
            let idle = (site.world.place(0) + 1) % ports;
            site.world.cut(site.uplinks[idle], true);
            assert!(site.time_to_fail(idle, SECOND) <= ms(100));
            assert_eq!((site.world.moves(), site.world.active().len()), (0, ports - 1));
        }
    });
}

#[test]
fn two_of_three_paths_that_die_together_leave_the_third() {
    for_seeds(SEEDS, |seed| {
        for other in [1, 2] {
            let mut site = wary(seed, 3, true);
            let place = site.world.place(0);
            let dead = [place, (place + other) % 3];
            dead.iter().for_each(|&port| site.world.cut(site.uplinks[port], true));
            site.world.run(SECOND);
            let left: Vec<usize> = (0..3).filter(|port| !dead.contains(port)).collect();
            assert_eq!((site.world.place(0), site.world.active()), (left[0], left));
        }
    });
}

#[test]
fn with_all_paths_dead_the_first_one_that_returns_is_found_by_a_source_that_is_lent() {
    for_seeds(SEEDS, |seed| {
        for (ports, returns) in [(2, 0), (2, 1), (3, 2)] {
            let mut site = wary(seed, ports, seed % 2 == 0);
            for uplink in site.uplinks.clone() {
                site.world.cut(uplink, true);
            }
            site.world.run(7 * SECOND);
            assert!(site.world.active().is_empty());
            site.world.cut(site.uplinks[returns], false);
            site.world.run(SECOND);
            assert_eq!((site.world.place(0), site.world.active()), (returns, vec![returns]));
        }
    });
}

#[test]
fn a_router_that_dies_moves_nobody() {
    for_seeds(SEEDS, |seed| {
        for ports in [2, 3] {
            let mut site = wary(seed, ports, true);
            site.world.behave(site.router, Behaviour::DEAD);
            site.world.run(20 * SECOND);
            assert_eq!((site.world.moves(), site.world.detection()), (0, Detection::TargetsSilent));
            assert_eq!(site.world.active().len(), ports);
            site.world.behave(site.router, Behaviour::WARY);
            site.world.run(3 * SECOND);
            assert_eq!((site.world.moves(), site.world.detection()), (0, Detection::Probes));
        }
    });
}

/// Ports that reach the router and never each other.
fn apart(seed: u64, fdt: Duration) -> (World, Vec<dlmp_sim::LinkId>, dlmp_sim::HostId) {
    let mut world = World::new(seed);
    let core = world.switch();
    let near = [world.switch(), world.switch()];
    let uplinks = near.map(|switch| world.join(switch, core)).to_vec();
    let router = world.host(core);
    for switch in near {
        world.port(switch);
    }
    world.isolate(core, &uplinks);
    world.behave(router, Behaviour::WARY);
    world.limit_sources(1);
    let given = vec![world.address(router)];
    world.configure(&Setup { clients: 1, fdt: Some(fdt), given, routers: vec![] });
    world.run(fdt * 20);
    (world, uplinks, router)
}

#[test]
fn a_port_that_could_not_ask_is_not_failed_and_takes_over_from_one_that_lost_the_router() {
    for_seeds(SEEDS, |seed| {
        for fdt in [ms(100), SECOND] {
            let (mut world, uplinks, _) = apart(seed, fdt);
            assert_eq!((world.moves(), world.active()), (0, vec![0, 1]));
            let (before, place) = (world.now(), world.place(0));
            world.cut(uplinks[place], true);
            world.run(fdt * 2);
            let time = world.failed_at(place).expect("the port is found failed") - before;
            assert!(time <= fdt, "{time:?} of {fdt:?}");
            assert_eq!((world.place(0), world.active()), (1 - place, vec![1 - place]));
        }
    });
}

#[test]
fn a_client_that_hears_others_is_not_lent_while_the_router_is_dead() {
    for_seeds(SEEDS, |seed| {
        let (mut world, _, router) = apart(seed, SECOND);
        let peer = Behaviour::DEAD;
        world.behave(router, peer);
        world.run(5 * SECOND);
        // It may move once, to a port of which nothing is known; data is still exchanged with the host.
        let (moves, first) = (world.moves(), world.data());
        assert!(moves <= 1, "{moves}");
        world.run(20 * SECOND);
        assert_eq!((world.moves(), world.lost(first..world.data() - 4)), (moves, 0));
        world.behave(router, Behaviour::WARY);
        world.run(2 * SECOND);
        assert!(world.active().contains(&world.place(0)));
    });
}
