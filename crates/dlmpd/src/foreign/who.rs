//! Who may have put an address on a link: programs that do so by themselves, if one of them runs in this network namespace.

use std::fs;
use std::os::unix::fs::MetadataExt;

/// Names of such programs as `/proc/PID/comm` has them (15 bytes), and how each is kept off a link, `LINK`.
const KNOWN: [(&str, &str); 8] = [
    ("dhclient", "remove the link's stanza from /etc/network/interfaces and end the process"),
    ("dhcpcd", "denyinterfaces LINK in /etc/dhcpcd.conf"),
    ("udhcpc", "end the process and what starts it"),
    ("NetworkManager", "unmanaged-devices=interface-name:LINK under [keyfile] in its configuration"),
    ("systemd-network", "a .network file with Name=LINK and Unmanaged=yes"),
    ("connmand", "LINK in NetworkInterfaceBlacklist of its configuration"),
    ("avahi-autoipd", "end the process and what starts it"),
    ("wickedd", "BOOTPROTO=none in /etc/sysconfig/network/ifcfg-LINK"),
];

/// Who it was, probably, and what to do about it.
pub(super) fn suspect(link: &str) -> (String, String) {
    let own = fs::metadata("/proc/thread-self/ns/net").map(|ns| (ns.dev(), ns.ino())).ok();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let running = processes.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        let (name, remedy) = KNOWN.iter().find(|(known, _)| *known == name.trim())?;
        let namespace = fs::metadata(entry.path().join("ns/net")).ok()?;
        (own == Some((namespace.dev(), namespace.ino()))).then_some((*name, pid, *remedy))
    });
    // A DHCP client that names the link is a better guess than a manager of all links.
    let names_it = |pid: u32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| names(&line, link));
    let mut all: Vec<_> = running.map(|(name, pid, remedy)| (!names_it(pid), name, pid, remedy)).collect();
    all.sort_unstable();
    match all.first() {
        Some((_, name, pid, remedy)) => (format!("{name} (process {pid})"), remedy.replace("LINK", link)),
        None => (
            "an administrator or a start-up script".into(),
            format!("remove {link} from the configuration of addresses"),
        ),
    }
}

/// Whether a command line has the link as an argument.
fn names(command_line: &[u8], link: &str) -> bool {
    command_line.split(|&byte| byte == 0).any(|argument| argument == link.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_names_a_link_by_a_whole_argument() {
        assert!(names(b"dhclient\0-4\0net0\0", "net0"));
        assert!(!names(b"dhclient\0net01\0-lf\0/var/net0\0", "net0"));
    }
}
