// Shows an image and the outlines of its objects. page/image.js sets IMAGE, and each file of
// objects/ calls addObjects. All names come from files of others: they are only ever set as text.
"use strict";

const byId = (id) => document.getElementById(id);
const groups = []; // the objects, a group for each file
const hiddenClasses = new Set();
const selected = { group: null, index: -1 };
// For tests and for the console: what the last drawing did.
const state = { shown: 0, total: 0, drawn: 0, milliseconds: 0, selected: null };
window.viewerState = state;

// The image

const viewer = OpenSeadragon({
  element: byId("view"),
  drawer: "canvas", // WebGL may not use tiles that come from a disk
  showNavigationControl: false,
  showNavigator: true,
  navigatorPosition: "BOTTOM_RIGHT",
  navigatorSizeRatio: 0.16,
  navigatorDisplayRegionColor: "#e69f00",
  navigatorBackground: "var(--around)",
  navigatorOpacity: 1,
  navigatorAutoFade: false,
  keyboardNavEnabled: false, // ours are below
  animationTime: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 0.4,
  tabIndex: -1, // the element around it takes the keyboard's focus
  maxZoomPixelRatio: 24,
  minZoomImageRatio: 0.8,
  visibilityRatio: 0.2,
  maxImageCacheCount: 400,
  maxTilesPerFrame: 4,
  gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
  gestureSettingsPen: { clickToZoom: false },
  tileSources: {
    width: IMAGE.width,
    height: IMAGE.height,
    tileSize: IMAGE.tile,
    tileOverlap: 0,
    minLevel: Math.max(0, IMAGE.levels - 7),
    maxLevel: IMAGE.levels,
    getTileUrl: (level, x, y) => `image_files/${level}/${x}_${y}.jpg`,
  },
});
const canvas = document.createElement("canvas");
canvas.className = "objects";
viewer.canvas.appendChild(canvas);
const pen = canvas.getContext("2d");

// Screen pixels = scale * pixels of the image + (x, y)
function transform() {
  const at = (x, y) =>
    viewer.viewport.pixelFromPoint(new OpenSeadragon.Point(x / IMAGE.width, y / IMAGE.width), true);
  const start = at(0, 0);
  return { scale: (at(IMAGE.width, 0).x - start.x) / IMAGE.width, x: start.x, y: start.y };
}

// Objects

function addObjects(text) {
  const columns = JSON.parse(text);
  const n = columns.labels.length;
  const group = {
    first: state.total,
    boxes: Float32Array.from(columns.boxes),
    bounds: Float32Array.from(columns.boxes), // of the box, or of the outline
    labels: Int32Array.from(columns.labels),
    scores: columns.scores ? Float64Array.from(columns.scores) : null,
    areas: columns.areas ? Float64Array.from(columns.areas) : null,
    shown: new Uint8Array(n),
    rings: new Array(n), // of each object, the corners of its lines: x, y, x, y, ...
  };
  const lines = columns.outlines;
  let p = 0;
  for (let i = 0; i < n; i++) {
    const rings = [];
    if (lines) for (let left = lines[p++]; left > 0; left--) {
      const ring = new Int32Array(2 * lines[p++]);
      ring[0] = lines[p++];
      ring[1] = lines[p++];
      for (let k = 2; k < ring.length; k += 2) {
        const move = lines[p++];
        ring[k] = ring[k - 2] + (k & 2 ? move : 0);
        ring[k + 1] = ring[k - 1] + (k & 2 ? 0 : move);
      }
      rings.push(ring);
    }
    if (rings.length) fit(group.bounds, i, rings);
    else {
      const [x1, y1, x2, y2] = group.boxes.subarray(4 * i, 4 * i + 4);
      rings.push(Float32Array.of(x1, y1, x2, y1, x2, y2, x1, y2));
    }
    group.rings[i] = rings;
  }
  groups.push(group);
  state.total += n;
  choose();
}

function fit(bounds, i, rings) {
  let x1 = Infinity, y1 = Infinity, x2 = -Infinity, y2 = -Infinity;
  for (const ring of rings) for (let k = 0; k < ring.length; k += 2) {
    x1 = Math.min(x1, ring[k]);
    x2 = Math.max(x2, ring[k]);
    y1 = Math.min(y1, ring[k + 1]);
    y2 = Math.max(y2, ring[k + 1]);
  }
  bounds.set([x1, y1, x2, y2], 4 * i);
}

// Decides which objects are shown, and counts them.
function choose() {
  const lowest = Number(byId("score").value);
  const counts = new Array(IMAGE.classes.length + 1).fill(0);
  state.shown = 0;
  for (const group of groups) for (let i = 0; i < group.shown.length; i++) {
    const high = !group.scores || group.scores[i] >= lowest;
    if (high) counts[group.labels[i]]++;
    group.shown[i] = high && !hiddenClasses.has(group.labels[i]);
    state.shown += group.shown[i];
  }
  byId("score-value").textContent = lowest.toFixed(2);
  byId("count").replaceChildren(number(state.shown), make("small", `of ${number(IMAGE.objects)} objects`));
  document.querySelectorAll("#classes span").forEach((span) => {
    span.textContent = number(counts[span.dataset.label]);
  });
  if (selected.group && !selected.group.shown[selected.index]) select(null, -1);
  redraw();
}

// Drawing

let waiting = 0;
function redraw() {
  waiting = waiting || requestAnimationFrame(draw);
}

function draw() {
  waiting = 0;
  if (!viewer.world.getItemCount()) return;
  const start = performance.now();
  const ratio = window.devicePixelRatio || 1;
  const width = viewer.canvas.clientWidth, height = viewer.canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const t = transform();
  const seen = { x1: -t.x / t.scale, y1: -t.y / t.scale, x2: (width - t.x) / t.scale, y2: (height - t.y) / t.scale };
  state.drawn = 0;
  if (byId("outlines").checked || byId("filled").checked) drawAll(t, seen);
  if (selected.group) drawSelected(t);
  drawBar(t.scale);
  state.milliseconds = performance.now() - start;
}

function drawAll(t, seen) {
  const lines = byId("outlines").checked, filled = byId("filled").checked;
  const dots = IMAGE.classes.map(() => []), whole = IMAGE.classes.map(() => []);
  for (const group of groups) {
    const { bounds, shown, labels } = group;
    for (let i = 0; i < shown.length; i++) {
      const b = 4 * i;
      if (!shown[i] || bounds[b] > seen.x2 || bounds[b + 2] < seen.x1 || bounds[b + 1] > seen.y2 || bounds[b + 3] < seen.y1) continue;
      const side = Math.max(bounds[b + 2] - bounds[b], bounds[b + 3] - bounds[b + 1]) * t.scale;
      (side < 5 ? dots : whole)[labels[i] - 1].push(group, i);
      state.drawn++;
    }
  }
  // A dark edge keeps light colors visible on light images. With many objects it would hide them.
  const edge = lines && state.drawn < 1500;
  IMAGE.classes.forEach(({ color }, c) => {
    pen.fillStyle = color;
    for (let k = 0; k < dots[c].length; k += 2) {
      const { bounds } = dots[c][k], b = 4 * dots[c][k + 1];
      const w = Math.max(1.5, (bounds[b + 2] - bounds[b]) * t.scale), h = Math.max(1.5, (bounds[b + 3] - bounds[b + 1]) * t.scale);
      pen.fillRect(bounds[b] * t.scale + t.x, bounds[b + 1] * t.scale + t.y, w, h);
    }
    // Many short paths are faster than a long one.
    for (let k = 0; k < whole[c].length; k += 64) {
      pen.beginPath();
      for (let j = k; j < Math.min(k + 64, whole[c].length); j += 2) trace(whole[c][j].rings[whole[c][j + 1]], t);
      if (filled) {
        pen.globalAlpha = 0.35;
        pen.fill("evenodd");
        pen.globalAlpha = 1;
      }
      if (edge) stroke("rgb(0 0 0 / 45%)", 3.5);
      if (lines) stroke(color, 1.5);
    }
  });
}

function drawSelected(t) {
  pen.beginPath();
  trace(selected.group.rings[selected.index], t);
  pen.fillStyle = "rgb(255 255 255 / 25%)";
  pen.fill("evenodd");
  stroke("#000", 5);
  stroke("#fff", 2.5);
  const [x1, y1, x2, y2] = selected.group.bounds.subarray(4 * selected.index, 4 * selected.index + 4);
  if (Math.max(x2 - x1, y2 - y1) * t.scale < 24) { // a ring, so that a tiny one is found
    pen.beginPath();
    pen.arc(((x1 + x2) / 2) * t.scale + t.x, ((y1 + y2) / 2) * t.scale + t.y, 18, 0, 7);
    stroke("#000", 5);
    stroke("#fff", 2.5);
  }
}

function stroke(color, width) {
  pen.strokeStyle = color;
  pen.lineWidth = width;
  pen.lineJoin = "bevel";
  pen.stroke();
}

// Adds the lines of an object to the path. Corners less than 1.5 screen pixels apart become one.
function trace(rings, t) {
  for (const ring of rings) {
    let x = ring[0] * t.scale + t.x, y = ring[1] * t.scale + t.y;
    pen.moveTo(x, y);
    for (let k = 2; k < ring.length; k += 2) {
      const nextX = ring[k] * t.scale + t.x, nextY = ring[k + 1] * t.scale + t.y;
      if (Math.abs(nextX - x) + Math.abs(nextY - y) < 1.5) continue;
      x = nextX;
      y = nextY;
      pen.lineTo(x, y);
    }
    pen.closePath();
  }
}

function drawBar(scale) {
  const microns = IMAGE.micronsPerPixel;
  const perPixel = (microns || 1) / scale; // of the screen
  const power = 10 ** Math.floor(Math.log10(140 * perPixel));
  const length = [5, 2, 1].map((n) => n * power).find((n) => n <= 140 * perPixel);
  const text = !microns ? `${number(length)} px` : length >= 1000 ? `${number(length / 1000)} mm` : `${number(length)} µm`;
  byId("bar").textContent = text;
  byId("bar").style.width = `${length / perPixel}px`;
  viewer.drawer.setImageSmoothingEnabled(scale < 4); // then pixels are seen as squares
}

// Clicks

// A point of the screen as [x, y, tolerance] in pixels of the image.
function pointIn(screenX, screenY) {
  const t = transform();
  return [(screenX - t.x) / t.scale, (screenY - t.y) / t.scale, 6 / t.scale];
}

// The smallest shown object around a point, or within a few screen pixels of it.
function objectAt([x, y, near]) {
  let best = null, least = Infinity;
  for (const group of groups) {
    const { bounds, shown } = group;
    for (let i = 0, b = 0; i < shown.length; i++, b += 4) {
      if (!shown[i] || x < bounds[b] - near || x > bounds[b + 2] + near || y < bounds[b + 1] - near || y > bounds[b + 3] + near) continue;
      const width = bounds[b + 2] - bounds[b], height = bounds[b + 3] - bounds[b + 1];
      const inside = contains(group.rings[i], x, y);
      if (!inside && Math.max(width, height) > 2 * near) continue; // large enough to be hit
      const away = Math.hypot(x - bounds[b] - width / 2, y - bounds[b + 1] - height / 2);
      const cost = inside ? width * height : 1e12 * (1 + away);
      if (cost < least) [best, least] = [{ group, index: i }, cost];
    }
  }
  return best;
}

function contains(rings, x, y) {
  let inside = false;
  for (const ring of rings) for (let k = 0, j = ring.length - 2; k < ring.length; j = k, k += 2) {
    const above = ring[k + 1] > y;
    if (above !== ring[j + 1] > y && x < ((ring[j] - ring[k]) * (y - ring[k + 1])) / (ring[j + 1] - ring[k + 1]) + ring[k]) inside = !inside;
  }
  return inside;
}

function select(group, index) {
  selected.group = group;
  selected.index = index;
  state.selected = group ? group.first + index : null;
  byId("object").hidden = !group;
  if (group) describe(group, index);
  redraw();
}

function describe(group, i) {
  const [x1, y1, x2, y2] = group.boxes.subarray(4 * i, 4 * i + 4);
  const rows = [["Class", IMAGE.classes[group.labels[i] - 1].name]];
  if (group.scores) rows.push(["Score", group.scores[i].toFixed(3)]);
  const area = group.areas ? group.areas[i] : (x2 - x1) * (y2 - y1);
  const square = IMAGE.micronsPerPixel ? ` = ${number(area * IMAGE.micronsPerPixel ** 2)} µm²` : "";
  rows.push([group.areas ? "Area" : "Area of box", `${number(area)} px${square}`]);
  rows.push(["Box", `x ${number(x1)} to ${number(x2)}, y ${number(y1)} to ${number(y2)}`]);
  if (IMAGE.transform) rows.push(["Center", onMap((x1 + x2) / 2, (y1 + y2) / 2)]);
  rows.push(["Index", number(group.first + i)]);
  const list = byId("object").querySelector("dl");
  list.replaceChildren(...rows.flatMap(([name, value]) => [make("dt", name), make("dd", value)]));
}

// The next or previous shown object, which is brought into view.
function step(by) {
  if (!state.shown) return;
  let at = selected.group ? state.selected : by > 0 ? -1 : state.total;
  do {
    at = (at + by + state.total) % state.total;
    const group = groups.findLast((one) => one.first <= at);
    if (group.shown[at - group.first]) {
      select(group, at - group.first);
      const [x1, y1, x2, y2] = group.bounds.subarray(4 * selected.index, 4 * selected.index + 4);
      const t = transform();
      const seen = Math.max(x2 - x1, y2 - y1) * t.scale >= 24;
      if (seen) viewer.viewport.panTo(inViewport((x1 + x2) / 2, (y1 + y2) / 2));
      else zoomToObject();
      return;
    }
  } while (true);
}

const inViewport = (x, y) => new OpenSeadragon.Point(x / IMAGE.width, y / IMAGE.width);

function zoomToObject() {
  if (!selected.group) return;
  const [x1, y1, x2, y2] = selected.group.bounds.subarray(4 * selected.index, 4 * selected.index + 4);
  const side = Math.max(x2 - x1, y2 - y1, 8) * 4; // some of what is around it
  const corner = inViewport((x1 + x2 - side) / 2, (y1 + y2 - side) / 2);
  viewer.viewport.fitBounds(new OpenSeadragon.Rect(corner.x, corner.y, side / IMAGE.width, side / IMAGE.width));
}

// Text

function number(value) {
  const digits = Math.abs(value) < 1 ? 3 : Math.abs(value) < 100 ? 1 : 0;
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

function onMap(x, y) {
  const [a, b, c, d, e, f] = IMAGE.transform;
  const digits = Math.max(Math.abs(a), Math.abs(b)) < 0.01 ? 6 : 2;
  return `${(a * x + b * y + c).toFixed(digits)}, ${(d * x + e * y + f).toFixed(digits)}${IMAGE.crs ? ` (${IMAGE.crs})` : ""}`;
}

function make(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

// The panel

function fillPanel() {
  const size = `${number(IMAGE.width)} × ${number(IMAGE.height)} pixels`;
  byId("about").textContent = IMAGE.micronsPerPixel ? `${size}, ${number(IMAGE.micronsPerPixel)} µm per pixel` : size;
  IMAGE.classes.forEach(({ name, color, objects }, c) => {
    if (!objects) return;
    const row = make("label", ""), box = make("input", ""), swatch = make("i", ""), count = make("span", "");
    box.type = "checkbox";
    box.checked = true;
    swatch.style.background = color;
    count.dataset.label = c + 1;
    row.append(box, swatch, make("b", name), count);
    row.title = "A double click shows this class alone";
    box.addEventListener("change", () => {
      hiddenClasses[box.checked ? "delete" : "add"](c + 1);
      choose();
    });
    row.addEventListener("dblclick", () => showClasses((label) => label === c + 1));
    const item = make("li", "");
    item.append(row);
    byId("classes").append(item);
  });
  byId("scores").hidden = !IMAGE.scores;
  byId("score").value = IMAGE.scores ? IMAGE.lowest : 0;
  choose();
}

function showClasses(wanted) {
  document.querySelectorAll("#classes label").forEach((row) => {
    const label = Number(row.querySelector("span").dataset.label);
    row.querySelector("input").checked = wanted(label);
    hiddenClasses[wanted(label) ? "delete" : "add"](label);
  });
  choose();
}

function toggle(id) {
  byId(id).checked = !byId(id).checked;
  redraw();
}

function changeTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
}

function fold() {
  document.body.classList.toggle("folded");
}

function changeScore(by) {
  byId("score").value = Number(byId("score").value) + by;
  choose();
}

const zoomBy = (factor) => viewer.viewport.zoomBy(factor).applyConstraints();
const goHome = () => viewer.viewport.goHome();
const panBy = (x, y) => {
  const b = viewer.viewport.getBounds();
  viewer.viewport.panBy(new OpenSeadragon.Point(x * b.width, y * b.height)).applyConstraints();
};

const KEYS = {
  "+": () => zoomBy(1.5), "=": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5), "0": goHome,
  ArrowLeft: () => panBy(-0.15, 0), ArrowRight: () => panBy(0.15, 0),
  ArrowUp: () => panBy(0, -0.15), ArrowDown: () => panBy(0, 0.15),
  n: () => step(1), p: () => step(-1), z: zoomToObject, Escape: () => select(null, -1),
  "[": () => changeScore(-0.05), "]": () => changeScore(0.05),
  o: () => toggle("outlines"), f: () => toggle("filled"), m: fold, t: changeTheme,
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  const slides = event.target.type === "range" && event.key.startsWith("Arrow");
  if (!action || slides) return;
  event.preventDefault();
  action();
});

for (const [id, action] of [
  ["in", () => zoomBy(1.5)], ["out", () => zoomBy(1 / 1.5)], ["home", goHome], ["unfold", fold],
  ["theme", changeTheme], ["all", () => showClasses(() => true)], ["none", () => showClasses(() => false)],
  ["next", () => step(1)], ["previous", () => step(-1)], ["close", () => select(null, -1)], ["show", zoomToObject],
]) byId(id).addEventListener("click", action);
byId("score").addEventListener("input", choose);
byId("outlines").addEventListener("change", redraw);
byId("filled").addEventListener("change", redraw);

viewer.addHandler("canvas-click", (event) => {
  if (!event.quick) return; // the end of a drag
  const at = objectAt(pointIn(event.position.x, event.position.y));
  select(at ? at.group : null, at ? at.index : -1);
});
viewer.addHandler("update-viewport", draw);
viewer.addHandler("resize", redraw);
viewer.canvas.addEventListener("pointermove", hover);
viewer.canvas.addEventListener("pointerleave", () => {
  byId("tip").hidden = true;
  byId("position").textContent = "";
});

function hover(event) {
  const box = viewer.canvas.getBoundingClientRect();
  const point = pointIn(event.clientX - box.left, event.clientY - box.top), [x, y] = point;
  const inside = x >= 0 && y >= 0 && x < IMAGE.width && y < IMAGE.height;
  byId("position").textContent = !inside ? "" : `x ${number(Math.floor(x))}, y ${number(Math.floor(y))}${IMAGE.transform ? ` · ${onMap(x, y)}` : ""}`;
  const at = objectAt(point), tip = byId("tip");
  tip.hidden = !at;
  viewer.canvas.style.cursor = at ? "pointer" : "grab";
  if (!at) return;
  const score = at.group.scores ? ` ${at.group.scores[at.index].toFixed(2)}` : "";
  tip.textContent = IMAGE.classes[at.group.labels[at.index] - 1].name + score;
  tip.style.left = `${Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 4)}px`;
  tip.style.top = `${Math.min(event.clientY + 18, window.innerHeight - tip.offsetHeight - 4)}px`;
}

fillPanel();
if (window.innerWidth <= 640) fold();
