// Keeps the page up to date: each section that changed comes as HTML over one stream of server-sent events, and is changed in
// place, so that focus, selection and scroll position stay. A page that nobody sees asks for nothing.
"use strict";
const SECTIONS = ["attention", "totals", "waits", "pools", "jobs", "runners", "history", "falls", "cost", "events", "budgets", "told"];
const SILENCE_MS = 5000, AGAIN_MS = 5000;
const $ = (id) => document.getElementById(id);
let frozen = false, heardAt = Date.now(), stream = null;

function say(text, bad) {
  if ($("status").textContent !== text) $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
  $("main").classList.toggle("stale", bad);
}

function clock(ms) { return new Date(ms).toLocaleTimeString(); }

// The server leaves out rows and cells that are as the page has them.
function whole(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  for (const stub of template.content.querySelectorAll("tr[data-same]")) {
    const row = $(stub.id);
    if (row) stub.replaceWith(row.cloneNode(true)); else stub.remove();
  }
  for (const stub of template.content.querySelectorAll("td[data-same]")) {
    const row = stub.parentElement, cell = $(row.id)?.cells[[...row.children].indexOf(stub)];
    if (cell) stub.replaceWith(cell.cloneNode(true));
  }
  const section = template.content.firstElementChild;
  section.remove();
  return section;
}

// What the reader opened stays open, and the buttons of orders stay visible.
function changes(attribute, node) {
  return !(attribute === "open" || (attribute === "hidden" && (node.classList.contains("act") || node.id === "moment-part")));
}

function show(name, html) {
  const old = $(name);
  if (!old) return;
  const callbacks = { beforeAttributeUpdated: changes };
  Idiomorph.morph(old, whole(html), { morphStyle: "outerHTML", ignoreActiveValue: true, callbacks });
  if (name === "attention") count();
}

// The number of things that need attention stands in the tab's title and in its icon.
function count() {
  const n = Number($("attention")?.dataset.count || 0);
  const title = (n > 0 ? "(" + n + ") " : "") + document.body.dataset.title;
  if (document.title !== title) document.title = title;
  const icon = $("attention")?.dataset.icon;
  if (icon && $("icon").getAttribute("href") !== icon) $("icon").setAttribute("href", icon);
}

function open() {
  const about = document.body.dataset.about;
  if (about === "") return; // the page of a thing that could not be shown
  stream = new EventSource("/api/v1/stream" + (about ? "?about=" + encodeURIComponent(about) : location.search));
  for (const name of SECTIONS) {
    stream.addEventListener(name, (event) => {
      show(name, event.data);
    });
  }
  // The browser comes back by itself after a lost connection, but not after a refusal.
  const mine = stream;
  stream.addEventListener("error", () => {
    if (mine.readyState !== EventSource.CLOSED || mine !== stream) return;
    close();
    setTimeout(() => { if (!stream && !frozen && !document.hidden) open(); }, AGAIN_MS);
  });
  stream.addEventListener("beat", (event) => {
    heardAt = Date.now();
    say(event.data || "live", Boolean(event.data));
  });
}

function close() {
  if (stream) stream.close();
  stream = null;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) close(); else if (!stream && !frozen) { heardAt = Date.now(); open(); }
});
if (!document.hidden) open();
setInterval(() => {
  const asks = !frozen && !document.hidden && document.body.dataset.about !== "";
  if (asks && Date.now() - heardAt > SILENCE_MS) say("no answer since " + clock(heardAt), true);
}, 1000);

$("freeze").hidden = false;
$("freeze").addEventListener("click", () => {
  frozen = !frozen;
  $("freeze").setAttribute("aria-pressed", String(frozen));
  if (!frozen) { heardAt = Date.now(); return open(); }
  close();
  say("as it was at " + clock(Date.now()), false);
});
for (const select of document.querySelectorAll("#filter select")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}
// Empty fields stay out of the address.
$("filter")?.addEventListener("submit", (event) => {
  for (const field of event.target.elements) if (field.name && !field.value) field.disabled = true;
});
