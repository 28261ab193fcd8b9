//! Changes of the daemon's own: it is replaced, its settings change.

use dlmp_engine::Detection;
use dlmp_sim::{LinkId, Setup};

use crate::site::{SECOND, SEEDS, Site, for_seeds, ms};

/// Two ports with clients spread over them.
fn shared(seed: u64) -> Site {
    let mut site = Site::new(seed, 2);
    let given = vec![site.world.address(site.router)];
    site.settle_with(Setup { clients: 4, fdt: Some(SECOND), given, routers: vec![] });
    site
}

#[test]
fn another_daemon_that_takes_over_moves_nobody_and_loses_nothing() {
    for_seeds(SEEDS, |seed| {
        let mut site = shared(seed);
        let first = site.world.data();
        for pause in [5, 300, 4000] {
            site.world.sleep(ms(pause));
            site.world.run(ms(pause));
            site.world.restart();
            site.world.run(3 * SECOND);
        }
        assert_eq!((site.world.moves(), site.world.active()), (0, vec![0, 1]));
        assert_eq!(site.world.lost(first..site.world.data() - 4), 0);
    });
}

#[test]
fn another_daemon_does_not_use_a_port_that_the_last_one_found_dead() {
    for_seeds(SEEDS, |seed| {
        let mut site = shared(seed);
        site.world.cut(site.uplinks[0], true);
        site.world.run(3 * SECOND);
        let moves = site.world.moves();
        let first = site.world.data();
        site.world.restart();
        site.world.run(3 * SECOND);
        assert_eq!((site.world.moves(), site.world.active()), (moves, vec![1]));
        assert_eq!(site.world.lost(first..site.world.data() - 4), 0);
        site.world.cut(site.uplinks[0], false);
        site.world.run(5 * SECOND);
        assert_eq!(site.world.active(), [0, 1]);
    });
}

#[test]
fn another_daemon_goes_on_looking_for_a_path_where_the_last_one_found_none() {
    for_seeds(SEEDS, |seed| {
        let mut site = shared(seed);
        for uplink in site.uplinks.clone() {
            site.world.cut(uplink, true);
        }
        site.world.run(3 * SECOND);
        site.world.restart();
        site.world.run(5 * SECOND);
        // It has never heard a target, so the links alone decide, and it says so. Nobody moves by a guess.
        let (moves, detection) = (site.world.moves(), site.world.detection());
        assert_eq!((moves, site.world.active(), detection), (0, vec![0, 1], Detection::NoTargets));
        site.world.cut(site.uplinks[1], false);
        site.world.run(3 * SECOND);
        assert_eq!(site.world.active(), [1]);
    });
}

#[test]
fn another_daemon_finds_a_port_that_died_while_there_was_none() {
    for_seeds(SEEDS, |seed| {
        let mut site = shared(seed);
        site.world.cut(site.uplinks[0], true);
        site.world.restart();
        site.world.run(2 * SECOND);
        assert_eq!(site.world.active(), [1]);
    });
}

#[test]
fn another_detection_time_counts_at_once() {
    for_seeds(SEEDS, |seed| {
        let mut site = Site::new(seed, 2);
        // Only targets can tell: the slow questions must not wait out the old time.
        let routers: Vec<LinkId> = site.uplinks.clone();
        site.world.isolate(site.core, &routers);
        let given = vec![site.world.address(site.router)];
        site.settle(60 * SECOND, given);
        site.world.set_fdt(Some(SECOND));
        site.world.run(SECOND);
        let place = site.world.place(0);
        site.world.cut(site.uplinks[place], true);
        let time = site.time_to_fail(place, 3 * SECOND);
        assert!(time <= SECOND, "{time:?}");
    });
}

#[test]
fn probing_that_is_stopped_and_set_up_again_works_as_before() {
    for_seeds(SEEDS, |seed| {
        let mut site = shared(seed);
        site.world.run(10 * SECOND);
        site.world.set_fdt(None);
        site.world.run(SECOND);
        assert_eq!(site.world.detection(), Detection::Link);
        site.world.set_up_again();
        site.world.run(3 * SECOND);
        let moves = site.world.moves();
        assert_eq!((moves, site.world.active(), site.world.detection()), (0, vec![0, 1], Detection::Probes));
        site.world.cut(site.uplinks[0], true);
        assert!(site.time_to_fail(0, SECOND) <= ms(100));
    });
}
