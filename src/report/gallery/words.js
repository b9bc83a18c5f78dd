"use strict";
// What the other scripts share: the data, elements, and how numbers and settings are written.
// Text from outside only ever becomes text: no markup is made of strings anywhere.

const DATA = JSON.parse(document.getElementById("data").textContent);
const RUNS = DATA.runs;
const byId = (id) => document.getElementById(id);

const NAMES = {
  content: "content", style: "style", layers: "layers", ratio: "α/β", backbone: "backbone", ssim: "SSIM",
  gram_distance: "Gram distance", patch_distance: "patch distance", gradient_ssim: "gradient SSIM",
  loss_decay: "loss decay", initial_loss: "initial loss", it_per_s: "it/s", seconds: "seconds", peak_mib: "peak MiB",
  ssim_published: "SSIM (published)", content_layer: "content layer", lr: "learning rate", share: "β/α",
};
const nameOf = (key) => NAMES[key] || key.replaceAll("_", " ");

/** Make an element; properties beginning with "aria-" or "data-" become attributes. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (/^(aria|data)-/.test(key)) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.filter((each) => each !== null && each !== undefined));
  return element;
}

/** Make an element of a drawing. */
function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Write a measured number for reading: 0.0813, 5.40, 1235, 7.29×10⁷; a dash for none. */
function written(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 10 ** (digits + 1))) {
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    return `${mantissa}×10${[...String(Number(exponent))].map((sign) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign] || "⁻").join("")}`;
  }
  return size > 0 && size < 10 ** (digits - 1) - 0.5 ? value.toPrecision(digits) : value.toFixed(0);
}

const spaced = (name) => name.replaceAll("_", " ");
const pairOf = (run) => `${spaced(run.content)} × ${spaced(run.style)}`;

/** The copy of a picture beside the page; undefined where it could not be had. */
function printOf(number) {
  if (number === null || number === undefined) return undefined;
  const [file, small, width, height] = DATA.pictures[number];
  return { file, small, width, height };
}
const resultOf = (run) => printOf(run.captures.at(-1)?.picture);

/** Write a configuration as YAML. */
function yaml(value, indent = "") {
  const leaf = (each) => (typeof each === "string" && /^[A-Za-z_/][\w ./()-]*$/.test(each) ? each : JSON.stringify(each));
  const lines = [];
  for (const [key, each] of Object.entries(value)) {
    if (each && typeof each === "object" && !Array.isArray(each) && Object.keys(each).length) {
      lines.push(`${indent}${key}:`, yaml(each, `${indent}  `));
    } else {
      lines.push(`${indent}${key}: ${Array.isArray(each) ? `[${each.map(leaf).join(", ")}]` : leaf(each)}`);
    }
  }
  return lines.join("\n");
}
