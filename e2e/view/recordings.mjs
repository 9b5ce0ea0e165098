// Writes recordings as `kcl-helper record` does, of lives that are made up.
import { openSync, writeSync, closeSync } from "node:fs";

/** A recording under construction. Times are microseconds. */
export class Recording {
  constructor(path, { started = "2026-11-25T10:00:00.000000Z", command = ["./orders"], redacted = false } = {}) {
    this.file = openSync(path, "w");
    this.lines = [];
    this.held = 0;
    this.push(JSON.stringify({ version: 1, kcl_helper: "0.1.0", command, started, redacted }));
  }
  push(line) {
    this.lines.push(line);
    this.held += line.length;
    if (this.held > 1 << 20) this.flush();
  }
  flush() {
    if (this.lines.length) writeSync(this.file, `${this.lines.join("\n")}\n`);
    this.lines = [];
    this.held = 0;
  }
  event(after, kind, text, ...more) {
    this.push(JSON.stringify([Math.round(after), kind, text, ...more]));
    return this;
  }
  daemon(after, message) { return this.event(after, "<", `${JSON.stringify(message)}\n`); }
  child(after, message) { return this.event(after, ">", `${JSON.stringify(message)}\n`); }
  stderr(after, text) { return this.event(after, "e", `${text}\n`); }
  status(after, action) { return this.child(after, { action: "status", responseFor: action }); }
  initialize(shard, from = "TRIM_HORIZON") {
    this.daemon(1500, { action: "initialize", shardId: shard, sequenceNumber: from, subSequenceNumber: 0 });
    return this.status(2200, "initialize");
  }
  batch(after, records, lag) {
    return this.daemon(after, {
      action: "processRecords",
      records: records.map(({ data, key, number, sub = 0, arrival = 1795600800000 }) => ({
        data: Buffer.from(data).toString("base64"), partitionKey: key, sequenceNumber: number,
        approximateArrivalTimestamp: arrival, subSequenceNumber: sub, action: "record",
      })),
      millisBehindLatest: lag,
    });
  }
  checkpoint(after, took, error = null, number = null) {
    const numbers = { sequenceNumber: number, subSequenceNumber: number === null ? null : 0 };
    this.child(after, { action: "checkpoint", ...numbers });
    return this.daemon(took, { action: "checkpoint", ...numbers, error });
  }
  end(after, how) {
    this.event(after, "<", null).event(900, ">", null).event(20, "e", null);
    return this.event(400, "x", how);
  }
  close() {
    this.flush();
    closeSync(this.file);
  }
}

/** Random numbers that are the same in each run. */
export function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export const sequence = (shard, n) => (49680477893818759433421238879843555205611407896387518482n + BigInt(shard) * 10n ** 50n + BigInt(n)).toString();

const KINDS = ["placed", "paid", "packed", "shipped", "returned"];
export function order(rand, shard, n) {
  const user = `customer-${Math.floor(rand() * 400)}`;
  const data = rand() < 0.02
    ? Uint8Array.from({ length: 48 }, () => rand() * 256)
    : JSON.stringify({ order: 100000 + n, event: KINDS[n % 5], cents: Math.floor(rand() * 20000), user, note: rand() < 0.1 ? "größer als erwartet ✓" : undefined });
  return { data, key: user, number: sequence(shard, n) };
}

/** Two minutes of a worker with four shards, on which several things go wrong. */
export function story(folder) {
  const shards = ["shardId-000000000000", "shardId-000000000001", "shardId-000000000002", "shardId-000000000003"];
  shards.forEach((shard, index) => {
    const rand = random(7 + index);
    const recording = new Recording(`${folder}/2026-11-25T10-00-0${index}Z-${4100 + index}.jsonl`, {
      started: `2026-11-25T10:00:0${index}.${120000 + index * 3300}Z`,
      command: ["./target/release/orders", "--table", "orders"],
    });
    recording.stderr(700, "INFO orders: starting, 4 connections to the table");
    recording.initialize(shard, index === 2 ? sequence(2, 0) : "TRIM_HORIZON");
    let n = 1;
    const batches = 58 + index * 4;
    for (let batch = 0; batch < batches; batch += 1) {
      const size = Math.floor(4 + rand() * 30);
      const lag = index === 1 ? Math.max(0, 60000 - batch * 700 + Math.sin(batch / 4) * 12000) : batch > 30 && batch < 40 ? (batch - 30) * 1500 : rand() < 0.2 ? 400 : 0;
      recording.batch((index === 3 && batch === 20 ? 41e6 : 3e5 + rand() * 14e5), Array.from({ length: size }, () => order(rand, index, n++)), Math.round(index === 3 && batch === 19 ? 8200 : lag));
      const slow = index === 0 && batch === 31 ? 9.4e6 : index === 1 && batch === 12 ? 2.1e6 : 0;
      if (slow) recording.stderr(slow * 0.4, "WARN orders: the table answers slowly, 3rd attempt");
      if (rand() < 0.12) recording.stderr(9000, `INFO orders: ${size} orders in batch ${batch}`);
      if (index === 2 && batch === 17) recording.event(4000, ">", "debug: total=42\n");
      if (index === 1 && batch >= 25 && batch < 28) {
        recording.checkpoint(22000, 180000, "ThrottlingException");
        recording.checkpoint(400000, 210000, batch === 27 ? "ThrottlingException" : null);
      } else if (!(index === 0 && batch > batches - 4)) {
        recording.checkpoint(slow * 0.6 + 15000 + rand() * 120000, 6000 + rand() * 30000);
      }
      recording.status(2500 + rand() * 9000, "processRecords");
    }
    if (index === 0) {
      recording.batch(600000, Array.from({ length: 12 }, () => order(rand, index, n++)), 2400);
      recording.stderr(30000, "ERROR orders: cannot write order 100871: table is read-only").event(10, "e", "thread 'main' panicked at src/main.rs:41");
      recording.end(2000, "exit status 1");
    } else if (index === 3) {
      recording.batch(600000, Array.from({ length: 9 }, () => order(rand, index, n++)), 0);
      recording.checkpoint(20000, 15000);
      recording.flush();
    } else {
      recording.daemon(900000, { action: "shutdownRequested" });
      recording.checkpoint(9000, 22000).status(1500, "shutdownRequested");
      recording.daemon(30000, { action: "leaseLost" }).status(900, "leaseLost");
      recording.end(1500, "exit status 0");
    }
    recording.close();
  });
}

/** One shard, as many messages. */
export function many(path, messages, records = 1, bytes = 20) {
  const rand = random(3);
  const recording = new Recording(path);
  recording.initialize("shardId-000000000000");
  let n = 1;
  const filler = "x".repeat(bytes);
  for (let index = 0; index < messages; index += 1) {
    recording.batch(2000 + rand() * 3000, Array.from({ length: records }, () => ({ data: filler, key: `key-${n % 97}`, number: sequence(0, n++) })), index % 5000 < 300 ? 900 : 0);
    if (index % 10 === 9) recording.checkpoint(300, 4000, index % 20000 === 9999 ? "ThrottlingException" : null);
    recording.status(200 + rand() * 2500, "processRecords");
  }
  recording.checkpoint(1000, 1000);
  recording.end(1000, "exit status 0");
  recording.close();
}

export const ATTACKS = [
  "</script><script>window.attacked=1</script>",
  "<img src=x onerror=window.attacked=2>",
  "<!--<script>",
  "]]><svg onload=window.attacked=3>",
  "\u202emoc.live\u202c\u0000\u001b[31m",
  "\"};window.attacked=4;//",
  "__proto__",
  "{{script}}",
];

/** Attacks wherever somebody else's text can be. */
export function hostile(path) {
  const recording = new Recording(path, { command: ["./app", ...ATTACKS] });
  recording.initialize(ATTACKS.join(""));
  ATTACKS.forEach((attack, index) => {
    recording.batch(90000, [{ data: attack, key: attack, number: String(index + 1) }], 0);
    recording.stderr(500, attack);
    recording.event(500, ">", `${attack}\n`);
    recording.checkpoint(500, 500, attack, attack);
    recording.event(10, "<", `{"action":${JSON.stringify(attack)}}\n`);
    recording.status(40000, "processRecords");
  });
  recording.event(1, "!", ATTACKS[0]).end(1000, ATTACKS[1]);
  recording.close();
}
