#!/usr/bin/env python3
"""A router for the tests that answers nobody without an address, as behind ARP inspection.

It has a MAC address of its own on the interface. It answers ARP requests unless their sender is 0.0.0.0 (RFC 5227's probes),
neighbour solicitations only from the addresses that it is told to know, and every echo. Prints "ready"; ends by itself.
"""

import argparse
import ipaddress
import socket
import struct
import time

ETH_P_ALL, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 3, 1, 1
ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
MAC = bytes([2, 0, 0, 0, 0x77, 1])


def checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def icmpv6(source, target, message):
    message = message[:2] + bytes(2) + message[4:]
    pseudo = source + target + struct.pack("!I3xB", len(message), 58)
    message = message[:2] + struct.pack("!H", checksum(pseudo + message)) + message[4:]
    return struct.pack("!IHBB", 6 << 28, len(message), 58, 255) + source + target + message


def answer(frame, addresses, known):
    kind, body, sender = struct.unpack_from("!H", frame, 12)[0], frame[14:], frame[6:12]
    if kind == ARP and body[6:8] == b"\0\1" and body[24:28] in addresses and body[14:18] != bytes(4):
        return kind, body[:6] + b"\0\2" + MAC + body[24:28] + body[8:18]
    if kind == IPV4 and body[9] == 1 and body[16:20] in addresses and body[20] == 8:
        header = body[:10] + bytes(2) + body[16:20] + body[12:16]
        header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
        length = struct.unpack_from("!H", body, 2)[0]
        message = b"\0\0\0\0" + body[24:length]
        return kind, header + message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    if kind == IPV6 and body[6] == 58:
        source, message = body[8:24], body[40:40 + struct.unpack_from("!H", body, 4)[0]]
        if message[0] == 135 and message[8:24] in addresses and source in known:
            told = b"\x88\0\0\0\x60\0\0\0" + message[8:24] + b"\2\1" + MAC
            return kind, icmpv6(message[8:24], source, told)
        if message[0] == 128 and body[24:40] in addresses:
            return kind, icmpv6(body[24:40], source, b"\x81" + message[1:])
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--know", default=[], action="append")
    parser.add_argument("interface")
    parser.add_argument("address", nargs="+")
    options = parser.parse_args()
    addresses, known = ({ipaddress.ip_address(text).packed for text in of} for of in (options.address, options.know))

    router = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    router.bind((options.interface, ETH_P_ALL))
    membership = struct.pack("=iHH8s", socket.if_nametoindex(options.interface), PACKET_MR_PROMISC, 0, bytes(8))
    router.setsockopt(263, PACKET_ADD_MEMBERSHIP, membership)
    print("ready", flush=True)

    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        router.settimeout(max(end - time.monotonic(), 0.001))
        try:
            frame, place = router.recvfrom(2048)
        except TimeoutError:
            continue
        # What it sends itself comes by as well.
        if place[2] == socket.PACKET_OUTGOING or len(frame) < 42:
            continue
        reply = answer(frame, addresses, known)
        if reply:
            kind, body = reply
            router.send((frame[6:12] + MAC + struct.pack("!H", kind) + body).ljust(60, b"\0"))


if __name__ == "__main__":
    main()
