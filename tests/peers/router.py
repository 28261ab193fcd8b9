#!/usr/bin/env python3
"""A multicast router for the tests: forwards every group between two interfaces, as the kernel's own multicast routing does.

It tells the kernel (linux/mroute.h) to forward what a source sends to a group as soon as the kernel asks for it, and joins the
group given on both interfaces. Prints "ready"; ends by itself.
"""

import argparse
import socket
import struct
import sys
import time

# linux/mroute.h
MRT_INIT, MRT_ADD_VIF, MRT_ADD_MFC = 200, 202, 204
VIFF_USE_IFINDEX = 8
IGMPMSG_NOCACHE = 1
IP_ADD_MEMBERSHIP = 35


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("group")
    parser.add_argument("interface", nargs=2)
    options = parser.parse_args()

    router = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP)
    router.setsockopt(socket.IPPROTO_IP, MRT_INIT, struct.pack("i", 1))
    for vif, interface in enumerate(options.interface):
        # struct vifctl: number, flags, least TTL, limit of rate, index of the interface, remote end of a tunnel
        index = socket.if_nametoindex(interface)
        router.setsockopt(socket.IPPROTO_IP, MRT_ADD_VIF, struct.pack("=HBBIi4s", vif, VIFF_USE_IFINDEX, 1, 0, index, bytes(4)))
        router.setsockopt(socket.IPPROTO_IP, IP_ADD_MEMBERSHIP, struct.pack("=4s4si", socket.inet_aton(options.group), bytes(4), index))
    print("ready", flush=True)

    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        router.settimeout(max(end - time.monotonic(), 0.001))
        try:
            packet = router.recv(2048)
        except TimeoutError:
            break
        # struct igmpmsg lies over the IP header: type and a zero in place of TTL and protocol, then the vif, source and group.
        kind, zero, vif = packet[8], packet[9], packet[10]
        if zero or kind != IGMPMSG_NOCACHE:
            continue
        source, group = packet[12:16], packet[16:20]
        thresholds = [0] * 32
        thresholds[1 - vif] = 1
        # struct mfcctl: source, group, vif it comes in by, least TTL for each vif, counters
        entry = struct.pack("=4s4sH32B", source, group, vif, *thresholds) + bytes(2 + 4 * 4)
        router.setsockopt(socket.IPPROTO_IP, MRT_ADD_MFC, entry)


if __name__ == "__main__":
    sys.exit(main())
