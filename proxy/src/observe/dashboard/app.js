// What /targets and /events tell, once a second, and /metrics every few seconds, without building
// anew what has not changed.
"use strict";

const EVERY = 1000;
const POINTS = 300;
const SERIES_MAX = 8;
// Latencies are those of the last measures, which come every MEASURE steps. With more targets than
// that, their text would be too much for a page.
const MEASURE = 3;
const MEASURED_TARGETS_MAX = 500;
const COLOURS = ["#2f7de1", "#d9772b", "#2e9e5b", "#b1459f", "#8a6fe0", "#c33a45", "#1e97a8", "#8b7a1f"];

const by = (id) => document.getElementById(id);

/** An element with a class, text or children. Text is never read as markup. */
function make(tag, className, ...content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...content);
  return element;
}

const STATES = { healthy: "good", unhealthy: "bad", draining: "warn", initial: "" };

function badge(text, kind) {
  return make("span", `badge ${kind ?? ""}`, text);
}

function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toFixed(value >= 10 ? 1 : value === 0 ? 0 : 2);
}

function port(address) {
  return address.slice(address.lastIndexOf(":") + 1);
}

function host(address) {
  return address.slice(0, address.lastIndexOf(":"));
}

// --- rates ---------------------------------------------------------------------

/** Per second, from counters of two moments. */
class Rates {
  constructor() {
    this.before = new Map();
  }

  take(key, requests, errors, at) {
    const last = this.before.get(key);
    this.before.set(key, { requests, errors, at });
    if (!last || at <= last.at || requests < last.requests) return { requests: 0, errors: 0 };
    const seconds = (at - last.at) / 1000;
    return {
      requests: (requests - last.requests) / seconds,
      errors: Math.max(0, errors - last.errors) / seconds,
    };
  }

  forget(keys) {
    for (const key of this.before.keys()) if (!keys.has(key)) this.before.delete(key);
  }
}

const rates = new Rates();

// --- latencies -----------------------------------------------------------------

const BUCKET = /^longshore_target_response_seconds_bucket\{(.*)\} (\d+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** The buckets of each target: pairs of a bound in seconds and how many took no longer. */
function buckets(text) {
  const all = new Map();
  for (const line of text.split("\n")) {
    const found = BUCKET.exec(line);
    if (!found) continue;
    const labels = {};
    for (const [, name, value] of found[1].matchAll(LABEL)) labels[name] = value.replace(/\\(.)/g, "$1");
    const key = `${labels.target_group}\n${labels.target}`;
    if (!all.has(key)) all.set(key, []);
    all.get(key).push([labels.le === "+Inf" ? Infinity : Number(labels.le), Number(found[2])]);
  }
  return all;
}

/** The time within which a share of what came since then was answered, as Prometheus reckons it. */
function quantile(share, now, then) {
  const before = new Map(then ?? []);
  const counts = now.map(([bound, count]) => [bound, count - (before.get(bound) ?? 0)]);
  const all = counts.at(-1)?.[1] ?? 0;
  if (all <= 0) return null;
  let low = 0;
  let under = 0;
  for (const [bound, count] of counts) {
    if (count >= share * all) {
      if (bound === Infinity) return low;
      return count === under ? bound : low + ((bound - low) * (share * all - under)) / (count - under);
    }
    low = bound;
    under = count;
  }
  return low;
}

/** Looks so many measures back. */
const measures = [];
let latencies = new Map();

async function measureLatencies(targets) {
  if (targets > MEASURED_TARGETS_MAX) return;
  const response = await fetch("/metrics", { cache: "no-store", signal: AbortSignal.timeout(5000) });
  if (!response.ok) return;
  measures.push(buckets(await response.text()));
  if (measures.length > 4) measures.shift();
  const [first, last] = [measures[0], measures.at(-1)];
  if (first === last) return;
  latencies = new Map(
    [...last].map(([key, now]) => [key, { p50: quantile(0.5, now, first.get(key)), p99: quantile(0.99, now, first.get(key)) }]),
  );
}

function time(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const milliseconds = seconds * 1000;
  return milliseconds >= 1000 ? `${seconds.toFixed(2)} s` : `${milliseconds.toFixed(milliseconds >= 100 ? 0 : milliseconds >= 10 ? 1 : 2)} ms`;
}

// --- chart ---------------------------------------------------------------------

const history = { times: [], groups: new Map() };
let plot = null;
let plotted = "";

function remember(at, perGroup) {
  history.times.push(at / 1000);
  for (const [name, values] of history.groups) values.push(perGroup.get(name) ?? 0);
  for (const [name, rate] of perGroup) {
    if (history.groups.has(name) || history.groups.size >= SERIES_MAX) continue;
    const values = new Array(history.times.length - 1).fill(null);
    values.push(rate);
    history.groups.set(name, values);
  }
  if (history.times.length > POINTS) {
    history.times.shift();
    for (const values of history.groups.values()) values.shift();
  }
}

function draw() {
  if (typeof uPlot === "undefined" || history.times.length < 2) return;
  const area = by("chart");
  const names = [...history.groups.keys()];
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const key = JSON.stringify([names, dark]);
  const data = [history.times, ...history.groups.values()];
  const width = Math.max(240, area.clientWidth - 20);
  if (plot && key === plotted) {
    if (plot.width !== width) plot.setSize({ width, height: 180 });
    plot.setData(data);
    return;
  }
  plot?.destroy();
  plotted = key;
  const line = dark ? "#313b49" : "#d5dbe4";
  const text = dark ? "#a8b4c4" : "#505c6d";
  const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
  plot = new uPlot(
    {
      width,
      height: 180,
      cursor: { y: false },
      scales: { y: { range: (_, low, high) => [0, Math.max(1, high * 1.1)] } },
      axes: [axis, { ...axis, size: 64 }],
      series: [
        { label: "Time" },
        ...names.map((name, index) => ({
          label: name,
          stroke: COLOURS[index % COLOURS.length],
          width: 2,
          value: (_, value) => number(value),
          points: { show: false },
        })),
      ],
    },
    data,
    area,
  );
}

// --- groups --------------------------------------------------------------------

const cards = new Map();
const known = new Set();

function card(group) {
  const shown = cards.get(group.name);
  if (shown) return shown;
  const head = make("div", "head");
  const notes = make("div");
  const body = make("tbody");
  const labels = ["Target", "Address", "Host port", "Zone", "Health", "Weight", "In flight", "Requests/s", "p50", "p99", "Errors/s", "Actions"];
  const row = make("tr");
  labels.forEach((label, index) => {
    const cell = make("th", index >= 5 ? "number" : "", label);
    cell.scope = "col";
    row.append(cell);
  });
  const scroll = make("div", "scroll", make("table", "", make("thead", "", row), body));
  const rest = make("div");
  const element = make("article", "group", head, notes, scroll, rest);
  element.id = `group-${group.name}`;
  element.tabIndex = -1;
  const made = { element, head, notes, body, rest, labels, open: false };
  cards.set(group.name, made);
  return made;
}

const SOURCES = { fresh: ["good", "fresh"], stale: ["bad", "stale"], waiting: ["warn", "waiting"], remembered: ["warn", "remembered"] };

function showHead(shown, group) {
  const healthy = group.targets.filter((target) => target.state === "healthy").length;
  const [kind, text] = SOURCES[group.discovery] ?? ["", group.discovery];
  const title = make("h3", "", group.name);
  const counts = badge(`${healthy} of ${group.targets.length} healthy`, healthy === 0 ? "bad" : healthy < group.targets.length ? "warn" : "good");
  const age = group.discovery_age_seconds === null ? "never answered" : `answered ${number(group.discovery_age_seconds)} s ago`;
  shown.head.replaceChildren(title, counts, make("span", "of", `source ${group.source}`), badge(text, kind));
  if (group.source !== "fixed") shown.head.append(make("span", "of", age));
  const notes = [];
  if (group.discovery_error) notes.push(make("p", "note bad", `Discovery fails, the last good targets serve: ${group.discovery_error}`));
  if (group.fail_open) notes.push(make("p", "note bad", "No target is healthy: requests go to all of them (fail open)."));
  if (group.protocol_version_by === "some_targets") notes.push(make("p", "note warn", `Its targets do not agree on what they speak (appProtocol); ${group.protocol_version} is spoken to all of them.`));
  shown.notes.replaceChildren(...notes);
}

function cell(label, className, ...content) {
  const made = make("td", className, ...content);
  made.dataset.label = label;
  return made;
}

function targetRow(shown, group, target, rate) {
  const health = cell("Health", "", make("span", "", badge(target.state, STATES[target.state])));
  if (target.anomaly?.result === "anomalous") health.firstChild.append(" ", badge("anomalous", "warn"));
  const why = [target.reason, target.description].filter(Boolean).join(": ");
  if (why) health.firstChild.append(make("span", "why", why));
  if (target.ejection) {
    const until = target.ejection.until_seconds;
    const text = until === null ? "on trial" : `ejected, ${number(until)} s left`;
    health.firstChild.append(" ", badge(text, "warn"), make("span", "why", target.ejection.description));
  }
  if (target.administrative_override === "drained") health.firstChild.append(" ", badge("drained", "warn"));
  if (target.administrative_override === "zonal_shift_active") health.firstChild.append(" ", badge("moved away from its zone", "warn"));
  const took = latencies.get(`${group.name}\n${target.id}`);
  const weight = target.weight_percent === 100 ? `${target.weight}` : `${target.weight} × ${target.weight_percent} %`;
  const row = make(
    "tr",
    "",
    cell("Target", "id", target.id),
    cell("Address", "address", host(target.address)),
    cell("Host port", "port", port(target.address)),
    cell("Zone", "zone", target.zone ?? "–"),
    health,
    cell("Weight", "number", weight),
    cell("In flight", "number", number(target.in_flight)),
    cell("Requests/s", "number", number(rate.requests)),
    cell("p50", "number", time(took?.p50)),
    cell("p99", "number", time(took?.p99)),
    cell("Errors/s", "number", number(rate.errors)),
    cell("Actions", "number", targetButton(group, target) ?? "–"),
  );
  const key = `${group.name}\n${target.id}`;
  row.dataset.target = target.id;
  row.dataset.state = target.state;
  row.dataset.key = key;
  if (!known.has(key)) row.className = "fresh";
  known.add(key);
  return row;
}

/** One instance, and the ports that its targets have there. */
function instanceRow(shown, name, targets) {
  const ports = targets.map((target) => port(target.address));
  const many = ports.length > 8 ? `${ports.slice(0, 8).join(", ")}, …` : ports.join(", ");
  const text = targets.length === 1 ? "1 target, port " : `registered ${targets.length} times, ports `;
  const head = make("th", "", name, " ", make("span", "ports", text + many));
  head.colSpan = shown.labels.length;
  head.scope = "rowgroup";
  const row = make("tr", "instance", head);
  row.dataset.key = `instance ${name}`;
  return row;
}

/** Makes the children of an element those, and leaves alone what has not changed: buttons keep the
 * focus, and texts what is selected. */
function patch(area, rows, keyOf) {
  const old = [...area.children];
  const same = old.length === rows.length && rows.every((row, index) => keyOf(row) === keyOf(old[index]));
  const focused = area.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
  const key = focused && keyOf(old.find((row) => row.contains(document.activeElement)));
  if (!same) area.replaceChildren(...rows);
  else
    rows.forEach((row, index) => {
      const there = old[index];
      Object.assign(there.dataset, row.dataset);
      const cells = [...row.children];
      if (cells.length !== there.children.length) there.replaceChildren(...cells);
      else
        cells.forEach((cell, place) => {
          if (!there.children[place].isEqualNode(cell)) there.children[place].replaceWith(cell);
        });
    });
  // What had the focus is another element now: the button in its place has it.
  if (focused && !area.contains(document.activeElement)) {
    const row = [...area.children].find((one) => keyOf(one) === key);
    row?.querySelector("button")?.focus({ preventScroll: true });
  }
}

function matches(target, wanted) {
  const text = [target.id, target.address, target.instance, target.zone, target.state].join(" ").toLowerCase();
  return wanted.split(/\s+/).every((word) => text.includes(word));
}

function showTargets(shown, group, perTarget, wanted) {
  const instances = new Map();
  for (const target of group.targets) {
    if (wanted && !matches(target, wanted)) continue;
    const name = target.instance ?? host(target.address);
    if (!instances.has(name)) instances.set(name, []);
    instances.get(name).push(target);
  }
  const rows = [];
  for (const [name, targets] of [...instances].sort(([a], [b]) => a.localeCompare(b))) {
    targets.sort((a, b) => port(a.address) - port(b.address));
    rows.push(instanceRow(shown, name, targets));
    for (const target of targets) rows.push(targetRow(shown, group, target, perTarget.get(`${group.name}\n${target.id}`)));
  }
  if (rows.length === 0) {
    const text = group.targets.length === 0 ? "No targets: requests get 503." : "No target matches the filter.";
    const only = make("td", "empty", text);
    only.colSpan = shown.labels.length;
    rows.push(make("tr", "", only));
  }
  patch(shown.body, rows, (row) => row.dataset.key);
}

function showProblems(shown, group) {
  const old = shown.rest.querySelector("details");
  const open = old?.open ?? false;
  const key = JSON.stringify(group.not_targets);
  if (old && old.dataset.key === key) return;
  if (group.not_targets.length === 0) {
    shown.rest.replaceChildren();
    return;
  }
  const list = make("ul", "", ...group.not_targets.map((problem) => make("li", "", make("b", "", problem.subject), `: ${problem.reason}`)));
  const details = make("details", "", make("summary", "", `${group.not_targets.length} not targets, and why`), list);
  details.open = open;
  details.dataset.key = key;
  shown.rest.replaceChildren(details);
}

/** Rates since the view before. */
function measure(view, at) {
  const perGroup = new Map();
  const perTarget = new Map();
  const total = { requests: 0, errors: 0, flight: 0, healthy: 0, targets: 0 };
  for (const group of view.target_groups) {
    let sum = 0;
    for (const target of group.targets) {
      const key = `${group.name}\n${target.id}`;
      const rate = rates.take(key, target.requests, target.errors, at);
      perTarget.set(key, rate);
      sum += rate.requests;
      total.requests += rate.requests;
      total.errors += rate.errors;
      total.flight += target.in_flight;
      total.targets += 1;
      total.healthy += target.state === "healthy" ? 1 : 0;
    }
    perGroup.set(group.name, sum);
  }
  rates.forget(new Set(perTarget.keys()));
  for (const key of known) if (!perTarget.has(key)) known.delete(key);
  by("tile-rate").textContent = number(total.requests);
  by("tile-errors").textContent = number(total.errors);
  by("tile-flight").textContent = number(total.flight);
  by("tile-healthy").textContent = `${total.healthy} / ${total.targets}`;
  by("tile-generation").textContent = view.generation;

  remember(at, perGroup);
  return { view, perTarget };
}

function show({ view, perTarget }) {
  const wanted = by("filter").value.trim().toLowerCase();
  const elements = view.target_groups.map((group) => {
    const shown = card(group);
    showHead(shown, group);
    showTargets(shown, group, perTarget, wanted);
    showProblems(shown, group);
    return shown.element;
  });
  const names = new Set(view.target_groups.map((group) => group.name));
  for (const name of cards.keys()) if (!names.has(name)) cards.delete(name);
  const area = by("groups");
  const same = area.children.length === elements.length && elements.every((element, index) => area.children[index] === element);
  if (!same) area.replaceChildren(...(elements.length ? elements : [make("p", "empty", "No target groups.")]));
}

// --- listeners and rules -------------------------------------------------------

let mapped = "";

/** Which listeners and rules lead to which groups, and how these are. */
function showRoutes(view) {
  const health = new Map(
    view.target_groups.map((group) => [group.name, [group.targets.filter((target) => target.state === "healthy").length, group.targets.length]]),
  );
  const routes = view.routes ?? [];
  const key = JSON.stringify([routes, [...health]]);
  if (key === mapped) return;
  mapped = key;
  const toGroup = ({ name, weight }, all) => {
    const [healthy, count] = health.get(name) ?? [0, 0];
    const link = make("a", "", name);
    link.href = `#group-${name}`;
    const sum = all.reduce((total, one) => total + one.weight, 0);
    const share = all.length > 1 ? ` ${Math.round((100 * weight) / sum)} %` : "";
    const kind = healthy === 0 ? "bad" : healthy < count ? "warn" : "good";
    const made = make("span", "", link, share, " ", badge(`${healthy} / ${count}`, kind));
    made.dataset.group = name;
    return made;
  };
  const cardsOf = routes.map((listener) => {
    const title = make("h3", "", listener.listener);
    const where = make("span", "of", `${listener.protocol} ${listener.address ?? ""}`);
    const list = make("ol");
    for (const rule of listener.rules) {
      const to = rule.action === "forward" ? rule.target_groups.map((one) => toGroup(one, rule.target_groups)) : [badge(rule.action.replace("_", " "))];
      list.append(
        make(
          "li",
          "",
          make("span", "priority", rule.priority === null ? "default" : `${rule.priority}`),
          make("span", "when", rule.conditions.join(" and ") || (listener.rules.length > 1 ? "everything else" : "everything")),
          make("span", "to", ...to),
        ),
      );
    }
    const more = listener.more > 0 ? [make("p", "empty", `and ${listener.more} more rules before the default one`)] : [];
    return make("article", "group", make("div", "head", title, where), list, ...more);
  });
  by("map-routes").className = "routes";
  by("map-routes").replaceChildren(...(cardsOf.length ? cardsOf : [make("p", "empty", "No listeners.")]));
}

// --- events --------------------------------------------------------------------

let lastEvent = 0;
const list = make("ol");

function showEvents(events) {
  if (events.length === 0) return;
  if (!list.isConnected) by("events").replaceChildren(list);
  for (const event of events) {
    lastEvent = Math.max(lastEvent, event.id);
    const when = make("time", "", new Date(event.time).toLocaleTimeString());
    when.dateTime = new Date(event.time).toISOString();
    const about = Object.entries(event.fields).map(([name, value]) => `${name} ${value}`).join(" · ");
    const kind = event.level === "error" ? "bad" : event.level === "warn" ? "warn" : "";
    const what = kind ? badge(event.message, kind) : make("span", "what", event.message);
    list.prepend(make("li", "", when, what, make("span", "about", about)));
  }
  while (list.children.length > 500) list.lastChild.remove();
}

// --- the loop ------------------------------------------------------------------

async function ask(path) {
  const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(5000) });
  if (!response.ok) throw new Error(`${path} answers ${response.status}`);
  return response.json();
}

function tell(text, lost) {
  const status = by("status");
  if (status.textContent !== text) status.textContent = text;
  status.classList.toggle("lost", lost);
}

let latest = null;
let steps = 0;

async function step() {
  try {
    const [view, events] = await Promise.all([ask("/targets"), ask(`/events?after=${lastEvent}`)]);
    // After a restart the numbers begin anew.
    if (events.newest < lastEvent) lastEvent = 0;
    latest = measure(view, performance.timeOrigin + performance.now());
    show(latest);
    showRoutes(view);
    showZones(view);
    draw();
    showEvents(events.events);
    tell("live", false);
    if (steps % MEASURE === 0) await measureLatencies(latest.perTarget.size);
    steps += 1;
  } catch (error) {
    tell(`no answer: ${error.message}`, true);
  }
  setTimeout(step, EVERY);
}

by("filter").addEventListener("input", () => {
  if (latest) show(latest);
});
addEventListener("resize", draw);
// When all scripts are there.
addEventListener("load", step);
