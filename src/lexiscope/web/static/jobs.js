// Jobs: the list is asked for again while something is under way, and rows are changed in place. Text is set, never parsed.

import { element } from "./tokens.js";

const WORDS = { index: "Index", measure: "Measure", verify: "Verify" };
const SOON = 1000;
const LATER = 10000;
const list = document.getElementById("jobs");
const none = document.getElementById("none");
const status = document.getElementById("status");
const readOnly = "readOnly" in list.dataset;
let timer = null;

document.getElementById("start")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const { verb } = event.target.dataset;
  const path = event.target.elements.path?.value;
  if (path) send("/jobs/start.json", { verb, path });
});

async function send(url, body = {}) {
  try {
    const headers = { "Content-Type": "application/json" };
    const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
    const answer = await response.json().catch(() => ({ error: `It answered with status ${response.status}.` }));
    tell(response.ok ? "" : answer.error);
  } catch {
    tell("Lexiscope does not answer. Is it still running in the terminal?");
  }
  look();
}

function tell(problem) {
  status.className = problem ? "status problem" : "status";
  status.textContent = problem;
}

async function look() {
  clearTimeout(timer);
  let soon = false;
  try {
    const response = await fetch("/jobs.json");
    if (response.ok) soon = show((await response.json()).jobs);
  } catch {
    tell("Lexiscope does not answer. Is it still running in the terminal?");
  }
  timer = setTimeout(look, soon ? SOON : LATER);
}

// Whether something is under way.
function show(jobs) {
  none.hidden = jobs.length > 0;
  const rows = jobs.map((shown) => row(shown));
  rows.forEach((made, place) => {
    if (list.children[place] !== made) list.insertBefore(made, list.children[place] ?? null);
  });
  while (list.children.length > rows.length) list.lastElementChild.remove();
  return jobs.some(({ job }) => ["waiting", "running", "stopping"].includes(job.state));
}

function row({ job, progress, log }) {
  const found = document.getElementById(`job-${job.number}`) ?? fresh(job);
  if (!found.querySelector(".job-do")) complete(found, job);
  found.dataset.state = job.state;
  found.querySelector(".job-state").textContent = job.state;
  found.querySelector(".job-when").textContent = (job.ended || job.asked).slice(0, 16).replace("T", " ");
  found.querySelector(".job-said").textContent = job.said || far(progress);
  const share = progress?.total ? Math.min(1, progress.done / progress.total) : 0;
  const meter = found.querySelector("progress");
  meter.hidden = job.state !== "running" && job.state !== "stopping";
  if (share) meter.value = share;
  else meter.removeAttribute("value");
  const act = found.querySelector(".job-do");
  const active = ["waiting", "running"].includes(job.state);
  act.hidden = readOnly || job.state === "stopping" || job.state === "done";
  act.textContent = active ? "Stop" : "Resume";
  act.dataset.url = `/jobs/${job.number}/${active ? "stop" : "resume"}.json`;
  const details = found.querySelector("details");
  details.hidden = !log.length;
  const said = log.join("\n");
  if (details.lastElementChild.textContent !== said) details.lastElementChild.textContent = said;
  return found;
}

function far(progress) {
  if (!progress) return "";
  const done = Math.round(progress.done).toLocaleString("en");
  const of = progress.total ? ` of ${Math.round(progress.total).toLocaleString("en")}` : "";
  return `${progress.title}: ${done}${of} ${progress.unit}`;
}

function fresh(job) {
  const made = element("li");
  made.id = `job-${job.number}`;
  const head = element("div", "job-head");
  const what = job.path === "." ? "everything here" : job.path;
  head.append(element("b", "", `${WORDS[job.verb]} ${what}`), element("span", "job-state"), element("span", "job-when"));
  made.append(head, element("p", "job-said"));
  return made;
}

// What the server leaves out: it is of no use without this script.
function complete(found) {
  const act = element("button", "job-do");
  act.type = "button";
  act.addEventListener("click", () => send(act.dataset.url));
  found.querySelector(".job-head").append(act);
  const meter = document.createElement("progress");
  meter.max = 1;
  found.querySelector(".job-said").before(meter);
  if (!found.querySelector("details")) {
    const details = document.createElement("details");
    details.append(element("summary", "", "What it said"), element("pre"));
    found.append(details);
  }
}

look();
