// The map: dots on a canvas. Hover tells which feature a dot is and what it is coloured by, a click opens it, and the
// address carries the choice of colour. Pointing at an entry of the legend leaves only its features strong, and a click
// lists them.

import { colouring, outline } from "./colouring.js";
import { element } from "./tokens.js";

const figure = document.querySelector("figure.map");
const MARGIN = 14;
const NEAR = 12;

if (figure) start();

async function start() {
  const canvas = figure.querySelector("canvas");
  const said = figure.querySelector("output");
  const select = figure.querySelector("select");
  let view = await read(select.value);
  if (!view || view.problem || !view.points.length) {
    said.textContent = !view ? "The map could not be read. Is Lexiscope still running in the terminal?" : view.problem ? `There is no map: ${view.problem}.` : "No feature fires, so there is no map.";
    canvas.hidden = true;
    return;
  }
  const part = view.points.length < view.live ? `${view.points.length.toLocaleString("en")} of ${view.live.toLocaleString("en")} live features` : `${view.live.toLocaleString("en")} live features`;
  const rest = `${part}; the axes hold ${(100 * view.held).toPrecision(2)} % of the variance of their directions.`;
  said.textContent = rest;
  let look = colouring(view.points, select.value);
  let dots = [];
  let hovered = null;
  let only;

  function draw() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = canvas;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const place = placer(view.points, width, height);
    dots = view.points.map((point, at) => ({ point, mark: look.marks[at], ...place(point) }));
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    for (const dot of [...dots].sort((one, other) => one.mark.rank - other.mark.rank)) {
      const weak = only !== undefined && dot.mark.group !== only;
      pen.globalAlpha = weak ? 0.08 : look.scale || dot.mark.rank >= 2 ? 0.8 : 0.4;
      pen.fillStyle = dot.mark.colour;
      pen.fill(outline(dot.mark.shape, dot.x, dot.y, dot.mark.radius));
    }
    if (hovered) {
      pen.globalAlpha = 1;
      pen.strokeStyle = getComputedStyle(figure).color;
      pen.lineWidth = 1.5;
      pen.stroke(outline("circle", hovered.x, hovered.y, 7));
    }
  }

  function recolour() {
    look = colouring(view.points, select.value);
    only = undefined;
    legend(figure.querySelector(".legend"), look, (group) => {
      only = group;
      draw();
    });
    draw();
  }

  function nearest(event) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let best = null;
    let least = NEAR ** 2;
    for (const dot of dots) {
      const distance = (dot.x - x) ** 2 + (dot.y - y) ** 2;
      if (distance < least) [best, least] = [dot, distance];
    }
    return best;
  }

  canvas.addEventListener("pointermove", (event) => {
    const found = nearest(event);
    canvas.classList.toggle("over", Boolean(found));
    if (found?.point === hovered?.point) return;
    hovered = found;
    said.textContent = found ? `Feature ${found.point.feature}: ${found.point.label ?? found.point.tokens} · ${found.mark.words}` : rest;
    draw();
  });
  canvas.addEventListener("pointerleave", () => {
    hovered = null;
    said.textContent = rest;
    draw();
  });
  canvas.addEventListener("click", (event) => {
    const found = nearest(event);
    if (found) location.assign(`${figure.dataset.features}${found.point.feature}`);
  });
  select.addEventListener("change", async () => {
    const address = new URL(location.href);
    address.searchParams.set("coloured_by", select.value);
    history.replaceState(null, "", address);
    if (select.value === "cluster" && !view.clustered) view = (await read("cluster")) ?? view;
    recolour();
  });
  recolour();
  new ResizeObserver(draw).observe(canvas);
}

async function read(colour) {
  try {
    const response = await fetch(`${figure.dataset.url}?coloured_by=${colour}`);
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

// The scale, or the groups with their shapes. Text is set, never parsed as HTML.
function legend(place, { scale, entries }, show) {
  if (scale) {
    place.replaceChildren(element("span", "quiet", scale.low), element("span", "scale"), element("span", "quiet", scale.high));
    return;
  }
  place.replaceChildren(
    ...entries.map(({ group, count, words, colour, shape, query }) => {
      const entry = element(query ? "a" : "span", "entry");
      if (query) entry.href = `${figure.dataset.list}?${query}#features`;
      const drawn = element("canvas", "swatch");
      drawn.width = drawn.height = 24;
      const pen = drawn.getContext("2d");
      pen.fillStyle = colour;
      pen.fill(outline(shape, 12, 12, shape === "dot" ? 3 : 7));
      entry.append(drawn, element("bdi", "", words), element("span", "quiet", `(${count.toLocaleString("en")})`));
      for (const event of ["pointerenter", "focus"]) entry.addEventListener(event, () => show(group));
      for (const event of ["pointerleave", "blur"]) entry.addEventListener(event, () => show(undefined));
      return entry;
    }),
  );
}

function placer(points, width, height) {
  const [xs, ys] = [points.map((point) => point.x), points.map((point) => point.y)];
  const [left, right, bottom, top] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  return ({ x, y }) => ({
    x: MARGIN + ((x - left) / (right - left || 1)) * (width - 2 * MARGIN),
    y: height - MARGIN - ((y - bottom) / (top - bottom || 1)) * (height - 2 * MARGIN),
  });
}
