// Colouring: how a number or a group of features looks on the map. Numbers go from dark blue to yellow, which those who
// see few colours tell apart by lightness, and size goes with them. Groups have colours that they tell apart (Okabe and
// Ito), and a shape each, so that colour is not needed.

const SCALE = [[68, 60, 140], [49, 104, 142], [33, 145, 140], [94, 201, 98], [240, 200, 40]];
const GROUPS = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#b8a800"];
const SHAPES = ["circle", "square", "triangle", "diamond", "plus", "cross", "wedge"];
const LOGARITHMIC = new Set(["density", "max_activation", "variety", "documents"]);
const WORDS = {
  density: "density",
  max_activation: "largest activation",
  variety: "variety",
  documents: "documents",
  unusual: "unusual",
  nearest_cosine: "nearest cosine",
};
const NONE = {
  kind: "no kind with half of its firings",
  token_class: "unknown",
  label: "without a label",
  tag: "without these tags",
  cluster: "in no cluster",
};
const CLASSES = { word: "words", number: "numbers", punctuation: "punctuation", space: "white space", other: "other tokens" };

const number = (value) => Number(value.toPrecision(3)).toLocaleString("en");
const shown = (name, value) => (name === "density" ? `${(100 * value).toPrecision(2)} %` : number(value));

// What is needed to draw the points: for each a mark with colour, radius, shape, rank and words; and the legend, which
// is a scale or entries. The smallest groups are drawn last.
export function colouring(points, name) {
  return name in WORDS ? byNumber(points, name) : byGroup(points, name);
}

function byNumber(points, name) {
  const log = LOGARITHMIC.has(name);
  const scaled = (point) => (log ? Math.log10(Math.max(point[name], 1e-9)) : point[name]);
  const values = points.map(scaled);
  const sorted = [...values].sort((one, other) => one - other);
  const low = sorted[Math.floor(0.01 * (sorted.length - 1))];
  const high = sorted[Math.ceil(0.99 * (sorted.length - 1))];
  const back = (value) => shown(name, log ? 10 ** value : value);
  return {
    scale: { low: back(low), high: back(high), name: WORDS[name] },
    entries: [],
    marks: points.map((point, at) => {
      const share = Math.min(1, Math.max(0, (values[at] - low) / (high - low || 1)));
      return { colour: mixed(share), radius: 1.4 + 2 * share, shape: "circle", rank: share, group: null, words: `${WORDS[name]} ${shown(name, point[name])}` };
    }),
  };
}

function byGroup(points, name) {
  const groups = points.map((point) => groupOf(point, name));
  const counts = new Map();
  for (const group of groups) if (group !== null) counts.set(group, (counts.get(group) ?? 0) + 1);
  const order = [...counts].sort((one, other) => other[1] - one[1] || (String(one[0]) < String(other[0]) ? -1 : 1));
  const looks = new Map(order.slice(0, GROUPS.length).map(([group], at) => [group, { colour: GROUPS[at], shape: SHAPES[at], rank: 2 + at }]));
  const query = (group) => ({ kind: `kind=${encodeURIComponent(group)}`, token_class: `token_class=${group}`, label: "marked=labelled", tag: `tag=${encodeURIComponent(group)}`, cluster: `cluster=${group}` })[name];
  const words = (group) => (name === "cluster" ? `cluster of ${group}` : name === "token_class" ? CLASSES[group] : group);
  const entries = order.slice(0, GROUPS.length).map(([group, count]) => ({ group, count, words: words(group), query: query(group), ...looks.get(group) }));
  const rest = order.slice(GROUPS.length);
  const others = rest.reduce((sum, [, count]) => sum + count, 0);
  const several = name === "cluster" ? `${rest.length} smaller clusters` : `${rest.length} others`;
  if (others) entries.push({ group: "\0others", count: others, words: several, colour: "#8b9098", shape: "circle" });
  const without = groups.filter((group) => group === null).length;
  if (without) entries.push({ group: null, count: without, words: NONE[name], colour: "#8b9098", shape: "dot" });
  return {
    scale: null,
    entries,
    marks: points.map((point, at) => {
      const group = groups[at];
      const look = looks.get(group);
      if (look) return { ...look, radius: 3, group, words: said(point, name, words(group)) };
      if (group === null) return { colour: "#8b9098", shape: "circle", radius: 1.2, rank: 0, group: null, words: NONE[name] };
      return { colour: "#8b9098", shape: "circle", radius: 2.2, rank: 1, group: "\0others", words: said(point, name, words(group)) };
    }),
  };
}

function groupOf(point, name) {
  if (name === "label") return point.label === null ? null : "labelled";
  if (name === "tag") return point.tags[0] ?? null;
  return point[name];
}

const said = (point, name, words) => (name === "label" ? point.label : name === "tag" ? `tagged ${point.tags.join(", ")}` : words);

function mixed(share) {
  const at = share * (SCALE.length - 1);
  const [from, to] = [SCALE[Math.floor(at)], SCALE[Math.ceil(at)]];
  const parts = from.map((value, place) => Math.round(value + (to[place] - value) * (at % 1)));
  return `rgb(${parts.join(" ")})`;
}

// A path in a box around 0, as wide as a circle of this radius looks.
export function outline(shape, x, y, r) {
  const path = new Path2D();
  const lines = (...places) => {
    places.forEach(([dx, dy], at) => (at ? path.lineTo(x + dx * r, y + dy * r) : path.moveTo(x + dx * r, y + dy * r)));
    path.closePath();
  };
  if (shape === "square") path.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r);
  else if (shape === "triangle") lines([0, -1.2], [1.1, 0.8], [-1.1, 0.8]);
  else if (shape === "wedge") lines([0, 1.2], [1.1, -0.8], [-1.1, -0.8]);
  else if (shape === "diamond") lines([0, -1.3], [1.2, 0], [0, 1.3], [-1.2, 0]);
  else if (shape === "plus") lines([-0.4, -1.2], [0.4, -1.2], [0.4, -0.4], [1.2, -0.4], [1.2, 0.4], [0.4, 0.4], [0.4, 1.2], [-0.4, 1.2], [-0.4, 0.4], [-1.2, 0.4], [-1.2, -0.4], [-0.4, -0.4]);
  else if (shape === "cross") lines([-1.2, -0.7], [-0.7, -1.2], [0, -0.5], [0.7, -1.2], [1.2, -0.7], [0.5, 0], [1.2, 0.7], [0.7, 1.2], [0, 0.5], [-0.7, 1.2], [-1.2, 0.7], [-0.5, 0]);
  else path.arc(x, y, r, 0, 7);
  return path;
}
