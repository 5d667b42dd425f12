// Building page elements from data. Text is always text: nothing here parses markup.

/** @typedef {Node | string | null | undefined | false} Child */

/**
 * Make an element.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number | boolean | EventListener>} [attributes]
 *   `class`, `hidden`, ...; a function under `onclick` and the like becomes a listener; false leaves one out
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false) element.setAttribute(name, String(value));
  }
  for (const child of children) if (child) element.append(child);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {string} tag
 * @param {Record<string, string | number>} [attributes]
 * @returns {SVGElement}
 */
export function svg(tag, attributes = {}) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}

/**
 * @param {string} name of a symbol in icons.svg, without "i-"
 * @returns {SVGElement}
 */
export function icon(name) {
  const picture = svg("svg", { class: "icon", "aria-hidden": "true" });
  picture.append(svg("use", { href: `#i-${name}` }));
  return picture;
}

/**
 * A button with a picture; its label is for screen readers and as a tip.
 * @param {string} picture
 * @param {string} label
 * @param {() => void} action
 * @param {string} [extraClass]
 */
export function iconButton(picture, label, action, extraClass = "") {
  const button = h("button", { type: "button", class: `quiet icon-only ${extraClass}`, title: label, "aria-label": label, onclick: action });
  button.append(icon(picture));
  return button;
}

/**
 * Change a text only when it differs, so that a list of hundreds does not flicker or repaint.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * @template {Element} T
 * @param {string} selector
 * @param {new (...args: any[]) => T} type
 * @param {ParentNode} [parent]
 * @returns {T}
 */
export function find(selector, type, parent = document) {
  const found = parent.querySelector(selector);
  if (!(found instanceof type)) throw new Error(`The page has no ${selector}.`);
  return found;
}

/**
 * Ask before something that cannot be undone.
 * @param {{ heading: string, text: string, accept: string }} question
 * @returns {Promise<boolean>}
 */
export function confirmed({ heading, text, accept }) {
  return new Promise((resolve) => {
    const title = h("h2", { id: "confirm-title" }, heading);
    const dialog = h("dialog", { "aria-labelledby": "confirm-title" }, title, h("p", {}, text));
    /** @param {boolean} answer */
    const close = (answer) => { dialog.close(); dialog.remove(); resolve(answer); };
    const refuse = h("button", { type: "button", onclick: () => close(false), autofocus: true }, "Cancel");
    dialog.append(h("div", { class: "actions" }, refuse, h("button", { type: "button", class: "danger", onclick: () => close(true) }, accept)));
    dialog.addEventListener("cancel", () => close(false));
    document.body.append(dialog);
    dialog.showModal();
  });
}
