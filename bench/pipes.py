#!/usr/bin/env python3
"""Checks whether enlarged pipes take capacity from the other pipes of an unprivileged user.

    setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all python3 bench/pipes.py 300 CHILD

Starts that many children, sends a long line to each so that it enlarges its pipe, and creates a new pipe
after each.
"""

import base64
import fcntl
import os
import subprocess
import sys

DEFAULT_CAPACITY = 64 << 10
ENLARGED_CAPACITY = 256 << 10

INITIALIZE = (
    b'{"action":"initialize","shardId":"s","sequenceNumber":"TRIM_HORIZON","subSequenceNumber":0}\n'
)
RECORD = (
    b'{"data":"%s","partitionKey":"k","sequenceNumber":"1","approximateArrivalTimestamp":1,'
    b'"subSequenceNumber":0,"action":"record"}' % base64.b64encode(b"x" * 90000)
)
BATCH = b'{"action":"processRecords","records":[%s],"millisBehindLatest":0}\n' % RECORD


def capacity(pipe):
    return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)


def send(child, line):
    child.stdin.write(line)
    child.stdin.flush()
    child.stdout.readline()


def main():
    count, command = int(sys.argv[1]), sys.argv[2]
    children = [
        subprocess.Popen(
            [command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        for _ in range(count)
    ]
    before = [capacity(child.stdin) for child in children]
    small_new_pipes = 0
    for child in children:
        send(child, INITIALIZE)
        send(child, BATCH)
        reader, writer = os.pipe()
        small_new_pipes += capacity(reader) < DEFAULT_CAPACITY
        os.close(reader)
        os.close(writer)
    after = [capacity(child.stdin) for child in children]
    print(f"children: {count}")
    print(f"enlarged pipes: {sum(size == ENLARGED_CAPACITY for size in after)}")
    print(f"pipes that became smaller: {sum(new < old for old, new in zip(before, after))}")
    print(f"new pipes below the default capacity: {small_new_pipes}")
    print(f"pipes below the default capacity from the start: {sum(size < DEFAULT_CAPACITY for size in before)}")
    for child in children:
        child.stdin.close()
    for child in children:
        child.wait()


main()
