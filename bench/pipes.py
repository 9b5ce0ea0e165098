#!/usr/bin/env python3
"""Whether enlarged pipes take anything from the other pipes of an unprivileged user.

    setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all python3 bench/pipes.py 300 CHILD

Starts so many children, sends each one long line, and tries a new pipe after each.
"""

import base64
import fcntl
import os
import subprocess
import sys

n=int(sys.argv[1]); ps=[]
rec='{"data":"%s","partitionKey":"k","sequenceNumber":"1","approximateArrivalTimestamp":1,"subSequenceNumber":0,"action":"record"}'%base64.b64encode(b'x'*90000).decode()
line=('{"action":"processRecords","records":[%s],"millisBehindLatest":0}\n'%rec).encode()
for i in range(n):
    p=subprocess.Popen([sys.argv[2]],stdin=subprocess.PIPE,stdout=subprocess.PIPE,stderr=subprocess.DEVNULL); ps.append(p)
small=0;big=0;first=[fcntl.fcntl(p.stdin,1032) for p in ps]
for p in ps:
    p.stdin.write(b'{"action":"initialize","shardId":"s","sequenceNumber":"TRIM_HORIZON","subSequenceNumber":0}\n'); p.stdin.flush(); p.stdout.readline()
    p.stdin.write(line); p.stdin.flush(); p.stdout.readline()
    r,w=os.pipe(); small+=fcntl.fcntl(r,1032)<65536; os.close(r); os.close(w)
print(n,"children: enlarged",sum(fcntl.fcntl(p.stdin,1032)==262144 for p in ps),"shrunk among theirs",sum(fcntl.fcntl(p.stdin,1032)<f for p,f in zip(ps,first)),"new pipes shrunk",small, "stdin pipes small from the start",sum(f<65536 for f in first))
for p in ps: p.stdin.close()
for p in ps: p.wait()
