"use strict";
// One run, looked at closely, in a dialog over the page.

const dialog = byId("detail");
const SHOWN = ["ssim", "gradient_ssim", "gram_distance", "patch_distance", "loss_decay", "it_per_s", "seconds", "peak_mib"];

const detail = {
  run: null,
  opened: null,
  /** The runs that the arrows go through. */
  among: () => RUNS,
  /** What happens when it is closed at another run than it was opened at. */
  movedTo: () => {},
  axis: "step",
};

function setSlider(percent) {
  byId("compare").style.setProperty("--at", `${percent}%`);
  byId("slider").setAttribute("aria-valuetext", `${percent} % of the width is before`);
}

/** Put a choice of pictures below the slider: buttons, one of them pressed. */
function strip(container, image, choices, chosen) {
  const buttons = choices.map((choice) => {
    const copy = printOf(choice.picture);
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
    const copy = printOf(choice.picture);
    image.src = copy.file;
    image.alt = choice.alt;
    image.className = choice.whole ? "whole" : "";
    for (const each of buttons) each.setAttribute("aria-pressed", String(each === button));
  }
  container.replaceChildren(...buttons);
  const first = [chosen, ...choices.keys()].find((at) => printOf(choices[at]?.picture));
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
    // a tower must leave room for what is below it
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
  for (const tell of ["layers", "ratio", "backbone"]) add(nameOf(tell), run.settings[tell]);
  for (const key of SHOWN) if (run[key] !== null) add(nameOf(key), written(run[key], 4));
  if (run.initial_loss !== null) add("loss", `${written(run.initial_loss)} → ${written(run.captures.at(-1)?.loss)}`);
  if (run.width) add("size", `${run.width} × ${run.height}`);
  add("steps", run.step === run.steps ? String(run.steps) : `${run.step} of ${run.steps}`);
  if (run.device) add("device", run.device);
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
  byId("command").textContent = run.command || run.started_by || "";
  byId("command-section").hidden = !byId("command").textContent;
  byId("copied").textContent = run.command ? "" : "As it was started: its options are of another version.";
  const config = Object.entries(run.config).map(([name, at]) => [name, DATA.parts[name][at]]);
  byId("config").textContent = yaml(Object.fromEntries(config));
  const links = [["folder", "run folder"], ["picture", "picture as it was written"], ["metrics", "metrics.csv"]];
  const made = links.filter(([key]) => run[key]).map(([key, text]) => make("a", { href: run[key] }, text));
  byId("links").replaceChildren(...made.flatMap((link, at) => (at ? [" · ", link] : [link])));
}

/** Show a run; the page's address says which, so that going back closes it. */
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
  } catch { // not allowed from a file in some browsers: the old way
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
  if (event.target === dialog) dialog.close(); // beside it
});
dialog.addEventListener("close", () => {
  if (history.state?.run) history.back();
  // focus goes back to where it was; having gone on to other runs, to the card of the last of them
  if (detail.run !== detail.opened) detail.movedTo(detail.run);
});
addEventListener("popstate", () => {
  if (!history.state?.run && dialog.open) dialog.close();
});
