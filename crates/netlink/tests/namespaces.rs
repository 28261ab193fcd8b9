//! Namespaces are opened, entered, made and deleted, as `ip netns` sees them too. The names are made on a `/run` that
//! only the test's thread sees and that ends with it.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

mod common;

use std::fs;
use std::path::Path;

use common::{OtherNamespace, in_namespace, ip, run};
use dlmp_netlink::{Changes, LinkEvents, Namespace, Netlink, create_tap, ethtool::Ethtool, namespace};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Runs a test with a `/run` of its own, where no name has been made yet.
fn with_own_names<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    in_namespace(|| {
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        test()
    });
}

fn names() -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir("/run/netns").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn work_in_a_namespace_sees_that_namespace_and_the_caller_stays_where_it_is() {
    in_namespace(|| async {
        let other = OtherNamespace::new();
        other.ip("link add there type bridge");
        let other = other.open();
        let before = namespace::cookie().unwrap();

        let inside = other.enter(|| namespace::cookie().unwrap()).unwrap();
        assert_ne!(inside, before);
        assert_eq!(other.cookie().unwrap(), inside);
        assert_eq!(namespace::cookie().unwrap(), before);
        assert_eq!(Namespace::current().unwrap().cookie().unwrap(), before);

        let netlink = other.enter(Netlink::connect).unwrap().unwrap();
        assert!(netlink.link("there").await.unwrap().is_some());
        assert_eq!(Netlink::connect().unwrap().link("there").await.unwrap(), None);
    });
}

#[test]
fn everything_that_needs_a_runtime_opens_in_another_namespace() {
    in_namespace(|| async {
        let other = OtherNamespace::new();
        let inside = other.open();
        let mut events = inside.enter(LinkEvents::open).unwrap().unwrap();
        let _changes = inside.enter(Changes::open).unwrap().unwrap();
        let ethtool = inside.enter(Ethtool::open).unwrap().unwrap();
        other.ip("link add there type bridge");

        assert_eq!(ethtool.driver("there").unwrap(), "bridge");
        match events.next().await {
            dlmp_netlink::LinkEvent::Changed(link) => assert_eq!(link.name, "there"),
            event => panic!("{event:?}"),
        }
    });
}

#[test]
fn work_needs_no_runtime_and_its_panic_is_the_callers() {
    let here = Namespace::current().unwrap();
    assert_eq!(here.enter(|| 42).unwrap(), 42);
    let panic = std::panic::catch_unwind(|| here.enter(|| panic!("in there"))).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"in there"));
}

#[test]
fn a_named_namespace_is_one_that_ip_netns_knows_with_its_loopback_up() {
    with_own_names(|| async {
        let made = Namespace::make_named("ldom1").await.unwrap();
        assert_eq!(run("ip netns list").trim(), "ldom1");
        assert!(run("ip -n ldom1 link show lo").contains("LOOPBACK,UP"));

        ip("-n ldom1 link add there type bridge");
        let netlink = made.enter(Netlink::connect).unwrap().unwrap();
        assert!(netlink.link("there").await.unwrap().is_some());
        let opened = Namespace::open_named("ldom1").unwrap();
        assert_eq!(opened.cookie().unwrap(), made.cookie().unwrap());
        assert_ne!(made.cookie().unwrap(), namespace::cookie().unwrap());
    });
}

#[test]
fn names_are_made_by_both_and_deleted_by_both() {
    with_own_names(|| async {
        ip("netns add by-ip");
        Namespace::make_named("by-us").await.unwrap();
        assert_eq!(names(), ["by-ip", "by-us"]);

        let opened = Namespace::open_named("by-ip").unwrap();
        Namespace::delete_named("by-ip").unwrap();
        ip("netns delete by-us");
        assert!(names().is_empty());
        // Who has it open keeps it.
        ip_in(&opened, "link add there type bridge");
        let netlink = opened.enter(Netlink::connect).unwrap().unwrap();
        assert!(netlink.link("there").await.unwrap().is_some());
    });
}

fn ip_in(namespace: &Namespace, arguments: &str) {
    namespace.enter(|| ip(arguments)).unwrap();
}

#[test]
fn a_taken_name_is_refused_and_what_has_it_stays() {
    with_own_names(|| async {
        let first = Namespace::make_named("ldom1").await.unwrap();
        let error = Namespace::make_named("ldom1").await.unwrap_err();
        assert_eq!(error.errno(), Some(libc::EEXIST));
        assert!(error.to_string().starts_with("cannot make the network namespace ldom1: "), "{error}");
        let opened = Namespace::open_named("ldom1").unwrap();
        assert_eq!(opened.cookie().unwrap(), first.cookie().unwrap());
    });
}

#[test]
fn a_namespace_that_cannot_be_finished_leaves_no_name() {
    with_own_names(|| async {
        Namespace::make_named("ldom1").await.unwrap();
        // The new namespace is there, but not the file that leads to it.
        mount(Some("tmpfs"), "/proc", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let error = Namespace::make_named("ldom2").await.unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENOENT));
        assert_eq!(names(), ["ldom1"]);
    });
}

#[test]
fn a_name_that_no_namespace_can_have_is_refused_everywhere() {
    with_own_names(|| async {
        let long = "n".repeat(256);
        for name in ["", ".", "..", "a/b", "/", "../netns", "a\0b", &long] {
            for error in [
                Namespace::open_named(name).unwrap_err(),
                Namespace::make_named(name).await.unwrap_err(),
                Namespace::delete_named(name).unwrap_err(),
                namespace::path_of(name).unwrap_err(),
            ] {
                assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
            }
        }
        assert!(!Path::new("/run/netns").exists());

        let longest = "n".repeat(255);
        Namespace::make_named(&longest).await.unwrap();
        assert_eq!(names(), [longest]);
    });
}

#[test]
fn what_is_no_namespace_is_not_opened() {
    with_own_names(|| async {
        fs::create_dir("/run/netns").unwrap();
        fs::write("/run/netns/left", "").unwrap();
        let errno = |result: dlmp_netlink::Result<Namespace>| result.unwrap_err().errno();
        assert_eq!(errno(Namespace::open_named("absent")), Some(libc::ENOENT));
        assert_eq!(errno(Namespace::open_named("left")), Some(libc::EINVAL));
        assert_eq!(errno(Namespace::open("/proc/self/ns/uts".as_ref())), Some(libc::EINVAL));
        assert_eq!(errno(Namespace::of_process(0)), Some(libc::ENOENT));

        let error = Namespace::delete_named("absent").unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENOENT));
        // The file that a failed attempt left keeps nobody from using its name again.
        Namespace::delete_named("left").unwrap();
        Namespace::make_named("left").await.unwrap();
    });
}

#[test]
fn the_namespace_of_a_process_is_the_one_that_it_is_in() {
    in_namespace(|| async {
        let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let found = Namespace::of_process(sleeper.id()).and_then(|found| found.cookie());
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert_eq!(found.unwrap(), namespace::cookie().unwrap());
    });
}

#[test]
fn a_tap_is_made_in_the_namespace_that_was_entered() {
    in_namespace(|| async {
        let other = OtherNamespace::new().open();
        let name = other.enter(|| create_tap("ldm%d")).unwrap().unwrap();
        let there = other.enter(Netlink::connect).unwrap().unwrap();
        assert_eq!(there.link(&name).await.unwrap().unwrap().kind.as_deref(), Some("tun"));
        assert_eq!(Netlink::connect().unwrap().link(&name).await.unwrap(), None);
    });
}
