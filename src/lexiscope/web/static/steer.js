// "Turn features": a text gone on with twice, as it is and with features turned. The address carries the whole view, and is
// what to share. Text is set, never parsed as HTML.

import { element, level, short } from "./tokens.js";

const LONGEST_ADDRESS = 4000;
const PAUSE = 250;
const RUNS = ["default", "steered"];
const form = document.querySelector("#steer");
const [status, turned, none, found, fresh] = ["status", "turned", "none", "found", "new-turn"].map((id) => document.getElementById(id));
const texts = Object.fromEntries(RUNS.map((run) => [run, document.getElementById(run)]));
const panels = Object.fromEntries(RUNS.map((run) => [run, document.getElementById(`${run}-features`)]));
let tokens = { default: [], steered: [] };
let marked = null;
let chosen = null;
let wish = null;
let search = null;
let timer = 0;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  write();
});
form.elements.stop.addEventListener("click", () => wish?.abort());
form.elements.share.addEventListener("click", share);
form.addEventListener("change", (event) => {
  if (event.target.closest(".turn, .settings") && form.checkValidity()) write();
});

// Features that are turned

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
    write();
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
  row.classList.toggle("off", off && !ablates);
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
  write();
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

// Writing. A newer wish calls the one before off, so that what is shown is always of the last one.

function asked() {
  const { prompt, temperature, seed, tokens: most, error } = form.elements;
  return {
    prompt: prompt.value,
    turn: [...turned.querySelectorAll(".turn:not(.dead)")].map((row) => row.dataset.written),
    temperature: Number(temperature.value),
    seed: Number(seed.value),
    tokens: Number(most.value),
    error: error.value,
  };
}

async function write() {
  wish?.abort();
  const asking = asked();
  const kept = remember(asking);
  if (!asking.prompt.trim()) return say("Begin a text first: a word or two are enough.", true);
  const mine = new AbortController();
  wish = mine;
  const first = tokens.default.length === 0;
  form.elements.stop.disabled = false;
  document.querySelector(".both").ariaBusy = "true";
  say(first ? "Writing … the first time takes longer, while the model is loaded." : "Writing …");
  let begun = false;
  try {
    for await (const line of lines(form.dataset.url, asking, mine.signal)) {
      if (!begun) clear();
      begun = true;
      if (line.kind === "token") put(line);
      else if (line.kind === "end") say(`${parted(line, asking)}${kept ? "" : " The prompt is too long for a link; share it beside one."}`);
      else throw new Error(line.error);
    }
  } catch (error) {
    if (mine !== wish) return;
    if (error.name === "AbortError") say("Stopped.");
    else say(error.message, true);
  }
  if (mine !== wish) return;
  form.elements.stop.disabled = true;
  document.querySelector(".both").ariaBusy = "false";
}

async function* lines(url, body, signal) {
  let response;
  try {
    response = await fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("Lexiscope does not answer. Is it still running in the terminal?");
  }
  if (!response.ok) {
    const answer = await response.json().catch(() => ({ error: `It answered with status ${response.status}.` }));
    throw new Error(answer.error);
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The answer broke off. Is Lexiscope still running in the terminal?");
    }
    if (part.done) return;
    const whole = (rest + part.value).split("\n");
    rest = whole.pop();
    for (const line of whole) yield JSON.parse(line);
  }
}

function parted({ differ_at: at }, { turn }) {
  const began = tokens.default.filter((token) => token.prompt).length;
  if (at !== null) return at <= began ? "The texts part at the first new token." : `The first ${at - began} new tokens are the same, then the texts part.`;
  const rows = [...turned.querySelectorAll(".turn:not(.dead)")];
  if (!turn.length || rows.every((row) => row.classList.contains("off"))) return "No feature is turned, so both texts are the same.";
  return "Both texts are the same: what is turned does not change what is drawn.";
}

function say(words, problem = false) {
  status.className = problem ? "status problem" : "status";
  status.textContent = words[0].toUpperCase() + words.slice(1);
}

function clear() {
  tokens = { default: [], steered: [] };
  marked = chosen = null;
  for (const run of RUNS) {
    texts[run].replaceChildren();
    texts[run].removeAttribute("aria-activedescendant");
    panels[run].replaceChildren();
  }
}

function put(token) {
  const { run, place } = token;
  tokens[run].push(token);
  const strongest = Math.max(0, ...token.firings.filter((firing) => firing.turned).map((firing) => firing.relative));
  const made = element("span", `t a${level(strongest)}${token.prompt ? " given" : ""}`, token.shown);
  made.id = `${run}-${place}`;
  made.role = "option";
  made.dataset.place = place;
  texts[run].append(made);
  if (token.shown.includes("↵")) texts[run].append("\n");
  mark(place);
}

// Where the texts are not the same for the first time.
function mark(place) {
  if (marked !== null) return;
  const [one, other] = RUNS.map((run) => tokens[run][place]);
  if (!one || !other || one.token === other.token) return;
  marked = place;
  for (const run of RUNS) {
    const at = document.getElementById(`${run}-${place}`);
    at.classList.add("parts");
    at.ariaDescription = "The texts part here";
  }
}

// The features of a token, in both texts at the same place

for (const run of RUNS) {
  texts[run].addEventListener("pointerover", (event) => show(event.target.dataset.place));
  texts[run].addEventListener("click", (event) => choose(run, Number(event.target.dataset.place)));
  texts[run].addEventListener("pointerleave", () => show(chosen ?? undefined));
  texts[run].addEventListener("focus", () => {
    if (chosen === null && tokens[run].length) choose(run, Math.max(0, tokens[run].findIndex((token) => !token.prompt)));
  });
  texts[run].addEventListener("keydown", (event) => {
    const last = tokens[run].length - 1;
    const to = { ArrowLeft: (chosen ?? 0) - 1, ArrowRight: (chosen ?? -1) + 1, Home: 0, End: last }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    event.stopPropagation();
    choose(run, Math.min(last, Math.max(0, to)));
  });
}

function choose(run, place) {
  if (!Number.isInteger(place)) return;
  chosen = place;
  texts[run].setAttribute("aria-activedescendant", `${run}-${place}`);
  show(place);
}

function show(place) {
  if (place === undefined) return;
  for (const old of document.querySelectorAll(".t[aria-selected]")) old.removeAttribute("aria-selected");
  for (const run of RUNS) {
    const token = tokens[run][place];
    document.getElementById(`${run}-${place}`)?.setAttribute("aria-selected", "true");
    panels[run].replaceChildren(...(token ? about(token) : [element("p", "note", "The text has ended before.")]));
  }
}

function about(token) {
  const title = element("h3", "", "Features on ");
  title.append(element("span", "chip", token.shown));
  if (!token.firings.length) return [title, element("p", "note", "No feature fires here.")];
  const list = element("ol");
  for (const firing of token.firings) {
    const row = element("li", firing.turned ? "is-turned" : "");
    const link = element("a", "", String(firing.feature));
    link.href = form.dataset.features + firing.feature;
    const meaning = element("span", "meaning-of");
    if (firing.label) meaning.append(element("bdi", "label", firing.label));
    else meaning.append(...firing.fires_on.map((piece) => element("span", "chip", piece)));
    row.append(link, meaning, meter(firing.relative), element("span", "number", short(firing.activation)));
    list.append(row);
  }
  return [title, list];
}

function meter(share) {
  const space = "http://www.w3.org/2000/svg";
  const made = document.createElementNS(space, "svg");
  made.setAttribute("viewBox", "0 0 100 6");
  made.setAttribute("preserveAspectRatio", "none");
  made.setAttribute("class", "bar fire");
  const bar = document.createElementNS(space, "rect");
  bar.setAttribute("width", String(Math.max(0, Math.min(100, share * 100))));
  bar.setAttribute("height", "6");
  made.append(bar);
  return made;
}

// The address

function remember({ prompt, turn, ...rest }) {
  const address = new URL(location.pathname, location.origin);
  for (const one of turn) address.searchParams.append("turn", one);
  for (const [name, value] of Object.entries(rest)) address.searchParams.set(name, value);
  const whole = new URL(address);
  whole.searchParams.set("prompt", prompt);
  const fits = whole.pathname.length + whole.search.length <= LONGEST_ADDRESS;
  history.replaceState(null, "", fits ? whole : address);
  return fits;
}

async function share() {
  if (!remember(asked())) return say("The prompt is too long for a link; share it beside one.", true);
  try {
    await navigator.clipboard.writeText(location.href);
    say("The link is copied.");
  } catch {
    say("The browser does not let this page copy; the link is the address of this page.");
  }
}

for (const row of turned.children) prepare(row);
count();
// An address that carries a prompt or a feature is written at once; without one nothing is sent before somebody asks.
const carried = new URLSearchParams(location.search);
if (carried.has("prompt") || carried.has("turn")) write();
