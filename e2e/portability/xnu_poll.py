"""Whether poll is that of macOS, in a process that has e2e/portability/xnu_poll.c preloaded."""

import os
import select
import socket

HUP, IN, OUT, NVAL = select.POLLHUP, select.POLLIN, select.POLLOUT, select.POLLNVAL
failed = 0


def check(what, asked, *expected):
    """The entries, as pairs of a file and its events, and what is to be reported of each."""
    global failed
    poll = select.poll()
    for file, events in asked:
        poll.register(file, events)
    reported = dict(poll.poll(20))
    reported = tuple(reported.get(getattr(file, "fileno", lambda: file)(), 0) for file, _ in asked)
    if reported != expected:
        failed += 1
        print(f"FAILED: {what}: expected {expected}, got {reported}")


def reader(unread=b"", closed=False):
    read, write = os.pipe()
    os.write(write, unread)
    if closed:
        os.close(write)
    return read


def writer(closed=False):
    read, write = os.pipe()
    if closed:
        os.close(read)
    return write


for unread in [b"", b"unread"]:
    closed = reader(unread, closed=True)
    check("an entry that asks for nothing is left out", [(closed, 0)], 0)
    check("a reader's POLLOUT is its hang-up", [(closed, OUT)], HUP)
    check("a reader's POLLHUP is its hang-up", [(closed, HUP)], HUP)
    check("a reader's POLLIN is both", [(closed, IN)], HUP | IN)
    check("a pipe with a writer", [(reader(unread), OUT | HUP)], 0)
check("something to read", [(reader(b"unread"), IN | OUT | HUP)], IN)
check("a writer's POLLHUP", [(writer(), HUP)], 0)
check("a writer's POLLOUT", [(writer(), OUT)], OUT)
check("nobody reads", [(writer(closed=True), 0)], 0)
check("nobody reads, POLLHUP", [(writer(closed=True), HUP)], HUP)
check("nobody reads, POLLOUT", [(writer(closed=True), OUT)], HUP)
check("a device", [(os.open("/dev/null", os.O_RDWR), IN)], NVAL)
check("a folder", [(os.open("/", os.O_RDONLY), IN)], NVAL)
ours, theirs = socket.socketpair()
check("a socket that can be written", [(ours, OUT | HUP)], OUT)
theirs.shutdown(socket.SHUT_WR)
check("a socket that is closed for reading", [(ours, HUP)], HUP)
check("the others are looked at", [(closed, 0), (reader(b"x"), IN), (reader(), IN)], 0, IN, 0)
raise SystemExit(failed > 0)
