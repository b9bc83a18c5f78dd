"use strict";
// One run in a dialog over the page.

const dialog = byId("detail");
const SHOWN = ["ssim", "patch_distance", "gradient_ssim", "loss_decay", "it_per_s", "seconds", "peak_mib"];

const detail = {
  run: null,
  opened: null,
  /** The runs that the arrow keys step through. */
  among: () => RUNS,
  /** Called when the dialog closes at another run than it was opened at. */
  movedTo: () => {},
  axis: "step",
};

function setSlider(percent) {
  byId("compare").style.setProperty("--at", `${percent}%`);
  byId("slider").setAttribute("aria-valuetext", `${percent} % of the width is before`);
}

/** Fill a strip of buttons that choose the image on one side of the slider. */
function strip(container, image, choices, chosen) {
  const buttons = choices.map((choice) => {
    const copy = thumbnailOf(choice.picture);
    const button = make(
      "button",
      { type: "button", disabled: !copy, "aria-pressed": "false" },
      copy ? make("img", { src: copy.small, alt: "", loading: "lazy" }) : make("div", { className: "none" }),
      make("span", {}, choice.name),
      choice.note ? make("span", { className: "soft" }, choice.note) : null,
    );
    button.addEventListener("click", () => choose(choice, button));
    return button;
  });
  function choose(choice, button) {
    const copy = thumbnailOf(choice.picture);
    image.src = copy.file;
    image.alt = choice.alt;
    image.className = choice.whole ? "whole" : "";
    for (const each of buttons) each.setAttribute("aria-pressed", String(each === button));
  }
  container.replaceChildren(...buttons);
  const first = [chosen, ...choices.keys()].find((at) => thumbnailOf(choices[at]?.picture));
  image.hidden = first === undefined;
  if (first !== undefined) choose(choices[first], buttons[first]);
}

function showPictures(run) {
  const result = resultOf(run), box = byId("compare");
  box.hidden = !result;
  byId("right-side").hidden = !run.captures.length;
  byId("no-picture").hidden = Boolean(result);
  if (result) {
    box.style.aspectRatio = `${result.width} / ${result.height}`;
    // a tall image must leave room for the strips below
    box.style.maxWidth = `calc(68vh * ${(result.width / result.height).toFixed(4)})`;
  }
  strip(
    byId("befores"), byId("before"),
    [
      { picture: run.contentPicture, name: spaced(run.content), note: "content", alt: `content: ${spaced(run.content)}` },
      { picture: run.stylePicture, name: spaced(run.style), note: "style", alt: `style: ${spaced(run.style)}`, whole: true },
    ],
    0,
  );
  strip(
    byId("afters"), byId("after"),
    run.captures.map((capture) => ({
      picture: capture.picture, name: capture.place, note: `loss ${written(capture.loss)}\nSSIM ${written(capture.ssim)}`,
      alt: `${pairOf(run)} at ${capture.place}`,
    })),
    run.captures.length - 1,
  );
  byId("slider").value = 50;
  setSlider(50);
}

function showNumbers(run) {
  const rows = [];
  const add = (name, text) => rows.push(make("div", {}, make("dt", {}, name), make("dd", {}, text)));
  for (const [key] of DATA.filters.slice(2)) if (key !== "status" && key !== "steps") add(nameOf(key), run.settings[key]);
  for (const key of SHOWN) if (run[key] !== null) add(nameOf(key), written(run[key], 4));
  if (run.gram_distance !== null) add(`Gram distance (judge: ${run.judge || "unknown"})`, written(run.gram_distance, 4));
  if (run.initial_loss !== null) add("loss", `${written(run.initial_loss)} → ${written(run.captures.at(-1)?.loss)}`);
  if (run.width) add("size", `${run.width} × ${run.height}`);
  add("steps", run.step === run.steps ? String(run.steps) : `${run.step} of ${run.steps}`);
  if (run.device) add("device", run.batch > 1 ? `${run.device}, in a batch of ${run.batch}` : run.device);
  if (run.started) add("started", run.started.replace("T", " ").replace("+00:00", " UTC"));
  byId("numbers").replaceChildren(...rows);
}

function showCurve(run) {
  byId("curve-section").hidden = !run.curve;
  if (!run.curve) return;
  const timed = run.curve.seconds.some((value) => value > 0);
  byId("by-seconds").disabled = !timed;
  const axis = timed ? detail.axis : "step";
  byId("by-step").setAttribute("aria-pressed", String(axis === "step"));
  byId("by-seconds").setAttribute("aria-pressed", String(axis === "seconds"));
  byId("curve").replaceChildren(...lossCurve(run, axis));
}

function showText(run) {
  byId("detail-head").textContent = [pairOf(run), ...run.tells].join(" · ");
  const state = byId("detail-state");
  state.hidden = run.status === "finished";
  state.textContent = run.error ? `${run.status}: ${run.error}` : run.status;
  byId("command").textContent = run.again || run.command || "";
  byId("command-section").hidden = !byId("command").textContent;
  byId("copied").textContent = run.again ? "" : "The command it was started with: this version does not know all of its options.";
  byId("config").textContent = run.config.map((part) => DATA.configs[part]).join("");
  const links = [["folder", "run folder"], ["picture", "image file"], ["metrics", "metrics.csv"]];
  const made = links.filter(([key]) => run[key]).map(([key, text]) => make("a", { href: run[key] }, text));
  byId("links").replaceChildren(...made.flatMap((link, at) => (at ? [" · ", link] : [link])));
}

/** Show a run in the dialog; the browser's back button closes it. */
function showDetail(run) {
  detail.run = run;
  showText(run);
  showPictures(run);
  showNumbers(run);
  showCurve(run);
  const among = detail.among();
  byId("previous").disabled = byId("next").disabled = among.length < 2;
  if (!dialog.open) {
    detail.opened = run;
    history.pushState({ run: run.name }, "", location.hash || "#gallery");
    dialog.showModal();
    byId("detail-head").focus({ preventScroll: true });
  }
  dialog.querySelector(".body").scrollTop = 0;
}

function step(by) {
  const among = detail.among(), at = among.indexOf(detail.run);
  if (among.length) showDetail(among[(Math.max(at, by > 0 ? -1 : 0) + by + among.length) % among.length]);
}

async function copyCommand() {
  const text = byId("command").textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch { // some browsers forbid this to files
    const selection = getSelection();
    selection.selectAllChildren(byId("command"));
    if (!document.execCommand("copy")) {
      byId("copied").textContent = "Selected: copy it with the keyboard.";
      return;
    }
    selection.removeAllRanges();
  }
  byId("copied").textContent = "Copied.";
}

byId("slider").addEventListener("input", (event) => setSlider(event.target.value));
byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("close").addEventListener("click", () => dialog.close());
byId("copy").addEventListener("click", copyCommand);
for (const [id, axis] of [["by-step", "step"], ["by-seconds", "seconds"]]) {
  byId(id).addEventListener("click", () => {
    detail.axis = axis;
    showCurve(detail.run);
  });
}
dialog.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target === byId("slider")) return;
  if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "ArrowRight") step(1);
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // on the backdrop
});
dialog.addEventListener("close", () => {
  if (history.state?.run) history.back();
  // the browser returns the focus to the card that opened it; after stepping on, the last run's card gets it
  if (detail.run !== detail.opened) detail.movedTo(detail.run);
});
addEventListener("popstate", () => {
  if (!history.state?.run && dialog.open) dialog.close();
});
