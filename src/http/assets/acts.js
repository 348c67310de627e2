// Orders from the page of a pool or a runner. The token is typed once, and kept until the tab is closed. Each order is asked for
// with what it touches.
"use strict";
const TOKEN = "muster-token";
const dialog = document.getElementById("order"), part = (name) => document.getElementById("order-" + name);
let path = "";

function reveal() {
  for (const button of document.querySelectorAll("button.act")) button.hidden = false;
}
reveal();
// The live page brings the buttons anew, hidden as the server makes them.
new MutationObserver(reveal).observe(document.getElementById("main"), { subtree: true, childList: true, attributes: true, attributeFilter: ["hidden"] });

document.addEventListener("click", (event) => {
  const button = event.target.closest("button.act");
  if (!button) return;
  path = button.dataset.path;
  part("ask").textContent = button.dataset.ask;
  part("said").textContent = "";
  part("why").value = "";
  part("token").value = "";
  part("do").hidden = false;
  part("key").hidden = Boolean(sessionStorage.getItem(TOKEN));
  dialog.showModal();
});
part("close").addEventListener("click", () => dialog.close());
dialog.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = sessionStorage.getItem(TOKEN) || part("token").value.trim();
  part("do").disabled = true;
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: { "Authorization": "Bearer " + token, "Content-Type": "application/json" },
      body: JSON.stringify({ reason: part("why").value.trim() }),
    });
    const told = await answer.json();
    part("said").textContent = answer.ok ? [told.said, told.warning].filter(Boolean).join(". ") : "Not done: " + told.error;
    if (answer.ok) sessionStorage.setItem(TOKEN, token);
    if (answer.status === 401) sessionStorage.removeItem(TOKEN);
    // A token that was not needed yet stays in the field, for the next try.
    if (answer.ok || answer.status === 401) part("token").value = "";
    part("key").hidden = Boolean(sessionStorage.getItem(TOKEN));
    part("do").hidden = answer.ok;
  } catch {
    part("said").textContent = "No answer: whether the order was carried out is not known. Look at the pool.";
  }
  part("do").disabled = false;
});
