// Drives the dashboard of `longshore demo` in Chromium as a user would, and says what it saw as
// JSON: node dashboard.mjs LONGSHORE CHROMIUM FOLDER. Screenshots go into FOLDER.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { join } from "node:path";

const [longshore, chromium, folder] = process.argv.slice(2);
// The libraries are where `tests/run` installed them, not beside this file.
const need = createRequire(join(process.env.LONGSHORE_BROWSER, "package.json"));
const { chromium: browsers } = need("playwright-core");
const axe = readFileSync(need.resolve("axe-core/axe.min.js"), "utf8");

const freePort = () =>
  new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });

/** Starts the demo, and reads its addresses from what it prints. */
async function startDemo() {
  const port = await freePort();
  const child = spawn(longshore, ["demo", "--port", `${port}`, "--for", "120s"], { stdio: ["ignore", "pipe", "ignore"] });
  let text = "";
  await new Promise((done, fail) => {
    child.on("exit", () => fail(new Error(`the demo has ended: ${text}`)));
    child.stdout.on("data", (data) => {
      text += data;
      if (text.includes("Ctrl-C ends")) done();
    });
  });
  return {
    child,
    site: `http://127.0.0.1:${port}/`,
    dashboard: text.match(/The dashboard: (\S+)/)[1],
    stop: text.match(/POST (http:\S+\/stop)/)[1],
  };
}

/** The rows of targets: identity to port and state. */
const rows = (page) =>
  page.$$eval("tr[data-target]", (all) =>
    all.map((row) => ({
      id: row.dataset.target,
      state: row.dataset.state,
      port: row.querySelector("td.port").textContent,
    })),
  );

async function until(what, check, limit = 15000) {
  const began = performance.now();
  for (;;) {
    const value = await check();
    if (value) return { value, milliseconds: Math.round(performance.now() - began) };
    if (performance.now() - began > limit) throw new Error(`not within ${limit} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 25));
  }
}

/** Faults of accessibility that are serious or worse. */
async function faults(page, where) {
  // Not as an element of the page, which its policy forbids.
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run());
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  return serious.map(({ id, nodes }) => `${where}: ${id}: ${nodes.map((node) => node.target.join(" ")).join(", ")}`);
}

/** Drains a target and undrains it, and moves requests from a zone and back: by keyboard alone. */
async function act(page) {
  const seen = {};
  const focused = () => page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent);
  const opened = () => page.evaluate(() => document.getElementById("ask").open);
  const overrides = async () => {
    const view = await (await fetch(new URL("/targets", demo.dashboard))).json();
    return view.target_groups.flatMap((group) => group.targets.map((target) => `${target.id} ${target.administrative_override}`));
  };
  const button = async (selector) => {
    await page.waitForSelector(selector);
    await page.focus(selector);
    return focused();
  };
  // Asked first, and Escape is no.
  const label = await button('tr[data-state="healthy"] button[data-act="drain"]');
  const target = label.split(" ")[1];
  await page.keyboard.press("Enter");
  seen.first_focus = await focused();
  seen.question = await page.textContent("#ask-what");
  said.faults.push(...(await faults(page, "question")));
  await page.screenshot({ path: join(folder, "question.png") });
  await page.keyboard.press("Escape");
  seen.closed = !(await opened());
  seen.focus_back = (await focused()) === label;
  seen.nothing_done = (await overrides()).every((one) => !one.endsWith(" drained"));
  // The rows are shown anew each second, and the focus stays.
  await new Promise((done) => setTimeout(done, 2500));
  seen.focus_stays = (await focused()) === label;

  // Yes. The first answer is that a token is needed, which is asked for then.
  const sent = [];
  await page.route("**/targets/drain", (route) => {
    sent.push(route.request().headers().authorization ?? null);
    return sent.length === 1 ? route.fulfill({ status: 401, body: "no token" }) : route.continue();
  });
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await until("the token is asked for", () => page.evaluate(() => document.activeElement.id === "token"));
  await page.keyboard.type("a secret of twenty letters");
  await page.keyboard.press("Enter");
  await until("it is drained", async () => (await overrides()).includes(`${target} drained`));
  await page.unroute("**/targets/drain");
  seen.sent = sent;
  await until("the row says so", () => page.$(`tr[data-target="${target}"] button[data-act="undrain"]`));
  seen.row = await page.textContent(`tr[data-target="${target}"]`);
  await until("the focus is on what undoes it", async () => (await focused()).startsWith("Undrain"));
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await until("it is not drained any more", async () => (await overrides()).every((one) => !one.endsWith(" drained")));

  // A zone, and back.
  await button('#zone-list button[data-act="shift"]');
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await until("requests are moved away", async () => (await overrides()).some((one) => one.endsWith(" zonal_shift_active")));
  await button('#zone-list button[data-act="unshift"]');
  seen.zone = await page.textContent("#zone-list li:has(button[data-act=unshift])");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await until("they are moved back", async () => (await overrides()).every((one) => one.endsWith(" no_override")));
  await page.evaluate(() => document.activeElement.blur());
  return seen;
}

const demo = await startDemo();
const browser = await browsers.launch({ executablePath: chromium, args: ["--no-sandbox", "--disable-gpu"] });
const said = { complaints: [], elsewhere: [], faults: [] };
try {
  const open = async (options) => {
    const page = await browser.newPage(options);
    page.on("console", (message) => message.type() === "error" && !message.text().includes("401") && said.complaints.push(message.text()));
    page.on("pageerror", (error) => said.complaints.push(error.message));
    page.on("request", (request) => {
      if (!request.url().startsWith(demo.dashboard)) said.elsewhere.push(request.url());
    });
    await page.goto(demo.dashboard);
    await page.waitForSelector("tr[data-target]");
    return page;
  };
  const page = await open({ viewport: { width: 1280, height: 1000 }, colorScheme: "light" });
  const before = (await until("three healthy targets", async () => {
    const all = await rows(page);
    return all.length === 3 && all.every((row) => row.state === "healthy") && all;
  })).value;
  said.instances = await page.$$eval("tr.instance th", (all) => all.map((one) => one.textContent));
  said.map = await page.$$eval("#map-routes [data-group]", (all) => all.map((one) => one.dataset.group));

  // Requests, so that there are rates to see.
  const load = setInterval(() => fetch(demo.site).then((got) => got.text()).catch(() => {}), 20);
  const healthy = new Set(before.map((row) => row.id));
  await fetch(demo.stop, { method: "POST" });
  const gone = await until("the stopped task's row changes", async () => {
    const all = await rows(page);
    const still = all.filter((row) => healthy.has(row.id) && row.state === "healthy");
    return still.length === 2;
  });
  said.stopped_after_ms = gone.milliseconds;
  const replaced = await until("a replacement is healthy", async () => {
    const all = await rows(page);
    return all.find((row) => !healthy.has(row.id) && row.state === "healthy");
  });
  said.replacement = replaced.value;
  said.ports_before = before.map((row) => row.port);
  await new Promise((done) => setTimeout(done, 3000));
  said.faults.push(...(await faults(page, "desktop")));
  await page.screenshot({ path: join(folder, "desktop.png"), fullPage: true });

  // By keyboard alone: past the header to the groups, and a filter.
  await page.keyboard.press("Tab");
  said.first_focus = await page.evaluate(() => document.activeElement.textContent);
  await page.focus("#filter");
  await page.keyboard.type(before[0].port === said.replacement.port ? before[1].port : said.replacement.port);
  said.filtered = (await until("one row is left", async () => {
    const all = await rows(page);
    return all.length === 1 && all;
  })).value;
  await page.fill("#filter", "");
  said.actions = await act(page);
  said.reached = [];
  for (let presses = 0; presses < 12; presses += 1) {
    await page.keyboard.press("Tab");
    said.reached.push(await page.evaluate(() => document.activeElement.id));
  }
  await page.close();

  const phone = await open({ viewport: { width: 390, height: 844 }, colorScheme: "light", isMobile: true, hasTouch: true });
  await phone.waitForTimeout(2500);
  said.faults.push(...(await faults(phone, "phone")));
  said.phone_overflow = await phone.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  await phone.screenshot({ path: join(folder, "phone.png"), fullPage: true });
  await phone.close();
  const dark = await open({ viewport: { width: 1280, height: 1000 }, colorScheme: "dark" });
  await dark.waitForTimeout(3500);
  said.faults.push(...(await faults(dark, "dark")));
  await dark.screenshot({ path: join(folder, "dark.png"), fullPage: true });
  clearInterval(load);
} finally {
  await browser.close();
  demo.child.removeAllListeners("exit");
  demo.child.kill();
}
console.log(JSON.stringify(said));
