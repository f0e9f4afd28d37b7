// "Your own text": under each token the features that fire there, while one types. Choosing a feature shows where else it
// fires; choosing a token tells what it is made of. The address carries a short text, the token and the feature.

import { element, level, read, short } from "./tokens.js";

const MOST_UNDER_A_TOKEN = 3;
const MOST_LISTED = 40;
const MOST_ROWS = 24;
const MOST_COLUMNS = 96;
const LONGEST_IN_ADDRESS = 1000;
const PAUSE = 250;
const form = document.querySelector("#typed");
const [status, result, summary, ribbon, note, title, about, list, matrix] = [
  "status", "result", "summary", "ribbon", "ribbon-note", "features-title", "about-token", "features", "matrix",
].map((id) => document.getElementById(id));
const percent = (share) => `${(100 * share).toFixed(Math.abs(share) < 0.1 ? 1 : 0)} %`;
let reading = null;
let entries = new Map();
let token = null;
let feature = null;
let wish = null;
let timer = 0;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});

form.elements.text.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(send, PAUSE);
});

// A newer wish calls the one before off, so that what is shown is always of the last text.
async function send() {
  clearTimeout(timer);
  wish?.abort();
  const text = form.elements.text.value;
  if (!text.trim()) {
    result.hidden = true;
    status.textContent = "";
    return;
  }
  wish = new AbortController();
  const { signal } = wish;
  status.className = "status";
  status.textContent = reading ? "Reading …" : "Reading … the first text takes a little longer, while the model is loaded.";
  try {
    const answer = await read(form.dataset.url, text, signal);
    reading = answer;
    entries = new Map(reading.features.map((entry) => [entry.feature, entry]));
    if (token !== null && token >= reading.tokens.length) token = null;
    if (!entries.has(feature)) feature = null;
    status.textContent = "";
    result.hidden = false;
    show();
  } catch (error) {
    if (error.name === "AbortError") return;
    status.className = "status problem";
    status.textContent = error.message;
  }
}

function show() {
  const { fvu, error_share: error, loss, spliced_loss: spliced } = reading;
  const said = [`${percent(error)} of the activations is not explained by features or bias`];
  if (fvu !== null) said.push(`FVU ${short(fvu)}`);
  if (loss !== null) said.push(`loss ${short(loss)} nats, ${short(spliced)} with only what the dictionary explains`);
  summary.textContent = `${said.join("; ")}.`;
  ribbon.replaceChildren(...reading.tokens.map(gloss));
  note.textContent = reading.left_out ? `${reading.left_out} more tokens were not read.` : "";
  const rows = token === null ? wholeText() : onToken(reading.tokens[token]);
  title.textContent = `${rows.length} ${rows.length === 1 ? "feature" : "features"} `;
  title.append(token === null ? "in this text" : element("span", "chip", reading.tokens[token].shown));
  about.hidden = token === null;
  about.replaceChildren(...(token === null ? [] : madeOf(reading.tokens[token])));
  list.replaceChildren(...rows.slice(0, MOST_LISTED).map(featureRow));
  matrix.replaceChildren(...table());
  remember();
}

function remember() {
  const address = new URL(location.href);
  const text = form.elements.text.value;
  const values = { text: text.length <= LONGEST_IN_ADDRESS ? text : null, token, feature };
  for (const [name, value] of Object.entries(values)) {
    if (value === null) address.searchParams.delete(name);
    else address.searchParams.set(name, value);
  }
  history.replaceState(null, "", address);
}

function wholeText() {
  return reading.features.map((entry) => ({ ...entry, detail: entry.tokens === 1 ? "1 token" : `${entry.tokens} tokens` }));
}

function onToken({ firings }) {
  return firings.map((firing) => ({
    ...entries.get(firing.feature),
    relative: firing.relative,
    detail: `${short(firing.activation)} · ${percent(firing.share)}`,
  }));
}

// What the activation on a token is made of, and what the model expects next.
function madeOf(entry) {
  const made = [];
  if (entry.parts) {
    const parts = [["features", entry.parts.features_share, "fire"], ["bias", entry.parts.bias_share, "plain"], ["error", entry.parts.error_share, "down"]];
    if (entry.parts.around_share) parts.splice(2, 0, ["around", entry.parts.around_share, "up"]);
    const rows = element("ul", "made-of");
    for (const [name, share, kind] of parts) {
      const row = element("li");
      row.append(element("span", "", name), meter(Math.abs(share), kind), element("span", "number", percent(share)));
      rows.append(row);
    }
    made.push(rows);
    const fvu = entry.parts.fvu === null ? "" : ` FVU ${short(entry.parts.fvu)}.`;
    made.push(element("p", "note", `Activation = Σ strength × direction + bias + error, shares of its length by projection.${fvu} ${entry.l0} features fire.`));
  } else made.push(element("p", "note", "A special token; no dictionary is trained on it."));
  const next = element("p", "after-tokens");
  for (const { shown, probability } of entry.next_tokens) {
    const one = element("span");
    one.append(element("span", "chip", shown), ` ${percent(probability)}`);
    next.append(one);
  }
  made.push(element("h3", "", "The model expects next"), next);
  return made;
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
  choose.append(meter(entry.relative, "fire"), ...entry.fires_on.slice(0, 4).map((piece) => element("span", "chip", piece)));
  const row = element("li");
  row.append(link, choose, element("span", "number", entry.detail));
  return row;
}

function table() {
  const tokens = reading.tokens.slice(0, MOST_COLUMNS);
  const strongest = tokens.map((entry) => new Map(entry.firings.map((one) => [one.feature, one])));
  const head = element("tr");
  head.append(element("th", "", "Feature"), ...tokens.map((entry) => element("th", "column", entry.shown)));
  const rows = reading.features.slice(0, MOST_ROWS).map((entry) => {
    const row = element("tr", entry.feature === feature ? "chosen" : "");
    const name = element("th");
    const link = element("a", "", String(entry.feature));
    link.href = form.dataset.features + entry.feature;
    name.append(link);
    row.append(name, ...strongest.map((firings) => cell(firings.get(entry.feature))));
    return row;
  });
  const last = element("tr", "left");
  last.append(element("th", "", "error"), ...tokens.map((entry) => element("td", "", entry.parts ? String(Math.round(100 * entry.parts.error_share)) : "–")));
  const [top, body] = [element("thead"), element("tbody")];
  top.append(head);
  body.append(...rows, last);
  return [top, body];
}

function cell(firing) {
  const made = element("td", `cell a${firing ? level(firing.relative) : 0}`);
  if (firing) made.title = `${short(firing.activation)}, ${percent(firing.relative)} of its largest`;
  return made;
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

function meter(share, kind) {
  const space = "http://www.w3.org/2000/svg";
  const made = document.createElementNS(space, "svg");
  made.setAttribute("viewBox", "0 0 100 6");
  made.setAttribute("preserveAspectRatio", "none");
  made.setAttribute("class", `bar ${kind}`);
  const bar = document.createElementNS(space, "rect");
  bar.setAttribute("width", String(Math.min(100, share * 100)));
  bar.setAttribute("height", "6");
  made.append(bar);
  return made;
}

// An address that carries a text is read at once; without one nothing is sent before somebody types.
const asked = new URLSearchParams(location.search);
if (asked.has("text")) {
  form.elements.text.value = asked.get("text").slice(0, form.elements.text.maxLength);
  if (asked.has("token")) token = Number(asked.get("token"));
  if (asked.has("feature")) feature = Number(asked.get("feature"));
  send();
}
