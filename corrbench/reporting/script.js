"use strict";
// Everything stands in the page without this script; it adds pages as tabs, sorting, filters, opened rows, signatures.
const data = JSON.parse(document.getElementById("corrbench-data").textContent);
const articles = [...document.querySelectorAll("main > article")];
const tip = document.getElementById("tip");
// a page's id is renamed, so that the browser does not scroll past the header to it by itself
const pages = new Map(articles.map(a => [a.id, a]));
for (const a of articles) a.id = "page-" + a.id;

function showPage() {
  const id = decodeURIComponent(location.hash.slice(1));
  const target = pages.get(id) || (id && document.getElementById(id));
  const page = (target && target.closest("article")) || articles[0];
  for (const a of articles) a.classList.toggle("on", a === page);
  for (const a of document.querySelectorAll("nav a")) {
    if (pages.get(a.dataset.page) === page) a.setAttribute("aria-current", "page"); else a.removeAttribute("aria-current");
  }
  if (target && target !== page) target.scrollIntoView(); else scrollTo(0, 0);
}
addEventListener("hashchange", showPage);
addEventListener("load", showPage);  // after the browser has gone to the anchor by itself
showPage();

const value = td => {
  const raw = td.dataset.v ?? td.textContent.trim();
  const number = parseFloat(raw.replace("−", "-"));
  return Number.isFinite(number) && !/[a-z]/i.test(raw) ? number : raw.toLowerCase();
};
const empty = td => td.textContent.trim() === "–";

function sort(th) {
  const at = th.cellIndex, down = th.getAttribute("aria-sort") !== "descending" && th.classList.contains("n")
    || th.getAttribute("aria-sort") === "ascending";
  for (const other of th.parentNode.cells) other.removeAttribute("aria-sort");
  th.setAttribute("aria-sort", down ? "descending" : "ascending");
  for (const body of th.closest("table").tBodies) {
    for (const row of body.querySelectorAll("tr.open")) close(row.previousElementSibling);
    const rows = [...body.rows].filter(row => !row.classList.contains("g"));
    rows.sort((a, b) => {
      const x = a.cells[at], y = b.cells[at];
      if (empty(x) || empty(y)) return empty(x) - empty(y);
      const p = value(x), q = value(y), order = typeof p === typeof q ? (p < q ? -1 : p > q ? 1 : 0) : typeof p === "number" ? -1 : 1;
      return down ? -order : order;
    });
    body.append(...rows);
  }
}
for (const th of document.querySelectorAll(".table thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = th.textContent;
  button.addEventListener("click", () => sort(th));
  th.replaceChildren(button);
}

function make(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}
function spark(packed, name) {
  const ns = "http://www.w3.org/2000/svg", svg = document.createElementNS(ns, "svg");
  svg.setAttribute("viewBox", "0 0 150 26");
  svg.setAttribute("class", "spark");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "per frame, from 0 to 100: " + name);
  const levels = [...packed].map(c => (c.charCodeAt(0) - 35) / 90), step = 146 / Math.max(1, levels.length - 1);
  for (const [y, dash] of [[2, "2 3"], [24, ""]]) {
    const base = document.createElementNS(ns, "line");
    for (const [k, v] of Object.entries({ x1: 2, x2: 148, y1: y, y2: y, stroke: "var(--axis)", "stroke-width": .5, "stroke-dasharray": dash })) base.setAttribute(k, v);
    svg.append(base);
  }
  const line = document.createElementNS(ns, "polyline");
  line.setAttribute("points", levels.map((v, i) => (2 + i * step).toFixed(1) + "," + (24 - 22 * v).toFixed(1)).join(" "));
  line.setAttribute("fill", "none");
  line.setAttribute("stroke", "#0072B2");
  line.setAttribute("stroke-width", "1.5");
  svg.append(line);
  return svg;
}
function open(row) {
  const found = data.d[row.dataset.d], table = make("table"), head = table.createTHead().insertRow(), body = table.createTBody();
  found.c.forEach((title, i) => head.append(make("th", title, i ? "n" : "")));
  if (found.k.length) head.append(make("th", "per frame"));
  found.r.forEach((values, i) => {
    const line = body.insertRow();
    values.forEach((v, j) => line.append(make("td", v === null ? "–" : typeof v === "number" ? v.toFixed(1).replace("-", "−") : v, j ? "n" : "")));
    if (found.k.length) {
      const cell = line.insertCell();
      if (found.k[i]) cell.append(spark(found.k[i], values[0]));
    }
  });
  const below = make("tr", undefined, "open"), cell = below.insertCell();
  cell.colSpan = row.cells.length;
  cell.append(table);
  row.after(below);
  row.setAttribute("aria-expanded", "true");
}
function close(row) {
  if (row.getAttribute("aria-expanded") === "true") {
    row.nextElementSibling.remove();
    row.setAttribute("aria-expanded", "false");
  }
}
for (const row of document.querySelectorAll("tr[data-d]")) {
  const button = make("button", "▸", "more");
  button.type = "button";
  button.setAttribute("aria-label", "sequences of " + row.cells[0].textContent);
  button.addEventListener("click", () => row.getAttribute("aria-expanded") === "true" ? close(row) : open(row));
  row.setAttribute("aria-expanded", "false");
  row.cells[0].prepend(button);
}

for (const box of document.querySelectorAll(".filters")) {
  const table = document.getElementById(box.dataset.for), rows = [...table.querySelectorAll("tbody tr:not(.g)")];
  const chosen = {}, count = make("output");
  const apply = () => {
    let shown = 0;
    for (const row of rows) {
      row.hidden = !Object.entries(chosen).every(([k, v]) => !v || (k === "" ? row.textContent.toLowerCase().includes(v) : row.getAttribute("data-t-" + k) === v));
      shown += !row.hidden;
    }
    for (const body of table.querySelectorAll("tbody")) body.hidden = ![...body.rows].some(row => !row.hidden && !row.classList.contains("g"));
    count.textContent = shown + " of " + rows.length + " records";
  };
  for (const name of box.dataset.filters.split(" ")) {
    const values = [...new Set(rows.map(row => row.getAttribute("data-t-" + name)))].sort();
    const label = make("label", name + " "), select = make("select");
    select.append(new Option("all", ""), ...values.map(v => new Option(v, v)));
    select.addEventListener("change", () => { chosen[name] = select.value; apply(); });
    label.append(select);
    box.append(label);
  }
  const label = make("label", "find "), input = make("input");
  input.type = "search";
  input.addEventListener("input", () => { chosen[""] = input.value.toLowerCase(); apply(); });
  label.append(input);
  box.append(label, count);
  apply();
}

function showTip(cell) {
  tip.textContent = data.s[cell.dataset.s];
  const link = cell.querySelector("a");
  if (link) {
    const record = make("a", "record");
    record.href = link.getAttribute("href");
    tip.append(" — ", record);
  }
  tip.hidden = false;
  const box = cell.getBoundingClientRect(), own = tip.getBoundingClientRect();
  tip.style.left = Math.max(6, Math.min(box.left, innerWidth - own.width - 6)) + "px";
  tip.style.top = (box.bottom + own.height + 8 < innerHeight ? box.bottom + 4 : box.top - own.height - 4) + "px";
}
let leaving;
const holder = event => event.target.closest && event.target.closest("[data-s]");
for (const kind of ["mouseover", "focusin"]) document.addEventListener(kind, event => {
  const cell = holder(event);
  if (cell) { clearTimeout(leaving); showTip(cell); }
});
for (const kind of ["mouseout", "focusout"]) document.addEventListener(kind, event => {
  if (holder(event)) leaving = setTimeout(() => { tip.hidden = true; }, 250);
});
tip.addEventListener("mouseenter", () => clearTimeout(leaving));
tip.addEventListener("mouseleave", () => { tip.hidden = true; });
document.addEventListener("keydown", event => { if (event.key === "Escape") tip.hidden = true; });
addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
document.addEventListener("click", event => {  // on a touch screen the first tap shows the signature, the tip links to the record
  const cell = holder(event);
  if (cell && matchMedia("(hover: none)").matches && event.target.closest("a")) { event.preventDefault(); showTip(cell); }
});

const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const watch = new IntersectionObserver(entries => {
  for (const { target, isIntersecting } of entries) target.classList.toggle("on", isIntersecting && target.dataset.play === "1");
});
for (const reel of document.querySelectorAll(".reel")) {
  const button = make("button");
  const set = on => {
    reel.dataset.play = on ? "1" : "0";
    reel.classList.toggle("on", on);
    button.textContent = on ? "❚❚ pause" : "▶ play";
  };
  button.type = "button";
  button.addEventListener("click", () => set(reel.dataset.play !== "1"));
  reel.append(button);
  set(!calm);
  watch.observe(reel);
}
