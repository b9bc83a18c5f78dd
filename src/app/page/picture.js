// The large picture: a preview while it is made, then the content and the result with a slider between them.

const byId = (id) => document.getElementById(id);
const box = byId("compare"), before = byId("before"), after = byId("after"), slider = byId("slider"), divider = byId("divider");
let wanted = { before: null, after: null };

function place(percent) {
  box.style.setProperty("--at", `${percent}%`);
  slider.setAttribute("aria-valuetext", `${Math.round(percent)} % of the width is before`);
}
slider.addEventListener("input", () => place(slider.value));
place(slider.value);

/** Replace a picture once its successor is decoded, so that nothing flickers; one that was overtaken is dropped. */
async function replace(image, side, address, alt) {
  image.alt = alt;
  if (wanted[side] === address) return;
  wanted[side] = address;
  if (!address) {
    image.hidden = true;
    image.removeAttribute("src");
    return;
  }
  const next = new Image();
  next.src = address;
  try {
    await next.decode();
  } catch {
    if (wanted[side] === address) wanted[side] = null; // asked for again with the next state
    return;
  }
  if (wanted[side] !== address) return;
  image.src = address;
  image.hidden = false;
  if (side === "before" && !box.dataset.sized) shape(next.naturalWidth, next.naturalHeight);
}

function shape(width, height) {
  box.style.aspectRatio = `${width} / ${height}`;
  box.style.maxWidth = `calc(62vh * ${(width / height).toFixed(4)})`; // a tall picture leaves room for what is below
}

/**
 * Show a picture.
 * @param {object} shown before and after: addresses or null; width and height of the result, px, once known; title;
 *   split: whether the slider is there; quietly: whether the content only stands for what is to come.
 */
export function showPicture({ before: old, after: made, width, height, title, split, quietly }) {
  box.dataset.sized = width && height ? "yes" : "";
  if (width && height) shape(width, height);
  const both = Boolean(split && old && made);
  box.classList.toggle("split", both);
  box.classList.toggle("quietly", Boolean(quietly) && !made);
  slider.hidden = divider.hidden = !both;
  byId("empty").hidden = Boolean(old || made);
  replace(before, "before", made && !both ? null : old, `The content of ${title}`);
  replace(after, "after", made, `The picture ${title}`);
}
