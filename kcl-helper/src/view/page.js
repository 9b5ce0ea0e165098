
"use strict";
(() => {
  // Text of the recordings is set by textContent and drawn by fillText alone: nothing is parsed as markup.
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const ACTION = 0, AT = 1, TOOK = 2, RECORDS = 3, BYTES = 4, LAG = 5;
  const lists = { message: "messages", checkpoint: "checkpoints", output: "output", note: "notes" };

  // ---- the data, with times from the beginning of the first recording --------------------------------
  const known = data.lanes.filter((lane) => lane.started !== null).map((lane) => lane.started);
  const origin = known.length ? known.reduce((a, b) => Math.min(a, b)) : null;
  const lanes = data.lanes.map((lane, index) => {
    lane.index = index;
    lane.offset = lane.started === null ? 0 : lane.started - origin;
    lane.name = lane.shard === null ? "no shard" : lane.shard;
    lane.details = new Map(lane.details);
    lane.slow = new Set(lane.anomalies.filter((it) => it[1] === "slow-batch").map((it) => it[2]));
    lane.lagMax = lane.messages.reduce((max, it) => Math.max(max, it[LAG] || 0), 0);
    return lane;
  });
  const anomalies = [];
  for (const lane of lanes) {
    lane.anomalies.forEach((row, index) => anomalies.push({ lane: lane.index, index, at: lane.offset + row[0], row }));
  }
  anomalies.sort((a, b) => a.at - b.at);
  const whole = { from: 0, to: 1 };
  for (const lane of lanes) whole.to = Math.max(whole.to, lane.offset + lane.length);
  const margin = whole.to * 0.02;
  whole.from -= margin;
  whole.to += margin;

  // ---- words ---------------------------------------------------------------------------------------
  // As kcl-helper escapes what must not be obeyed or cannot be seen.
  const harmful = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb]|[\u{e0000}-\u{e0fff}]/gu;
  const visible = (text) => text.replace(harmful, (char) => `\\u{${char.codePointAt(0).toString(16)}}`);
  const number = (value) => value.toLocaleString("en-US");
  const count = (value, noun, nouns = `${noun}s`) => `${number(value)} ${value === 1 ? noun : nouns}`;
  function duration(micros) {
    const seconds = Math.floor(micros / 1e6);
    if (micros < 1e3) return `${micros} µs`;
    if (micros < 1e6) return `${(Math.floor(micros / 100) / 10).toFixed(1)} ms`;
    if (micros < 6e7) return `${(Math.floor(micros / 1e5) / 10).toFixed(1)} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${seconds % 60}s`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)}h ${Math.floor(seconds / 60) % 60}m`;
    return `${Math.floor(seconds / 86400)}d ${Math.floor(seconds / 3600) % 24}h`;
  }
  function bytes(value) {
    if (value < 1024) return `${value} B`;
    const units = ["KiB", "MiB", "GiB"];
    let unit = -1;
    do { value /= 1024; unit += 1; } while (value >= 1024 && unit < 2);
    return `${value.toFixed(1)} ${units[unit]}`;
  }
  function clock(micros) {
    const date = new Date(micros / 1000);
    if (Number.isNaN(date.getTime())) return "an unknown time";
    return `${date.toISOString().slice(0, 23).replace("T", " ")} UTC`;
  }
  const since = (at) => `+${(at / 1e6).toFixed(6)} s`;
  const date = (lane, at) => (lane.started === null ? null : clock(lane.started + at));
  const moment = (lane, at) => [since(at), date(lane, at)].filter((it) => it !== null).join(" · ");

  // ---- what is selected ----------------------------------------------------------------------------
  let view = { ...whole };
  let selected = null; // { lane, kind, index }
  let anomaly = null; // the index in anomalies
  let matches = [];
  let match = -1;
  let payloads = "auto";
  let filter = null;

  const row = (it) => lanes[it.lane][lists[it.kind]][it.index];
  const timeOf = (it) => (it.kind === "message" ? row(it)[AT] : it.kind === "lane" ? 0 : row(it)[0]);
  function spanOf(it) {
    const lane = lanes[it.lane];
    if (it.kind === "lane") return [lane.offset, lane.offset + lane.length];
    const at = timeOf(it);
    let to = at;
    if (it.kind === "message") to = end(lane, row(it));
    if (it.kind === "checkpoint" && row(it)[1] !== null) to = at + row(it)[1];
    return [lane.offset + at, lane.offset + to];
  }
  const end = (lane, message) =>
    message[TOOK] !== null ? message[AT] + message[TOOK] : message[ACTION] === "unreadable" ? message[AT] : lane.length;

  // ---- drawing -------------------------------------------------------------------------------------
  const chart = $("chart"), overview = $("overview"), box = $("lanes"), tip = $("tip");
  const AXIS = 26, LANE = 104;
  const ROWS = { band: [26, 48], checkpoint: [51, 63], lag: [66, 84], output: [88, 97] };
  let width = 0, height = 0, gutter = 0, ratio = 1, colours = {};
  let queued = false;

  function readColours() {
    const style = getComputedStyle(document.documentElement);
    const names = ["card", "raised", "line", "text", "faint", "batch", "batch-text", "other", "open", "accepted", "refused", "lag", "lag-fill", "stderr", "stray", "anomaly", "match", "select", "band"];
    colours = {};
    for (const name of names) colours[name] = style.getPropertyValue(`--${name}`).trim();
    stripes = null;
  }
  let stripes = null;
  function hatch(context) {
    if (stripes) return stripes;
    const tile = document.createElement("canvas");
    tile.width = tile.height = 8;
    const paint = tile.getContext("2d");
    paint.strokeStyle = colours.open;
    paint.lineWidth = 2.4;
    for (const x of [-4, 4, 12]) {
      paint.beginPath();
      paint.moveTo(x - 4, 12);
      paint.lineTo(x + 8, 0);
      paint.stroke();
    }
    stripes = context.createPattern(tile, "repeat");
    return stripes;
  }
  function size(canvas, cssWidth, cssHeight) {
    const w = Math.max(1, Math.round(cssWidth * ratio)), h = Math.max(1, Math.round(cssHeight * ratio));
    if (canvas.width !== w || canvas.height !== h) {
      canvas.width = w;
      canvas.height = h;
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    return context;
  }
  function layout() {
    ratio = Math.min(window.devicePixelRatio || 1, 2);
    const total = AXIS + lanes.length * LANE;
    $("height").style.height = `${total}px`;
    width = box.clientWidth;
    const narrow = window.matchMedia("(max-width: 900px)").matches;
    height = Math.min(total, narrow ? Math.round(window.innerHeight * 0.62) : Math.max(box.clientHeight, 60));
    chart.hidden = lanes.length === 0;
    gutter = width > 620 ? 104 : 0;
    chart.style.width = `${width}px`;
    chart.style.height = `${height}px`;
    profile = null;
    draw();
  }
  function draw() {
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => {
      queued = false;
      drawChart();
      drawOverview();
    });
  }
  const X = (time) => gutter + ((time - view.from) / (view.to - view.from)) * (width - gutter);
  const T = (x) => view.from + ((x - gutter) / (width - gutter)) * (view.to - view.from);
  const laneTop = (index) => AXIS + index * LANE - box.scrollTop;

  // The first row at or after a time, of rows that are sorted by it.
  function lowerBound(rows, time, column) {
    let low = 0, high = rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle][column] < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  function step(span, room) {
    const wanted = span / Math.max(room, 1);
    const nice = [];
    for (let power = 1; power <= 1e6; power *= 10) nice.push(power, 2 * power, 5 * power);
    for (const seconds of [10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400]) nice.push(seconds * 1e6);
    for (let days = 2; days < 1e6; days *= 2) nice.push(days * 864e8);
    return nice.find((it) => it >= wanted) || nice[nice.length - 1];
  }
  function tick(time, by) {
    if (time === 0) return "0";
    const sign = time < 0 ? "−" : "";
    const t = Math.abs(time);
    if (by < 1e3) return `${sign}${(t / 1e3).toFixed(by < 10 ? 3 : by < 100 ? 2 : 1)} ms`;
    if (by < 1e6 && t < 1e6) return `${sign}${Math.round(t / 1e3)} ms`;
    const digits = by >= 1e6 ? 0 : by >= 1e5 ? 1 : by >= 1e4 ? 2 : 3;
    if (t < 12e7 && by < 6e7) return `${sign}${(t / 1e6).toFixed(digits)} s`;
    const seconds = t / 1e6, h = Math.floor(seconds / 3600), m = Math.floor(seconds / 60) % 60, s = seconds % 60;
    const pad = (value) => String(value).padStart(2, "0");
    if (h >= 48) return `${sign}${Math.floor(h / 24)}d ${pad(h % 24)}:${pad(m)}`;
    return `${sign}${h}:${pad(m)}:${s.toFixed(digits).padStart(digits ? 3 + digits : 2, "0")}`;
  }

  let dense = false;
  // Which part of the view a lane takes.
  function share(lane) {
    const from = Math.max(view.from, lane.offset), to = Math.min(view.to, lane.offset + lane.length);
    return Math.max(to - from, 0) / (view.to - view.from);
  }
  function drawChart() {
    const c = size(chart, width, height);
    c.clearRect(0, 0, width, height);
    c.textBaseline = "middle";
    const first = Math.max(0, Math.floor((box.scrollTop - AXIS) / LANE));
    const last = Math.min(lanes.length - 1, Math.floor((box.scrollTop + height) / LANE));
    // Dots that would overlap in one lane are lines in all.
    const many = (lane) => lowerBound(lane.checkpoints, view.to - lane.offset, 0) - lowerBound(lane.checkpoints, view.from - lane.offset, 0);
    dense = lanes.slice(first, last + 1).some((lane) => many(lane) * 9 > (width - gutter) * share(lane));
    drawAxis(c, false);
    for (let index = first; index <= last; index += 1) drawLane(c, lanes[index], laneTop(index));
    drawAxis(c, true);
  }
  // The lines are behind the lanes, and the numbers before what is scrolled.
  function drawAxis(c, numbers) {
    if (numbers) {
      c.fillStyle = colours.card;
      c.fillRect(0, 0, width, AXIS);
    }
    const by = step(view.to - view.from, (width - gutter) / 96);
    c.font = "11px system-ui, sans-serif";
    c.textAlign = "center";
    for (let time = Math.ceil(view.from / by) * by; time <= view.to; time += by) {
      const x = Math.round(X(time)) + 0.5;
      c.strokeStyle = colours.line;
      c.lineWidth = 1;
      c.beginPath();
      c.moveTo(x, AXIS - 5);
      c.lineTo(x, numbers ? AXIS : height);
      if (x > gutter) c.stroke();
      c.fillStyle = colours.faint;
      if (numbers && x > gutter + 14 && x < width - 20) c.fillText(tick(time, by), x, AXIS / 2 - 2);
    }
    c.strokeStyle = colours.line;
    c.beginPath();
    c.moveTo(0, AXIS - 0.5);
    c.lineTo(width, AXIS - 0.5);
    c.stroke();
  }
  function fitText(c, text, room) {
    if (c.measureText(text).width <= room) return text;
    let low = 0, high = Math.min(text.length, Math.ceil(room / 3));
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (c.measureText(`${text.slice(0, middle)}…`).width <= room) low = middle;
      else high = middle - 1;
    }
    return low > 0 ? `${text.slice(0, low)}…` : "";
  }
  function drawLane(c, lane, top) {
    const current = selected && selected.lane === lane.index;
    if (current) {
      c.fillStyle = colours.batch;
      c.fillRect(0, top, 3, LANE - 1);
    }
    c.fillStyle = colours.card;
    c.fillRect(current ? 3 : 0, top, width, 21);
    c.strokeStyle = colours.line;
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(0, top + LANE - 0.5);
    c.lineTo(width, top + LANE - 0.5);
    c.stroke();

    // Its name, what became of it, and its file.
    let x = 10;
    c.textAlign = "left";
    c.font = "600 13px system-ui, sans-serif";
    c.fillStyle = colours.text;
    const name = fitText(c, visible(lane.name), Math.min(width * 0.6, 420));
    c.fillText(name, x, top + 14);
    x += c.measureText(name).width + 10;
    c.font = "12px system-ui, sans-serif";
    const ended = lane.end === null ? "no end recorded" : visible(lane.end);
    c.fillStyle = lane.end === "exit status 0" ? colours.accepted : lane.end === null ? colours.faint : colours.refused;
    const outcome = fitText(c, ended, Math.max(0, width - x - 10));
    c.fillText(outcome, x, top + 14);
    x += c.measureText(outcome).width + 12;
    c.fillStyle = colours.faint;
    const tags = `${lane.redacted ? "redacted · " : ""}${count(lane.totals.records, "record")} · ${visible(lane.file)}`;
    c.fillText(fitText(c, tags, Math.max(0, width - x - 10)), x, top + 14);
    if (gutter) {
      c.font = "11px system-ui, sans-serif";
      for (const [label, key] of [["messages", "band"], ["checkpoints", "checkpoint"], ["lag", "lag"], ["output", "output"]]) {
        const most = key === "lag" && lane.lagMax > 0 ? ` ≤ ${duration(lane.lagMax * 1000)}` : "";
        c.fillText(fitText(c, label + most, gutter - 14), 10, top + (ROWS[key][0] + ROWS[key][1]) / 2);
      }
    }

    c.save();
    c.beginPath();
    c.rect(gutter, top + 20, width - gutter, LANE - 21);
    c.clip();
    const x0 = X(lane.offset), x1 = Math.max(X(lane.offset + lane.length), x0 + 1);
    c.fillStyle = colours.band;
    c.fillRect(x0, top + ROWS.band[0], x1 - x0, ROWS.band[1] - ROWS.band[0]);
    drawLag(c, lane, top);
    drawMessages(c, lane, top);
    drawCheckpoints(c, lane, top);
    drawOutput(c, lane, top);
    c.fillStyle = lane.end === "exit status 0" ? colours.accepted : lane.end === null ? colours.faint : colours.refused;
    if (lane.end !== null) c.fillRect(x1 - 1, top + 22, 2, LANE - 28);
    drawMarks(c, lane, top);
    c.restore();
  }
  function drawMessages(c, lane, top) {
    const rows = lane.messages;
    const [y0, y1] = ROWS.band;
    const from = view.from - lane.offset, to = view.to - lane.offset;
    // Before the first that begins in the view, one may reach into it.
    let index = Math.max(0, lowerBound(rows, from, AT) - 1);
    const scale = (width - gutter) / (view.to - view.from);
    let column = -1, busy = 0, colour = "";
    const flush = () => {
      if (column < 0) return;
      c.globalAlpha = 0.35 + 0.65 * Math.min(1, busy);
      c.fillStyle = colours[colour];
      c.fillRect(column, top + y0, 1, y1 - y0);
      c.globalAlpha = 1;
      column = -1;
    };
    for (; index < rows.length; index += 1) {
      const message = rows[index];
      if (message[AT] > to) break;
      const finish = end(lane, message);
      if (finish < from) continue;
      const kind = message[ACTION] === "processRecords" ? "batch" : message[ACTION] === "unreadable" ? "refused" : "other";
      const a = X(lane.offset + message[AT]), wide = (finish - message[AT]) * scale;
      if (wide < 1.5) {
        // Several in one column of pixels: the more of it is busy, the stronger.
        const at = Math.floor(a);
        if (at !== column) {
          flush();
          column = at;
          busy = 0;
          colour = kind;
        }
        busy += wide;
        if (kind !== "batch") colour = kind;
        continue;
      }
      flush();
      const open = message[TOOK] === null && kind !== "refused";
      const left = Math.max(a, gutter - 2), right = Math.min(a + wide, width + 2);
      const shown = Math.max(right - left - (wide > 4 ? 1 : 0), 1);
      c.fillStyle = open ? hatch(c) : colours[kind];
      c.beginPath();
      if (shown > 6 && c.roundRect) c.roundRect(left, top + y0, shown, y1 - y0, 3);
      else c.rect(left, top + y0, shown, y1 - y0);
      c.fill();
      if (shown > 44) {
        c.font = "11px system-ui, sans-serif";
        c.fillStyle = open ? colours.text : colours["batch-text"];
        const label = kind === "batch" ? `${count(message[RECORDS], "record")}` : message[ACTION];
        c.fillText(fitText(c, label, shown - 12), left + 6, top + (y0 + y1) / 2 + 0.5);
      }
      if (lane.slow.has(index)) {
        c.fillStyle = colours.anomaly;
        c.fillRect(left, top + y1 - 3, shown, 3);
      }
    }
    flush();
    if (lane.left_out.from !== null) {
      const a = Math.max(X(lane.offset + lane.left_out.from), gutter), b = X(lane.offset + lane.length);
      c.fillStyle = hatch(c);
      c.globalAlpha = 0.35;
      c.fillRect(a, top + y0, b - a, y1 - y0);
      c.globalAlpha = 1;
      c.font = "11px system-ui, sans-serif";
      c.fillStyle = colours.text;
      c.fillText(fitText(c, `${count(lane.left_out.messages, "message")} not drawn`, b - a - 12), a + 6, top + (y0 + y1) / 2);
    }
  }
  function drawCheckpoints(c, lane, top) {
    const rows = lane.checkpoints;
    const [y0, y1] = ROWS.checkpoint;
    const y = top + (y0 + y1) / 2;
    const from = view.from - lane.offset, to = view.to - lane.offset;
    let last = -10;
    for (let index = Math.max(0, lowerBound(rows, from, 0) - 1); index < rows.length && rows[index][0] <= to; index += 1) {
      const [at, took, , error] = rows[index];
      const x = X(lane.offset + at), refused = error !== null;
      if (!refused && x - last < 1.5) continue;
      last = x;
      const finish = X(lane.offset + at + (took || 0));
      c.fillStyle = c.strokeStyle = refused ? colours.refused : took === null ? colours.open : colours.accepted;
      if (finish - x > 8) {
        c.fillRect(x, y - 1, finish - x, 2);
      }
      c.beginPath();
      if (refused) {
        c.moveTo(x, y - 6); c.lineTo(x + 6, y); c.lineTo(x, y + 6); c.lineTo(x - 6, y);
      } else if (dense && took !== null) {
        c.rect(x - 0.75, y - 5, 1.5, 10);
      } else {
        c.arc(x, y, 4, 0, 7);
      }
      if (took === null) {
        c.lineWidth = 1.5;
        c.stroke();
      } else {
        c.fill();
      }
    }
  }
  function drawLag(c, lane, top) {
    if (lane.lagMax === 0) return;
    const [y0, y1] = ROWS.lag;
    const from = view.from - lane.offset, to = view.to - lane.offset;
    const base = top + y1;
    const Y = (lag) => base - (lag / lane.lagMax) * (y1 - y0);
    const points = [];
    let column = null;
    const rows = lane.messages;
    for (let index = Math.max(0, lowerBound(rows, from, AT) - 2); index < rows.length; index += 1) {
      const [, at, , , , lag] = rows[index];
      if (lag === null) continue;
      const x = X(lane.offset + at), y = Y(lag);
      // Of a column of pixels the largest.
      if (column && Math.floor(x) === Math.floor(column[0])) {
        if (y < column[1]) column[1] = y;
      } else {
        column = [x, y];
        points.push(column);
      }
      if (at > to) break;
    }
    if (points.length === 0) return;
    c.beginPath();
    c.moveTo(points[0][0], base);
    let before = base;
    for (const [x, y] of points) {
      c.lineTo(x, before);
      c.lineTo(x, y);
      before = y;
    }
    const finish = Math.max(points[points.length - 1][0], Math.min(X(lane.offset + lane.length), width));
    c.lineTo(finish, before);
    c.lineTo(finish, base);
    c.closePath();
    c.fillStyle = colours["lag-fill"];
    c.fill();
    c.strokeStyle = colours.lag;
    c.lineWidth = 1.2;
    c.stroke();
  }
  function drawOutput(c, lane, top) {
    const [y0, y1] = ROWS.output;
    const from = view.from - lane.offset, to = view.to - lane.offset;
    let last = -10;
    for (const stray of [false, true]) {
      c.fillStyle = colours[stray ? "stray" : "stderr"];
      for (let index = lowerBound(lane.output, from, 0); index < lane.output.length; index += 1) {
        const it = lane.output[index];
        if (it[0] > to) break;
        const x = X(lane.offset + it[0]);
        if (it[1] !== stray || (x - last < 1 && x >= last)) continue;
        last = x;
        c.fillRect(x - 1, top + y0, 2.5, y1 - y0);
      }
    }
    c.fillStyle = colours.faint;
    for (const [at] of lane.notes) c.fillRect(X(lane.offset + at) - 0.5, top + y0 - 2, 1, y1 - y0 + 4);
  }
  function drawMarks(c, lane, top) {
    for (const [at, kind, , , took] of lane.anomalies) {
      const x = X(lane.offset + at);
      if (kind === "silence") {
        const y = top + (ROWS.band[0] + ROWS.band[1]) / 2;
        c.strokeStyle = colours.anomaly;
        c.lineWidth = 1.5;
        c.setLineDash([5, 4]);
        c.beginPath();
        c.moveTo(Math.max(x, gutter), y);
        c.lineTo(Math.min(X(lane.offset + at + took), width), y);
        c.stroke();
        c.setLineDash([]);
      }
      if (x < gutter - 6 || x > width + 6) continue;
      c.fillStyle = colours.anomaly;
      c.beginPath();
      c.moveTo(x - 5, top + 20);
      c.lineTo(x + 5, top + 20);
      c.lineTo(x, top + 27);
      c.fill();
    }
    let last = -10;
    c.fillStyle = colours.match;
    for (const it of matches) {
      if (it.lane !== lane.index || it.kind === "lane") continue;
      const x = X(lane.offset + timeOf(it));
      if (x < gutter || x > width || Math.abs(x - last) < 1) continue;
      last = x;
      c.fillRect(x - 1, top + 22, 2, LANE - 28);
    }
    if (selected && selected.lane === lane.index && selected.kind !== "lane") {
      const [from, to] = spanOf(selected);
      const rows = ROWS[selected.kind === "message" ? "band" : selected.kind === "checkpoint" ? "checkpoint" : "output"];
      const a = Math.max(X(from), gutter - 9), b = Math.min(Math.max(X(to), a + 2), width + 9);
      const round = selected.kind === "message" ? 2 : 7;
      c.strokeStyle = colours.select;
      c.lineWidth = 2;
      c.strokeRect(a - round, top + rows[0] - 2, b - a + 2 * round, rows[1] - rows[0] + 4);
    }
  }

  // How much is going on in each column of the overview.
  let profile = null;
  function drawOverview() {
    const w = overview.clientWidth, h = overview.clientHeight;
    const c = size(overview, w, h);
    c.clearRect(0, 0, w, h);
    const span = whole.to - whole.from;
    const columns = Math.max(1, Math.floor(w / 2));
    if (!profile || profile.length !== columns) {
      profile = new Float64Array(columns);
      for (const lane of lanes) {
        for (const message of lane.messages) {
          const at = Math.floor(((lane.offset + message[AT] - whole.from) / span) * columns);
          profile[Math.min(Math.max(at, 0), columns - 1)] += 1 + message[RECORDS];
        }
      }
    }
    let most = 1;
    for (const value of profile) most = Math.max(most, value);
    c.fillStyle = colours.batch;
    c.globalAlpha = 0.75;
    profile.forEach((value, index) => {
      if (value === 0) return;
      const tall = Math.max(2, (Math.log1p(value) / Math.log1p(most)) * (h - 14));
      c.fillRect((index * w) / columns, h - 3 - tall, Math.max(w / columns - 0.5, 1), tall);
    });
    c.globalAlpha = 1;
    const x = (time) => ((time - whole.from) / span) * w;
    c.fillStyle = colours.anomaly;
    for (const it of anomalies) c.fillRect(x(it.at) - 1, 2, 2, 6);
    const a = x(view.from), b = Math.max(x(view.to), a + 3);
    c.fillStyle = colours.text;
    c.globalAlpha = 0.12;
    c.fillRect(0, 0, a, h);
    c.fillRect(b, 0, w - b, h);
    c.globalAlpha = 1;
    c.strokeStyle = colours.faint;
    c.lineWidth = 1.5;
    c.strokeRect(a + 0.75, 0.75, Math.max(b - a - 1.5, 2), h - 1.5);
  }

  // ---- moving --------------------------------------------------------------------------------------
  const LEAST = 20; // microseconds
  function show(from, to) {
    const most = whole.to - whole.from;
    const span = Math.min(Math.max(to - from, LEAST), most);
    let start = (from + to - span) / 2;
    start = Math.min(Math.max(start, whole.from), whole.to - span);
    view = { from: start, to: start + span };
    draw();
  }
  function zoom(factor, at) {
    const around = at === undefined ? (view.from + view.to) / 2 : at;
    const span = Math.min(Math.max((view.to - view.from) * factor, LEAST), whole.to - whole.from);
    const part = (around - view.from) / (view.to - view.from);
    show(around - part * span, around - part * span + span);
  }
  function pan(part) {
    const by = (view.to - view.from) * part;
    show(view.from + by, view.to + by);
  }
  function zoomTo(it, part) {
    const [from, to] = spanOf(it);
    const span = Math.max((to - from) / part, LEAST * 5);
    show((from + to - span) / 2, (from + to + span) / 2);
  }
  // Brings something into view, and zooms in only if it could not be told from its neighbours.
  function reveal(it) {
    const top = AXIS + it.lane * LANE;
    if (top - AXIS < box.scrollTop) box.scrollTop = top - AXIS;
    else if (top + LANE > box.scrollTop + height) box.scrollTop = top + LANE - height;
    if (it.kind === "lane") return;
    const [from, to] = spanOf(it);
    const wide = view.to - view.from;
    if (to - from > wide) zoomTo(it, 0.8);
    else if (from < view.from || to > view.to) show((from + to - wide) / 2, (from + to + wide) / 2);
    if (it.kind === "message" && to > from && ((to - from) / (view.to - view.from)) * (width - gutter) < 3) zoomTo(it, 0.05);
  }
  function select(it, keepAnomaly) {
    selected = it;
    if (!keepAnomaly) anomaly = null;
    if (it) reveal(it);
    renderDetails();
    markAnomaly();
    draw();
  }
  function selectAnomaly(index) {
    if (index < 0 || index >= anomalies.length) return;
    anomaly = index;
    const { lane, at, row: found } = anomalies[index];
    const took = found[4] || 0;
    if (found[2] !== null) {
      select({ lane, kind: "message", index: found[2] }, true);
    } else {
      select({ lane, kind: "lane", index: 0 }, true);
      const wide = view.to - view.from;
      if (took > wide) show(at - took * 0.1, at + took * 1.1);
      else if (at < view.from || at + took > view.to) show(at + took / 2 - wide / 2, at + took / 2 + wide / 2);
    }
  }
  function nextAnomaly(by) {
    const shown = anomalies.map((_, index) => index).filter((index) => isShown(anomalies[index]));
    if (shown.length === 0) return;
    const place = shown.indexOf(anomaly);
    const next = place < 0 ? (by > 0 ? 0 : shown.length - 1) : (place + by + shown.length) % shown.length;
    selectAnomaly(shown[next]);
  }
  function nextInLane(by) {
    if (!selected || selected.kind === "lane") {
      const lane = selected ? selected.lane : 0;
      const rows = lanes[lane] ? lanes[lane].messages : [];
      if (rows.length) select({ lane, kind: "message", index: by > 0 ? 0 : rows.length - 1 });
      return;
    }
    const rows = lanes[selected.lane][lists[selected.kind]];
    const index = Math.min(Math.max(selected.index + by, 0), rows.length - 1);
    select({ ...selected, index });
  }
  function nextLane(by) {
    if (lanes.length === 0) return;
    if (!selected) return select({ lane: 0, kind: "lane", index: 0 });
    const lane = Math.min(Math.max(selected.lane + by, 0), lanes.length - 1);
    if (lane === selected.lane) return;
    const time = selected.kind === "lane" ? null : lanes[selected.lane].offset + timeOf(selected) - lanes[lane].offset;
    const rows = lanes[lane].messages;
    if (time === null || rows.length === 0) return select({ lane, kind: "lane", index: 0 });
    select({ lane, kind: "message", index: nearest(rows, time, AT) });
  }
  function nearest(rows, time, column) {
    const after = lowerBound(rows, time, column);
    if (after === 0) return 0;
    if (after === rows.length) return after - 1;
    return rows[after][column] - time < time - rows[after - 1][column] ? after : after - 1;
  }

  // ---- what is under the pointer -------------------------------------------------------------------
  function hit(x, y) {
    const index = Math.floor((y + box.scrollTop - AXIS) / LANE);
    const lane = lanes[index];
    if (y < AXIS || !lane) return null;
    const inLane = y - laneTop(index);
    const time = T(x) - lane.offset;
    const reach = (8 / (width - gutter)) * (view.to - view.from);
    const near = (kind, column) => {
      const rows = lane[lists[kind]];
      if (rows.length === 0) return null;
      const at = nearest(rows, time, column);
      return Math.abs(rows[at][column] - time) <= reach ? { lane: index, kind, index: at } : null;
    };
    if (x >= gutter) {
      if (inLane >= 86) {
        const found = near("output", 0) || near("note", 0);
        if (found) return found;
      } else if (inLane >= 49 && inLane < 65) {
        const found = near("checkpoint", 0);
        if (found) return found;
      } else if (inLane >= 20) {
        const rows = lane.messages;
        const before = lowerBound(rows, time + 1, AT) - 1;
        if (before >= 0 && end(lane, rows[before]) >= time) return { lane: index, kind: "message", index: before };
        const found = near("message", AT);
        if (found) return found;
      }
    }
    return { lane: index, kind: "lane", index: 0 };
  }
  function describe(it) {
    const lane = lanes[it.lane];
    if (it.kind === "lane") return `${visible(lane.name)}\n${visible(lane.file)}`;
    const found = row(it);
    const at = moment(lane, timeOf(it));
    if (it.kind === "message") {
      const parts = [`${found[ACTION]} · message ${it.index}`];
      if (found[ACTION] === "processRecords") parts.push(`${count(found[RECORDS], "record")} · ${bytes(found[BYTES])}${found[LAG] === null ? "" : ` · lag ${duration(found[LAG] * 1000)}`}`);
      if (found[ACTION] !== "unreadable") parts.push(found[TOOK] === null ? "not answered" : `answered in ${duration(found[TOOK])}`);
      return [...parts, at].join("\n");
    }
    if (it.kind === "checkpoint") return `checkpoint ${outcome(found)}\n${at}`;
    if (it.kind === "note") return `${visible(found[1])}\n${at}`;
    return `${found[1] ? "stdout, not a message" : "stderr"}: ${visible(found[2].slice(0, 200))}\n${at}`;
  }
  const outcome = ([, took, position, error]) =>
    `${position === null ? "all delivered" : visible(position)}: ${error !== null ? visible(error) : took === null ? "not answered" : "accepted"}${took === null ? "" : ` after ${duration(took)}`}`;

  const pointers = new Map();
  let dragged = false, pinch = 0;
  const place = (event) => {
    const area = chart.getBoundingClientRect();
    return [event.clientX - area.left, event.clientY - area.top];
  };
  chart.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    chart.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, place(event));
    dragged = false;
    pinch = 0;
    tip.hidden = true;
  });
  chart.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    const before = pointers.get(event.pointerId);
    if (!before) {
      const found = hit(x, y);
      if (!found) { tip.hidden = true; return; }
      tip.textContent = describe(found);
      tip.hidden = false;
      const area = tip.getBoundingClientRect();
      tip.style.left = `${Math.max(8, Math.min(event.clientX + 14, window.innerWidth - area.width - 8))}px`;
      tip.style.top = `${event.clientY + 18 + area.height > window.innerHeight ? event.clientY - area.height - 10 : event.clientY + 18}px`;
      return;
    }
    if (pointers.size === 2) {
      pointers.set(event.pointerId, [x, y]);
      const [[ax], [bx]] = [...pointers.values()];
      const apart = Math.max(Math.abs(ax - bx), 10);
      if (pinch) zoom(pinch / apart, T((ax + bx) / 2));
      pinch = apart;
      dragged = true;
      return;
    }
    if (!dragged && Math.abs(x - before[0]) < 4) return;
    dragged = true;
    chart.classList.add("dragging");
    pan((before[0] - x) / (width - gutter));
    pointers.set(event.pointerId, [x, y]);
  });
  const release = (event) => {
    const was = pointers.delete(event.pointerId);
    chart.classList.remove("dragging");
    if (!was || dragged || event.type !== "pointerup") return;
    box.focus({ preventScroll: true });
    const found = hit(...place(event));
    if (found) select(found);
  };
  chart.addEventListener("pointerup", release);
  chart.addEventListener("pointercancel", release);
  chart.addEventListener("pointerleave", () => { tip.hidden = true; });
  chart.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      zoom(Math.exp(event.deltaY * (event.deltaMode ? 0.05 : 0.0025)), T(place(event)[0]));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      pan((event.deltaX || event.deltaY) / (width - gutter));
    }
  }, { passive: false });
  chart.addEventListener("dblclick", (event) => zoom(0.4, T(place(event)[0])));
  const jump = (event) => {
    const area = overview.getBoundingClientRect();
    const time = whole.from + ((event.clientX - area.left) / area.width) * (whole.to - whole.from);
    const wide = view.to - view.from;
    show(time - wide / 2, time + wide / 2);
  };
  overview.addEventListener("pointerdown", (event) => { overview.setPointerCapture(event.pointerId); jump(event); });
  overview.addEventListener("pointermove", (event) => { if (event.buttons) jump(event); });
  box.addEventListener("scroll", draw);

  // ---- panes ---------------------------------------------------------------------------------------
  function make(tag, properties, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties || {})) {
      if (name.startsWith("aria-")) element.setAttribute(name, value);
      else element[name] = value;
    }
    element.append(...children);
    return element;
  }
  function marked(text) {
    const shown = visible(text);
    const query = $("query").value.trim().toLowerCase();
    const parts = document.createDocumentFragment();
    if (!query) { parts.append(shown); return parts; }
    const low = shown.toLowerCase();
    // Some letters change their length in lower case: then nothing is marked.
    if (low.length !== shown.length) { parts.append(shown); return parts; }
    let from = 0;
    for (let at = low.indexOf(query); at >= 0 && from < 1e5; at = low.indexOf(query, from)) {
      parts.append(shown.slice(from, at), make("mark", { textContent: shown.slice(at, at + query.length) }));
      from = at + query.length;
    }
    parts.append(shown.slice(from));
    return parts;
  }
  function facts(rows) {
    const list = make("dl", { className: "facts" });
    for (const [name, value, mono] of rows) {
      if (value === null || value === undefined) continue;
      const shown = make("dd", { className: mono ? "mono" : "" });
      shown.append(value instanceof Node ? value : String(value));
      list.append(make("dt", { textContent: name }), shown);
    }
    return list;
  }
  function renderDetails() {
    const pane = $("details");
    pane.replaceChildren();
    pane.scrollTop = 0;
    const found = anomaly === null ? null : anomalies[anomaly];
    if (found) {
      const [, kind, , text] = found.row;
      pane.append(make("h2", { textContent: kind }), make("p", {}, marked(text)), make("p", { className: "why", textContent: data.why[kind] || "" }));
      if (selected) pane.append(make("h3", { textContent: selected.kind === "lane" ? "The recording" : "The message" }));
    }
    if (!selected) {
      if (!found) renderNothing(pane);
      return;
    }
    const lane = lanes[selected.lane];
    if (selected.kind === "message") renderMessage(pane, lane);
    else if (selected.kind === "checkpoint") renderCheckpoint(pane, lane);
    else if (selected.kind === "output") renderOutput(pane, lane);
    else if (selected.kind === "note") pane.append(make("h2", {}, marked(row(selected)[1])), facts([["recording", marked(lane.file)], ["time", moment(lane, timeOf(selected))]]));
    else renderLane(pane, lane);
  }
  function renderNothing(pane) {
    pane.append(
      make("h2", { textContent: "Select a batch, a checkpoint or a line of output" }),
      make("p", { className: "faint", textContent: "Click in a lane, or press the arrow keys. n goes to the next anomaly, / searches, ? lists all keys." }),
    );
    const warnings = [];
    if (data.left_out) warnings.push(`${count(data.left_out, "older recording")} of the folder: not on this page.`);
    for (const lane of lanes) {
      const out = lane.left_out, parts = [];
      if (out.messages) parts.push(`${count(out.messages, "message")}`);
      if (out.checkpoints) parts.push(count(out.checkpoints, "checkpoint"));
      if (out.output_lines) parts.push(`${count(out.output_lines, "line")} of output`);
      if (out.details) parts.push(`the records of ${count(out.details, "message")}`);
      if (out.anomalies) parts.push(count(out.anomalies, "anomaly", "anomalies"));
      if (parts.length) warnings.push(`${visible(lane.name)}: ${parts.join(", ")}.`);
    }
    if (warnings.length) {
      pane.append(make("h3", { textContent: "Left out, so that the page stays usable; the totals count all" }));
      const list = make("div", { className: "warn", id: "left-out" });
      for (const text of warnings) list.append(make("p", { textContent: text }));
      pane.append(list);
    }
  }
  function renderLane(pane, lane) {
    const t = lane.totals;
    pane.append(make("h2", {}, marked(lane.name)));
    pane.append(facts([
      ["recording", marked(lane.file)],
      ["command", make("span", { className: "mono" }, marked(lane.command))],
      ["started", lane.started === null ? "unknown" : clock(lane.started)],
      ["length", duration(lane.length)],
      ["end", lane.end === null ? "not recorded" : marked(lane.end)],
      ["redacted", lane.redacted ? "yes: lengths and hashes stand for payloads, keys and other texts" : null],
      ["batches", `${number(t.batches)} with ${count(t.records, "record")}, ${bytes(t.payload_bytes)}`],
      ["batch time", t.batch_median === null ? null : `median ${duration(t.batch_median)}, 99 % ${duration(t.batch_p99)}, longest ${duration(t.batch_max)}`],
      ["checkpoints", `${number(t.checkpoints)}: ${number(t.accepted)} accepted, ${number(t.refused)} refused`],
      ["lag", t.lag_last === null ? null : `${duration(t.lag_last * 1000)} at the end, ${duration(t.lag_max * 1000)} at most`],
      ["output", `${count(t.stderr_lines, "line")} on stderr, ${count(t.stray_lines, "stray line")} on stdout`],
      ["recorded by", `kcl-helper ${visible(lane.recorder)}`],
    ]));
  }
  function renderCheckpoint(pane, lane) {
    const [, took, position, error, message] = row(selected);
    pane.append(make("h2", { textContent: error !== null ? "Refused checkpoint" : took === null ? "Checkpoint without an answer" : "Accepted checkpoint" }));
    pane.append(facts([
      ["shard", marked(lane.name)],
      ["requested", since(timeOf(selected))],
      ["", date(lane, timeOf(selected))],
      ["answered", took === null ? "no" : `after ${duration(took)}`],
      ["position", position === null ? "all records delivered so far" : marked(position), position !== null],
      ["error", error === null ? null : marked(error)],
    ]));
    if (message !== null) {
      const button = make("button", { type: "button", textContent: `Message ${message}` });
      button.addEventListener("click", () => select({ lane: selected.lane, kind: "message", index: message }));
      pane.append(make("div", { className: "bar" }, button));
    }
  }
  function renderOutput(pane, lane) {
    const [, stray, text, more, unfinished] = row(selected);
    pane.append(make("h2", { textContent: stray ? "stdout, not a message" : "stderr" }));
    pane.append(facts([["shard", marked(lane.name)], ["time", since(timeOf(selected))], ["", date(lane, timeOf(selected))], ["line end", unfinished ? "none: the stream or the recording ended before" : null]]));
    pane.append(make("pre", {}, marked(text)));
    if (more) pane.append(make("p", { className: "faint", textContent: `and ${bytes(more)} more` }));
    // What was said around it.
    const around = make("pre", {});
    const from = Math.max(0, selected.index - 6);
    lane.output.slice(from, selected.index + 7).forEach((it, offset) => {
      const line = make("span", {}, `${from + offset === selected.index ? "▸ " : "  "}${visible(it[2].slice(0, 300))}\n`);
      around.append(line);
    });
    pane.append(make("h3", { textContent: "Around it" }), around);
  }
  function renderMessage(pane, lane) {
    const it = row(selected), { index } = selected;
    pane.append(make("h2", { textContent: it[ACTION] === "unreadable" ? "Unreadable message" : it[ACTION] }));
    const details = lane.details.get(index);
    pane.append(facts([
      ["shard", marked(lane.name)],
      ["message", number(index)],
      ["delivered", since(it[AT])],
      ["", date(lane, it[AT])],
      ["answered", it[ACTION] === "unreadable" ? null : it[TOOK] === null ? "no" : `after ${duration(it[TOOK])}`],
      ["records", it[ACTION] === "processRecords" ? number(it[RECORDS]) : null],
      ["line", bytes(it[BYTES])],
      ["lag", it[LAG] === null ? null : duration(it[LAG] * 1000)],
    ]));
    const asked = [];
    lane.checkpoints.forEach((checkpoint, at) => { if (checkpoint[4] === index && asked.length < 200) asked.push(at); });
    if (asked.length) {
      pane.append(make("h3", { textContent: "Checkpoints" }));
      for (const at of asked) {
        const button = make("button", { type: "button", className: "row" }, outcome(lane.checkpoints[at]));
        button.addEventListener("click", () => select({ lane: lane.index, kind: "checkpoint", index: at }));
        pane.append(button);
      }
    }
    if (!details) {
      if (it[RECORDS]) pane.append(make("p", { className: "warn", textContent: "What this message says is not on the page: the recordings have more than it can hold." }));
      return;
    }
    if (details.text) pane.append(make("pre", {}, marked(details.text)));
    const records = details.records || [];
    if (records.length === 0) return;
    pane.append(make("h3", { textContent: "Records" }));
    const modes = make("div", { className: "chips", id: "payloads" });
    for (const mode of ["auto", "text", "json", "hex"]) {
      const button = make("button", { type: "button", textContent: mode === "json" ? "JSON" : mode, "aria-pressed": String(payloads === mode) });
      button.addEventListener("click", () => setPayloads(mode));
      modes.append(button);
    }
    pane.append(modes);
    const rest = make("button", { type: "button" });
    let shown = 0;
    const more = () => {
      for (const record of records.slice(shown, shown + 50)) pane.insertBefore(renderRecord(record), rest);
      shown = Math.min(shown + 50, records.length);
      rest.textContent = `Show more of ${count(records.length, "record")}`;
      rest.hidden = shown >= records.length;
    };
    pane.append(rest);
    rest.addEventListener("click", more);
    more();
    if (records.length < it[RECORDS]) pane.append(make("p", { className: "warn", textContent: `${count(it[RECORDS] - records.length, "more record")} of this batch: not on the page.` }));
  }
  function setPayloads(mode) {
    payloads = mode;
    const top = $("details").scrollTop;
    renderDetails();
    $("details").scrollTop = top;
  }
  function renderRecord(record) {
    const arrival = record.arrival === null ? "" : ` · ${clock(record.arrival * 1000)}`;
    const element = make("div", { className: "record" });
    element.append(
      make("div", { className: "key" }, marked(record.key)),
      make("div", { className: "where" }, make("span", { className: "mono" }, marked(record.position)), `${arrival} · ${bytes(record.bytes)}`),
    );
    const [text, hex] = payload(record);
    element.append(make("pre", { className: hex ? "hex" : "" }, hex ? text : marked(text)));
    const held = raw(record).length;
    if (held < record.bytes) element.append(make("p", { className: "faint", textContent: `${bytes(record.bytes - held)} more: not on the page` }));
    return element;
  }
  function raw(record) {
    if (record.data.text !== undefined) return new TextEncoder().encode(record.data.text);
    return Uint8Array.from(atob(record.data.base64), (char) => char.charCodeAt(0));
  }
  function payload(record) {
    const text = record.data.text;
    if (payloads === "hex") return [dump(raw(record)), true];
    if (payloads === "text") return [text !== undefined ? text : new TextDecoder().decode(raw(record)), false];
    let json;
    try {
      if (text !== undefined && text.length > 0) json = JSON.stringify(JSON.parse(text), null, 2);
    } catch { json = undefined; }
    if (payloads === "json") return [json !== undefined ? json : "(this payload, as far as it is on the page, is not JSON)", false];
    if (json !== undefined && /^[[{]/.test(json)) return [json, false];
    return text !== undefined ? [text, false] : [dump(raw(record)), true];
  }
  function dump(data) {
    const lines = [];
    for (let at = 0; at < data.length; at += 16) {
      const part = data.subarray(at, at + 16);
      const hex = Array.from(part, (byte) => byte.toString(16).padStart(2, "0"));
      const columns = `${hex.slice(0, 8).join(" ").padEnd(23)}  ${hex.slice(8).join(" ").padEnd(23)}`;
      const text = Array.from(part, (byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
      lines.push(`${at.toString(16).padStart(4, "0")}  ${columns}  ${text}`);
    }
    return lines.join("\n") || "(empty)";
  }

  // ---- anomalies -----------------------------------------------------------------------------------
  const isShown = (it) => filter === null || it.row[1] === filter;
  function renderAnomalies() {
    const pane = $("anomalies");
    pane.replaceChildren();
    const totals = new Map();
    for (const lane of lanes) for (const [kind, many] of Object.entries(lane.totals.anomalies)) totals.set(kind, (totals.get(kind) || 0) + many);
    const all = [...totals.values()].reduce((a, b) => a + b, 0);
    pane.append(make("h2", { textContent: all ? `${count(all, "anomaly", "anomalies")}` : "No anomalies" }));
    if (all === 0) {
      pane.append(make("p", { className: "faint", textContent: "Every message was answered and every batch is checkpointed; nothing was slow, refused, stray or silent." }));
      return;
    }
    const chips = make("div", { className: "chips" });
    for (const [kind, many] of totals) {
      const chip = make("button", { type: "button", textContent: `${kind} ${number(many)}`, title: data.why[kind] || "", "aria-pressed": String(filter === kind) });
      chip.addEventListener("click", () => { filter = filter === kind ? null : kind; renderAnomalies(); });
      chips.append(chip);
    }
    pane.append(chips);
    const rest = make("button", { type: "button" });
    const indexes = anomalies.map((_, index) => index).filter((index) => isShown(anomalies[index]));
    let shown = 0;
    const more = () => {
      for (const index of indexes.slice(shown, shown + 200)) {
        const { lane, at, row: [, kind, , text] } = anomalies[index];
        const button = make("button", { type: "button", className: "row" },
          make("span", { className: "kind", textContent: kind }), " ", make("span", { textContent: visible(text) }),
          make("span", { className: "where", textContent: `${visible(lanes[lane].name)} · +${(at / 1e6).toFixed(3)} s` }));
        button.dataset.anomaly = index;
        button.addEventListener("click", () => {
          selectAnomaly(index);
          if (window.matchMedia("(max-width: 900px)").matches) $("details").scrollIntoView();
        });
        pane.insertBefore(button, rest);
      }
      shown = Math.min(shown + 200, indexes.length);
      rest.textContent = `Show more of ${number(indexes.length)}`;
      rest.hidden = shown >= indexes.length;
    };
    pane.append(rest);
    rest.addEventListener("click", more);
    more();
    markAnomaly();
  }
  function markAnomaly() {
    for (const button of $("anomalies").querySelectorAll(".row")) {
      const is = Number(button.dataset.anomaly) === anomaly;
      button.setAttribute("aria-current", String(is));
      if (is && window.matchMedia("(min-width: 901px)").matches) button.scrollIntoView({ block: "nearest" });
    }
  }

  // ---- search --------------------------------------------------------------------------------------
  const MATCHES = 5000;
  function search() {
    const query = $("query").value.trim().toLowerCase();
    matches = [];
    match = -1;
    const has = (text) => text !== null && text !== undefined && text.toLowerCase().includes(query);
    if (query) {
      for (const lane of lanes) {
        const found = [];
        const add = (kind, index, at) => { if (matches.length + found.length < MATCHES) found.push({ lane: lane.index, kind, index, at }); };
        if (has(lane.shard) || has(lane.file) || has(lane.command)) add("lane", 0, 0);
        lane.messages.forEach((message, index) => {
          const details = lane.details.get(index);
          const said = details && (has(details.text) || (details.records || []).some((it) => has(it.key) || has(it.position) || has(it.data.text)));
          if (said || has(message[ACTION])) add("message", index, message[AT]);
        });
        lane.checkpoints.forEach((it, index) => { if (has(it[2]) || has(it[3])) add("checkpoint", index, it[0]); });
        lane.output.forEach((it, index) => { if (has(it[2])) add("output", index, it[0]); });
        lane.notes.forEach((it, index) => { if (has(it[1])) add("note", index, it[0]); });
        found.sort((a, b) => a.at - b.at);
        matches.push(...found);
      }
    }
    showMatch();
    draw();
  }
  function showMatch() {
    const many = `${number(matches.length)}${matches.length === MATCHES ? "+" : ""}`;
    $("found").textContent = !$("query").value.trim() ? "" : matches.length === 0 ? "nothing" : match < 0 ? many : `${number(match + 1)} of ${many}`;
  }
  function nextMatch(by) {
    if (matches.length === 0) return;
    match = match < 0 ? (by > 0 ? 0 : matches.length - 1) : (match + by + matches.length) % matches.length;
    const { lane, kind, index } = matches[match];
    select({ lane, kind, index });
    showMatch();
  }
  let pause = 0;
  $("query").addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(search, 150);
  });
  $("query").addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      clearTimeout(pause);
      if (match < 0) search();
      nextMatch(event.shiftKey ? -1 : 1);
    } else if (event.key === "Escape") {
      event.stopPropagation();
      $("query").value = "";
      search();
      renderDetails();
      box.focus({ preventScroll: true });
    }
  });
  $("next-match").addEventListener("click", () => nextMatch(1));
  $("previous-match").addEventListener("click", () => nextMatch(-1));

  // ---- keys and buttons ----------------------------------------------------------------------------
  const help = $("help");
  $("help-button").addEventListener("click", () => help.showModal());
  $("help-close").addEventListener("click", () => help.close());
  $("zoom-in").addEventListener("click", () => zoom(0.5));
  $("zoom-out").addEventListener("click", () => zoom(2));
  $("fit").addEventListener("click", () => show(whole.from, whole.to));
  document.addEventListener("keydown", (event) => {
    if (help.open || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target instanceof HTMLInputElement) return;
    const keys = {
      ArrowLeft: () => (event.shiftKey ? pan(-0.25) : nextInLane(-1)),
      ArrowRight: () => (event.shiftKey ? pan(0.25) : nextInLane(1)),
      ArrowUp: () => nextLane(-1),
      ArrowDown: () => nextLane(1),
      "+": () => zoom(0.5),
      "=": () => zoom(0.5),
      "-": () => zoom(2),
      0: () => show(whole.from, whole.to),
      z: () => selected && zoomTo(selected, 0.4),
      l: () => selected && zoomTo({ lane: selected.lane, kind: "lane", index: 0 }, 0.95),
      n: () => nextAnomaly(1),
      p: () => nextAnomaly(-1),
      v: () => setPayloads({ auto: "text", text: "json", json: "hex", hex: "auto" }[payloads]),
      "/": () => { $("query").focus(); $("query").select(); },
      "?": () => help.showModal(),
      Escape: () => select(null),
    };
    // The panes scroll by the arrow keys where they have the focus.
    const isArrow = event.key.startsWith("Arrow");
    if (isArrow && event.target.closest && event.target.closest("aside") && !event.shiftKey) return;
    const action = Object.hasOwn(keys, event.key) ? keys[event.key] : null;
    if (!action) return;
    event.preventDefault();
    action();
  });

  // ---- begin ---------------------------------------------------------------------------------------
  const sum = (of) => lanes.reduce((total, lane) => total + of(lane), 0);
  const wrong = sum((lane) => Object.values(lane.totals.anomalies).reduce((a, b) => a + b, 0));
  $("title").textContent = lanes.length === 1 ? visible(lanes[0].name) : count(lanes.length, "recording");
  document.title = `${$("title").textContent} · kcl-helper view`;
  $("summary").append(
    `${count(sum((lane) => lane.totals.batches), "batch", "batches")} · ${count(sum((lane) => lane.totals.records), "record")} · ${count(sum((lane) => lane.totals.checkpoints), "checkpoint")} · `,
    wrong ? make("b", { textContent: count(wrong, "anomaly", "anomalies") }) : "no anomalies",
  );
  readColours();
  renderDetails();
  renderAnomalies();
  new ResizeObserver(layout).observe(box);
  window.addEventListener("resize", layout);
  for (const query of ["(prefers-color-scheme: dark)", "(prefers-contrast: more)"]) {
    window.matchMedia(query).addEventListener("change", () => { readColours(); draw(); });
  }
  layout();
})();
