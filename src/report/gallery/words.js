"use strict";
// Shared by the other scripts: the data, making elements, writing numbers.
// Text from outside only ever becomes text content: no markup is made from strings.

const DATA = JSON.parse(document.getElementById("data").textContent);
const RUNS = DATA.runs;
const byId = (id) => document.getElementById(id);

const heads = new Map(DATA.filters.map(([key, head]) => [key, head]));
const nameOf = (key) => heads.get(key) || DATA.heads[key] || key.replaceAll("_", " ");

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

/** Make an SVG element. */
function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Round a measured number for reading: 0.0813, 5.40, 1235, 7.29×10⁷; a dash for null. */
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

/** The copy of an image beside the page; undefined where it could not be read. */
function thumbnailOf(number) {
  if (number === null || number === undefined) return undefined;
  const [file, small, width, height] = DATA.pictures[number];
  return { file, small, width, height };
}
const resultOf = (run) => thumbnailOf(run.captures.at(-1)?.picture);
