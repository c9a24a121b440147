// Texts and elements. Whatever a server tells is text, and only ever text: it is put in by textContent, never as HTML.
"use strict";

const $ = (id) => document.getElementById(id);

// Text

// What is not printable, as an escape; long texts cut, whole in the title.
function printable(text) {
  return String(text).replace(/[\\\p{C}\p{Zl}\p{Zp}]/gu, (char) => {
    if (char === "\\") return "\\\\";
    const code = char.codePointAt(0);
    if (code >= 0xdc80 && code <= 0xdcff) return "\\x" + (code - 0xdc00).toString(16); // a byte that is no UTF-8
    return code < 0x80 ? "\\x" + code.toString(16).padStart(2, "0") : "\\u" + code.toString(16).padStart(4, "0");
  });
}

function short(text, most = 80) {
  const shown = printable(text);
  return shown.length <= most ? shown : shown.slice(0, most - 1) + "…";
}

// An element with children: strings are text, numbers too.
function make(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name === "class") element.className = value;
    else if (name === "click") element.addEventListener("click", value);
    else element[name] = value;
  }
  element.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

const cell = (text, kind = "text", most) => make("td", { class: kind, title: short(text, 1000) }, short(text, most));
const link = (text, click, most) => make("button", { type: "button", class: "link text", title: short(text, 1000), click }, short(text, most));
const number = (value, kind = "") => make("td", { class: `n ${kind}`.trim() }, value);

function count(value) {
  for (const [limit, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"]]) {
    if (value >= limit) return (value / limit).toFixed(1) + unit;
  }
  return Math.round(value).toLocaleString();
}

const rate = (value) => (value === undefined ? "–" : value >= 10 ? count(value) : value.toFixed(1));

function duration(ms) {
  const seconds = Math.ceil(ms / 1000);
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= size * 2) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${seconds} s`;
}

const ago = (seconds) => `${duration(Math.max(0, Date.now() - seconds * 1000))} ago`;

// A name such as __proto__ is one of an object's names only where it was given to it.
const own = (object, name) => (Object.hasOwn(object, name) ? object[name] : undefined);

const bytes = (value) => {
  for (const [limit, unit] of [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
    if (value >= limit) return `${(value / limit).toFixed(1)} ${unit}`;
  }
  return `${value} B`;
};

// A text that screen readers are to hear is put in only when it is another.
function tell(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
  $(id).hidden = !text;
}

// Puts rows into a table's body. Each has a key (data-key), and the row that has it already stays and is only brought up to date, so
// that focus stays where it is. While a pointer or the focus is in the table, its rows keep their places.
function fill(body, rows) {
  const old = new Map([...body.children].map((row) => [row.dataset.key, row]));
  const fresh = new Map(rows.map((row) => [row.dataset.key, row]));
  let order = rows;
  if (body.matches(":hover") || body.contains(document.activeElement)) {
    const staying = [...body.children].map((row) => fresh.get(row.dataset.key) || row);
    order = [...staying, ...rows.filter((row) => !old.has(row.dataset.key))];
  }
  const wanted = order.map((row) => {
    const had = old.get(row.dataset.key);
    return had && had !== row ? update(had, row) : row;
  });
  wanted.forEach((row, place) => {
    if (body.children[place] !== row) body.insertBefore(row, body.children[place] || null);
  });
  while (body.children.length > wanted.length) body.lastChild.remove();
}

function update(row, fresh) {
  row.className = fresh.className;
  const cells = [...fresh.children];
  if (cells.length !== row.children.length) return row.replaceChildren(...cells), row;
  cells.forEach((cell, place) => {
    const had = row.children[place];
    if (!had.isEqualNode(cell) && !had.contains(document.activeElement)) had.replaceWith(cell);
  });
  return row;
}

function keyed(key, row) {
  row.dataset.key = key;
  return row;
}
