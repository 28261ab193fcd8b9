//! How ports come back.

use dlmp_sim::Setup;

use crate::site::{SECOND, SEEDS, Site, for_seeds};

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
        assert_eq!(site.world.lost(first..site.world.data() - 4), 0);
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
