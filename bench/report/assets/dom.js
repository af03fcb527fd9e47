"use strict";
// Elements from plain values. Text only ever becomes text nodes and attributes: nothing in this page parses markup.

const SVG = "http://www.w3.org/2000/svg";

/** Make an HTML element. Properties are attributes, except `on` (listeners) and `style` (custom properties too). */
function h(tag, properties = {}, ...children) {
  return furnish(document.createElement(tag), properties, children);
}

/** Make an SVG element. */
function s(tag, properties = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), properties, children);
}

function furnish(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "style") for (const [key, v] of Object.entries(value)) element.style.setProperty(key, v);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Attributes of something in the colour of a codec, on a white and on a dark page. */
function coloured(style, name, more = {}) {
  return { class: `coloured ${name}`, style: { "--colour": style.colour, "--dark": style.dark, ...more } };
}

/** A labelled drop-down; `options` are [value, text] or [group, [[value, text], ...]]. */
function choice(label, options, value, onChange) {
  const option = ([v, text]) => h("option", { value: v, selected: String(v) === String(value) }, text);
  const select = h("select", { on: { change: () => onChange(select.value) } },
    options.map(([v, text]) => Array.isArray(text) ? h("optgroup", { label: v }, text.map(option)) : option([v, text])));
  return h("label", { class: "field" }, h("span", {}, label), select);
}

/** A labelled check box. */
function tick(label, value, onChange) {
  const box = h("input", { type: "checkbox", checked: value, on: { change: () => onChange(box.checked) } });
  return h("label", { class: "tick" }, box, h("span", {}, label));
}

/** Buttons of which one is pressed. */
function segments(label, options, value, onChange) {
  const group = h("div", { class: "segments", role: "group", "aria-label": label }, options.map(([v, text]) =>
    h("button", { type: "button", "data-value": v, on: { click: () => { press(group, v); onChange(v); } } }, text)));
  press(group, value);
  return group;
}

function press(group, value) {
  for (const button of group.children) button.setAttribute("aria-pressed", String(button.dataset.value === value));
}

/** A table of text and elements in a frame that scrolls by itself. */
function plainTable(caption, head, rows) {
  return h("div", { class: rows.length > 30 ? "scroll tall" : "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("thead", {}, h("tr", {}, head.map((cell) => h("th", { scope: "col" }, cell)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, i) => i ? h("td", {}, cell) : h("th", { scope: "row" }, cell)))))));
}
