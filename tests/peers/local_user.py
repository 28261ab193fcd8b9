#!/usr/bin/env python3
"""A local user who means ill: takes the name of a daemon's control socket, or wears the daemon out. Prints "ready"; goes on until killed.

squat-listening  takes the name and lets whoever comes wait
squat-bound      takes the name and lets nobody come
lock FILE        locks a file, which it opens for reading alone
flood            many messages without an end, as fast as they are taken
drip             one message without an end, a byte at a time; prints "closed" when the daemon has had enough, "open" after a minute
idle             many connections on which nothing is said
"""

import argparse
import fcntl
import os
import select
import socket
import time


def connect(name):
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stream.connect("\0" + name)
    return stream


def bound(name):
    squatter = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    squatter.bind("\0" + name)
    return squatter


def flood(name, count):
    streams = []
    for _ in range(count):
        stream = connect(name)
        stream.setblocking(False)
        streams.append(stream)
    print("ready", flush=True)
    while True:
        for stream in list(streams):
            try:
                stream.send(b"x" * 65536)
            except BlockingIOError:
                pass
            except OSError:
                streams.remove(stream)
                try:
                    again = connect(name)
                    again.setblocking(False)
                    streams.append(again)
                except OSError:
                    pass
        time.sleep(0.01)


def drip(name):
    stream = connect(name)
    print("ready", flush=True)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            stream.send(b"x")
        except OSError:
            return "closed"
        if select.select([stream], [], [], 0.2)[0] and not stream.recv(1):
            return "closed"
    return "open"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--user", type=int, default=65534)
    parser.add_argument("--name", default="io.dlmp.dlmpd")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("what")
    parser.add_argument("file", nargs="?")
    options = parser.parse_args()
    if options.user:
        os.setgroups([])
        os.setgid(options.user)
        os.setuid(options.user)

    if options.what == "flood":
        flood(options.name, options.count)
    elif options.what == "drip":
        print(drip(options.name), flush=True)
    kept = []
    if options.what == "squat-listening":
        squatter = bound(options.name)
        squatter.listen(0)
        # Whoever comes after this one waits.
        kept = [squatter, connect(options.name)]
    elif options.what == "squat-bound":
        kept = [bound(options.name)]
    elif options.what == "lock":
        kept = [open(options.file, "rb")]
        fcntl.flock(kept[0], fcntl.LOCK_EX)
    elif options.what == "idle":
        for _ in range(options.count):
            try:
                kept.append(connect(options.name))
            except OSError:
                break
    print("ready", flush=True)
    while True:
        time.sleep(600)


main()
