//! Where the addresses come from that a manager hands out.

use super::*;

#[test]
fn a_small_request_does_not_wait_behind_a_large_one() {
    let mut host = Host::new(Start::default());
    host.watch(claim::TIME);
    assert_eq!(granted(&host.request(1, 100)), []);
    assert_eq!(granted(&host.request(2, 1)).len(), 1);
}

#[test]
fn a_list_of_freed_addresses_holds_nothing_that_may_not_be_chosen() {
    let group = MacAddr([1, 0, 0x5e, 0, 0, 1]);
    let good = automatic(7);
    let mut host = Host::new(Start { freed: vec![group, MacAddr::default(), good, good], ..Start::default() });
    host.watch(claim::TIME);
    let given = granted(&host.request(1, 3));
    assert!(given[0] == good && !given.contains(&group) && given[1..].iter().all(|mac| *mac != good), "{given:?}");
}

#[test]
fn freed_addresses_are_handed_out_first() {
    let freed = vec![automatic(9), automatic(5)];
    let mut host = Host::new(Start { freed: freed.clone(), ..Start::default() });
    host.watch(claim::TIME);
    assert_eq!(granted(&host.request(1, 2)), freed);
}

#[test]
fn a_request_waits_for_a_freed_address_that_is_being_asked_for() {
    let mut host = Host::new(Start::default());
    host.watch(claim::TIME);
    let freed = automatic(5);
    host.manager.follow(&BTreeSet::new(), &[freed], host.now);
    host.actions();
    assert_eq!(granted(&host.request(1, 1)), []);
    assert_eq!(granted(&host.watch(claim::TIME)), [freed]);
}

#[test]
fn a_freed_address_that_is_taken_is_struck_from_the_list() {
    let (taken, free) = (automatic(5), automatic(9));
    let mut host = Host::new(Start { freed: vec![taken, free], ..Start::default() });
    assert!(host.deny(taken).contains(&Action::Forget(taken)));
    host.watch(claim::TIME);
    let granted = granted(&host.request(1, 2));
    assert_eq!(granted[0], free);
    assert_ne!(granted[1], taken);
}

#[test]
fn who_denies_everything_is_named_in_the_refusal() {
    let mut host = Host::new(Start::default());
    let begin = host.now;
    host.request(1, 1);
    let (mut questions, mut refusals) = (0, Vec::new());
    host.pass(40 * SECOND, |host, action| {
        if let Some(mac) = asked(action) {
            questions += 1;
            let taken = Message::Taken(Lookup { mac, source: Some(*NEIGHBOUR.ip()) });
            let origin = Origin { interface: LINK, from: NEIGHBOUR };
            host.manager.hear(origin, &bytes(taken, ByteOrder::Big), host.now);
        }
        if let Action::Refuse { request, refusal } = action {
            refusals.push((host.now - begin, *request, refusal.clone()));
        }
    });
    let [(after, request, Refusal { denied })] = &refusals[..] else { panic!("{refusals:?}") };
    assert_eq!((*after, *request), (30 * SECOND, RequestId(1)));
    assert_eq!(denied.keys().collect::<Vec<_>>(), [NEIGHBOUR.ip()]);
    // Claims that are begun at once, and each second.
    assert!(questions <= 4096 + 200 * 41, "{questions} questions");
}

#[test]
fn an_address_of_the_pool_is_granted_at_once_and_the_pool_filled_again() {
    let mut host = Host::new(Start::default());
    host.watch(claim::TIME);
    let pool: Vec<MacAddr> = host.manager.pool().collect();
    assert_eq!(pool.len(), 4);
    let granted = granted(&host.request(1, 1));
    assert!(granted.len() == 1 && pool.contains(&granted[0]), "{granted:?} of {pool:?}");
    assert!(!host.manager.pool().any(|mac| mac == granted[0]));
    host.watch(claim::TIME);
    assert_eq!(host.manager.pool().count(), 4);
}

#[test]
fn addresses_from_all_of_the_range_are_handed_out_alike() {
    let mut in_lower_half = 0;
    for seed in 0..100 {
        let mut host = Host::new(Start { seed, ..Start::default() });
        host.request(1, 10);
        let addresses = granted(&host.watch(5 * SECOND));
        assert_eq!(addresses.len(), 10);
        in_lower_half += addresses.iter().filter(|mac| **mac < automatic(AUTOMATIC / 2)).count();
    }
    assert!((450..550).contains(&in_lower_half), "{in_lower_half} of 1000 are in the lower half of the range");
}

/// How many addresses are kept ready after requests of which each found too few.
fn kept_ready(is_taken: impl Fn(MacAddr) -> bool) -> usize {
    let mut host = Host::new(Start::default());
    for number in 0..2 {
        let too_many = host.manager.pool().count() + 1;
        host.request(number, too_many);
        host.pass(5 * SECOND, |host, action| {
            if let Some(mac) = asked(action).filter(|mac| is_taken(*mac)) {
                host.deny(mac);
            }
        });
    }
    host.manager.pool().count()
}

#[test]
fn many_requests_make_it_keep_more_ready_except_where_much_of_the_range_is_taken() {
    assert_eq!(kept_ready(|_| false), 64);
    assert!(kept_ready(|mac| mac.0[5] % 2 == 0) < 32);
}

#[test]
fn a_host_that_starts_with_a_few_guests_keeps_few_ready() {
    let mut host = Host::new(Start::default());
    for number in 0..10 {
        host.request(number, 1);
        host.pass(SECOND / 100, |_, _| {});
    }
    host.pass(5 * SECOND, |_, _| {});
    assert_eq!(host.manager.pool().count(), 8);
}

#[test]
fn a_thousand_addresses_take_the_time_of_one() {
    let mut host = Host::new(Start::default());
    assert_eq!(granted(&host.request(1, 1000)), []);
    let granted = granted(&host.watch(claim::TIME));
    assert_eq!(granted.iter().collect::<BTreeSet<_>>().len(), 1000);
}

#[test]
fn a_denied_address_of_the_pool_is_given_up() {
    let mut host = Host::new(Start::default());
    host.watch(claim::TIME);
    let denied = host.manager.pool().next().unwrap();
    host.deny(denied);
    assert!(!host.manager.pool().any(|mac| mac == denied));
}

#[test]
fn what_is_handed_out_is_defended_until_it_is_given_back_and_not_needed() {
    let mut host = Host::new(Start::default());
    let mac = granted(&[host.request(1, 1), host.watch(claim::TIME)].concat())[0];
    assert_eq!(
        host.hear(NEIGHBOUR, question(mac, NEIGHBOUR), ByteOrder::Big),
        [says_taken(mac, To::Group, ByteOrder::Big)]
    );
    host.manager.follow(&BTreeSet::from([mac]), &[], host.now);
    host.manager.give_back(&[mac], host.now);
    assert_eq!(host.hear(NEIGHBOUR, question(mac, NEIGHBOUR), ByteOrder::Big).len(), 1, "a device has it");
    host.manager.follow(&BTreeSet::new(), &[], host.now);
    assert_eq!(host.hear(NEIGHBOUR, question(mac, NEIGHBOUR), ByteOrder::Big), []);
}

#[test]
fn a_claim_that_was_overslept_begins_again() {
    let mut host = Host::new(Start::default());
    host.request(1, 1);
    let almost = claim::TIME - Duration::from_millis(1);
    assert_eq!(granted(&host.watch(almost)), []);
    host.now += 3 * SECOND;
    host.manager.handle_timeout(host.now);
    assert_eq!(granted(&host.watch(almost)), []);
    assert_eq!(granted(&host.watch(SECOND)).len(), 1);
}

#[test]
fn what_waits_to_be_used_is_claimed_anew_when_an_interface_comes() {
    let mut host = Host::new(Start::default());
    host.watch(claim::TIME);
    let interface = |number| Interface { address: Ipv4Addr::new(10, 0, number, 1), networks: Vec::new() };
    let both = BTreeMap::from([(LINK, interface(1)), (LINK + 1, interface(2))]);
    host.manager.set_interfaces(both.clone(), host.now);
    assert_eq!(granted(&host.request(1, 1)), []);
    assert_eq!(granted(&host.watch(claim::TIME)).len(), 1);
    // One that stays, or has another address, is no new one.
    host.manager.set_interfaces(BTreeMap::from([(LINK, interface(3))]), host.now);
    assert_eq!(granted(&host.request(2, 1)).len(), 1);
}
