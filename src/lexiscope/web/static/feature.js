// The feature page: what is written about the feature, its ablation, and a text of one's own with this feature on it.
// Anything that is kept is shown only after the server has said that it is on the disk: the page is then read again.

import { element, level, post, short } from "./tokens.js";

const NAME = "lexiscope-author";
const author = () => document.querySelector(".write [name=author]")?.value.trim() ?? "";

export async function send(url, body, where) {
  try {
    await post(url, { author: author(), ...body });
    location.reload();
  } catch (error) {
    const said = where ?? document.querySelector(".write output");
    if (said) said.textContent = error.message;
    return false;
  }
  return true;
}

for (const button of document.querySelectorAll("button[data-mark]")) {
  button.addEventListener("click", () => {
    const { mark, action, text, label, note } = button.dataset;
    const body = { action };
    if (text !== undefined) body.text = text;
    if (label !== undefined) body.label = Number(label);
    if (note !== undefined) body.note = Number(note);
    send(mark, body);
  });
}

const write = document.querySelector("form.write");
if (write) {
  write.elements.author.value = localStorage.getItem(NAME) ?? "";
  write.elements.author.addEventListener("change", () => localStorage.setItem(NAME, author()));
  write.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = write.elements.text.value.trim();
    if (!text) return write.elements.text.focus();
    const action = event.submitter?.value ?? "label";
    if (action === "tag" && text.length > 200) {
      write.querySelector("output").textContent = "A tag has at most 200 characters.";
      return;
    }
    if (await send(write.dataset.mark, { action, text })) write.reset();
  });
}

const ablate = document.querySelector("#ablate");
ablate?.addEventListener("click", async () => {
  const said = ablate.parentElement.querySelector("output");
  ablate.disabled = true;
  said.className = "note";
  said.textContent = "Measuring … the first time takes longer, while the model is loaded.";
  if (!(await send(ablate.dataset.url, {}, said))) {
    said.className = "note problem";
    ablate.disabled = false;
  }
});

const form = document.querySelector("#try");
const result = form.querySelector(".result");
const feature = Number(form.dataset.feature);

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = form.elements.text.value;
  if (!text.trim()) return form.elements.text.focus();
  result.replaceChildren(element("span", "quiet", "Reading …"));
  try {
    const answer = await post(form.dataset.url, { text });
    const line = element("span", "window");
    let fired = 0;
    for (const token of answer.tokens) {
      const firing = token.firings.find((one) => one.feature === feature);
      const mark = element(firing ? "mark" : "span", firing ? `a${level(firing.relative)}` : "", token.shown);
      if (firing) {
        mark.dataset.tip = short(firing.activation);
        fired += 1;
      }
      line.append(mark);
    }
    result.replaceChildren(line, element("span", "quiet", fired ? "" : "It does not fire here."));
  } catch (error) {
    result.replaceChildren(element("span", "problem", error.message));
  }
});
