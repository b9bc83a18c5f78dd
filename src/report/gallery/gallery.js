"use strict";
// The page: cards with filters and an order, unfinished runs, the table.

const MEASURES = ["ssim", "patch_distance", "loss_decay", "it_per_s", "seconds", "started"];
const orders = new Map(DATA.filters.map(([key, , values]) => [key, new Map(values.map((value, at) => [value, at]))]));
const selects = new Map();
const cards = new Map();
let visible = RUNS;
let points = null;

function makeCard(run) {
  const copy = resultOf(run);
  const said = [pairOf(run), ...run.tells, run.ssim === null ? "" : `SSIM ${written(run.ssim)}`].filter(Boolean);
  if (run.status !== "finished") said.push(run.status);
  const picture = copy
    // src comes last, after loading="lazy": images far below are not fetched
    ? make("img", { alt: "", loading: "lazy", decoding: "async", width: copy.width, height: copy.height, src: copy.small })
    : make("div", { className: "none" }, "no picture");
  const button = make(
    "button",
    { type: "button", className: "card", tabIndex: -1, "aria-label": said.join(", ") },
    picture,
    make("span", { className: "pair" }, pairOf(run)),
    run.tells.length ? make("span", { className: "small", title: run.tells.join(" · ") }, run.tells.join(" · ")) : null,
    run.ssim === null ? null : make("span", { className: "small" }, `SSIM ${written(run.ssim)}`),
    run.patch_distance === null ? null : make("span", { className: "small" }, `patch distance ${written(run.patch_distance)}`),
    run.status === "finished" ? null : make("span", { className: `small ${run.status}` }, run.status),
  );
  button.addEventListener("click", () => showDetail(run));
  return make("li", {}, button);
}

function makeFilters() {
  const form = byId("filters"), before = byId("ssim-range");
  for (const [key, , values] of DATA.filters) {
    const options = values.map((value) => make("option", { value }, spaced(value)));
    if (values.length > 1) options.unshift(make("option", { value: "" }, "all"));
    const select = make("select", { id: `filter-${key}`, disabled: values.length < 2 }, ...options);
    form.insertBefore(make("label", {}, nameOf(key), select), before);
    if (values.length > 1) selects.set(key, select);
  }
  const differ = MEASURES.filter((key) => new Set(RUNS.map((run) => run[key])).size > 1);
  const keys = [...differ, ...DATA.filters.filter(([, , values]) => values.length > 1).map(([key]) => key)];
  byId("sort").append(make("option", { value: "" }, "pair"), ...keys.map((value) => make("option", { value }, nameOf(value))));
  const known = RUNS.map((run) => run.ssim).filter((value) => value !== null);
  before.hidden = !known.length;
  if (known.length) {
    byId("ssim-low").placeholder = (Math.floor(Math.min(...known) * 100) / 100).toFixed(2);
    byId("ssim-high").placeholder = (Math.ceil(Math.max(...known) * 100) / 100).toFixed(2);
  }
}

function passes(run) {
  for (const [key, select] of selects) if (select.value && run.settings[key] !== select.value) return false;
  const low = byId("ssim-low").valueAsNumber, high = byId("ssim-high").valueAsNumber;
  return !(run.ssim === null ? low >= 0 || high >= 0 : run.ssim < low || run.ssim > high);
}

function ordered(runs) {
  const key = byId("sort").value, down = byId("direction").getAttribute("aria-pressed") === "true";
  if (!key) return down ? [...runs].reverse() : runs;
  const value = (run) => (key in run.settings ? orders.get(key).get(run.settings[key]) : run[key]);
  const known = runs.filter((run) => value(run) !== null), rest = runs.filter((run) => value(run) === null);
  known.sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0) * (down ? -1 : 1));
  return [...known, ...rest];
}

/** Show the runs that pass the filters, in order. */
function update() {
  visible = ordered(RUNS.filter(passes));
  byId("cards").replaceChildren(...visible.map((run) => cards.get(run)));
  byId("count").textContent = visible.length === RUNS.length ? `${RUNS.length} runs` : `${visible.length} of ${RUNS.length} runs`;
  byId("direction").textContent = byId("direction").getAttribute("aria-pressed") === "true" ? "↓" : "↑";
  visible.forEach((run, at) => { cards.get(run).firstChild.tabIndex = at ? -1 : 0; });
  if (points) {
    const chosen = new Set(visible);
    for (const [run, point] of points) point.classList.toggle("out", !chosen.has(run));
  }
}

/** Move between cards by arrow keys, up and down by the rows of the layout. */
function move(event) {
  const buttons = [...byId("cards").querySelectorAll(".card")], at = buttons.indexOf(document.activeElement);
  if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
  const columns = getComputedStyle(byId("cards")).gridTemplateColumns.split(" ").length;
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - columns, ArrowDown: at + columns, Home: 0, End: buttons.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  if (buttons[to]) focusCard(buttons[to]);
}

function focusCard(button) {
  for (const each of byId("cards").querySelectorAll('.card[tabindex="0"]')) each.tabIndex = -1;
  button.tabIndex = 0;
  button.focus();
}

function listUnfinished() {
  const unfinished = RUNS.filter((run) => run.status !== "finished");
  byId("unfinished").hidden = byId("unfinished-link").hidden = !unfinished.length;
  byId("unfinished-list").replaceChildren(
    ...unfinished.map((run) => {
      const button = make("button", { type: "button" }, [pairOf(run), ...run.tells].join(" · "));
      button.addEventListener("click", () => showDetail(run));
      return make("li", {}, make("span", { className: `state ${run.status}` }, run.status), button, make("span", { className: "why" }, run.error || ""));
    }),
  );
}

/** Fill the table when it is first opened, which takes long for a thousand runs. */
function fillTable() {
  if (byId("table-body").childElementCount) return;
  const names = [...new Set([...DATA.filters.map(([key]) => key), "status", "ssim", "patch_distance", "gradient_ssim", "gram_distance", "judge", "initial_loss", "loss_decay", "it_per_s", "batch", "seconds", "peak_mib"])];
  byId("table-head").replaceChildren(make("th", { scope: "col" }, "run"), ...names.map((name) => make("th", { scope: "col" }, nameOf(name))));
  for (const run of RUNS) {
    const button = make("button", { type: "button" }, run.name);
    button.addEventListener("click", () => showDetail(run));
    const cells = names.map((name) => make("td", {}, run.settings[name] ?? (typeof run[name] === "number" ? written(run[name], 4) : run[name] ?? "–")));
    byId("table-body").append(make("tr", {}, make("td", {}, button), ...cells));
  }
}

for (const run of RUNS) cards.set(run, makeCard(run));
makeFilters();
listUnfinished();
points = tradeOff(byId("map-chart"), showDetail);
byId("map").hidden = !points;
detail.among = () => (visible.includes(detail.run) ? visible : RUNS);
detail.movedTo = (run) => { if (visible.includes(run)) focusCard(cards.get(run).firstChild); };
byId("filters").addEventListener("input", update);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("filters").addEventListener("reset", () => {
  byId("direction").setAttribute("aria-pressed", "false");
  setTimeout(update); // after the browser has emptied the fields
});
byId("direction").addEventListener("click", (event) => {
  event.target.setAttribute("aria-pressed", String(event.target.getAttribute("aria-pressed") !== "true"));
  update();
});
byId("cards").addEventListener("keydown", move);
byId("table").addEventListener("toggle", fillTable);
if (matchMedia("(max-width: 760px)").matches) byId("controls").open = false;
update();
