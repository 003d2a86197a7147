"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

// All text from files goes through textContent, so that it stays text.
function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
const number = (x, digits = 3) =>
  x === null || x === undefined ? "–" : Number.isInteger(x) && digits ? String(x) : x.toFixed(digits);
const share = (x) => (x === null || x === undefined ? "–" : x.toFixed(3));

function table(header, rows, sortable = false) {
  const made = element("table");
  const head = made.appendChild(element("thead")).appendChild(element("tr"));
  const body = made.appendChild(element("tbody"));
  const fill = (list) =>
    body.replaceChildren(...list.map((row) => {
      const line = element("tr");
      row.forEach((cell, i) => {
        const text = typeof cell === "number" && !Number.isInteger(cell) ? share(cell) : cell ?? "–";
        line.append(element("td", text, i ? {} : { title: cell ?? "" }));
      });
      return line;
    }));
  header.forEach((title, i) => {
    const cell = head.appendChild(element("th"));
    if (!sortable) { cell.textContent = title; return; }
    let up = i === 0 ? -1 : 1;
    const button = cell.appendChild(element("button", title));
    button.addEventListener("click", () => {
      up = -up;
      fill([...rows].sort((a, b) =>
        up * (typeof a[i] === "string" ? a[i].localeCompare(b[i]) : (a[i] ?? -1) - (b[i] ?? -1))));
    });
  });
  fill(rows);
  return made;
}

function overview() {
  const { data: counts, all, options } = data;
  byId("about").textContent =
    `${options.iou_type === "segm" ? "Masks" : "Boxes"}; a detection is correct from IoU ${options.iou} on.`;
  const tiles = [
    ["images", counts.images], ["objects", counts.objects], ["detections", counts.detections],
    ["AP", share(all.AP)], [`AP at IoU ${options.iou}`, share(all.AP50)],
    ["best threshold", share(all.best_threshold)], ["precision there", share(all.precision)],
    ["recall there", share(all.recall)], ["F1 there", share(all.f1)],
    ["calibration error", share(all.ece)],
    ["mean error of counts", share(data.counting.mean_error)], ["exact counts", share(data.counting.exact)],
  ];
  for (const [name, value] of tiles) {
    const tile = byId("tiles").appendChild(element("div"));
    tile.append(element("b", value), element("span", name));
  }
  byId("coco").hidden = !data.metrics;
  if (data.metrics) byId("metrics").append(metricsTable(Object.entries(data.metrics)));
  byId("classes").append(table(
    ["class", "objects", "detections", "AP", "AP50", "precision", "recall", "F1", "best threshold"],
    data.classes.map((c) => [c.name, c.objects, c.detections, c.AP, c.AP50, c.precision, c.recall, c.f1, c.best_threshold]),
    true));
}

// bbox/AP and segm/AP stand in one row.
function metricsTable(entries) {
  const groups = [...new Set(entries.map(([name]) => name.split("/")[0]))];
  const names = [...new Set(entries.map(([name]) => name.slice(name.indexOf("/") + 1)))];
  const values = new Map(entries);
  return table(["metric", ...groups],
    names.map((name) => [name, ...groups.map((g) => share(values.get(`${g}/${name}`) ?? values.get(name)))]));
}

function confusion() {
  const slider = byId("confusion-score"), names = [...data.classes.map((c) => c.name), "background"];
  const background = names.length - 1;
  const { thresholds, counts } = data.confusion;
  slider.max = thresholds.length - 1;
  const wanted = data.all.best_threshold ?? 0.5;
  slider.value = thresholds.filter((t) => t <= wanted).length - 1;
  function draw() {
    const cells = counts[slider.value];
    byId("confusion-value").textContent = thresholds[slider.value].toFixed(2);
    if (names.length > 26) { // a matrix of so many classes could not be read
      byId("confusion-hint").textContent = "The most frequent confusions; report.json has all counts.";
      const wrong = cells.filter(([a, b]) => a !== b).sort((a, b) => b[2] - a[2]).slice(0, 60);
      byId("confusion").replaceChildren(table(["annotated", "detected", "count"],
        wrong.map(([a, b, n]) => [names[a], names[b], n])));
      return;
    }
    const sums = names.map(() => 0), grid = names.map(() => names.map(() => 0));
    for (const [a, b, n] of cells) { grid[a][b] = n; sums[a] += n; }
    const made = table(["", ...names], names.map((name, a) =>
      [name, ...names.map((_, b) => (a === background && b === background ? "" : grid[a][b]))]));
    [...made.tBodies[0].rows].forEach((row, a) => names.forEach((name, b) => {
      const part = sums[a] ? grid[a][b] / sums[a] : 0;
      row.cells[b + 1].style.background = `rgba(var(--heat), ${(0.6 * part).toFixed(3)})`;
      row.cells[b + 1].title = `${names[a]} taken for ${name}`;
    }));
    byId("confusion").replaceChildren(made);
  }
  slider.addEventListener("input", draw);
  draw();
}

function errors() {
  const { counts, dAP } = data.errors;
  byId("errors").append(table(["kind", "count", "dAP"],
    Object.keys(dAP).map((kind) => [kind, counts[kind] ?? "", share(dAP[kind])])));
  const titles = { size: "By size", aspect: "By aspect", crowding: "By crowding", neighbors: "By neighbors" };
  for (const [key, title] of Object.entries(titles)) {
    const rows = data.breakdown[key];
    if (!rows) continue;
    const part = byId("breakdown").appendChild(element("div"));
    part.append(element("h3", title), table(["", "objects", "recall", "detections", "precision", "missed"],
      rows.map((r) => [r.name, r.objects, share(r.recall), r.detections, share(r.precision), r.errors.missed])));
  }
  byId("stages").hidden = !data.stages;
  if (data.stages) {
    const lost = Object.entries(data.stages.lost);
    byId("lost").append(table(["stage", "objects"], [["found", data.stages.found], ...lost]));
  }
}

function gallery() {
  const score = byId("score"), kind = byId("kind"), category = byId("class");
  score.value = Math.floor(data.breakdown.score_threshold * 100) / 100;
  for (const name of [...Object.keys(data.errors.counts), "ignored"]) kind.append(element("option", name, { value: name }));
  data.classes.forEach((c, i) => category.append(element("option", c.name, { value: i })));
  const drawn = data.worst.map(figure);
  byId("gallery").append(...drawn.map((d) => d.figure));
  function update() {
    const lowest = Number(score.value);
    byId("score-value").textContent = lowest.toFixed(2);
    let images = 0, shapes = 0;
    for (const one of drawn) {
      let some = false;
      for (const mark of one.marks) {
        const visible = (mark.score === null || mark.score >= lowest)
          && (!category.value || mark.class === Number(category.value));
        const chosen = visible && (!kind.value || mark.kind === kind.value);
        // Found objects stay when a kind is chosen: they show what the wrong detection was near.
        const context = visible && mark.score === null;
        mark.node.toggleAttribute("hidden", !(chosen || context));
        mark.node.style.display = chosen || context ? "" : "none";
        some ||= chosen;
        shapes += chosen && mark.score !== null;
      }
      one.figure.hidden = !some;
      images += some;
    }
    byId("shown").textContent = `${shapes} detections in ${images} images`;
  }
  for (const control of [score, kind, category]) control.addEventListener("input", update);
  update();
}

function figure(entry) {
  const made = element("figure"), about = data.images[entry.image];
  const pair = made.appendChild(element("div", null, { class: "pair" })), marks = [];
  const [width, height] = entry.size;
  const panel = (title) => {
    const part = pair.appendChild(element("div"));
    part.append(element("small", title));
    const svg = part.appendChild(shape("svg", { viewBox: `0 0 ${width} ${height}` }));
    if (entry.picture) svg.append(shape("image", { href: entry.picture, width, height, preserveAspectRatio: "none" }));
    return svg;
  };
  const mark = (svg, thing, style, text, about) => {
    const [x1, y1, x2, y2] = thing.box;
    const node = thing.outline
      ? shape("path", { d: thing.outline, transform: `scale(${width / entry.thumbnail[0]} ${height / entry.thumbnail[1]})` })
      : shape("rect", { x: x1, y: y1, width: Math.max(x2 - x1, 0), height: Math.max(y2 - y1, 0) });
    node.setAttribute("class", style);
    const title = shape("title", {});
    title.textContent = text;
    node.append(title);
    svg.append(node);
    marks.push({ node, class: thing.class, ...about });
  };
  const name = (thing) => data.classes[thing.class].name;
  const truth = panel("annotated"), found = panel("detected");
  for (const o of entry.objects) {
    const style = o.ignored ? "ignored" : o.found ? "truth" : "missed";
    mark(truth, o, style, `${name(o)}, ${style === "truth" ? "found" : style}, best IoU ${share(o.iou)}`,
      { score: null, kind: style === "missed" ? "missed" : null });
  }
  for (const d of [...entry.detections].reverse()) {
    const style = d.kind === "correct" ? "right" : d.kind === "ignored" ? "ignored" : "wrong";
    mark(found, d, style, `${name(d)} ${share(d.score)}, ${d.kind ?? "beyond the limit"}, IoU ${share(d.iou)}`,
      { score: d.score, kind: d.kind });
  }
  made.append(element("figcaption", `${about.file_name || about.id}: ${about.objects} objects, ${about.missed} missed, ${about.wrong} wrong detections`));
  return { figure: made, marks };
}

overview();
confusion();
errors();
gallery();
document.documentElement.dataset.ready = "yes";
