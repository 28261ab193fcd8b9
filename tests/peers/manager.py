#!/usr/bin/env python3
"""Plays a Logical Domains Manager, or one of its clients, for the tests.

Written from the C declarations of the Logical Domains Manager's manual alone ("Message Format" in "Logical Domains Manager
Discovery"), and so independent of dlmp's own code:

    typedef struct {                        typedef struct {
        uint32_t version_no;                    char ldmd_version[LDMD_VERSION_LEN];
        uint32_t magic_no;                      char hostname[MAXHOSTNAMELEN];
        uint32_t msg_type;                      struct in_addr ip_address;
        uint32_t resv;                          int port_no;
        union {                             } ldmd_discovery_t;
            mac_lookup_t Mac_lookup;
            ldmd_discovery_t Ldmd_discovery;    typedef struct {
        } payload;                              uint64_t mac_addr;
    } multicast_msg_t;                          char source_ip[INET_ADDRSTRLEN];
                                            } mac_lookup_t;

It prints "ready" when it listens, then a line for each datagram that it receives:

    received SENDER:PORT TTL HEX

and a client for each answer, whatever it came by:

    manager HOST ADDRESS PORT VERSION
    taken MAC SENDER

Datagrams that it sent itself are received like any others. It ends by itself.
"""

import argparse
import socket
import struct
import sys
import time

MAC_MULTI_PORT = 64535
MAC_MULTI_GROUP = "239.129.9.27"
MAC_MULTI_MAGIC_NO = 92792004
MAC_MULTI_VERSION = 1
SEND_MSG, RESPONSE_MSG, LDMD_DISC_SEND, LDMD_DISC_RESP = range(4)
LDMD_VERSION_LEN = 32
MAXHOSTNAMELEN = 256  # <netdb.h> of Solaris
INET_ADDRSTRLEN = 16

HEADER = "IIII"
MAC_LOOKUP = f"Q{INET_ADDRSTRLEN}s"
LDMD_DISCOVERY = f"{LDMD_VERSION_LEN}s{MAXHOSTNAMELEN}s4si"
LENGTH = struct.calcsize("=" + HEADER) + struct.calcsize("=" + LDMD_DISCOVERY)
ORDERS = {"big": ">", "little": "<"}

# Of linux/in.h; the socket module lacks some.
IP_MULTICAST_IF, IP_ADD_MEMBERSHIP, IP_RECVTTL, IP_TTL = 32, 35, 12, 2


def message(order, kind, payload=b""):
    header = struct.pack(order + HEADER, MAC_MULTI_VERSION, MAC_MULTI_MAGIC_NO, kind, 0)
    return (header + payload).ljust(LENGTH, b"\0")


def lookup(order, kind, mac, source):
    return message(order, kind, struct.pack(order + MAC_LOOKUP, mac, source.encode()))


def here(order, options, source):
    address = socket.inet_aton(options.address or source)
    version, host = options.version.encode(), options.host.encode()
    return message(order, LDMD_DISC_RESP, struct.pack(order + LDMD_DISCOVERY, version, host, address, options.port))


def parse(datagram):
    """The byte order, kind and payload of a message; None when it is none."""
    if len(datagram) != LENGTH:
        return None
    for order in ORDERS.values():
        version, magic, kind, _ = struct.unpack_from(order + HEADER, datagram)
        if (version, magic) == (MAC_MULTI_VERSION, MAC_MULTI_MAGIC_NO):
            return order, kind, datagram[struct.calcsize(order + HEADER):]
    return None


def text(field):
    return field.split(b"\0", 1)[0].decode(errors="replace")


def number_of(mac):
    return int(mac.replace(":", ""), 16)


def mac_of(number):
    return ":".join(f"{byte:02x}" for byte in number.to_bytes(6, "big"))


def open_socket(options, port):
    """A socket that sends to the group through the interface and, on the port of the group, hears it there."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind(("0.0.0.0", port))
    group, index = socket.inet_aton(MAC_MULTI_GROUP), socket.if_nametoindex(options.interface)
    through = struct.pack("=4s4si", group, bytes(4), index)
    opened.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_IF, through)
    opened.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
    if port == MAC_MULTI_PORT:
        opened.setsockopt(socket.IPPROTO_IP, IP_ADD_MEMBERSHIP, through)
    return opened


def own_address(interface):
    """The interface's first IPv4 address: SIOCGIFADDR of netdevice(7)."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("256s", interface.encode())
        return socket.inet_ntoa(fcntl.ioctl(any_socket.fileno(), 0x8915, request)[20:24])


def messages(options, opened):
    """Prints what comes in until the time is over. Yields the sender, byte order, kind and payload of each message."""
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        opened.settimeout(max(end - time.monotonic(), 0.001))
        try:
            datagram, control, _, sender = opened.recvmsg(65536, 64)
        except TimeoutError:
            return
        ttl = next((struct.unpack("i", data)[0] for _, kind, data in control if kind == IP_TTL), 0)
        if not options.quiet:
            print(f"received {sender[0]}:{sender[1]} {ttl} {datagram.hex()}", flush=True)
        parsed = parse(datagram)
        if parsed:
            yield sender, *parsed


def respond(options):
    """A manager: answers discovery, and says "taken" for its addresses."""
    opened, source = open_socket(options, MAC_MULTI_PORT), own_address(options.interface)
    taken = {number_of(mac) for mac in options.taken}
    group = (MAC_MULTI_GROUP, MAC_MULTI_PORT)
    print("ready", flush=True)
    for sender, asked_in, kind, payload in messages(options, opened):
        order = ORDERS.get(options.order, asked_in)
        to = group if options.reply == "group" else sender
        if kind == LDMD_DISC_SEND:
            if options.noise:
                for datagram in noise(order, options, source):
                    opened.sendto(datagram, to)
            if not options.silent:
                opened.sendto(here(order, options, source), to)
        elif kind == SEND_MSG:
            mac, _ = struct.unpack_from(asked_in + MAC_LOOKUP, payload)
            if mac in taken or options.deny and sender[0] != source:
                opened.sendto(lookup(order, RESPONSE_MSG, mac, source), to)


def noise(order, options, source):
    """What a client of discovery has to discard."""
    mac, good = number_of("00:14:4f:f8:00:01"), here(order, options, source)
    yield lookup(order, SEND_MSG, mac, source)
    yield lookup(order, RESPONSE_MSG, mac, source)
    yield from (b"", b"rubbish", good[:-1], good + b"\0", bytes(LENGTH), b"\xff" * LENGTH)
    yield message(order, 4, good[16:])
    # With another version, with another magic number, and with a host name that does not end.
    header = struct.pack(order + HEADER, MAC_MULTI_VERSION + 1, MAC_MULTI_MAGIC_NO, LDMD_DISC_RESP, 0)
    yield header + good[16:]
    yield struct.pack(order + HEADER, MAC_MULTI_VERSION, MAC_MULTI_MAGIC_NO + 1, LDMD_DISC_RESP, 0) + good[16:]
    yield good[:48] + b"x" * MAXHOSTNAMELEN + good[48 + MAXHOSTNAMELEN:]


def ask(options, questions):
    """A client: sends questions, and prints the answers."""
    opened = open_socket(options, MAC_MULTI_PORT if options.own_port is None else options.own_port)
    print("ready", flush=True)
    for question in questions:
        opened.sendto(question, (MAC_MULTI_GROUP, MAC_MULTI_PORT))
    for _, order, kind, payload in messages(options, opened):
        if kind == LDMD_DISC_RESP:
            version, host, address, port = struct.unpack_from(order + LDMD_DISCOVERY, payload)
            print("manager", text(host), socket.inet_ntoa(address), port, text(version), flush=True)
        elif kind == RESPONSE_MSG:
            mac, source = struct.unpack_from(order + MAC_LOOKUP, payload)
            print("taken", mac_of(mac), text(source), flush=True)


def discover(options):
    ask(options, [message(ORDERS[options.order], LDMD_DISC_SEND)])


def look_up(options):
    source = own_address(options.interface)
    ask(options, [lookup(ORDERS[options.order], SEND_MSG, number_of(mac), source) for mac in options.mac])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    modes = parser.add_subparsers(required=True)

    def mode(name, run, help):
        added = modes.add_parser(name, help=help)
        added.set_defaults(run=run)
        added.add_argument("--interface", required=True, help="that it sends and listens on")
        added.add_argument("--seconds", type=float, default=2, help="after which it ends")
        added.add_argument("--quiet", action="store_true", help="do not print what it receives")
        return added

    manager = mode("respond", respond, "answer as a manager does")
    manager.add_argument("--order", choices=[*ORDERS, "asked"], default="big", help="byte order of its answers")
    manager.add_argument("--reply", choices=["group", "asker"], default="group", help="where its answers go to")
    manager.add_argument("--host", default="primary")
    manager.add_argument("--address", help="that it says is its own; that of the interface otherwise")
    manager.add_argument("--port", type=int, default=6482)
    manager.add_argument("--version", default="3.6")
    manager.add_argument("--taken", action="append", default=[], metavar="MAC", help="an address that it uses")
    manager.add_argument("--deny", action="store_true", help="say that every address is taken")
    manager.add_argument("--noise", action="store_true", help="send what is no answer besides")
    manager.add_argument("--silent", action="store_true", help="do not answer discovery")

    for name, run, help in [("discover", discover, "ask for managers"), ("lookup", look_up, "ask for MAC addresses")]:
        client = mode(name, run, help)
        client.add_argument("--order", choices=ORDERS, default="big", help="byte order of its questions")
        client.add_argument("--own-port", type=int, help="ask from this port, 0 for any, and do not join the group")
        if run is look_up:
            client.add_argument("mac", nargs="+")

    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    sys.exit(main())
