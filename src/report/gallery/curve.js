"use strict";
// Charts: the losses of a run, and patch distance against SSIM of all runs.

const NAMED = 24; // dots that have room for their names
const WIDE = 460, TALL = 254, LEFT = 52, RIGHT = 10, TOP = 8, LOW = 40;
// Where a name may stand beside its dot: an offset and an anchor.
const PLACES = [[8, 3, "start"], [-8, 3, "end"], [0, -9, "middle"], [0, 15, "middle"]];

/** Make a logarithmic scale; with `withZero`, 0 has a place of its own at the beginning. */
function logarithmic(values, from, to, withZero = false) {
  const known = values.filter((value) => value > 0);
  let low = Math.log10(Math.min(...known)), high = Math.log10(Math.max(...known));
  if (!(high - low > 1e-6)) { low -= 0.2; high += 0.2; }
  const begin = withZero && values.includes(0) ? from + (to - from) * 0.12 : from;
  const scale = (value) => (value > 0 ? begin + ((Math.log10(value) - low) / (high - low)) * (to - begin) : from);
  const fine = Array.from({ length: 36 }, (_, at) => 1 + at / 4);
  const steps = high - low > 2.2 ? [1] : high - low > 0.9 ? [1, 2, 5] : high - low > 0.35 ? [1, 1.5, 2, 3, 4, 5, 6, 7, 8] : fine;
  const every = Math.max(1, Math.ceil((high - low) / 5));
  scale.ticks = withZero && values.includes(0) ? [0] : [];
  for (let power = Math.floor(low); power <= high; power += 1) {
    if (power % every) continue;
    for (const step of steps) {
      const tick = step * 10 ** power, at = Math.log10(tick);
      if (at >= low - 1e-9 && at <= high + 1e-9) scale.ticks.push(Number(tick.toPrecision(3)));
    }
  }
  return scale;
}

function linear(values, from, to) {
  const low = Math.min(...values), high = Math.max(...values), span = high - low || 0.1;
  const scale = (value) => from + ((value - low + span * 0.05) / (span * 1.1)) * (to - from);
  const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5].find((each) => span / each <= 7) || span;
  scale.ticks = [];
  for (let at = Math.ceil(low / step); at * step <= high + 1e-9; at += 1) scale.ticks.push(Number((at * step).toFixed(3)));
  return scale;
}

const plain = (value) => (value !== 0 && (value < 1e-3 || value >= 1e5) ? written(value, 1) : String(value));

/** Make a chart with its axes; `across` stands below the horizontal one. */
function axes(x, y, label, across, wide = WIDE, tall = TALL) {
  const root = draw("svg", { viewBox: `0 0 ${wide} ${tall}`, role: "img", "aria-label": label });
  for (const tick of y.ticks) {
    root.append(draw("line", { class: "grid", x1: LEFT, x2: wide - RIGHT, y1: y(tick), y2: y(tick) }));
    root.append(draw("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, plain(tick)));
  }
  let last = -Infinity;
  for (const tick of x.ticks) {
    if (x(tick) - last < 30) continue;
    last = x(tick);
    root.append(draw("line", { class: "grid", x1: last, x2: last, y1: TOP, y2: tall - LOW }));
    root.append(draw("text", { x: last, y: tall - LOW + 16, "text-anchor": "middle" }, plain(tick)));
  }
  root.append(draw("text", { x: wide - RIGHT, y: tall - 5, "text-anchor": "end" }, across));
  return root;
}

/** Draw the losses of a run against steps or seconds; the legend shows the values at the pointer. */
function lossCurve(run, by) {
  const curve = run.curve, xs = curve[by];
  const series = [["total", curve.total], ...Object.entries(curve.terms)];
  const x = logarithmic(xs.filter((each) => each !== null), LEFT, WIDE - RIGHT, true);
  const y = logarithmic(series.flatMap(([, values]) => values).filter((each) => each !== null), TALL - LOW, TOP);
  const first = curve.total[0], last = curve.total.at(-1);
  const label = `Loss against ${by === "step" ? "steps" : "seconds"}, logarithmic: total from ${written(first)} to ${written(last)}`;
  const root = axes(x, y, label, by === "step" ? "optimiser steps" : "wall time, s"), legend = make("div", { className: "legend" }), readings = [];
  series.forEach(([name, values], number) => {
    const kind = `line c${number % 8}${number ? "" : " total"}${number > 7 ? " dashed" : ""}`;
    const points = values.map((value, at) => (value > 0 && xs[at] !== null ? `${x(xs[at]).toFixed(1)},${y(value).toFixed(1)}` : ""));
    root.append(draw("polyline", { class: kind, points: points.join(" ").trim() }));
    const reading = make("span", {}, "");
    const mark = draw("svg", { viewBox: "0 0 14 8", "aria-hidden": "true" }, draw("line", { class: kind, x1: 0, x2: 14, y1: 4, y2: 4 }));
    legend.append(make("span", {}, mark, `${name} `, reading));
    readings.push([reading, values]);
  });
  const cursor = draw("line", { class: "cursor", y1: TOP, y2: TALL - LOW, visibility: "hidden" });
  const place = make("span", { className: "soft" });
  root.append(cursor);
  legend.prepend(place);
  const read = (at) => {
    for (const [reading, values] of readings) reading.textContent = written(values[at]);
    place.textContent = by === "step" ? `step ${xs[at]}` : `${written(xs[at])} s`;
  };
  root.addEventListener("pointermove", (event) => {
    const box = root.getBoundingClientRect(), pointer = ((event.clientX - box.left) / box.width) * WIDE;
    const known = xs.map((value, at) => [value === null ? Infinity : Math.abs(x(value) - pointer), at]);
    const [, at] = known.reduce((best, each) => (each[0] < best[0] ? each : best));
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, x(xs[at]));
    cursor.setAttribute("visibility", "visible");
    read(at);
  });
  root.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    read(xs.length - 1);
  });
  read(xs.length - 1);
  return [root, legend];
}

/** Draw patch distance against SSIM, a dot a run that opens it; return the dots by run, null without any. */
function tradeOff(container, open) {
  const runs = RUNS.filter((run) => run.ssim !== null && run.patch_distance > 0);
  if (!runs.length) return null;
  const wide = 760, tall = 420, points = new Map();
  const x = linear(runs.map((run) => run.ssim), LEFT, wide - RIGHT);
  const y = logarithmic(runs.map((run) => run.patch_distance), tall - LOW - 4, TOP + 14);
  const root = axes(x, y, "Patch distance to the style against SSIM", "SSIM →", wide, tall);
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = "8.5px system-ui, sans-serif";
  const taken = runs.map((run) => [x(run.ssim) - 6, y(run.patch_distance) - 6, x(run.ssim) + 6, y(run.patch_distance) + 6]);
  taken.push([LEFT, TOP, LEFT + 100, TOP + 14]); // the vertical axis's name
  for (const run of runs) {
    const name = [pairOf(run), ...run.tells].join(", "), said = `${name}: SSIM ${written(run.ssim)}, patch distance ${written(run.patch_distance)}`;
    const point = draw("circle", { class: "run", cx: x(run.ssim), cy: y(run.patch_distance), r: 5.5 }, draw("title", {}, said));
    point.addEventListener("click", () => open(run));
    points.set(run, point);
    root.append(point);
    if (runs.length > NAMED) continue;
    const length = pen.measureText(name).width;
    for (const [dx, dy, anchor] of PLACES) {
      const at = x(run.ssim) + dx, low = y(run.patch_distance) + dy;
      const left = at - { start: 0, middle: length / 2, end: length }[anchor], box = [left, low - 8, left + length, low + 2];
      const free = !taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3]);
      if (!free || box[0] < LEFT || box[2] > wide) continue;
      taken.push(box);
      root.append(draw("text", { class: "name", x: at, y: low, "text-anchor": anchor }, name));
      break;
    }
  }
  root.append(draw("text", { x: LEFT + 6, y: TOP + 10 }, "patch distance ↑"));
  container.replaceChildren(root);
  return points;
}
