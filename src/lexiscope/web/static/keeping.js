// What is set as a recipe, and as an edit to keep; and kept edits, applied to the text that is being begun.

import { post } from "./tokens.js";

const [recipe, said, details] = ["recipe", "keep-said", "keep"].map((id) => document.getElementById(id));
const [copy, download, keep] = ["copy-recipe", "download-recipe", "keep-edit"].map((id) => document.getElementById(id));
const { page } = document.querySelector("#steer").dataset;
let current = () => ({});

// Told what is asked for, whenever that is asked.
export function offer(asked) {
  current = asked;
}

const say = (words, problem = false) => {
  said.className = problem ? "note problem" : "note";
  said.textContent = words;
};

// The server writes it: it alone knows how a recipe is read.
async function refresh() {
  const { turn, on, positions, edit, error } = current();
  const query = new URLSearchParams({ on, positions, edit, error });
  for (const one of turn) query.append("turn", one);
  const response = await fetch(`${page}?${query}`).catch(() => null);
  const answer = await response?.json().catch(() => null);
  if (!response?.ok) {
    say(answer?.error ?? "Lexiscope does not answer. Is it still running in the terminal?", true);
    return false;
  }
  recipe.textContent = answer.recipe;
  say(answer.problems.join(" "), true);
  return true;
}

details.querySelector("details").addEventListener("toggle", (event) => event.target.open && refresh());
document.querySelector("#steer").addEventListener("change", () => details.querySelector("[open]") && refresh());

copy.addEventListener("click", async () => {
  if (!(await refresh())) return;
  try {
    await navigator.clipboard.writeText(recipe.textContent);
    say("The recipe is copied.");
  } catch {
    getSelection().selectAllChildren(recipe);
    say("The browser does not let this page copy; the recipe is selected.");
  }
});

download.addEventListener("click", async (event) => {
  if (download.protocol === "blob:") return;
  event.preventDefault();
  if (!(await refresh())) return;
  const [usual, made] = [download.href, URL.createObjectURL(new Blob([recipe.textContent], { type: "application/toml" }))];
  download.href = made;
  download.click();
  download.href = usual;
  URL.revokeObjectURL(made);
});

keep?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { turn, on, positions, edit, error } = current();
  if (!turn.length) return say("Turn a feature first: there is nothing to keep.", true);
  const { name, text, author } = keep.elements;
  say("Keeping …");
  try {
    const kept = await post(keep.dataset.url, { turn, on, positions, edit, error, name: name.value, purpose: text.value, author: author.value });
    say(`Kept as ${kept.name}; strengths are activations now. Load this page again to see it in the list.`);
  } catch (error_) {
    say(error_.message, true);
  }
});

// An edit that is applied keeps the prompt and how it is written.
for (const link of document.querySelectorAll(".apply")) {
  link.addEventListener("click", () => {
    const address = new URL(link.href);
    for (const name of ["prompt", "temperature", "seed", "tokens"]) address.searchParams.set(name, current()[name]);
    link.href = address;
  });
}
