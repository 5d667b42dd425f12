// What all pages share: the notice about the connection, short confirmations, and the first second.

import { session } from "./session.js";

const ARMING_MS = 1_000;
const TOAST_MS = 4_000;

const notice = /** @type {HTMLElement} */ (document.getElementById("notice"));
const toasts = /** @type {HTMLElement} */ (document.getElementById("toasts"));

/** @param {string} text "" hides the notice */
function showNotice(text) {
  notice.textContent = text;
  notice.hidden = !text;
}

session.addEventListener("locked", () => {
  document.documentElement.dataset["locked"] = "";
  showNotice("This window is not signed in. It may belong to an earlier run of the helper. Close it and open a new one: connect-helper open");
});
session.addEventListener("lost", () => {
  document.documentElement.dataset["lost"] = "";
  showNotice("The helper is not running, or does not answer. What you see may be old. Start it again with: connect-helper run");
});
session.addEventListener("back", () => {
  delete document.documentElement.dataset["lost"];
  showNotice("");
});

/**
 * Show a short confirmation or a refusal that belongs to no field.
 * @param {string} text
 * @param {{ bad?: boolean }} [options]
 */
export function toast(text, { bad = false } = {}) {
  const item = document.createElement("div");
  item.className = bad ? "toast bad" : "toast";
  item.textContent = text;
  toasts.append(item);
  setTimeout(() => item.remove(), bad ? TOAST_MS * 2 : TOAST_MS);
}

// A page that opens our window under a moving mouse must not get its click. For the first second after
// the window shows, buttons do nothing (and look it).
let armedAt = 0;

function arm() {
  armedAt = performance.now() + ARMING_MS;
  document.documentElement.dataset["arming"] = "";
  setTimeout(() => {
    if (performance.now() >= armedAt - 5) delete document.documentElement.dataset["arming"];
  }, ARMING_MS);
}

/** @param {Event} event */
function swallowEarly(event) {
  const target = event.target instanceof Element ? event.target.closest("button, select, input[type=checkbox]") : null;
  if (!target || performance.now() >= armedAt) return;
  event.preventDefault();
  event.stopImmediatePropagation();
}

arm();
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && arm());
for (const type of ["click", "submit"]) document.addEventListener(type, swallowEarly, { capture: true });
