//! Targets that die, are slow, or stand in the wrong place; and what they hear from us.

use std::net::IpAddr;

use dlmp_engine::Detection;
use dlmp_sim::{Behaviour, HostId, Setup, World};

use crate::site::{SECOND, SEEDS, Site, for_seeds, ms};

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
        for host in [site.router, site.other] {
            site.world.behave(host, Behaviour { multicast: false, ..Behaviour::GOOD });
        }
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
fn hosts_are_found_by_multicast_and_those_that_ignore_it_are_not() {
    for_seeds(SEEDS, |seed| {
        let mut site = Site::new(seed, 2);
        site.world.behave(site.router, Behaviour { multicast: false, ..Behaviour::GOOD });
        site.settle(SECOND, vec![]);
        assert_eq!(site.world.detection(), Detection::Probes);
        assert_eq!(site.world.most_questions(site.router, 10 * SECOND), 0, "nobody named the router");
        let place = site.world.place(0);
        site.world.cut(site.uplinks[place], true);
        assert!(site.time_to_fail(place, SECOND) <= ms(100));
        assert_eq!(site.world.place(0), 1 - place);
    });
}

#[test]
fn a_target_that_is_slower_than_the_detection_time_allows_moves_nobody() {
    for_seeds(SEEDS, |seed| {
        for (fdt, delay) in [(100, 30), (100, 60), (100, 150), (1000, 300), (1000, 900), (1000, 2000)] {
            let mut site = Site::new(seed, 2);
            site.world.behave(site.router, Behaviour { delay: ms(delay), ..Behaviour::GOOD });
            let target = site.world.address(site.router);
            site.settle(ms(fdt), vec![target]);
            site.world.run(20 * SECOND);
            assert_eq!((site.world.moves(), site.world.active()), (0, vec![0, 1]), "{delay} ms at {fdt} ms");
        }
    });
}

#[test]
fn a_target_that_becomes_slow_or_loses_much_moves_nobody() {
    for_seeds(SEEDS, |seed| {
        let mut site = Site::settled(seed, 2);
        for delay in [10, 40, 120, 300, 700, 1500, 0] {
            site.world.behave(site.router, Behaviour { delay: ms(delay), ..Behaviour::GOOD });
            site.world.run(5 * SECOND);
        }
        let link = site.world.link_of(site.router);
        site.world.lose(link, 0.5);
        site.world.run(60 * SECOND);
        assert_eq!((site.world.moves(), site.world.active()), (0, vec![0, 1]));
    });
}

#[test]
fn bursts_are_bounded_whatever_makes_ports_suspect() {
    for_seeds(5, |seed| {
        for ports in [2, 8, 32] {
            let mut site = Site::settled(seed, ports);
            for link in site.ports.clone() {
                site.world.lose(link, 0.4);
            }
            site.world.run(20 * SECOND);
            // A burst has 16 rounds of 20 questions at most, and four fit into the detection time.
            let most = site.world.most_questions(site.router, SECOND / 4);
            assert!(most <= 2 * 16 * 20, "{most} with {ports} ports");
        }
    });
}
