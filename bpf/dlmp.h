/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the programs and the daemon agree on: constants and the contents of the maps.
 * Rust sees this file through bindgen (crates/datapath/build.rs); everything in it is plain C with
 * fixed-width types and no hidden padding.
 */
#ifndef DLMP_H
#define DLMP_H

/* Changes with every change of a map's layout or of a counter's meaning: a daemon that takes over
 * a running datapath of another layout starts from its configuration instead of reading the maps. */
#define DLMP_ABI 7

#define DLMP_MAX_PORTS 32     /* ports of one aggregation */
#define DLMP_MAX_VNICS 256    /* VNICs over one aggregation */
#define DLMP_MAX_LEARNED 4096 /* clients that the programs learn from what they send */

/* Slots, one a client: that of the primary interface, the VNICs', others that the daemon knows, and those
 * that the programs give out. */
#define DLMP_FIRST_VNIC_SLOT 1
#define DLMP_FIRST_LEARNED_SLOT 512
#define DLMP_MAX_SLOTS (DLMP_FIRST_LEARNED_SLOT + DLMP_MAX_LEARNED)
#define DLMP_MAX_ADDRESSES (DLMP_MAX_SLOTS + DLMP_MAX_PORTS)
#define DLMP_NO_PORT 0xffffffffU

/* The row of the counters that belongs to no port: frames refused before a port was chosen. */
#define DLMP_ROW_AGGREGATION DLMP_MAX_PORTS
#define DLMP_COUNTER_ROWS (DLMP_MAX_PORTS + 1)

#define DLMP_EVENTS_BYTES 16384 /* ring of struct dlmp_event; a multiple of the page size */

/* A client's identity: MAC address and VLAN (0: untagged). Key of the map `addresses`. */
struct dlmp_address {
	__u8 mac[6];
	__u16 vlan;
} __attribute__((aligned(8)));

/* The one entry of the map `aggregation`. */
struct dlmp_aggregation {
	__u32 abi;
	__u32 ifindex;        /* of the link above the ports */
	__u32 multicast_port; /* port index, or DLMP_NO_PORT */
	__u16 probing;        /* 1: transitive probes are taken */
	__u16 probe_vlan;     /* their VLAN, 0 for none */
	__u32 vnics;          /* places of the map `vnics` to look at, from the first */
	__u32 learn_limit;    /* clients that may be learned at a time, at most DLMP_MAX_LEARNED */
	__u32 lower;          /* ifindex of the other end of the link, where reports are held; 0 for none */
	__u16 bridged;        /* 1: a bridge sits above, unicast for nobody here may be for a guest of its */
	__u16 vlans;          /* VNICs that are in a VLAN */
	__u64 netns_cookie;   /* SO_NETNS_COOKIE of the namespace that it lives in */
	__u64 fresh_ns;       /* how long after a move a client is served from any port (the own-port rule) */
	__u64 announce_ns;    /* least time between two requests to announce a slot (the own-port rule) */
	__u64 probe_key[2];   /* of the tag of transitive probes, 16 bytes as they are */
	struct dlmp_address primary; /* the address of slot 0, found without a look-up; zero for none */
	char name[16];
};

/* Set while the port may carry traffic. A port without it is passed over for the slot's backup. */
#define DLMP_PORT_USABLE 1

/* Map `ports`, by port index. An ifindex of 0 is an empty place. */
struct dlmp_port {
	__u32 ifindex;
	__u32 flags;
	__u8 mac[6];
	__u16 room; /* 1 and how many groups its own filter was found to hold, 0 for unknown: for the next daemon */
};

/* The one entry of the map `own`: a bit for each hash of an address that has been in `addresses`. A
 * source whose bit is clear is foreign for certain, without a look-up. */
#define DLMP_OWN_BITS 65536

struct dlmp_own {
	__u64 bits[DLMP_OWN_BITS / 64];
};

/* The one entry of the map `groups`: a bit for each hash of a group address that somebody above wants
 * (the group rule). The programs set bits for what clients join, the daemon sets and clears them at the same time. */
#define DLMP_GROUP_BITS 1048576
#define DLMP_GROUP_HASH 0x61c8864680b583ebULL /* GOLDEN_RATIO_64 of linux/hash.h: spreads neighbours evenly */

struct dlmp_groups {
	__u64 alive_ns;     /* CLOCK_MONOTONIC of the daemon's last sign of life, 0 for none */
	__u64 all;          /* 1: every group is wanted */
	__u64 filter_short; /* 1: the multicast port's own filter lacks groups that are wanted */
	__u64 bits[DLMP_GROUP_BITS / 64];
};

/* Reports are held for a daemon whose last sign of life is younger. */
#define DLMP_ALIVE_NS 200000000ULL

/* The mark (struct __sk_buff) of a report that is held, on its way to the daemon's socket at the lower end. */
#define DLMP_HELD_MARK 0x68656c64 /* "held" */
/*
 * What it costs the daemon to read a report that is held, and what reports of one link may cost: all of a processor's
 * time by these prices, which are about three times the true ones; all links together twice that. Reports past it
 * leave at once, unread.
 */
#define DLMP_REPORT_NS 30000ULL
#define DLMP_REPORT_BYTE_NS 2000ULL /* a byte of the message; a record has 8 and more */
#define DLMP_REPORT_BURST_NS 1500000000ULL
#define DLMP_REPORTER_LINK DLMP_MAX_VNICS /* the aggregation's own link, behind the VNICs by index */
#define DLMP_REPORTER_ALL (DLMP_MAX_VNICS + 1)
#define DLMP_REPORTERS (DLMP_MAX_VNICS + 2)

/* The one entry of the map `reporting`: CLOCK_MONOTONIC until when a link's reports are paid for, 0 for a link that has
 * sent none. */
struct dlmp_reporting {
	__u64 paid_ns[DLMP_REPORTERS];
};

/* Records of a report that are read. One of more makes every group wanted, until the daemon has read it. */
#define DLMP_MAX_RECORDS 32

enum dlmp_owner {
	DLMP_OWNER_CLIENT = 1,  /* a client that the daemon knows: primary interface, VNIC, VLAN device */
	DLMP_OWNER_PORT = 2,    /* a port's own address: probes, and reports (the group rule) */
	DLMP_OWNER_LEARNED = 3, /* a client that the programs have learned */
};

/* Map `addresses`: whom an address belongs to. */
struct dlmp_client {
	__u16 owner; /* enum dlmp_owner */
	__u16 place; /* slot index of a client, port index of a port */
	__u32 link;  /* lower end of the VNIC that the client is behind; 0: the aggregation's own link */
};

/* A VNIC. An ifindex of 0 is an empty place. */
struct dlmp_vnic {
	__u32 ifindex; /* of the lower end */
	__u16 vlan;    /* the frames of the VNIC are tagged with this VLAN; 0: as it sends them */
	__u8 mac[6];
	__u16 slot;
	__u16 trunk; /* 1: without a VLAN of its own, it has sent tagged frames */
} __attribute__((aligned(8)));

/* The one entry of the map `vnics`: all of them, by VNIC index. */
struct dlmp_vnics {
	struct dlmp_vnic at[DLMP_MAX_VNICS];
};

/* Map `slots`: where a client sits. */
struct dlmp_slot {
	__u32 port;
	__u32 backup;      /* taken by the program itself while `port` is not usable */
	__u64 moved_ns;    /* CLOCK_MONOTONIC of the last move */
	__u64 announce_ns; /* when the program last asked for an announcement */
};

/* The one entry of the map `seating`. */
struct dlmp_seating {
	__u64 given_out; /* slots of learned clients that were ever given out: the next one is free */
	__u64 learned;   /* clients that are learned now */
	/* For each port the clients on it, times DLMP_ON_PORT_ONE, and why it is no choice for a new one. */
	__u64 on_port[DLMP_MAX_PORTS];
};

#define DLMP_ON_PORT_ONE (1ULL << 8) /* below it is room for the index */
#define DLMP_ON_PORT_UNUSABLE (1ULL << 60)
#define DLMP_ON_PORT_ABSENT (1ULL << 61)

/* Map `pairs`, by local port * DLMP_MAX_PORTS + other port. The daemon reads it without a system call. */
struct dlmp_pair {
	__u64 answered_ns;      /* CLOCK_MONOTONIC when the newest answer of the other port came */
	__u64 answered_sent_ns; /* and when its question had left */
	__u64 asked_ns;         /* when the newest question of the other port came */
	__u32 answered;         /* sequence numbers of both, 0 for none yet */
	__u32 asked;
};

/* Per port and CPU. The order is the ABI; the names are in crates/datapath/src/counter.rs. */
enum dlmp_counter {
	DLMP_RX_PACKETS,
	DLMP_RX_BYTES,
	DLMP_TX_PACKETS,
	DLMP_TX_BYTES,
	DLMP_RX_REFLECTION,       /* reflection: own source on a port that is not its own: dropped */
	DLMP_RX_OWN_ADDRESS,      /* reflection: own source on its own port: a duplicate address, dropped */
	DLMP_RX_RELEASED,         /* reflection: a learned client announces itself from elsewhere: let go */
	DLMP_RX_GROUP_OTHER_PORT, /* group: group-addressed, not on the multicast port: dropped */
	DLMP_RX_GROUP,            /* group: group-addressed and wanted, on the multicast port: taken */
	DLMP_RX_GROUP_UNWANTED,   /* group: group-addressed, on the multicast port, nobody's: dropped */
	DLMP_RX_GROUP_NO_FILTER,  /* group: wanted, not on the multicast port, whose filter is short: dropped */
	DLMP_RX_FRESH_MOVE,       /* own-port: unicast on another port while the move is fresh: taken */
	DLMP_RX_STALE_PORT,       /* own-port: unicast on another port later: dropped, announced again */
	DLMP_RX_NOBODY,           /* nobody: unicast for nobody here: dropped */
	DLMP_RX_LINK_LOCAL,       /* link-local: 01:80:c2:00:00:0x stays on the port */
	DLMP_RX_SHORT,            /* no whole Ethernet header: dropped */
	DLMP_RX_VLAN_STACKED,     /* a priority tag before another tag: dropped */
	DLMP_RX_PROBE_REQUEST,    /* transitive probe of another port: answered */
	DLMP_RX_PROBE_RESPONSE,   /* answer to a transitive probe: noted */
	DLMP_RX_PROBE_MALFORMED,  /* begins like a transitive probe and goes on otherwise: dropped */
	DLMP_RX_PROBE_FORGED,     /* its tag is not ours: dropped */
	DLMP_RX_PROBE_STRAY,      /* not between these ports, or in another VLAN: dropped */
	DLMP_RX_PROBE_STALE,      /* too old, or a sequence number that came already: dropped */
	DLMP_RX_PROBE_ANSWER,     /* ARP reply or neighbour advertisement for the port: to the daemon */
	DLMP_TX_BACKUP,           /* sent through the backup, the slot's port being unusable */
	DLMP_TX_REPORT,           /* group: IGMP or MLD report sent through the multicast port */
	DLMP_TX_REPORT_HELD,      /* group: IGMP or MLD report given to the daemon, which sends it */
	DLMP_TX_LOWER,            /* missed the program on the link itself: sent from the link's lower end */
	DLMP_TX_REPORT_UNREAD,    /* group: IGMP or MLD report past what the daemon reads: sent at once */
	DLMP_TX_LOCAL,            /* local: for another client of this aggregation: delivered here */
	DLMP_TX_SAME_LINK,        /* local: for a client behind the link that it came from: dropped */
	DLMP_TX_LEARNED,          /* the first frame of a client that was learned by it */
	DLMP_TX_CLIENTS_FULL,     /* a new source, and no room to learn it: dropped */
	DLMP_TX_UNKNOWN_SOURCE,   /* source cannot be a client of this link: dropped */
	DLMP_TX_SWITCH_PROTOCOL,  /* of a guest, or a spanning tree, to where switches listen: dropped */
	DLMP_TX_NO_PORT,          /* the slot has no port: dropped */
	DLMP_TX_SHORT,            /* no whole Ethernet header: dropped */
	DLMP_EVENT_LOST,          /* the ring of events was full */
	DLMP_COUNTERS,
};

struct dlmp_counters {
	__u64 count[DLMP_COUNTERS];
};

enum dlmp_event_kind {
	DLMP_EVENT_STRAY = 1,    /* please announce this slot from its own port (the own-port rule) */
	DLMP_EVENT_LEARNED = 2,  /* a client was learned and sits on `port` */
	DLMP_EVENT_RELEASED = 3, /* a learned client was let go (the reflection rule) */
};

/* An entry of the ring `events`. */
struct dlmp_event {
	__u32 kind; /* enum dlmp_event_kind */
	__u32 slot;
	__u32 port; /* where the frame arrived, or where the client sits */
	__u32 link; /* of a learned client, as in struct dlmp_client */
	struct dlmp_address address; /* of the client */
};

#endif
