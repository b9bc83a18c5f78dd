// The mask: what is painted on a copy of the content picture takes the style.

const byId = (id) => document.getElementById(id);
const canvas = byId("canvas"), picture = byId("easel-picture"), brush = byId("brush"), said = byId("mask-said");
const pen = canvas.getContext("2d", { willReadFrequently: true });
const UNDONE = 8; // strokes that can be taken back
const COLOR = "#1f7ae0";
let past = [], last = null, erasing = false, cursor = null, version = 0, listener = () => {};

const radius = () => (Number(brush.value) / 200) * Math.max(canvas.width, canvas.height);

function remember() {
  past.push(pen.getImageData(0, 0, canvas.width, canvas.height));
  past = past.slice(-UNDONE);
}

function changed() {
  version += 1;
  listener();
}

function stroke(from, to) {
  pen.globalCompositeOperation = erasing ? "destination-out" : "source-over";
  pen.strokeStyle = COLOR;
  pen.lineWidth = 2 * radius();
  pen.lineCap = "round";
  pen.beginPath();
  pen.moveTo(from.x, from.y);
  pen.lineTo(to.x, to.y + 0.01);
  pen.stroke();
  pen.globalCompositeOperation = "source-over";
}

function at(event) {
  const area = canvas.getBoundingClientRect();
  return { x: ((event.clientX - area.left) / area.width) * canvas.width, y: ((event.clientY - area.top) / area.height) * canvas.height };
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  remember();
  last = at(event);
  stroke(last, last);
});
canvas.addEventListener("pointermove", (event) => {
  if (!last) return;
  const now = at(event);
  stroke(last, now);
  last = now;
});
for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, () => {
    if (last) changed();
    last = null;
  });
}

const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
canvas.addEventListener("keydown", (event) => {
  cursor = cursor || { x: canvas.width / 2, y: canvas.height / 2 };
  if (MOVES[event.key]) {
    const [dx, dy] = MOVES[event.key];
    cursor = {
      x: Math.min(canvas.width, Math.max(0, cursor.x + dx * radius())),
      y: Math.min(canvas.height, Math.max(0, cursor.y + dy * radius())),
    };
  } else if (event.key === " ") {
    remember();
    stroke(cursor, cursor);
    changed();
  } else return;
  event.preventDefault();
  const across = Math.round((100 * cursor.x) / canvas.width), down = Math.round((100 * cursor.y) / canvas.height);
  said.textContent = `${across} % across, ${down} % down${event.key === " " ? (erasing ? ", erased" : ", painted") : ""}`;
});

function setTool(erase) {
  erasing = erase;
  byId("paint").setAttribute("aria-pressed", String(!erase));
  byId("erase").setAttribute("aria-pressed", String(erase));
}
byId("paint").addEventListener("click", () => setTool(false));
byId("erase").addEventListener("click", () => setTool(true));
byId("undo").addEventListener("click", () => {
  const before = past.pop();
  if (before) pen.putImageData(before, 0, 0);
  changed();
});
byId("clear").addEventListener("click", () => {
  remember();
  pen.clearRect(0, 0, canvas.width, canvas.height);
  changed();
});
byId("invert").addEventListener("click", () => {
  remember();
  pen.globalCompositeOperation = "xor";
  pen.fillStyle = COLOR;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.globalCompositeOperation = "source-over";
  changed();
});
const showBrush = () => { byId("brush-shown").textContent = `${brush.value} %`; };
brush.addEventListener("input", showBrush);
showBrush();

/** Put a picture on the easel; its mask begins empty. */
export function setEasel(address) {
  if (picture.getAttribute("src") === address) return;
  picture.src = address;
  picture.onload = () => {
    canvas.width = picture.naturalWidth;
    canvas.height = picture.naturalHeight;
    past = [];
    cursor = null;
    changed();
  };
}

/** Call a function whenever the mask has changed. */
export function onMaskChange(call) {
  listener = call;
}

/** Return whether anything is painted. */
export function isPainted() {
  if (!canvas.width) return false;
  const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
  for (let place = 3; place < data.length; place += 4) if (data[place] > 127) return true;
  return false;
}

/** Return the mask as a PNG, white where it is painted and black elsewhere, and its version. */
export async function maskFile() {
  const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
  const copy = new ImageData(canvas.width, canvas.height);
  for (let place = 0; place < data.length; place += 4) {
    copy.data.fill(data[place + 3] > 127 ? 255 : 0, place, place + 3);
    copy.data[place + 3] = 255;
  }
  const sheet = document.createElement("canvas");
  [sheet.width, sheet.height] = [canvas.width, canvas.height];
  sheet.getContext("2d").putImageData(copy, 0, 0);
  return { blob: await new Promise((done) => sheet.toBlob(done, "image/png")), version };
}
