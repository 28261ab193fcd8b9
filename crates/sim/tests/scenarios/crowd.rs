//! Hundreds of clients: that each sits on exactly one active port, and sends through no other, is
//! checked at every step; here, that switches find them and that the load is even.

use dlmp_sim::Setup;

use crate::site::{SECOND, Site, for_seeds, ms};

const CLIENTS: u16 = 300;

fn crowded(seed: u64, ports: usize) -> Site {
    let mut site = Site::new(seed, ports);
    let given = vec![site.world.address(site.router)];
    site.settle_with(Setup { clients: CLIENTS, fdt: Some(ms(100)), given, routers: vec![] });
    check(&site);
    site
}

/// Everybody is found where he sits, and the active ports have as many clients, but for one.
fn check(site: &Site) {
    let mut load = vec![0; site.ports.len()];
    for client in 0..CLIENTS {
        let place = site.world.place(client);
        load[place] += 1;
        assert_eq!(site.world.finds(site.router, client), Some(place), "client {client}");
    }
    let active: Vec<u16> = site.world.active().into_iter().map(|port| load[port]).collect();
    assert_eq!(active.iter().sum::<u16>(), CLIENTS);
    assert!(active.iter().max().unwrap() - active.iter().min().unwrap() <= 1, "{load:?}");
}

#[test]
fn every_client_of_a_port_that_breaks_and_returns_is_found_again_each_time() {
    for_seeds(3, |seed| {
        for ports in 2..=4 {
            let mut site = crowded(seed, ports);
            let broken = seed as usize % ports;
            let share = (0..CLIENTS).filter(|&client| site.world.place(client) == broken).count();
            site.world.carrier(site.ports[broken], false);
            assert_eq!(site.world.moves(), share, "those that lost their port, at once, and nobody else");
            site.world.run(SECOND);
            check(&site);
            site.world.carrier(site.ports[broken], true);
            site.world.run(SECOND);
            assert_eq!(site.world.active().len(), ports);
            assert_eq!(site.world.moves(), 2 * share, "no more than it takes to even the load");
            check(&site);
        }
    });
}

#[test]
fn clients_outlive_silent_breaks_one_after_another_and_another_daemon() {
    for_seeds(3, |seed| {
        let mut site = crowded(seed, 4);
        for uplink in [0, 2, 3] {
            site.world.cut(site.uplinks[uplink], true);
            site.world.run(SECOND);
            check(&site);
        }
        assert_eq!(site.world.active(), [1]);
        let before = site.world.moves();
        site.world.restart();
        site.world.run(SECOND);
        assert_eq!(site.world.moves(), before, "a takeover moves nobody");
        for uplink in site.uplinks.clone() {
            site.world.cut(uplink, false);
        }
        site.world.run(4 * SECOND);
        assert_eq!(site.world.active(), [0, 1, 2, 3]);
        check(&site);
    });
}
