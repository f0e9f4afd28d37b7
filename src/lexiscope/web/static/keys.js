// Keys: an element with data-key is followed, or focused if it takes text, when that key is pressed outside a text field.
// "?" lists the keys of the page that is open; "j" asks for a feature to jump to.

import { element } from "./tokens.js";

const NAMES = { ArrowLeft: "←", ArrowRight: "→" };
const dictionary = location.pathname.match(/^\/d\/[^/]+/)?.[0];

document.addEventListener("keydown", (event) => {
  const field = event.target.closest("input, textarea, select");
  if (field && !field.matches("[type=checkbox]")) {
    if (event.key === "Escape") field.blur();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) field.form?.requestSubmit();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "?") return help(event);
  if (event.key === "j" && dictionary) return jump(event);
  const target = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (!target) return;
  event.preventDefault();
  if (target.matches("textarea, input:not([type=checkbox])")) target.select();
  else target.click();
});

function help(event) {
  event.preventDefault();
  const list = element("dl", "keys");
  const add = (key, words) => {
    const [term, said] = [element("dt"), element("dd", "", words)];
    term.append(element("kbd", "", NAMES[key] ?? key));
    list.append(term, said);
  };
  for (const target of document.querySelectorAll("[data-key]")) add(target.dataset.key, words(target));
  if (dictionary) add("j", "Jump to a feature by its number");
  add("Ctrl ⏎", "Send what is typed");
  add("Esc", "Leave a text field, or close this");
  add("?", "This list");
  const close = element("button", "", "Close");
  close.type = "button";
  const shown = show(element("h2", "", "Keys"), list, close);
  close.addEventListener("click", () => shown.close());
}

function jump(event) {
  event.preventDefault();
  const form = element("form");
  const number = element("input");
  number.type = "text";
  number.inputMode = "numeric";
  number.pattern = "#?[0-9]+";
  number.required = true;
  const label = element("label", "", "Feature ");
  label.append(number);
  form.append(label, element("button", "", "Go"));
  form.addEventListener("submit", (sent) => {
    sent.preventDefault();
    location.assign(`${dictionary}/features/${number.value.replace("#", "")}`);
  });
  show(form);
  number.focus();
}

function show(...parts) {
  const dialog = element("dialog");
  dialog.append(...parts);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

// What an element is called: its label, or its text without the keys that stand in it.
function words(target) {
  const label = target.getAttribute("aria-label") ?? target.getAttribute("placeholder");
  if (label) return label;
  const copy = (target.closest("label") ?? target).cloneNode(true);
  for (const key of copy.querySelectorAll("kbd")) key.remove();
  return copy.textContent.trim();
}
