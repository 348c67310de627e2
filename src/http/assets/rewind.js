// The slider of a replay: it says the time that it points at, and goes there when it is let go.
"use strict";
(() => {
  const slider = document.getElementById("at"), said = document.getElementById("at-said");
  const told = () => new Date(Number(slider.value)).toISOString().slice(0, 19) + "Z";
  slider.addEventListener("input", () => { said.textContent = told(); slider.setAttribute("aria-valuetext", told()); });
  slider.addEventListener("change", () => slider.form.requestSubmit());
})();
