// Two texts side by side, each token with its features: those of both at the same place, on hover, click and arrow keys.

import { element, level, short } from "./tokens.js";

const RUNS = ["default", "steered"];
const features = document.querySelector("#steer").dataset.features;
const texts = Object.fromEntries(RUNS.map((run) => [run, document.getElementById(run)]));
const panels = Object.fromEntries(RUNS.map((run) => [run, document.getElementById(`${run}-features`)]));
let tokens = { default: [], steered: [] };
let marked = null;
let chosen = null;

export const written = () => tokens.default.length > 0;

export const inPrompt = () => tokens.default.filter((token) => token.prompt).length;

// What was written before stays, faint, until it is written over, so that nothing below moves.
export function begin() {
  tokens = { default: [], steered: [] };
  marked = chosen = null;
  for (const old of document.querySelectorAll(".t")) {
    old.className = "t old";
    for (const name of ["id", "data-place", "aria-selected", "aria-description"]) old.removeAttribute(name);
  }
  for (const run of RUNS) {
    texts[run].removeAttribute("aria-activedescendant");
    panels[run].replaceChildren();
  }
}

export function finish() {
  for (const old of document.querySelectorAll(".t.old")) old.remove();
}

export function put(token) {
  const { run, place } = token;
  tokens[run].push(token);
  const strongest = Math.max(0, ...token.firings.filter((firing) => firing.turned).map((firing) => firing.relative));
  const made = element("span", `t a${level(strongest)}${token.prompt ? " given" : ""}`, token.shown);
  made.id = `${run}-${place}`;
  made.role = "option";
  made.dataset.place = place;
  if (token.shown.includes("↵")) made.classList.add("ends");
  const old = texts[run].querySelector(".old");
  if (old) old.replaceWith(made);
  else texts[run].append(made);
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
    link.href = features + firing.feature;
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
