//! Loss, sleep and lateness: what must fail nobody.

use crate::site::{SECOND, SEEDS, Site, for_seeds, ms};

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
