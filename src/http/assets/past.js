// The values of a moment of the last day: the pointer over a chart, or the slider by the keyboard, chooses the moment.
"use strict";
(() => {
  const EDGES = [66, 24], SLOT_MS = 300000, HOUR_MS = 3600000; // as in live_history.rs
  const part = (id) => document.getElementById(id);
  const clock = (ms) => new Date(ms).toISOString().slice(11, 16);

  function say() {
    const section = part("history"), slider = part("moment");
    if (!section || !slider) return;
    const nth = Number(slider.value), at = Number(section.dataset.first) + nth * SLOT_MS;
    const found = (" " + section.dataset.slots).split(" " + nth + ":")[1];
    const last = Number(section.dataset.first) + Number(slider.max) * SLOT_MS;
    const hour = 24 - (Math.floor(last / HOUR_MS) - Math.floor(at / HOUR_MS));
    const [queued, busy, idle, starting] = found ? found.split(" ")[0].split(",") : [];
    const text = clock(at) + " UTC: " + (found ? queued + " queued; " + busy + " busy, " + idle + " idle, " + starting + " starting" : "nobody looked") + ".";
    const more = part("hour-" + hour)?.dataset.say;
    part("moment-said").textContent = text + (more ? " " + more + "." : "");
    slider.setAttribute("aria-valuetext", part("moment-said").textContent);
    for (const plot of document.querySelectorAll(".past")) {
      const svg = plot.querySelector("svg");
      if (!svg) continue;
      const width = svg.viewBox.baseVal.width;
      let line = plot.querySelector(".cursor");
      if (!line) plot.append(line = Object.assign(document.createElement("i"), { className: "cursor" }));
      line.style.left = (EDGES[0] + (nth + .5) / (Number(slider.max) + 1) * (width - EDGES[0] - EDGES[1])) / width * 100 + "%";
    }
  }

  document.addEventListener("input", (event) => { if (event.target.id === "moment") say(); });
  document.addEventListener("pointermove", (event) => {
    const svg = event.target.closest?.(".past svg"), slider = part("moment");
    if (!svg || !slider) return;
    const box = svg.getBoundingClientRect(), width = svg.viewBox.baseVal.width;
    const share = ((event.clientX - box.left) / box.width * width - EDGES[0]) / (width - EDGES[0] - EDGES[1]);
    slider.value = Math.floor(Math.min(Math.max(share, 0), .9999) * (Number(slider.max) + 1));
    say();
  });
  // The server makes the slider hidden, because it does nothing without this script.
  const show = () => { if (part("moment-part")?.hidden) part("moment-part").hidden = false; };
  show();
  new MutationObserver(show).observe(part("main"), { subtree: true, childList: true, attributes: true, attributeFilter: ["hidden"] });
})();
