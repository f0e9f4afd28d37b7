// The map: dots on a canvas. Hover tells which feature a dot is, a click opens it. Colours go from dark blue to yellow,
// which those who see few colours tell apart by lightness, and size goes with the value, too.

const figure = document.querySelector("figure.map");
const SCALE = [[68, 60, 140], [49, 104, 142], [33, 145, 140], [94, 201, 98], [240, 200, 40]];
const MARGIN = 14;
const NEAR = 12;

if (figure) start();

async function start() {
  const canvas = figure.querySelector("canvas");
  const said = figure.querySelector("output");
  const select = figure.querySelector("select");
  const legend = figure.querySelector(".legend");
  let view;
  try {
    const response = await fetch(figure.dataset.url);
    view = await response.json();
    if (!response.ok) throw new Error(view.error);
  } catch {
    said.textContent = "The map could not be read. Is Lexiscope still running in the terminal?";
    return;
  }
  if (view.problem || !view.points.length) {
    said.textContent = view.problem ? `There is no map: ${view.problem}.` : "No feature fires, so there is no map.";
    canvas.hidden = true;
    return;
  }
  const part = view.points.length < view.live ? `${view.points.length.toLocaleString("en")} of ${view.live.toLocaleString("en")} live features` : `${view.live.toLocaleString("en")} live features`;
  const rest = `${part}; the axes hold ${(100 * view.held).toPrecision(2)} % of the variance of their directions.`;
  said.textContent = rest;
  let dots = [];
  let hovered = null;

  function draw() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = canvas;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const shares = sharesOf(view.points, select.value);
    const place = placer(view.points, width, height);
    dots = view.points.map((point, at) => ({ point, share: shares.share[at], ...place(point) }));
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.globalAlpha = 0.75;
    for (const dot of [...dots].sort((one, other) => one.share - other.share)) {
      pen.fillStyle = colour(dot.share);
      pen.beginPath();
      pen.arc(dot.x, dot.y, 1.4 + 2 * dot.share, 0, 7);
      pen.fill();
    }
    if (hovered) {
      pen.globalAlpha = 1;
      pen.strokeStyle = getComputedStyle(figure).color;
      pen.lineWidth = 1.5;
      pen.beginPath();
      pen.arc(hovered.x, hovered.y, 6, 0, 7);
      pen.stroke();
    }
    legend.textContent = `small and dark: ${shares.low}, large and light: ${shares.high}`;
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
    said.textContent = found ? `Feature ${found.point.feature}: ${found.point.tokens}` : rest;
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
  select.addEventListener("change", () => {
    const address = new URL(location.href);
    address.searchParams.set("coloured_by", select.value);
    history.replaceState(null, "", address);
    draw();
  });
  new ResizeObserver(draw).observe(canvas);
}

function placer(points, width, height) {
  const [xs, ys] = [points.map((point) => point.x), points.map((point) => point.y)];
  const [left, right, bottom, top] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  return ({ x, y }) => ({
    x: MARGIN + ((x - left) / (right - left || 1)) * (width - 2 * MARGIN),
    y: height - MARGIN - ((y - bottom) / (top - bottom || 1)) * (height - 2 * MARGIN),
  });
}

// Where each value lies between the lowest and the highest, on a logarithmic scale.
function sharesOf(points, name) {
  const values = points.map((point) => Math.log10(Math.max(point[name], 1e-9)));
  const sorted = [...values].sort((one, other) => one - other);
  const [low, high] = [sorted[Math.floor(0.01 * (sorted.length - 1))], sorted[Math.ceil(0.99 * (sorted.length - 1))]];
  const shown = (value) => (name === "density" ? `${(100 * 10 ** value).toPrecision(2)} %` : Number((10 ** value).toPrecision(3)).toLocaleString("en"));
  return {
    share: values.map((value) => Math.min(1, Math.max(0, (value - low) / (high - low || 1)))),
    low: shown(low),
    high: shown(high),
  };
}

function colour(share) {
  const at = share * (SCALE.length - 1);
  const [from, to] = [SCALE[Math.floor(at)], SCALE[Math.ceil(at)]];
  const mixed = from.map((value, place) => Math.round(value + (to[place] - value) * (at % 1)));
  return `rgb(${mixed.join(" ")})`;
}
