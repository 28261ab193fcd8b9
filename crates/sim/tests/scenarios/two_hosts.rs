//! Hosts on a network without a router find each other, lose one another and find each other again.

use std::net::IpAddr;

use dlmp_engine::Detection;
use dlmp_sim::{Behaviour, Setup, World};

use crate::site::{SECOND, SEEDS, Site, for_seeds, ms};

const NONE: Setup = Setup { clients: 1, fdt: Some(SECOND), given: vec![], routers: vec![] };

/// This host and its peer, and nobody else.
fn two(seed: u64) -> Site {
    let mut site = Site::new(seed, 2);
    site.world.behave(site.other, Behaviour::DEAD);
    site.settle_with(NONE);
    site
}

#[test]
fn only_the_peer_is_a_target_and_it_is_asked_for_less_and_less_often() {
    for_seeds(SEEDS, |seed| {
        let mut site = two(seed);
        assert_eq!(site.world.targets(), [site.world.address(site.router)].into());
        assert_eq!(site.world.detection(), Detection::Probes);
        let before = site.world.discoveries();
        site.world.run(120 * SECOND);
        assert!(site.world.discoveries() - before <= 8, "{}", site.world.discoveries() - before);
        let place = site.world.place(0);
        site.world.cut(site.uplinks[place], true);
        assert!(site.time_to_fail(place, SECOND) <= ms(100));
        assert_eq!(site.world.place(0), 1 - place);
    });
}

#[test]
fn a_peer_that_is_away_for_a_while_is_regained_and_vouches_again() {
    for_seeds(SEEDS, |seed| {
        for away in [2, 13, 100] {
            let mut site = two(seed);
            site.world.behave(site.router, Behaviour::DEAD);
            site.world.run(away * SECOND);
            assert_eq!((site.world.moves(), site.world.active()), (0, vec![0, 1]), "a dead peer moves nobody");
            assert_ne!(site.world.detection(), Detection::Probes);
            site.world.behave(site.router, Behaviour::GOOD);
            site.world.run(3 * SECOND);
            assert_eq!(site.world.detection(), Detection::Probes, "after {away} s");
            let place = site.world.place(0);
            site.world.cut(site.uplinks[place], true);
            assert!(site.time_to_fail(place, SECOND) <= ms(400));
            assert_eq!(site.world.place(0), 1 - place);
        }
    });
}

#[test]
fn of_three_hosts_one_that_was_away_is_taken_back() {
    for_seeds(SEEDS, |seed| {
        for away in [10, 40] {
            let mut site = Site::new(seed, 2);
            site.settle_with(NONE);
            let both = [site.world.address(site.router), site.world.address(site.other)];
            assert_eq!(site.world.targets(), both.into());
            site.world.behave(site.router, Behaviour::DEAD);
            site.world.run(away * SECOND);
            assert_eq!(site.world.targets(), both[1..].iter().copied().collect());
            site.world.behave(site.router, Behaviour::GOOD);
            site.world.run(away * SECOND + 5 * SECOND);
            assert_eq!(site.world.targets(), both.into(), "after {away} s");
        }
    });
}

#[test]
fn an_address_that_this_host_gets_later_is_a_target_no_more_whoever_named_it() {
    for_seeds(SEEDS, |seed| {
        for kind in 0..3 {
            let mut site = Site::new(seed, 2);
            let [router, other]: [IpAddr; 2] = [site.router, site.other].map(|host| site.world.address(host));
            let named = vec![router, other];
            let setup = match kind {
                0 => Setup { given: named, ..NONE },
                1 => Setup { routers: named, ..NONE },
                _ => NONE,
            };
            site.settle_with(setup);
            assert_eq!(site.world.targets(), [router, other].into());
            site.world.own_address(router, true);
            site.world.run(20 * SECOND);
            assert_eq!(site.world.targets(), [other].into());
            // Nothing but the other one vouches: what it does not answer is dead.
            let place = site.world.place(0);
            site.world.cut(site.uplinks[place], true);
            assert!(site.time_to_fail(place, SECOND) <= ms(100));
            assert_eq!((site.world.place(0), site.world.active()), (1 - place, vec![1 - place]));
        }
    });
}

#[test]
fn this_host_alone_has_no_target_and_says_so() {
    for_seeds(SEEDS, |seed| {
        let mut world = World::new(seed);
        let switch = world.switch();
        world.port(switch);
        world.port(switch);
        world.configure(&NONE);
        world.run(30 * SECOND);
        assert!(world.targets().is_empty());
        assert_eq!((world.detection(), world.moves()), (Detection::NoTargets, 0));
    });
}
