//! Loss, sleep and lateness: what must fail nobody.

use dlmp_sim::{Behaviour, Clock, Direction};

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
fn a_stopped_machine_fails_no_port_whether_its_clock_stops_or_jumps() {
    for_seeds(SEEDS, |seed| {
        for clock in [Clock::Stops, Clock::Jumps] {
            let mut site = Site::settled(seed, 2);
            for time in [20, 150, 900, 10_000, 60_000] {
                site.world.stop(ms(time), clock);
                site.world.run(ms(time) + SECOND);
            }
            assert_eq!((site.world.moves(), site.world.active()), (0, vec![0, 1]), "{clock:?}");
        }
    });
}

#[test]
fn after_a_stop_a_break_is_found_as_soon_as_ever() {
    for_seeds(SEEDS, |seed| {
        for clock in [Clock::Stops, Clock::Jumps] {
            let mut site = Site::new(seed, 2);
            // Only targets can tell, and a question that was open seems to have taken very long.
            site.world.isolate(site.core, &site.uplinks);
            site.world.behave(site.router, Behaviour { delay: ms(80), ..Behaviour::GOOD });
            let given = vec![site.world.address(site.router)];
            site.settle(SECOND, given);
            for _ in 0..20 {
                site.world.stop(5 * SECOND, clock);
                site.world.run(5 * SECOND + ms(90));
            }
            site.world.run(SECOND);
            let place = site.world.place(0);
            site.world.cut(site.uplinks[place], true);
            let time = site.time_to_fail(place, 3 * SECOND);
            assert!(time <= SECOND, "{clock:?}: {time:?}");
        }
    });
}

#[test]
fn loss_in_one_direction_alone_fails_nobody() {
    for_seeds(SEEDS, |seed| {
        for direction in [Direction::Forth, Direction::Back] {
            let mut site = Site::settled(seed, 3);
            site.world.lose_one_way(site.uplinks[0], direction, 0.4);
            site.world.delay_one_way(site.uplinks[1], direction, ms(4), ms(8));
            site.world.run(30 * SECOND);
            assert_eq!((site.world.moves(), site.world.active()), (0, vec![0, 1, 2]), "{direction:?}");
        }
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
