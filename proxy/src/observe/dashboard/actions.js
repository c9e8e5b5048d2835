// What operators change from here: drain a target, move requests away from a zone. Each change is
// asked about first, in words of what it does.
"use strict";

/** The token of the admin server, if it asked for one. Gone with the page. */
let token = null;
let asked = null;

/** A button that does nothing by itself: what it is about is in its data. */
function actionButton(act, label, about, data) {
  const button = make("button", "act", label);
  button.type = "button";
  button.setAttribute("aria-label", `${label} ${about}`);
  Object.assign(button.dataset, { act, ...data });
  return button;
}

/** The button of a target; none if nothing can be changed there. */
function targetButton(group, target) {
  if (target.state === "draining" || target.state === "unavailable") return null;
  const drained = target.administrative_override === "drained";
  return actionButton(drained ? "undrain" : "drain", drained ? "Undrain" : "Drain", `${target.id} of ${group.name}`, {
    group: group.name,
    target: target.id,
  });
}

const CHANGES = {
  drain: ({ group, target }) => ({
    title: "Drain this target?",
    what: `${target} of target group ${group} gets no new requests. Those in flight go on, and nothing is stopped.`,
    yes: "Drain",
    path: "/targets/drain",
    body: { target_group: group, target },
  }),
  undrain: ({ group, target }) => ({
    title: "Undrain this target?",
    what: `${target} of target group ${group} gets requests again.`,
    yes: "Undrain",
    path: "/targets/undrain",
    body: { target_group: group, target },
  }),
  shift: ({ zone }) => ({
    title: "Move requests away from this zone?",
    what: `Targets in ${zone} get no new requests, unless all others are in zones that requests are moved away from too. A balancer in ${zone} is not ready any more.`,
    yes: "Move away",
    path: "/zonal_shift",
    body: { away_from: [...new Set([...moved(), zone])] },
  }),
  unshift: ({ zone }) => ({
    title: "Move requests back to this zone?",
    what: `Targets in ${zone} get requests again.`,
    yes: "Move back",
    path: "/zonal_shift",
    body: { away_from: moved().filter((one) => one !== zone) },
  }),
};

/** The zones that operators have moved requests away from. */
function moved() {
  return latest?.view.zonal_shift.by_operators ?? [];
}

const dialog = by("ask");

function askFirst(button) {
  asked = CHANGES[button.dataset.act]?.(button.dataset);
  if (!asked) return;
  by("ask-title").textContent = asked.title;
  by("ask-what").textContent = asked.what;
  by("ask-yes").textContent = asked.yes;
  by("ask-yes").disabled = false;
  by("ask-error").textContent = "";
  by("ask-token").hidden = true;
  dialog.showModal();
}

/** Sends a change. Throws what went wrong, in words. */
async function send({ path, body }) {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(path, {
    method: "POST",
    headers,
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(10000),
  });
  if (response.ok) return;
  if (response.status === 401) {
    token = null;
    by("ask-token").hidden = false;
    by("token").focus();
    throw new Error("The token of the admin server is needed.");
  }
  const said = await response.text();
  let why = said.trim();
  try {
    why = JSON.parse(said).error ?? why;
  } catch {
    // It is plain text.
  }
  throw new Error(why || `The answer was ${response.status}.`);
}

async function go() {
  const yes = by("ask-yes");
  if (!asked || yes.disabled) return;
  if (!by("ask-token").hidden) {
    token = by("token").value.trim() || null;
    by("token").value = "";
  }
  // Once, however often it is pressed.
  yes.disabled = true;
  try {
    await send(asked);
    dialog.close();
    tell(`done: ${asked.title.replace("?", "").toLowerCase()}`, false);
  } catch (error) {
    by("ask-error").textContent = error.message;
  }
  yes.disabled = false;
}

// --- zones ---------------------------------------------------------------------

function showZones(view) {
  const zones = new Map();
  const { by_file: byFile, by_operators: byOperators } = view.zonal_shift;
  for (const zone of [...byFile, ...byOperators]) zones.set(zone, { healthy: 0, targets: 0 });
  for (const group of view.target_groups) {
    for (const target of group.targets) {
      if (!target.zone) continue;
      const counts = zones.get(target.zone) ?? { healthy: 0, targets: 0 };
      counts.targets += 1;
      counts.healthy += target.state === "healthy" ? 1 : 0;
      zones.set(target.zone, counts);
    }
  }
  const rows = [...zones].sort(([a], [b]) => a.localeCompare(b)).map(([zone, { healthy, targets }]) => {
    const kind = healthy === 0 ? "bad" : healthy < targets ? "warn" : "good";
    const item = make("li", "", make("b", "", zone), badge(`${healthy} of ${targets} healthy`, kind));
    item.dataset.zone = zone;
    const here = byOperators.includes(zone);
    if (here || byFile.includes(zone)) item.append(badge("requests are moved away", "warn"));
    if (here) item.append(actionButton("unshift", "Move back", `requests to ${zone}`, { zone }));
    else if (byFile.includes(zone)) item.append(make("span", "about", "by zonal_shift of the file"));
    else item.append(actionButton("shift", "Move away", `requests from ${zone}`, { zone }));
    return item;
  });
  by("zones").hidden = rows.length === 0;
  patch(by("zone-list"), rows, (item) => item.dataset.zone);
}

// --- what is pressed -----------------------------------------------------------

addEventListener("click", (event) => {
  const button = event.target.closest?.("button[data-act]");
  if (button) askFirst(button);
});
by("ask-no").addEventListener("click", () => dialog.close());
by("ask-yes").addEventListener("click", go);
by("token").addEventListener("keydown", (event) => {
  if (event.key === "Enter") go();
});
