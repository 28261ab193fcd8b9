//! Addresses of a manager that somebody else uses too.

use super::*;

/// A host that uses an address, has heard twice that a neighbour has it too, and what it did the second time.
fn colliding(mac: MacAddr) -> (Host, Vec<Action>) {
    let mut host = Host::using(mac);
    // The neighbour learns of it.
    assert_eq!(host.deny(mac), [says_taken(mac, To::Group, ByteOrder::Big)]);
    assert_eq!(host.deny(mac), [], "once");
    assert_eq!(host.manager.collisions().count(), 0);
    let asks = host.watch(claim::TIME);
    assert!(asks.iter().any(|action| asked(action) == Some(mac)));
    let confirmed = host.deny(mac);
    (host, confirmed)
}

#[test]
fn a_collision_is_reported_at_the_second_word_of_it_and_the_other_host_asked_for_its_name() {
    let mac = automatic(1);
    let with = *NEIGHBOUR.ip();
    let (mut host, confirmed) = colliding(mac);
    let unnamed = Collision { mac, with, host: None };
    let asks =
        Action::Send { interface: LINK, to: To::Host(NEIGHBOUR), message: Message::Discover, order: ByteOrder::Big };
    assert_eq!(confirmed, [Action::Collides(unnamed), asks]);

    let name = Message::Here(Name { version: "1", host: "rack7", address: with, port: 6482 });
    let named = Collision { mac, with, host: Some("rack7".to_owned()) };
    assert_eq!(host.hear(NEIGHBOUR, name, ByteOrder::Big), [Action::Collides(named.clone())]);
    assert_eq!(host.manager.collisions().collect::<Vec<_>>(), [named]);
    assert_eq!(host.hear(NEIGHBOUR, name, ByteOrder::Big), []);
}

#[test]
fn a_collision_is_over_when_nobody_speaks_of_it_for_three_rounds() {
    let mac = automatic(1);
    let (mut host, _) = colliding(mac);
    assert!(!host.watch(90 * SECOND - Duration::from_millis(1)).contains(&Action::Over(mac)));
    assert!(host.watch(30 * SECOND).contains(&Action::Over(mac)));
    assert_eq!(host.manager.collisions().count(), 0);
}

#[test]
fn a_collision_goes_on_while_the_other_host_answers_and_ends_with_the_device() {
    let mac = automatic(1);
    let (mut host, _) = colliding(mac);
    let mut over = 0;
    host.pass(600 * SECOND, |host, action| {
        over += usize::from(matches!(action, Action::Over(_)));
        if asked(action) == Some(mac) {
            assert_eq!(host.deny(mac), []);
        }
    });
    assert_eq!((host.manager.collisions().count(), over), (1, 0));
    host.manager.follow(&BTreeSet::new(), &[], host.now);
    assert!(host.actions().contains(&Action::Over(mac)));
}

#[test]
fn who_only_claims_an_address_makes_no_collision() {
    let mac = automatic(1);
    let mut host = Host::using(mac);
    host.deny(mac);
    host.watch(60 * SECOND);
    assert_eq!(host.deny(mac), [says_taken(mac, To::Group, ByteOrder::Big)], "a new suspicion");
    assert_eq!(host.manager.collisions().count(), 0);
}
