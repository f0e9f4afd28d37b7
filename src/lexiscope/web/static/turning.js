// The features that are turned: a row with a slider for each, and a search for more of them.

import { element } from "./tokens.js";

const PAUSE = 250;
const form = document.querySelector("#steer");
const [turned, none, found, fresh, everything] = ["turned", "none", "found", "new-turn", "new-everything"].map((id) => document.getElementById(id));
const rows = () => [...turned.querySelectorAll(".turn:not(.dead)")];
let [changed, say] = [() => {}, () => {}];
let search = null;
let timer = 0;

// What is turned, as an address says it.
export const turns = () => rows().map((row) => row.dataset.written).filter((written) => written);

// The kept edit that is applied; empty: none.
export const edit = () => document.getElementById("applied")?.dataset.edit ?? "";

export const anyOn = () => edit() !== "" || rows().some((row) => !row.classList.contains("idle"));

// Tells when something else is turned, and what can't be.
export function start(whenChanged, whenSaid) {
  [changed, say] = [whenChanged, whenSaid];
  for (const row of turned.children) prepare(row);
  const applied = document.getElementById("applied");
  applied?.querySelector("[name=remove]").addEventListener("click", () => {
    applied.remove();
    form.elements.find.focus();
    count();
    changed();
  });
  count();
}

function values(row) {
  const [kind, slider, times, unit, source] = ["[name=do]", "[name=slider]", "[name=times]", ".unit", "[name=source]"].map((part) => row.querySelector(part));
  return { kind, slider, times, unit, source };
}

function prepare(row) {
  row.querySelector("[name=remove]").addEventListener("click", () => {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    (next?.querySelector("[name=remove]") ?? form.elements.find).focus();
    count();
    changed();
  });
  const { kind, slider, times, source } = values(row);
  if (!source) return;
  source.addEventListener("input", () => turn(row, times?.value));
  if (kind) {
    slider.addEventListener("input", () => turn(row, slider.value));
    times.addEventListener("input", () => turn(row, times.value));
    kind.addEventListener("change", () => turn(row, { scale: "2", cap: "1" }[kind.value] ?? (Number(times.value) === 0 ? "1" : times.value)));
  }
  describe(row);
}

// A strength by hand is a multiple of the maximum; what an address said before in another unit is forgotten.
function turn(row, value) {
  const { kind, slider, times, source } = values(row);
  if (kind) slider.value = times.value = value;
  const does = kind?.value ?? "patch";
  const number = Number(value || 0);
  const said = { ablate: "", scale: `:${number}`, patch: `:${source.value}` }[does] ?? `:${number}max`;
  row.dataset.written = does === "patch" && !source.value.trim() ? "" : `${does}:${row.dataset.feature}${said}`;
  describe(row);
}

function describe(row) {
  const { kind, slider, times, unit, source } = values(row);
  const does = kind?.value ?? "patch";
  row.classList.toggle("patches", does === "patch");
  if (does === "patch") {
    row.classList.toggle("idle", !source.value.trim());
    return;
  }
  const ablates = does === "ablate";
  slider.disabled = times.disabled = ablates;
  const off = Number(times.value) === { scale: 1, cap: NaN }[does] || (Number(times.value) === 0 && ["clamp", "add"].includes(does));
  unit.textContent = ablates ? "silent" : off ? "off" : does === "scale" ? "× itself" : "× max";
  row.classList.toggle("idle", off && !ablates);
}

function add(candidate) {
  found.hidden = true;
  form.elements.find.value = "";
  if (turned.querySelector(`[data-feature="${candidate.feature}"]`)) return say(`Feature ${candidate.feature} is turned already.`, true);
  const row = put(fresh);
  if (!row) return;
  row.dataset.feature = candidate.feature;
  for (const part of row.querySelectorAll("[aria-label]")) part.ariaLabel = part.ariaLabel.replace(/feature */, `feature ${candidate.feature} `).trim();
  const link = row.querySelector("a");
  link.href = form.dataset.features + candidate.feature;
  link.textContent = candidate.feature;
  row.querySelector(".label").textContent = candidate.label ?? "";
  row.querySelector(".chips").append(...candidate.fires_on.map((piece) => element("span", "chip", piece)));
  turn(row, "1");
  row.querySelector("[name=slider]").focus();
  changed();
}

// A new row; none where there are as many as there may be.
function put(template) {
  if (turned.children.length >= Number(turned.dataset.most)) {
    say(`At most ${turned.dataset.most} features can be turned at a time; remove one first.`, true);
    return null;
  }
  const row = template.content.firstElementChild.cloneNode(true);
  turned.append(row);
  prepare(row);
  count();
  return row;
}

form.elements.everything.addEventListener("click", () => {
  const row = turned.querySelector("[data-feature=all]") ?? put(everything);
  row?.querySelector("[name=source]").focus();
});

function count() {
  none.hidden = turned.children.length > 0 || edit() !== "";
}

// Finding one to turn

form.elements.find.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(look, PAUSE);
});
form.elements.find.addEventListener("keydown", (event) => {
  if (event.key === "Escape") found.hidden = true;
  if (event.key === "ArrowDown") found.querySelector("button")?.focus();
  if (event.key === "Enter") {
    event.preventDefault();
    const first = found.hidden ? null : found.querySelector("button:not(:disabled)");
    if (first) first.click();
    else look();
  }
});
found.addEventListener("keydown", (event) => {
  const steps = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" };
  if (event.key === "Escape") {
    found.hidden = true;
    form.elements.find.focus();
  } else if (steps[event.key]) {
    event.preventDefault();
    (event.target.closest("li")[steps[event.key]]?.querySelector("button") ?? form.elements.find).focus();
  }
});
form.addEventListener("focusout", (event) => {
  if (!event.relatedTarget?.closest?.(".finder")) found.hidden = true;
});

async function look() {
  search?.abort();
  const find = form.elements.find.value.trim();
  if (!find) {
    found.hidden = true;
    return;
  }
  search = new AbortController();
  try {
    const response = await fetch(`${form.dataset.page}?${new URLSearchParams({ find })}`, { signal: search.signal });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    const nothing = element("li", "note", "No feature has this number, or this in its label or its tokens. Try a shorter piece.");
    found.replaceChildren(...(answer.found.length ? answer.found.map(candidateRow) : [nothing]));
    found.hidden = false;
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, true);
  }
}

function candidateRow(candidate) {
  const choose = element("button");
  choose.type = "button";
  choose.disabled = candidate.dead;
  const name = element("bdi", "label", candidate.label ?? "");
  choose.append(element("b", "", String(candidate.feature)), name, ...candidate.fires_on.map((piece) => element("span", "chip", piece)));
  if (candidate.dead) choose.append(element("span", "quiet", "dead: it never fires in the indexed text"));
  choose.addEventListener("click", () => add(candidate));
  const row = element("li");
  row.append(choose);
  return row;
}
