// The form, the state of the server, the run that is looked at, and the gallery.
// Text from outside only ever becomes text content: no markup is made from strings.

import { lossCurve } from "./curve.js";
import { isPainted, maskFile, onMaskChange, setEasel } from "./mask.js";
import { showPicture } from "./picture.js";

const BUSY = 500, IDLE = 2500; // ms between two looks at the server, with and without a run at work
const byId = (id) => document.getElementById(id);
const KNOBS = ["strength", "edge", "steps", "color"];
const STATUS = { waiting: "waiting", running: "at work", finished: "finished", interrupted: "stopped", failed: "failed" };
const COLORS = {
  style: "of the style", luminance: "of the picture; only brightness changes", match: "of the picture as a whole",
  content: "of the picture, put back at the end",
};

let offered = null; // what the form offers, as the server says
let others = []; // styles that are mixed in: {style, share}
let seen = "", cards = [], state = null, looking = null, timer = 0, command = { run: null, status: null };
let sentMask = { version: -1, value: null };
let sketch = { key: "", address: null, before: null, asking: false }; // the quick preview of the choice
let spoken = "";

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (/^(aria|data)-|^role$/.test(key)) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.filter((each) => each !== null && each !== undefined));
  return element;
}

/** Ask the server; raise an error with its line where it refuses. */
async function ask(address, options = {}) {
  const answer = await fetch(address, options);
  const value = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
  if (!answer.ok) throw new Error(value.error || `the server answered ${answer.status}`);
  return value;
}

const post = (address, value = {}) =>
  ask(address, { method: "POST", body: JSON.stringify(value), headers: { "content-type": "application/json" } });

function tell(line) {
  byId("problem").textContent = line;
  byId("problem").hidden = !line;
}

// ---------------------------------------------------------------- the form

const chosen = (kind) => byId("form").querySelector(`input[name="${kind}"]:checked`)?.value;
const picturesOf = (kind) => [...offered.uploads.filter((each) => each.kind === kind).reverse(), ...offered.pictures[kind]];
const pictureOf = (kind, value) => picturesOf(kind).find((each) => each.value === value);

/** Show the tiles of a kind. */
function fillTiles(kind) {
  const tiles = document.querySelector(`#${kind}-choice .tiles`), before = chosen(kind);
  for (const tile of tiles.querySelectorAll(".tile:not(.add)")) tile.remove();
  for (const picture of picturesOf(kind)) {
    const input = make("input", { type: "radio", name: kind, value: picture.value, checked: picture.value === before });
    input.addEventListener("change", () => chose(kind));
    const tile = make("label", { className: "tile", title: picture.name }, input, make("img", { src: picture.picture, alt: "" }), make("span", { className: "name" }, picture.name));
    tiles.append(tile);
  }
}

function choose(kind, value) {
  const input = [...document.querySelectorAll(`input[name="${kind}"]`)].find((each) => each.value === value);
  if (input) input.checked = true;
}

function chose(kind) {
  const content = kind === "content" && pictureOf("content", chosen("content"));
  if (content) setEasel(content.large);
  tell("");
  remember();
  if (!looking) showChoice();
}

/** Show what is chosen until a run is looked at: the picture, and a quick preview where the network has the styles. */
function showChoice() {
  if (!offered) return;
  const content = pictureOf("content", chosen("content"));
  byId("title").textContent = "Your picture";
  const quick = sketch.address && sketch.key.startsWith(`${JSON.stringify(chosen("content"))} `) ? sketch.address : null;
  byId("quick").hidden = !quick;
  showPicture({ before: content?.large, after: quick, title: content?.name || "", split: Boolean(quick) });
  askForSketch();
}

/** Ask for a quick preview of the choice, one at a time; a choice that changes meanwhile is asked for after it. */
async function askForSketch() {
  const form = { content: chosen("content"), style: chosen("style"), others, edge: Number(byId("edge").value) };
  const all = [form.style, ...others.map((each) => each.style)], shares = others.reduce((sum, each) => sum + each.share, 0);
  const possible = form.content && all.every((each) => offered.sketched.includes(each)) && shares <= 1;
  const key = possible ? `${JSON.stringify(form.content)} ${JSON.stringify(form)}` : "";
  if (key === sketch.key || sketch.asking) return;
  sketch.asking = true;
  let blob = null;
  try {
    const answer = key ? await fetch("/api/sketch", { method: "POST", body: JSON.stringify(form), headers: { "content-type": "application/json" } }) : null;
    if (answer?.status === 200) blob = await answer.blob();
  } catch {
    // the server does not answer, which the page says elsewhere
  }
  if (sketch.before) URL.revokeObjectURL(sketch.before); // the present one may still be shown until the next is decoded
  sketch = { key, address: blob ? URL.createObjectURL(blob) : null, before: sketch.address, asking: false };
  if (!looking) showChoice();
}

async function send(kind, file) {
  const add = document.querySelector(`#${kind}-choice .add`);
  if (file.size > offered.most_bytes) {
    tell(`${file.name} is larger than ${offered.most_bytes >> 20} MB, the most that this page takes`);
    return;
  }
  add.classList.add("busy");
  try {
    const upload = await ask("/api/uploads", { method: "POST", body: file, headers: { "x-name": encodeURIComponent(file.name), "x-kind": kind } });
    offered.uploads.push(upload);
    fillTiles(kind);
    fillOthers();
    choose(kind, upload.value);
    chose(kind);
  } catch (error) {
    tell(error.message);
  }
  add.classList.remove("busy");
}

/** Keep the form over a reload. */
function remember() {
  const knobs = Object.fromEntries(KNOBS.map((name) => [name, byId(name).value]));
  sessionStorage.setItem("form", JSON.stringify({ knobs, others, content: chosen("content"), style: chosen("style") }));
}

function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem("form")) || {};
  } catch {
    return {};
  }
}

for (const choice of document.querySelectorAll(".choice")) {
  const { kind } = choice.dataset;
  choice.querySelector('input[type="file"]').addEventListener("change", (event) => {
    if (event.target.files[0]) send(kind, event.target.files[0]);
    event.target.value = "";
  });
  for (const name of ["dragenter", "dragover"]) {
    choice.addEventListener(name, (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      choice.classList.add("over");
    });
  }
  for (const name of ["dragleave", "drop"]) choice.addEventListener(name, () => choice.classList.remove("over"));
  choice.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) send(kind, event.dataTransfer.files[0]);
  });
}
// a file that misses its place must not replace the page
for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());

function fillOthers() {
  const rows = others.map((other, at) => {
    const image = make("img", { alt: "" }), select = make("select", { "aria-label": `Style ${at + 2}` });
    for (const each of picturesOf("style")) select.append(make("option", { value: each.value, selected: each.value === other.style }, each.name));
    const shown = make("output", {}), share = make("input", { type: "range", min: 5, max: 95, step: 5, value: 100 * other.share, "aria-label": `Share of style ${at + 2}` });
    const update = () => {
      other.style = select.value;
      other.share = share.value / 100;
      image.src = pictureOf("style", other.style).picture;
      shown.textContent = `${share.value} %`;
      showKnobs();
    };
    select.addEventListener("change", update);
    share.addEventListener("input", update);
    const gone = make("button", { type: "button", "aria-label": `Remove style ${at + 2}` }, "×");
    gone.addEventListener("click", () => {
      others.splice(at, 1);
      fillOthers();
      byId("mix").focus();
    });
    const row = make("div", { className: "other" }, image, select, gone, make("div", { className: "share", title: offered.help["blend.weights"] }, "Share", share, shown));
    queueMicrotask(update);
    return row;
  });
  byId("others").replaceChildren(...rows);
  byId("mix").hidden = others.length + 1 >= offered.styles;
  showKnobs();
}

byId("mix").addEventListener("click", () => {
  const free = picturesOf("style").find((each) => each.value !== chosen("style") && !others.some((other) => other.style === each.value));
  const left = 1 - others.reduce((sum, each) => sum + each.share, 0);
  others.push({ style: (free || picturesOf("style")[0]).value, share: Math.max(0.05, Math.round((left / 2) * 20) / 20) });
  fillOthers();
  byId("others").lastElementChild.querySelector("select").focus();
});

const strength = () => Number((10 ** Number(byId("strength").value)).toPrecision(2));

/** Show the value of each knob, and the option of the command line that it sets. */
function showKnobs() {
  if (!offered) return;
  const values = { strength: strength(), edge: byId("edge").value, steps: byId("steps").value };
  const units = { strength: "", edge: " px", steps: "" };
  for (const [name, value] of Object.entries(values)) {
    const option = offered.numbers[name];
    byId(name).setAttribute("aria-valuetext", `${value}${units[name]}`);
    byId(`${name}-option`).textContent = `${option}=${value}`;
    byId(name).title = byId(`${name}-option`).title = `${option}: ${offered.help[option]}`;
  }
  byId("color-option").textContent = `color=${byId("color").value}`;
  byId("color").title = byId("color-option").title = `color: ${offered.help.color}`;
  byId("mix").title = `blend.styles: ${offered.help["blend.styles"]}`;
  const second = byId("outside").options[1];
  second.disabled = !others.length;
  if (second.disabled && byId("outside").value === "style") byId("outside").value = "content";
  const painted = isPainted();
  byId("outside").disabled = byId("mask-painted").hidden = !painted;
  remember();
  if (!looking) showChoice();
  byId("mask-option").textContent = !painted ? "" : byId("outside").value === "style" ? "blend.masks=[0]" : "keep_unmasked=true";
  byId("canvas").title = `content.mask: ${offered.help["content.mask"]}`;
  byId("outside").title = byId("mask-option").title = `keep_unmasked: ${offered.help.keep_unmasked}`;
}
for (const name of [...KNOBS, "outside"]) byId(name).addEventListener("input", showKnobs);
onMaskChange(showKnobs);

async function mask() {
  if (!isPainted()) return null;
  const { blob, version } = await maskFile();
  if (sentMask.version !== version) {
    const upload = await ask("/api/uploads", { method: "POST", body: blob, headers: { "x-name": "mask.png", "x-kind": "mask" } });
    sentMask = { version, value: upload.value };
  }
  return sentMask.value;
}

byId("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("start").disabled = true;
  tell("");
  try {
    const { run } = await post("/api/runs", {
      content: chosen("content"), style: chosen("style"), others, mask: await mask(), outside: byId("outside").value,
      strength: strength(), edge: Number(byId("edge").value), steps: Number(byId("steps").value), color: byId("color").value,
    });
    look(run);
    if (matchMedia("(max-width: 900px)").matches) byId("result").scrollIntoView();
  } catch (error) {
    tell(error.message);
  }
  byId("start").disabled = false;
});

// ---------------------------------------------------------------- the run that is looked at

/** Look at a run, or at the form's choice; the address of the page says which, so that it survives a reload. */
function look(run, replace = false) {
  const hash = run ? `#run=${run}` : location.pathname;
  if (looking !== run) history[replace ? "replaceState" : "pushState"](null, "", hash);
  looking = run;
  spoken = "";
  poll();
}
const inAddress = () => location.hash.match(/^#run=([0-9a-f]{32})$/)?.[1] || null;
window.addEventListener("popstate", () => {
  looking = inAddress();
  poll();
});

function spelled(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function progressText(run) {
  if (run.status === "waiting") return run.place > 1 ? `Waiting: ${run.place - 1} ${run.place === 2 ? "run" : "runs"} ahead` : "Waiting: next in the queue";
  if (run.stopping) return "Stopping: saving the picture after this step";
  if (!run.step) return "Getting ready: loading the network and measuring the style";
  const left = run.left === null ? "" : `, about ${spelled(run.left)} left`;
  return `Step ${run.step} of ${run.steps}, ${Math.floor((100 * run.step) / run.steps)} %${left}`;
}

function showRun(run) {
  byId("new").hidden = !run;
  byId("status").hidden = !run;
  byId("more").hidden = !run || run.status === "waiting";
  for (const id of ["progress-box", "error", "stop", "resume", "download", "quick"]) byId(id).hidden = true;
  if (!run) {
    showChoice();
    return;
  }
  const active = run.status === "running" || run.status === "waiting";
  byId("title").textContent = run.title;
  byId("status").textContent = STATUS[run.status] || run.status;
  byId("status").className = `chip ${run.status}`;
  showPicture({ before: run.content, after: run.picture, width: run.width, height: run.height, title: run.title, split: !active, quietly: active });
  byId("progress-box").hidden = !active;
  const bar = byId("progress"), text = progressText(run);
  if (run.status === "running" && run.step) bar.value = (100 * run.step) / run.steps;
  else bar.removeAttribute("value");
  byId("progress-text").textContent = text;
  byId("error").hidden = !run.error;
  byId("error").textContent = run.error || "";
  byId("stop").hidden = !run.stoppable || (!active && !(run.status === "failed" && !run.picture && !run.facts.length));
  byId("stop").disabled = run.stopping;
  byId("stop").textContent = run.status === "waiting" ? "Take out of the queue" : run.status === "failed" ? "Dismiss" : "Stop and keep";
  byId("resume").hidden = !run.resumable;
  const kept = run.picture && !active;
  byId("download").hidden = !kept;
  byId("download").href = `/api/runs/${run.id}/file`;
  byId("curve-box").hidden = !run.curve;
  if (run.curve) byId("curve").replaceChildren(...lossCurve(run.curve, run.steps));
  byId("facts-box").hidden = !run.facts.length;
  byId("facts").replaceChildren(...run.facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  say(run.status === "running" && run.step ? `${run.title}: ${10 * Math.floor((10 * run.step) / run.steps)} % done` : `${run.title}: ${STATUS[run.status] || run.status}`);
  showCommand(run);
}

/** Say a line to a screen reader, once. */
function say(line) {
  if (line !== spoken) byId("said").textContent = spoken = line;
}

async function showCommand(run) {
  if (command.run === run.id && command.status === run.status) return;
  command = { run: run.id, status: run.status };
  byId("command-box").hidden = true;
  if (run.status === "waiting" || !run.facts.length) {
    command.status = null;
    return;
  }
  try {
    const found = (await ask(`/api/runs/${run.id}/command`)).command;
    if (command.run !== run.id) return;
    byId("command").textContent = found || "";
    byId("command-box").hidden = !found;
  } catch {
    command.status = null;
  }
}

byId("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(byId("command").textContent);
  } catch { // browsers forbid it to pages of other machines without encryption
    getSelection().selectAllChildren(byId("command"));
    if (!document.execCommand("copy")) return;
    getSelection().removeAllRanges();
  }
  byId("copy").textContent = "Copied";
  setTimeout(() => { byId("copy").textContent = "Copy"; }, 1500);
});
byId("new").addEventListener("click", () => look(null));
for (const name of ["stop", "resume"]) {
  byId(name).addEventListener("click", async () => {
    byId(name).disabled = true;
    try {
      await post(`/api/runs/${looking}/${name}`);
    } catch (error) {
      tell(error.message);
    }
    byId(name).disabled = false;
    poll();
  });
}

// ---------------------------------------------------------------- queue and gallery

function showQueue(queue) {
  byId("queue-box").hidden = !queue.length;
  const rows = queue.map((job) => {
    const open = make("button", { type: "button", className: "quiet name" }, job.title);
    open.addEventListener("click", () => look(job.id));
    const gone = make("button", { type: "button", className: "quiet", disabled: job.stopping, "aria-label": `${job.state === "running" ? "Stop" : "Remove"} ${job.title}` }, job.state === "running" ? "Stop" : "Remove");
    gone.addEventListener("click", () => post(`/api/runs/${job.id}/stop`).then(poll, (error) => tell(error.message)));
    return make("li", {}, make("span", { className: `chip ${job.state}` }, STATUS[job.state]), open, gone);
  });
  byId("queue").replaceChildren(...rows);
}

function showGallery() {
  byId("count").textContent = cards.length ? `${cards.length} ${cards.length === 1 ? "picture" : "pictures"}` : "";
  byId("none").hidden = Boolean(cards.length);
  const held = document.activeElement?.dataset?.run;
  const items = cards.map((card) => {
    const image = card.picture ? make("img", { src: card.picture, alt: "", loading: "lazy" }) : make("div", { className: "blank" }, "no picture yet");
    const button = make("button", { type: "button", className: "card", "data-run": card.id }, image, make("span", { className: "name" }, card.title), make("span", { className: `note ${card.status}` }, card.note));
    button.addEventListener("click", () => {
      look(card.id);
      byId("result").scrollIntoView();
      byId("result").focus({ preventScroll: true });
    });
    return make("li", {}, button);
  });
  byId("cards").replaceChildren(...items);
  if (held) byId("cards").querySelector(`[data-run="${held}"]`)?.focus({ preventScroll: true });
}

function markCurrent() {
  for (const card of document.querySelectorAll(".card")) card.setAttribute("aria-current", String(card.dataset.run === looking));
}

// ---------------------------------------------------------------- the state of the server

let asked = 0, queueShown = "";

async function poll() {
  clearTimeout(timer);
  const mine = (asked += 1);
  try {
    const found = await ask(`/api/state?run=${looking || ""}&seen=${seen}`);
    if (mine !== asked) return;
    state = found;
    byId("lost").hidden = true;
    if (state.runs) {
      cards = state.runs;
      seen = state.gallery;
      showGallery();
    }
    if (JSON.stringify(state.queue) !== queueShown) {
      queueShown = JSON.stringify(state.queue);
      showQueue(state.queue);
    }
    if (looking && !state.run) look(null, true);
    else showRun(state.run);
    markCurrent();
  } catch {
    if (mine !== asked) return;
    byId("lost").hidden = false;
  }
  const busy = state?.queue.some((job) => job.state !== "failed");
  timer = setTimeout(poll, busy && !document.hidden ? BUSY : IDLE);
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });

async function begin() {
  looking = inAddress();
  const listed = poll();
  offered = await ask("/api/form");
  const kept = remembered();
  for (const kind of ["content", "style"]) fillTiles(kind);
  const { defaults, colors } = offered;
  byId("color").replaceChildren(...colors.map((name) => make("option", { value: name }, COLORS[name] || name)));
  byId("strength").value = Math.log10(defaults.strength);
  byId("edge").value = defaults.edge;
  byId("steps").value = defaults.steps;
  byId("color").value = defaults.color;
  for (const name of KNOBS) if (kept.knobs?.[name]) byId(name).value = kept.knobs[name];
  others = (kept.others || []).filter((each) => pictureOf("style", each.style));
  for (const kind of ["content", "style"]) {
    choose(kind, kept[kind]);
    if (!chosen(kind)) choose(kind, offered.pictures[kind][0]?.value);
  }
  for (const kind of ["content", "style"]) chose(kind);
  fillOthers();
  await listed;
  if (!looking) showChoice();
  const active = state?.queue.find((job) => job.state === "running");
  if (!looking && active) look(active.id, true);
}
begin().catch((error) => tell(error.message));
