//! What a manager answers, and what it does not hear.

use super::*;

#[test]
fn its_own_messages_come_back_and_mean_nothing() {
    let mut host = Host::new(Start::default());
    let mut answers = 0;
    host.pass(10 * SECOND, |host, action| {
        if let Action::Send { message, order, .. } = action {
            answers += usize::from(matches!(message, Message::Taken(_)));
            let echo = bytes(*message, *order);
            host.manager.hear(Origin { interface: LINK, from: SocketAddrV4::new(OWN, PORT) }, &echo, host.now);
        }
    });
    assert_eq!((host.manager.pool().count(), answers), (4, 0));
}

#[test]
fn a_host_with_its_ip_address_keeps_no_address_from_being_found_taken() {
    let mac = automatic(1);
    let mut host = Host::using(mac);
    host.watch(60 * SECOND);
    // Longer than an echo takes.
    host.now += 5 * SECOND;
    let from = SocketAddrV4::new(OWN, PORT);
    let answer = host.hear(from, question(mac, from), ByteOrder::Big);
    assert_eq!(answer, [says_taken(mac, To::Group, ByteOrder::Big)]);
}

#[test]
fn an_answer_is_in_the_asker_s_byte_order() {
    let mac = automatic(1);
    for order in [ByteOrder::Big, ByteOrder::Little] {
        let answer = Host::using(mac).hear(NEIGHBOUR, question(mac, NEIGHBOUR), order);
        assert_eq!(answer, [says_taken(mac, To::Group, order)]);
    }
}

#[test]
fn who_asks_through_a_router_is_answered_alone() {
    let mac = automatic(1);
    let mut host = Host::new(Start { far: true, used: BTreeSet::from([mac]), ..Start::default() });
    host.actions();
    assert_eq!(host.hear(FAR, question(mac, FAR), ByteOrder::Big), [says_taken(mac, To::Host(FAR), ByteOrder::Big)]);
    host.hear(FAR, Message::Discover, ByteOrder::Big);
    let introduction = Action::Introduce { interface: LINK, to: To::Host(FAR), order: ByteOrder::Big };
    assert!(host.watch(SECOND).contains(&introduction));
}

#[test]
fn what_comes_from_another_network_is_not_heard_unless_managers_may_be_there() {
    let mac = automatic(1);
    let mut host = Host::using(mac);
    assert_eq!(host.hear(FAR, question(mac, FAR), ByteOrder::Big), []);
    assert_eq!(host.hear(FAR, Message::Discover, ByteOrder::Big), []);
    assert_eq!(host.hear(FAR, Message::Taken(Lookup { mac, source: Some(*NEIGHBOUR.ip()) }), ByteOrder::Big), []);
    assert_eq!(host.manager.counters().foreign, 3);
    assert!(!host.watch(SECOND).iter().any(|action| matches!(action, Action::Introduce { .. })));
}

#[test]
fn what_is_foreign_is_not_answered() {
    let mut host = Host::using(automatic(1));
    assert_eq!(host.hear(NEIGHBOUR, question(automatic(2), NEIGHBOUR), ByteOrder::Big), []);
    assert_eq!(host.deny(automatic(2)), []);
}

#[test]
fn a_question_has_one_answer_of_its_own_length_and_a_flood_has_fewer() {
    let mac = automatic(1);
    let mut host = Host::using(mac);
    let question = bytes(question(mac, NEIGHBOUR), ByteOrder::Big);
    let mut answers = 0;
    for _ in 0..10_000 {
        for action in host.hear_bytes(NEIGHBOUR, &question) {
            let Action::Send { message, order, .. } = action else { panic!("{action:?} is no answer") };
            assert_eq!(bytes(message, order).len(), question.len());
            answers += 1;
        }
    }
    // What one source gets at once.
    assert_eq!(answers, 1000);
    let counters = host.manager.counters();
    assert_eq!((counters.answers, counters.limited), (1000, 9000));
}

#[test]
fn it_introduces_itself_once_to_all_who_ask_at_the_same_time() {
    let mut host = Host::using(automatic(1));
    for number in 1..=200 {
        let from = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, number), PORT);
        assert_eq!(host.hear(from, Message::Discover, ByteOrder::Big), []);
    }
    let introductions: Vec<Action> =
        host.watch(SECOND).into_iter().filter(|action| matches!(action, Action::Introduce { .. })).collect();
    assert_eq!(introductions, [Action::Introduce { interface: LINK, to: To::Group, order: ByteOrder::Big }]);
}
