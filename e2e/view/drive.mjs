// Drives the page as a user does, and ends with `N passed, M failed`.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import puppeteer from "puppeteer-core";
import { ATTACKS, hostile, many, story } from "./recordings.mjs";

const { HELPER, PICTURES, CHROMIUM } = process.env;
const work = mkdtempSync(join(tmpdir(), "view-"));
let passed = 0, failed = 0;
function check(name, holds, found) {
  if (holds) { passed += 1; return; }
  failed += 1;
  console.log(`FAILED: ${name}${found === undefined ? "" : `: ${JSON.stringify(found)}`}`);
}
const view = (...recordings) => {
  const page = join(work, `${recordings[0]}.html`);
  execFileSync(HELPER, ["view", "--force", "-qq", "-o", page, ...recordings], { cwd: work, stdio: ["ignore", "ignore", "inherit"] });
  return page;
};

// A container has no sandbox that chromium could use.
const browser = await puppeteer.launch({ executablePath: CHROMIUM, headless: true, args: ["--no-sandbox", "--disable-gpu"] });

/** Opens a page. Whatever the console says, or the page asks of the network, is a failure. */
async function open(file, { width = 1280, height = 800, scheme = "light" } = {}) {
  const page = await browser.newPage();
  await page.setViewport({ width, height });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  page.on("console", (message) => check(`${file}: the console is silent`, false, message.text()));
  page.on("pageerror", (error) => check(`${file}: no error`, false, error.message));
  page.on("dialog", (dialog) => { check(`${file}: no dialog`, false, dialog.message()); dialog.dismiss(); });
  page.on("request", (request) => {
    const url = request.url();
    check(`${file}: nothing is loaded`, url === pathToFileURL(file).href || url === "data:,", url);
  });
  await page.goto(pathToFileURL(file).href);
  await settle(page);
  return page;
}
const settle = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
const text = (page, selector) => page.$eval(selector, (element) => element.innerText);
async function press(page, ...keys) {
  for (const key of keys) await page.keyboard.press(key);
  await settle(page);
}
async function search(page, query) {
  await press(page, "/");
  await page.keyboard.type(query);
  await page.waitForFunction(() => document.getElementById("found").textContent !== "");
  return text(page, "#found");
}
/** How many pixels of the chart have this variable's colour, in a lane. */
const pixels = (page, name, lane) => page.evaluate((name, lane) => {
  const chart = document.getElementById("chart");
  const copy = document.createElement("canvas");
  copy.width = chart.width;
  copy.height = 104;
  const probe = copy.getContext("2d", { willReadFrequently: true });
  probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
  probe.fillRect(0, 0, 1, 1);
  const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
  probe.clearRect(0, 0, 1, 1);
  probe.drawImage(chart, 0, -26 - lane * 104);
  const { data } = probe.getImageData(0, 0, copy.width, copy.height);
  let count = 0;
  for (let at = 0; at < data.length; at += 4) if (data[at] === r && data[at + 1] === g && data[at + 2] === b) count += 1;
  return count;
}, name, lane);
const clickAt = async (page, x, y) => {
  const area = await page.$eval("#chart", (chart) => { const { x, y } = chart.getBoundingClientRect(); return { x, y }; });
  await page.mouse.click(area.x + x, area.y + y);
  await settle(page);
};

try {
  const rec = join(work, "rec");
  mkdirSync(rec);
  story(rec);
  const file = view("rec");

  // ---- what is drawn -------------------------------------------------------------------------------
  let page = await open(file);
  check("the title says how many", (await text(page, "#title")) === "4 recordings", await text(page, "#title"));
  check("the sums", (await text(page, "#summary")).includes("258 batches · 4,742 records"), await text(page, "#summary"));
  for (const lane of [0, 1, 2, 3]) {
    // Where batches are narrower than a pixel they are paler.
    for (const colour of [...(lane < 2 ? ["batch"] : []), "accepted", "stderr", "anomaly"]) {
      check(`lane ${lane} has ${colour}`, (await pixels(page, colour, lane)) > 5);
    }
  }
  check("refused checkpoints are in lane 1 alone", (await pixels(page, "stray", 1)) === 0);
  check("the stray line is in lane 2", (await pixels(page, "stray", 2)) > 5);
  check("a mark of a shard that has none", (await pixels(page, "stray", 0)) === 0);
  await page.screenshot({ path: join(PICTURES, "whole.png") });

  // ---- clicks --------------------------------------------------------------------------------------
  await clickAt(page, 350, 26 + 37);
  let details = await text(page, "#details");
  check("a click on the slow batch", details.includes("processRecords") && details.includes("9.5 s"), details);
  check("records are shown with keys and payloads", /customer-\d+/.test(details) && details.includes('"event": "'), details.slice(0, 400));
  await clickAt(page, 400, 26 + 10);
  details = await text(page, "#details");
  check("a click on a lane's name", details.includes("./target/release/orders --table orders") && details.includes("exit status 1"), details);
  const rows = await page.$$("#anomalies .row");
  check("all anomalies are listed", rows.length === 13, rows.length);
  await rows[0].click();
  details = await text(page, "#details");
  check("an anomaly has its reason", details.includes("idleTimeBetweenReadsInMillis"), details);
  await page.click("#anomalies .chips button");
  check("a kind filters", (await page.$$("#anomalies .row")).length < 13);
  await page.click("#anomalies .chips button");
  const before = await text(page, "#details");
  await page.click('#payloads button:nth-child(4)');
  details = await text(page, "#details");
  check("payloads in hex", /0000 {2}7b 22 6f 72/.test(details), details.slice(0, 600));
  await page.click('#payloads button:nth-child(1)');
  check("and back", (await text(page, "#details")) === before);

  // ---- keys ----------------------------------------------------------------------------------------
  await press(page, "Escape");
  check("Escape selects nothing", (await text(page, "#details")).startsWith("Select a batch"));
  await press(page, "ArrowDown", "ArrowRight");
  check("an arrow selects the first message", (await text(page, "#details")).startsWith("initialize"), await text(page, "#details"));
  await press(page, "ArrowRight");
  check("the next one", (await text(page, "#details")).startsWith("processRecords"));
  await press(page, "ArrowDown");
  check("the lane below", (await text(page, "#details")).includes("shardId-000000000001"));
  await press(page, "n");
  const first = await text(page, "#details");
  await press(page, "n", "p");
  check("n and p go through the anomalies", first.startsWith("slow-batch") && (await text(page, "#details")) === first, first);
  await press(page, "0");
  const wide = await pixels(page, "batch", 0);
  await press(page, "+", "+", "+", "+");
  check("zooming changes the picture", (await pixels(page, "batch", 0)) !== wide);
  await press(page, "0");
  check("0 shows all again", (await pixels(page, "batch", 0)) === wide);
  await press(page, "?");
  check("? shows the keys", await page.$eval("#help", (help) => help.open));
  await press(page, "Escape");
  check("Escape closes them", !(await page.$eval("#help", (help) => help.open)));

  // ---- search --------------------------------------------------------------------------------------
  check("a payload is found", (await search(page, "cannot write order")) === "1", await text(page, "#found"));
  await press(page, "Enter");
  check("Enter goes there", (await text(page, "#details")).includes("table is read-only"));
  check("the match is marked", (await page.$$("#details mark")).length > 0);
  await press(page, "Escape");
  check("a key is found", /^\d+$/.test(await search(page, "customer-17")), await text(page, "#found"));
  await press(page, "Escape");
  check("what is not there", (await search(page, "no such thing")) === "nothing");
  await press(page, "Escape");
  check("Escape leaves the search", await page.evaluate(() => document.activeElement.id === "lanes"));
  await page.close();

  // ---- pictures ------------------------------------------------------------------------------------
  for (const scheme of ["light", "dark"]) {
    page = await open(file, { scheme, width: 1120, height: 680 });
    // These stand in docs/pictures, with fewer colours.
    await press(page, ...(scheme === "light" ? ["n", "n", "n", "0"] : ["n", "z"]));
    await page.screenshot({ path: join(PICTURES, `view-${scheme}.png`) });
    await page.close();
  }
  page = await open(file, { width: 400, height: 800 });
  await press(page, "n");
  check("400 px: nothing is wider than the page", await page.evaluate(() => document.documentElement.scrollWidth <= 400), await page.evaluate(() => document.documentElement.scrollWidth));
  await page.screenshot({ path: join(PICTURES, "narrow.png"), fullPage: true });
  await page.close();

  // ---- hostile texts -------------------------------------------------------------------------------
  hostile(join(work, `a<b>"&'.jsonl`));
  page = await open(view(`a<b>"&'.jsonl`));
  const all = await page.evaluate(() => {
    const said = [];
    const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    for (let step = 0; step < 40; step += 1) { press("n"); said.push(document.getElementById("details").innerText); }
    press("ArrowRight");
    for (let step = 0; step < 40; step += 1) { press("ArrowLeft"); said.push(document.getElementById("details").innerText); }
    for (let step = 0; step < 8; step += 1) { press("v"); said.push(document.getElementById("details").innerText); }
    return said.join("\n");
  });
  check("nothing of an attack runs", (await page.evaluate(() => window.attacked)) === undefined);
  for (const attack of ATTACKS.filter((attack) => !/[\u0000-\u001f\u202e]/.test(attack))) {
    check(`shown as text: ${attack}`, all.includes(attack));
  }
  check("control characters are escaped", all.includes("\\u{202e}") && !all.includes("\u202e") && !all.includes("\u001b"));
  check("no element is made of them", (await page.$$("img, svg, iframe, script:not(#data)")).length === 1);
  for (const attack of ["</script>", "<img", "__proto__"]) {
    check(`found: ${attack}`, /^\d/.test(await search(page, attack)), await text(page, "#found"));
    await press(page, "Enter", "Escape");
  }
  check("nothing ran by then", (await page.evaluate(() => window.attacked)) === undefined);
  await page.screenshot({ path: join(PICTURES, "hostile.png") });
  await page.close();

  // ---- 100,000 messages ----------------------------------------------------------------------------
  many(join(work, "many.jsonl"), 100_000);
  const large = view("many.jsonl");
  const timed = async (name, most, action) => {
    const start = performance.now();
    await action();
    const took = performance.now() - start;
    console.log(`${name}: ${took.toFixed(0)} ms`);
    // Generous: what is meant is that nobody waits, not how fast this machine is.
    check(`${name} takes less than ${most} ms`, took < most, took);
  };
  console.log(`the page of 100,000 messages: ${(statSync(large).size / 1e6).toFixed(1)} MB`);
  await timed("opening 100,000 messages", 30_000, async () => { page = await open(large); });
  check("all are counted", (await text(page, "#summary")).includes("100,000 batches"));
  await timed("20 steps of zoom", 20_000, async () => { for (let step = 0; step < 20; step += 1) await press(page, step < 10 ? "+" : "-"); });
  await timed("100 steps through messages", 30_000, async () => { for (let step = 0; step < 100; step += 1) await press(page, "ArrowRight"); });
  await timed("a search", 15_000, async () => check("the last ones are found", /of|\d/.test(await search(page, "key-96"))));
  await press(page, "Enter", "Escape", "n");
  check("an anomaly is found among them", (await text(page, "#details")).startsWith("refused-checkpoint"));
  await page.screenshot({ path: join(PICTURES, "many.png") });
  await page.close();

  // ---- more than a page holds ----------------------------------------------------------------------
  many(join(work, "more.jsonl"), 210_000);
  page = await open(view("more.jsonl"));
  details = await text(page, "#left-out");
  check("what is left out is said", details.includes("10,001 messages"), details);
  check("and counted all the same", (await text(page, "#summary")).includes("210,000 batches"));
  await page.close();

  // ---- more lanes than a page shows, and than a screen ---------------------------------------------
  const lots = join(work, "lots");
  mkdirSync(lots);
  for (let index = 0; index < 300; index += 1) many(join(lots, `${1000 + index}.jsonl`), 4);
  page = await open(view("lots"), { width: 1000, height: 600 });
  check("256 lanes", (await text(page, "#title")) === "256 recordings", await text(page, "#title"));
  check("44 are left out", (await text(page, "#left-out")).includes("44 older recordings"));
  await page.evaluate(() => { document.getElementById("lanes").scrollTop = 104 * 100; });
  await settle(page);
  await clickAt(page, 300, 26 + 10);
  check("a lane that was scrolled to", (await text(page, "#details")).includes("lots/1144.jsonl"), await text(page, "#details"));
  await page.close();

  // ---- nothing -------------------------------------------------------------------------------------
  many(join(work, "none.jsonl"), 0);
  page = await open(view("none.jsonl"));
  check("a recording without batches", (await text(page, "#summary")).startsWith("0 batches"));
  await press(page, "ArrowRight", "ArrowDown", "n", "z", "l", "+");
  await page.close();
} catch (error) {
  check("the test itself", false, error.stack);
} finally {
  await browser.close();
  rmSync(work, { recursive: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
