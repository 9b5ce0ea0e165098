#!/usr/bin/env python3
"""What a line costs that the fast path refuses, in instructions a record, beside one that it takes
and one that it refuses at once, which is the plain path alone. Needs valgrind, and

    cargo build --release -p kcl-samples
"""

import base64
import os
import random
import re
import subprocess
import tempfile

CHILD = os.path.join(os.path.dirname(__file__), "../target/release/bench_processor")
INITIALIZE = b'{"action":"initialize","shardId":"shardId-0"}\n'
FIRST_NUMBER = 49590338271490256608559692538361571095921575989136588898


def line(records, size, escaped=None, blank="", unknown=""):
    """A batch; `escaped` is the record whose key has an escape."""
    random.seed(size)
    texts = []
    for index in range(records):
        data = base64.b64encode(random.randbytes(size)).decode()
        key = 'k\\"y' if index == escaped else "key"
        texts.append(
            f'{{"data":"{data}","partitionKey":"{key}-{index:04}","sequenceNumber":"'
            f'{FIRST_NUMBER + index}","approximateArrivalTimestamp":1795399083000,'
            '"subSequenceNumber":0,"action":"record"}'
        )
    return (
        f'{{{blank}"action":"processRecords","records":[{",".join(texts)}],'
        f'"millisBehindLatest":0{unknown}}}\n'
    ).encode()


def instructions(lines):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "input")
        with open(path, "wb") as file:
            file.write(INITIALIZE + lines)
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", CHILD]
        with open(path, "rb") as file:
            run = subprocess.run(tool, stdin=file, capture_output=True, text=True, check=True)
    return int(re.search(r"Collected : (\d+)", run.stderr)[1])


def main():
    print("| batch | taken | refused at once | in the first record | in the middle | at the end |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for records, size in [(500, 100), (1000, 1024), (4, 1_000_000)]:
        rows = []
        for how in [
            {},
            {"blank": " "},
            {"escaped": 0},
            {"escaped": records // 2},
            {"unknown": ',"x":1'},
        ]:
            one = line(records, size, **how)
            # What a life costs without batches, and the first batch alone, is taken off.
            rows.append((instructions(one * 5) - instructions(one)) / 4 / records)
        print(f"| {records:,} x {size:,} B |", " | ".join(f"{row:,.0f}" for row in rows), "|")


if __name__ == "__main__":
    main()
