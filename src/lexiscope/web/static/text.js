// "Your own text": tokens on the left, features on the right; choosing one of either shows where it meets the other.

import { element, level, read, short } from "./tokens.js";

const MOST_LISTED = 40;
const form = document.querySelector("#typed");
const [status, result, ribbon, note, title, list] = ["status", "result", "ribbon", "ribbon-note", "features-title", "features"].map(
  (id) => document.getElementById(id),
);
let reading = null;
let token = null;
let feature = null;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = form.elements.text.value;
  if (!text.trim()) return form.elements.text.focus();
  const button = form.querySelector("button");
  button.disabled = true;
  status.className = "status";
  status.textContent = "Reading … the first text takes a few seconds longer, while the model is loaded.";
  try {
    reading = await read(form.dataset.url, text);
    token = feature = null;
    status.textContent = "";
    result.hidden = false;
    show();
  } catch (error) {
    status.className = "status problem";
    status.textContent = error.message;
  } finally {
    button.disabled = false;
  }
});

function show() {
  ribbon.replaceChildren(...reading.tokens.map(tokenButton));
  note.textContent = reading.left_out ? `${reading.left_out} more tokens were not read.` : "";
  const rows = token === null ? wholeText() : onToken(token);
  title.textContent =
    token === null ? `${reading.features.length} features in this text` : `${rows.length} features on “${reading.tokens[token].shown}”`;
  list.replaceChildren(...rows.slice(0, MOST_LISTED).map(featureRow));
}

function wholeText() {
  return reading.features.map((entry) => ({ ...entry, detail: entry.tokens === 1 ? "1 token" : `${entry.tokens} tokens` }));
}

function onToken(place) {
  const known = new Map(reading.features.map((entry) => [entry.feature, entry]));
  return reading.tokens[place].firings.map((firing) => ({
    ...known.get(firing.feature),
    relative: firing.relative,
    detail: short(firing.activation),
  }));
}

function tokenButton(entry, place) {
  const firing = feature === null ? entry.firings[0] : entry.firings.find((one) => one.feature === feature);
  const made = element("button", `token a${level(firing ? firing.relative : 0)}`, entry.shown);
  made.type = "button";
  made.setAttribute("aria-pressed", String(place === token));
  if (firing) made.dataset.tip = feature === null ? `${firing.feature}: ${short(firing.activation)}` : short(firing.activation);
  made.addEventListener("click", () => {
    token = place === token ? null : place;
    feature = null;
    show();
    ribbon.children[place].focus();
  });
  return made;
}

function featureRow(entry) {
  const number = entry.feature;
  const row = element("li");
  const choose = element("button", "choose");
  choose.type = "button";
  choose.setAttribute("aria-pressed", String(number === feature));
  choose.append(meter(entry.relative), ...entry.fires_on.slice(0, 4).map((piece) => element("span", "chip", piece)));
  choose.addEventListener("click", () => {
    feature = number === feature ? null : number;
    show();
  });
  const link = element("a", "", String(number));
  link.href = form.dataset.features + number;
  row.append(link, choose, element("span", "number", entry.detail));
  return row;
}

function meter(share) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  made.setAttribute("viewBox", "0 0 100 6");
  made.setAttribute("preserveAspectRatio", "none");
  made.setAttribute("class", "bar fire");
  const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  bar.setAttribute("width", String(Math.min(100, share * 100)));
  bar.setAttribute("height", "6");
  made.append(bar);
  return made;
}
