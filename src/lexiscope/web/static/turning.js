// The features that are turned: a row with a slider for each, and a search for more of them.

import { element } from "./tokens.js";

const PAUSE = 250;
const form = document.querySelector("#steer");
const [turned, none, found, fresh] = ["turned", "none", "found", "new-turn"].map((id) => document.getElementById(id));
const rows = () => [...turned.querySelectorAll(".turn:not(.dead)")];
let [changed, say] = [() => {}, () => {}];
let search = null;
let timer = 0;

// What is turned, as an address says it.
export const turns = () => rows().map((row) => row.dataset.written);

export const anyOn = () => rows().some((row) => !row.classList.contains("idle"));

// Tells when something else is turned, and what can't be.
export function start(whenChanged, whenSaid) {
  [changed, say] = [whenChanged, whenSaid];
  for (const row of turned.children) prepare(row);
  count();
}

function values(row) {
  const [kind, slider, times, unit] = ["[name=do]", "[name=slider]", "[name=times]", ".unit"].map((part) => row.querySelector(part));
  return { kind, slider, times, unit };
}

function prepare(row) {
  row.querySelector("[name=remove]").addEventListener("click", () => {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    (next?.querySelector("[name=remove]") ?? form.elements.find).focus();
    count();
    changed();
  });
  const { kind, slider, times } = values(row);
  if (!kind) return;
  slider.addEventListener("input", () => turn(row, slider.value));
  times.addEventListener("input", () => turn(row, times.value));
  kind.addEventListener("change", () => turn(row, kind.value === "scale" ? "2" : Number(times.value) === 0 ? "1" : times.value));
  describe(row);
}

// A strength by hand is a multiple of the maximum; what an address said before in another unit is forgotten.
function turn(row, value) {
  const { kind, slider, times } = values(row);
  if (slider.value !== value) slider.value = value;
  if (times.value !== value) times.value = value;
  const number = Number(value || 0);
  const strength = { ablate: "", scale: `:${number}` }[kind.value] ?? `:${number}max`;
  row.dataset.written = `${kind.value}:${row.dataset.feature}${strength}`;
  describe(row);
}

function describe(row) {
  const { kind, slider, times, unit } = values(row);
  const ablates = kind.value === "ablate";
  slider.disabled = times.disabled = ablates;
  const off = Number(times.value) === (kind.value === "scale" ? 1 : 0);
  unit.textContent = ablates ? "silent" : off ? "off" : kind.value === "scale" ? "× itself" : "× max";
  row.classList.toggle("idle", off && !ablates);
}

function add(candidate) {
  found.hidden = true;
  form.elements.find.value = "";
  if (turned.querySelector(`[data-feature="${candidate.feature}"]`)) return say(`Feature ${candidate.feature} is turned already.`, true);
  if (turned.children.length >= Number(turned.dataset.most)) return say(`At most ${turned.dataset.most} features can be turned at a time; remove one first.`, true);
  const row = fresh.content.firstElementChild.cloneNode(true);
  row.dataset.feature = candidate.feature;
  for (const part of row.querySelectorAll("[aria-label]")) part.ariaLabel = part.ariaLabel.replace("feature ", `feature ${candidate.feature} `).trim();
  const link = row.querySelector("a");
  link.href = form.dataset.features + candidate.feature;
  link.textContent = candidate.feature;
  row.querySelector(".label").textContent = candidate.label ?? "";
  row.querySelector(".chips").append(...candidate.fires_on.map((piece) => element("span", "chip", piece)));
  turned.append(row);
  prepare(row);
  turn(row, "1");
  count();
  row.querySelector("[name=slider]").focus();
  changed();
}

function count() {
  none.hidden = turned.children.length > 0;
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
    const response = await fetch(`${form.dataset.find}?${new URLSearchParams({ find })}`, { signal: search.signal });
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
