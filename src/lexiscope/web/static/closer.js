// A closer look: sections that take more than the index. On the page of a feature they are fetched when they come near
// the window, as the server draws them: a page of ours, which the browser reads as a document of its own that runs
// nothing. What has to be measured is measured on a click, and the sections are drawn again.

import { post } from "./tokens.js";

const places = document.querySelectorAll("section[data-closer]");
const url = places[0]?.dataset.closer ?? `${location.pathname}${location.search}`;
let asked = null;

async function draw(from) {
  asked = from;
  let drawn;
  try {
    drawn = await page(from);
  } catch {
    for (const section of sections()) section.setAttribute("aria-busy", "false");
    const said = document.querySelector("section[data-closer] .note");
    if (said) said.textContent = "Lexiscope does not answer. Is it still running in the terminal?";
    return;
  }
  for (const section of sections()) {
    const found = drawn.getElementById(section.id);
    if (!found) continue;
    section.replaceChildren(...found.childNodes);
    section.setAttribute("aria-busy", "false");
  }
}

const page = (from) => new Promise((arrived, failed) => {
  const request = new XMLHttpRequest();
  request.open("GET", from);
  request.responseType = "document";
  request.onload = () => (request.status === 200 && request.response ? arrived(request.response) : failed());
  request.onerror = failed;
  request.send();
});

const sections = () => document.querySelectorAll("section[data-closer], main section[id]:is(#near-misses, #absorption, #stability, #alignment)");

if (places.length) {
  const watch = new IntersectionObserver((seen) => {
    if (asked || !seen.some((one) => one.isIntersecting)) return;
    watch.disconnect();
    draw(url);
  }, { rootMargin: "400px" });
  for (const place of places) watch.observe(place);
  addEventListener("beforeprint", () => asked ?? draw(url));
}

document.addEventListener("click", async (event) => {
  const deep = event.target.closest("a[data-deep]");
  if (deep) {
    event.preventDefault();
    deep.textContent = "Reading …";
    return draw(deep.href);
  }
  const button = event.target.closest("button[data-measure]");
  if (!button) return;
  const said = button.parentElement.querySelector("output");
  button.disabled = true;
  said.className = "note";
  said.textContent = "Measuring … the first time takes longer, while the model is loaded.";
  try {
    await post(button.dataset.measure, { author: document.querySelector(".write [name=author]")?.value.trim() ?? "" });
    await draw(asked ?? url);
  } catch (error) {
    said.className = "note problem";
    said.textContent = error.message;
    button.disabled = false;
  }
});
