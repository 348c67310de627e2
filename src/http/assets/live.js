// Keeps the page up to date: each section that changed comes as HTML over one stream of server-sent events, and is changed in
// place, so that focus, selection and scroll position stay.
"use strict";
const SECTIONS = ["totals", "pools", "jobs", "runners", "events", "budgets"];
const SILENCE_MS = 5000;
const $ = (id) => document.getElementById(id);
let paused = false, heardAt = Date.now(), waiting = new Map();

function say(text, bad) {
  if ($("status").textContent !== text) $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
  $("main").classList.toggle("stale", bad);
}

function clock(ms) { return new Date(ms).toLocaleTimeString(); }

function show(name, html) {
  Idiomorph.morph($(name), html, { morphStyle: "outerHTML", ignoreActiveValue: true });
}

const stream = new EventSource("/api/v1/stream" + location.search);
for (const name of SECTIONS) {
  stream.addEventListener(name, (event) => {
    if (paused) waiting.set(name, event.data); else show(name, event.data);
  });
}
stream.addEventListener("beat", (event) => {
  heardAt = Date.now();
  if (!paused) say(event.data || "live", Boolean(event.data));
});
setInterval(() => {
  if (Date.now() - heardAt > SILENCE_MS) say("no answer since " + clock(heardAt), true);
}, 1000);

$("pause").hidden = false;
$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  if (paused) return say("paused at " + clock(Date.now()), false);
  for (const [name, html] of waiting) show(name, html);
  waiting.clear();
  say("live", false);
});
document.querySelector("form button").hidden = true;
$("pool").addEventListener("change", () => $("pool").form.submit());
