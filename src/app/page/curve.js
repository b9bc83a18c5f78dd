// The losses of a run over its steps, on a logarithmic axis.

const WIDE = 460, TALL = 170, LEFT = 46, RIGHT = 8, TOP = 8, LOW = 24;
const NAMES = ["total", "content", "style"];

function draw(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const written = (value) => (value === null ? "–" : Number(value.toPrecision(3)).toString());

function ticks(low, high) {
  const found = [];
  for (let power = Math.floor(low); power <= high; power += 1) {
    for (const step of high - low > 3 ? [1] : high - low > 0.8 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 7]) {
      const at = power + Math.log10(step);
      if (at >= low && at <= high) found.push(Number((step * 10 ** power).toPrecision(2)));
    }
  }
  return found;
}

/** Return the chart of a curve, {step, total, content, style}, whose horizontal axis ends at the last of `steps`. */
export function lossCurve(curve, steps) {
  const names = NAMES.filter((name) => curve[name].some((value) => value > 0));
  const known = names.flatMap((name) => curve[name]).filter((value) => value > 0).map(Math.log10);
  let low = Math.min(...known), high = Math.max(...known);
  if (high - low < 0.2) { low -= 0.1; high += 0.1; }
  const x = (step) => LEFT + (step / steps) * (WIDE - LEFT - RIGHT);
  const y = (value) => TALL - LOW - ((Math.log10(value) - low) / (high - low)) * (TALL - LOW - TOP);
  const label = `Total loss over the steps: from ${written(curve.total[0])} to ${written(curve.total.at(-1))}`;
  const root = draw("svg", { viewBox: `0 0 ${WIDE} ${TALL}`, role: "img", "aria-label": label });
  for (const tick of ticks(low, high)) {
    root.append(draw("line", { class: "grid", x1: LEFT, x2: WIDE - RIGHT, y1: y(tick), y2: y(tick) }));
    root.append(draw("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, written(tick)));
  }
  for (const part of [0, 0.5, 1]) {
    const anchor = part === 1 ? "end" : "middle";
    root.append(draw("text", { x: x(part * steps), y: TALL - 7, "text-anchor": anchor }, String(Math.round(part * steps))));
  }
  const legend = document.createElement("div");
  legend.className = "legend";
  for (const name of names.reverse()) {
    const points = curve[name].map((value, at) => (value > 0 ? `${x(curve.step[at]).toFixed(1)},${y(value).toFixed(1)}` : ""));
    root.append(draw("polyline", { class: `line ${name}`, points: points.join(" ").trim() }));
    const mark = draw("svg", { viewBox: "0 0 14 8", "aria-hidden": "true" }, draw("line", { class: `line ${name}`, x1: 0, x2: 14, y1: 4, y2: 4 }));
    const item = document.createElement("span");
    item.append(mark, `${name} ${written(curve[name].at(-1))}`);
    legend.prepend(item);
  }
  return [root, legend];
}
