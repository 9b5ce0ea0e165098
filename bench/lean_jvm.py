#!/usr/bin/env python3
"""Measures what the JVM flags of `kcl-helper run` save: the same daemon with and without them, in turns.

It needs a Kinesis emulator (ferrokinesis, because it is fast) and DynamoDB Local:

    bench/lean_jvm.py --kinesis http://127.0.0.1:4567 --dynamodb http://127.0.0.1:8000 --pairs 5

Each run is a new application that reads the same full stream. For each it measures the JVM's CPU time and
memory when the first batch reaches a child, then until everything has been read the throughput, the CPU
time per megabyte and the peak memory, and the memory after 3 s of rest. It prints a table and, with
--json, writes every run to a file.
"""

import argparse
import base64
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

CHILD = """#!/usr/bin/env python3
import os, sys, time
out = open(sys.argv[1] + "/child-%d" % os.getpid(), "a", buffering=1)
for line in sys.stdin.buffer:
    action = line.split(b'"', 4)[3].decode()
    if action == "processRecords":
        print(time.monotonic(), line.count(b'"partitionKey"'), len(line), file=out)
    sys.stdout.write('{"action":"status","responseFor":"%s"}\\n' % action)
    sys.stdout.flush()
"""

PROPERTIES = """executableName = {child} {out}
streamName = {stream}
applicationName = {application}
AwsCredentialsProvider = DefaultCredentialsProvider
processingLanguage = python
initialPositionInStream = TRIM_HORIZON
regionName = us-east-1
kinesisEndpoint = {kinesis}
dynamoDBEndpoint = {dynamodb}
metricsLevel = NONE
failoverTimeMillis = 1000
leaseAssignmentIntervalMillis = 1000
shardSyncIntervalMillis = 1000
parentShardPollIntervalMillis = 1000
idleTimeBetweenReadsInMillis = 200
maxRecords = 2000
shutdownGraceMillis = 10000
"""


def kinesis(endpoint, operation, body):
    request = urllib.request.Request(
        endpoint,
        json.dumps(body).encode(),
        {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": "Kinesis_20131202." + operation,
            "X-Amz-Date": "20260101T000000Z",
            "Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/kinesis/aws4_request, "
            "SignedHeaders=host, Signature=x",
        },
    )
    with urllib.request.urlopen(request) as response:
        return json.loads(response.read() or b"{}")


def fill(endpoint, stream, shards, megabytes):
    """Creates a stream and fills it with records of 1 KB."""
    kinesis(endpoint, "CreateStream", {"StreamName": stream, "ShardCount": shards})
    while True:
        summary = kinesis(endpoint, "DescribeStreamSummary", {"StreamName": stream})
        if summary["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE":
            break
        time.sleep(0.1)
    data = base64.b64encode(os.urandom(1000)).decode()
    records = 0
    while records < megabytes * 1000:
        batch = [{"Data": data, "PartitionKey": str(records + n)} for n in range(500)]
        answer = kinesis(endpoint, "PutRecords", {"StreamName": stream, "Records": batch})
        records += len(batch) - answer["FailedRecordCount"]
    return records


def jvm_of(helper):
    """Returns the pid of the JVM, a child of the helper, or None if it has not started yet."""
    for name in os.listdir("/proc"):
        try:
            stat = open(f"/proc/{name}/stat").read() if name.isdigit() else ""
            if stat and int(stat.rsplit(")", 1)[1].split()[1]) == helper:
                if os.readlink(f"/proc/{name}/exe").endswith("/java"):
                    return int(name)
        except OSError:
            pass
    return None


def usage(pid):
    """Returns the CPU seconds and the resident MiB of a process."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    resident = int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return cpu, resident


def batches(out):
    found = []
    for name in os.listdir(out):
        if name.startswith("child-"):
            for line in open(os.path.join(out, name)):
                parts = line.split()
                if len(parts) == 3:
                    found.append((float(parts[0]), int(parts[1])))
    return sorted(found)


def run(args, name, more, number, records):
    with tempfile.TemporaryDirectory() as folder:
        child = os.path.join(folder, "child.py")
        with open(child, "w") as file:
            file.write(CHILD)
        os.chmod(child, 0o755)
        properties = os.path.join(folder, "app.properties")
        application = f"{args.stream}-{name}-{number}".replace(" ", "")
        with open(properties, "w") as file:
            file.write(
                PROPERTIES.format(
                    child=child, out=folder, stream=args.stream, application=application,
                    kinesis=args.kinesis, dynamodb=args.dynamodb,
                )
            )
        environment = dict(
            os.environ, AWS_REGION="us-east-1", AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x"
        )
        log = open(os.path.join(folder, "log"), "w")
        helper = subprocess.Popen(
            [args.helper, "run", properties, "--offline", "--quiet-daemon"]
            + ["--jvm-arg=-Daws.cborEnabled=false", *more],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder,
        )
        start = time.monotonic()
        samples, jvm, done = [], None, None
        last_look = 0
        while done is None:
            time.sleep(0.02)
            if helper.poll() is not None or time.monotonic() - start > 300:
                print(sum(count for _, count in batches(folder)), "of", records, file=sys.stderr)
                helper.terminate()
                helper.wait(30)
                sys.exit(f"{name}: did not finish\n{open(log.name).read()[-3000:]}")
            jvm = jvm or jvm_of(helper.pid)
            if not jvm:
                continue
            try:
                samples.append((time.monotonic(), *usage(jvm)))
            except OSError:
                # That was `java -version`, which the helper runs first.
                jvm = None
                continue
            if time.monotonic() - last_look > 0.25:
                last_look = time.monotonic()
                seen = batches(folder)
                if sum(count for _, count in seen) >= records:
                    done = seen
        time.sleep(args.rest)
        at_rest = usage(jvm)
        helper.send_signal(signal.SIGTERM)
        helper.wait(30)
    first, last = done[0][0], done[-1][0]
    at = lambda when: min(samples, key=lambda sample: abs(sample[0] - when))
    return {
        "name": name,
        "first_batch_s": first - start,
        "first_batch_cpu_s": at(first)[1],
        "first_batch_mib": at(first)[2],
        "seconds": last - first,
        "mb_per_s": records / 1000 / (last - first),
        "cpu_ms_per_mb": (at(last)[1] - at(first)[1]) * 1000 / (records / 1000),
        "largest_mib": max(sample[2] for sample in samples),
        "rest_mib": at_rest[1],
        "status": helper.returncode,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--helper", default="target/release/kcl-helper")
    parser.add_argument("--kinesis", required=True)
    parser.add_argument("--dynamodb", required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--rest", type=float, default=3)
    parser.add_argument("--json")
    parser.add_argument(
        "--variant", action="append", default=[], metavar="NAME=ARGS",
        help="another variant, with these arguments of `kcl-helper run`",
    )
    args = parser.parse_args()
    args.helper = os.path.abspath(args.helper)
    args.stream = f"bench-{os.getpid()}"
    variants = [("plain", ["--plain-jvm"]), ("lean", [])]
    variants += [(v.split("=", 1)[0], v.split("=", 1)[1].split()) for v in args.variant]
    records = fill(args.kinesis, args.stream, args.shards, args.megabytes)
    runs = []
    for number in range(args.pairs):
        order = variants if number % 2 == 0 else variants[::-1]
        for name, more in order:
            runs.append(run(args, name, more, number, records))
            print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(runs, file, indent=1)
    keys = [key for key in runs[0] if key not in ("name", "status")]
    medians = {
        name: {key: statistics.median(r[key] for r in runs if r["name"] == name) for key in keys}
        for name, _ in variants
    }
    print("| median of", args.pairs, "|", " | ".join(name for name, _ in variants), "|")
    print("| --- |" + " ---: |" * len(variants))
    for key in keys:
        cells = [f"{medians[name][key]:.2f}" for name, _ in variants]
        for index in range(1, len(cells)):
            cells[index] += f" ({medians[variants[index][0]][key] / medians['plain'][key]:.2f})"
        print(f"| {key} |", " | ".join(cells), "|")


main()
