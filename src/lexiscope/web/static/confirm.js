// Confirming a feature by patching: pairs of prompts are typed as lines of JSON and sent as one list. What was sent last
// stays in the form while the tab is open, since other features are often tried on the same pairs.

import { send } from "./feature.js";

const PARTS = ["prompt", "answer", "other_prompt", "other_answer"];
const TYPED = ["hypothesis", "pairs"];
const form = document.querySelector("#confirm");

for (const name of form ? TYPED : []) {
  const kept = sessionStorage.getItem(`lexiscope-${name}`);
  if (kept) form.elements[name].value = kept;
}

form?.closest("details").addEventListener("toggle", (event) => {
  if (event.target.open) form.elements.hypothesis.focus();
});

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = form.querySelector("output");
  const button = form.querySelector("button");
  const hypothesis = form.elements.hypothesis.value.trim();
  if (!hypothesis) return form.elements.hypothesis.focus();
  for (const name of TYPED) sessionStorage.setItem(`lexiscope-${name}`, form.elements[name].value);
  button.disabled = true;
  said.className = "note";
  said.textContent = "Patching … the first time takes longer, while the model is loaded.";
  try {
    const pairs = read(form.elements.pairs.value);
    if (await send(form.dataset.url, { hypothesis, pairs }, said)) return;
  } catch (error) {
    said.textContent = error.message;
  }
  said.className = "note problem";
  button.disabled = false;
});

// Lines as pairs, or an Error that says which line is none.
function read(text) {
  return text.split("\n").flatMap((line, at) => (line.trim() ? [pair(line, at + 1)] : []));
}

function pair(line, number) {
  let found;
  try {
    found = JSON.parse(line);
  } catch {
    found = null;
  }
  if (found === null || typeof found !== "object" || Array.isArray(found)) {
    throw new Error(`Line ${number} is no JSON object; write one with ${PARTS.join(", ")}.`);
  }
  const missing = PARTS.find((part) => typeof found[part] !== "string" || !found[part]);
  if (missing) throw new Error(`Line ${number} has no ${missing}; write all of ${PARTS.join(", ")}.`);
  return found;
}
