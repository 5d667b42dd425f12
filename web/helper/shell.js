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
 * @param {{ bad?: boolean, brief?: boolean }} [options] `brief`: in nobody's way, and soon gone
 */
export function toast(text, { bad = false, brief = false } = {}) {
  const item = document.createElement("div");
  item.className = `toast${bad ? " bad" : ""}${brief ? " brief" : ""}`;
  item.textContent = text;
  toasts.append(item);
  setTimeout(() => item.remove(), bad ? TOAST_MS * 2 : brief ? TOAST_MS / 2 : TOAST_MS);
}

// A page that opens our window under a moving mouse must not get its click. For the first second after
// the window shows, buttons do nothing, look it, and fill as the second goes by; an early click is told why.
let armedAt = 0;
let told = false;

function arm() {
  const root = document.documentElement;
  armedAt = performance.now() + ARMING_MS;
  told = false;
  delete root.dataset["arming"];
  void root.offsetWidth; // so that the filling starts from empty
  root.dataset["arming"] = "";
  setTimeout(() => {
    if (performance.now() >= armedAt - 5) delete root.dataset["arming"];
  }, ARMING_MS);
}

/** @param {Event} event */
function swallowEarly(event) {
  const target = event.target instanceof Element ? event.target.closest("button, select, input[type=checkbox]") : null;
  if (performance.now() >= armedAt || !(target || event.type === "submit")) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  if (!told) toast("One moment: buttons work when this window has been in sight for a second.", { brief: true });
  told = true;
}

arm();
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && arm());
for (const type of ["click", "submit"]) document.addEventListener(type, swallowEarly, { capture: true });
