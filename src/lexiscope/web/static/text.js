// "Your own text": under each token the features that fire there. Choosing a feature shows where else it fires; choosing a
// token lists everything on it.

import { element, level, read, short } from "./tokens.js";

const MOST_UNDER_A_TOKEN = 3;
const MOST_LISTED = 40;
const form = document.querySelector("#typed");
const [status, result, ribbon, note, title, list] = ["status", "result", "ribbon", "ribbon-note", "features-title", "features"].map(
  (id) => document.getElementById(id),
);
let reading = null;
let entries = new Map();
let token = null;
let feature = null;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = form.elements.text.value;
  if (!text.trim()) return form.elements.text.focus();
  const button = form.querySelector("button");
  button.disabled = true;
  status.className = "status";
  status.textContent = "Reading … the first text takes a little longer, while the model is loaded.";
  try {
    reading = await read(form.dataset.url, text);
    entries = new Map(reading.features.map((entry) => [entry.feature, entry]));
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
  ribbon.replaceChildren(...reading.tokens.map(gloss));
  note.textContent = reading.left_out ? `${reading.left_out} more tokens were not read.` : "";
  const rows = token === null ? wholeText() : onToken(reading.tokens[token]);
  title.textContent = `${rows.length} ${rows.length === 1 ? "feature" : "features"} `;
  title.append(token === null ? "in this text" : element("span", "chip", reading.tokens[token].shown));
  list.replaceChildren(...rows.slice(0, MOST_LISTED).map(featureRow));
}

function wholeText() {
  return reading.features.map((entry) => ({ ...entry, detail: entry.tokens === 1 ? "1 token" : `${entry.tokens} tokens` }));
}

function onToken({ firings }) {
  return firings.map((firing) => ({ ...entries.get(firing.feature), relative: firing.relative, detail: short(firing.activation) }));
}

function gloss(entry, place) {
  const firing = entry.firings.find((one) => one.feature === feature);
  const head = choice(`token a${level(firing ? firing.relative : 0)}`, entry.shown, place === token, () => {
    token = place === token ? null : place;
  });
  if (firing) head.dataset.tip = short(firing.activation);
  const under = entry.firings.slice(0, MOST_UNDER_A_TOKEN).map((one) => featureChoice("under-token", String(one.feature), one.feature));
  const made = element("span", "gloss");
  made.append(head, ...under);
  return made;
}

function featureRow(entry) {
  const link = element("a", "", String(entry.feature));
  link.href = form.dataset.features + entry.feature;
  const choose = featureChoice("choose", "", entry.feature);
  choose.append(meter(entry.relative), ...entry.fires_on.slice(0, 4).map((piece) => element("span", "chip", piece)));
  const row = element("li");
  row.append(link, choose, element("span", "number", entry.detail));
  return row;
}

function featureChoice(classes, text, number) {
  return choice(classes, text, number === feature, () => {
    feature = number === feature ? null : number;
  });
}

function choice(classes, text, pressed, act) {
  const made = element("button", classes, text);
  made.type = "button";
  made.setAttribute("aria-pressed", String(pressed));
  made.addEventListener("click", () => {
    act();
    show();
  });
  return made;
}

function meter(share) {
  const space = "http://www.w3.org/2000/svg";
  const made = document.createElementNS(space, "svg");
  made.setAttribute("viewBox", "0 0 100 6");
  made.setAttribute("preserveAspectRatio", "none");
  made.setAttribute("class", "bar fire");
  const bar = document.createElementNS(space, "rect");
  bar.setAttribute("width", String(Math.min(100, share * 100)));
  bar.setAttribute("height", "6");
  made.append(bar);
  return made;
}
