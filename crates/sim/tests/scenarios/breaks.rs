//! Silent breaks: which port is chosen, and how soon.

use std::time::Duration;

use dlmp_engine::Detection;
use dlmp_sim::{Direction, Setup, World};

use crate::site::{SECOND, SEEDS, Site, for_seeds, ms};

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
