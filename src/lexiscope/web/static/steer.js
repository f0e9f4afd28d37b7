// "Turn features": a text gone on with twice, as it is and with features turned. The address carries the whole view, and is
// what to share. Text is set, never parsed as HTML.

import { begin, finish, inPrompt, put, written } from "./texts.js";
import { offer } from "./keeping.js";
import { anyOn, edit, start, turns } from "./turning.js";

const LONGEST_ADDRESS = 4000;
const USUAL = { on: "all", positions: "", edit: "" };
const TOO_LONG = "This is too long for a link; share the recipe and the prompt beside one.";
const form = document.querySelector("#steer");
const [status, both] = [document.querySelector("#status"), document.querySelector(".both")];
let wish = null;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  write();
});
form.elements.stop.addEventListener("click", () => wish?.abort());
form.elements.share.addEventListener("click", share);
form.addEventListener("change", (event) => {
  if (event.target.closest(".turn, .settings") && form.checkValidity()) write();
});

// Writing. A newer wish calls the one before off, so that what is shown is always of the last one.

function asked() {
  const { prompt, on, positions, temperature, seed, tokens: most, error } = form.elements;
  return {
    prompt: prompt.value,
    turn: turns(),
    on: on.value,
    positions: positions.value.trim(),
    edit: edit(),
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
  form.elements.stop.disabled = false;
  both.ariaBusy = "true";
  say(written() ? "Writing …" : "Writing … the first time takes longer, while the model is loaded.");
  let begun = false;
  try {
    for await (const line of lines(form.dataset.url, asking, mine.signal)) {
      if (!begun) begin();
      begun = true;
      if (line.kind === "token") put(line);
      else if (line.kind === "end") say(kept ? parted(line) : `${parted(line)} ${TOO_LONG}`);
      else throw new Error(line.error);
    }
  } catch (error) {
    if (mine !== wish) return;
    if (error.name === "AbortError") say("Stopped.");
    else say(error.message, true);
  }
  if (mine !== wish) return;
  finish();
  form.elements.stop.disabled = true;
  both.ariaBusy = "false";
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

function parted({ differ_at: at }) {
  const same = at - inPrompt();
  if (at !== null) return same < 1 ? "The texts part at the first new token." : same === 1 ? "The first new token is the same, then the texts part." : `The first ${same} new tokens are the same, then the texts part.`;
  if (!anyOn()) return "No feature is turned, so both texts are the same.";
  return "Both texts are the same: what is turned does not change what is drawn.";
}

function say(words, problem = false) {
  status.className = problem ? "status problem" : "status";
  status.textContent = words[0].toUpperCase() + words.slice(1);
}

// The address

// Whether all of it fits; the prompt is what is left out first.
function remember({ prompt, turn, ...rest }) {
  const bare = new URL(location.pathname, location.origin);
  const changes = new URL(bare);
  for (const one of turn) changes.searchParams.append("turn", one);
  for (const [name, value] of Object.entries(rest)) if (value !== USUAL[name]) changes.searchParams.set(name, value);
  const whole = new URL(changes);
  whole.searchParams.set("prompt", prompt);
  const fits = (address) => address.pathname.length + address.search.length <= LONGEST_ADDRESS;
  history.replaceState(null, "", [whole, changes].find(fits) ?? bare);
  return fits(whole);
}

async function share() {
  if (!remember(asked())) return say(TOO_LONG, true);
  try {
    await navigator.clipboard.writeText(location.href);
    say("The link is copied.");
  } catch {
    say("The browser does not let this page copy; the link is the address of this page.");
  }
}

start(write, say);
offer(asked);
// An address that carries a prompt or a feature is written at once; without one nothing is sent before somebody asks.
const carried = new URLSearchParams(location.search);
if (["prompt", "turn", "edit"].some((name) => carried.has(name))) write();
