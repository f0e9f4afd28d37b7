// The feature page's own text box: the text with this one feature on it.

import { element, level, read, short } from "./tokens.js";

const form = document.querySelector("#try");
const result = form.querySelector(".result");
const feature = Number(form.dataset.feature);

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = form.elements.text.value;
  if (!text.trim()) return form.elements.text.focus();
  result.replaceChildren(element("span", "quiet", "Reading …"));
  try {
    const answer = await read(form.dataset.url, text);
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
