// What all pages share: the notice about the connection, short confirmations, and the first second.

import { h, icon } from "./dom.js";
import { session } from "./session.js";

const ARMING_MS = 1_000;
const TOAST_MS = 4_000;

const notice = /** @type {HTMLElement} */ (document.getElementById("notice"));
const toasts = /** @type {HTMLElement} */ (document.getElementById("toasts"));

/**
 * @param {string} kind "" hides the notice
 * @param {...(Node | string)} content
 */
function showNotice(kind, ...content) {
  notice.dataset["kind"] = kind;
  notice.replaceChildren(...content);
  notice.hidden = !kind;
}

session.addEventListener("locked", () => {
  document.documentElement.dataset["locked"] = "";
  showNotice("locked", icon("lock"), h("h1", {}, "Open this window anew"),
    h("p", {}, "It is not signed in, or belongs to an earlier run of the helper. Close it and run this in a terminal:"),
    h("div", { class: "command" }, h("code", {}, "connect-helper open")));
});
session.addEventListener("lost", () => {
  if ("locked" in document.documentElement.dataset) return;
  document.documentElement.dataset["lost"] = "";
  showNotice("lost", "The helper does not answer; what you see may be old. If it has ended, start it with ", h("code", {}, "connect-helper run"));
});
session.addEventListener("back", () => {
  if ("locked" in document.documentElement.dataset) return;
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
  if (performance.now() >= armedAt || !(target || event.type === "submit")) return;
  event.preventDefault();
  event.stopImmediatePropagation();
}

arm();
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && arm());
for (const type of ["click", "submit"]) document.addEventListener(type, swallowEarly, { capture: true });
