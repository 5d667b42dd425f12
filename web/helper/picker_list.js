// <file-list>: a folder's entries as a grid that draws only the rows in sight, and knows what is selected.

import { icon } from "./dom.js";
import { bytes } from "./format.js";
import { LINK, UNREADABLE, shownName, timeText } from "./picker_view.js";

const SPARE_ROWS = 8; // drawn above and below what is in sight
const ICONS = { d: "folder", f: "file", o: "warning" };

/** @typedef {import("./picker_view.js").Listing} Listing */

/**
 * Events: `select` when the selection changed, `enter` (detail: index of a folder to open), `submit` when
 * the user means "take this". Rows move under the fixed pool of elements; `active` is where the keyboard is.
 */
export class FileList extends HTMLElement {
  /** @type {Listing | null} */
  #listing = null;
  /** @type {number[]} indexes into the listing, as shown */
  #view = [];
  /** @type {Set<number>} indexes into the listing */
  #selected = new Set();
  #active = 0; // position in the view
  #anchor = 0; // where a range began
  #space = document.createElement("div");
  /** @type {Map<number, HTMLElement>} drawn rows by position */
  #rows = new Map();
  #drawing = 0;

  multiple = false;
  /** @type {(kind: string) => boolean} which kinds of entries can be chosen */
  selectable = () => true;

  connectedCallback() {
    this.#space.className = "space";
    this.#space.setAttribute("role", "presentation");
    this.replaceChildren(this.#space);
    this.addEventListener("scroll", () => this.#drawSoon(), { passive: true });
    this.addEventListener("keydown", (event) => this.#key(event));
    this.addEventListener("click", (event) => this.#click(event));
    this.addEventListener("dblclick", (event) => this.#doubleClick(event));
    new ResizeObserver(() => { this.#resize(); this.#redraw(); }).observe(this);
  }

  /** @returns {number[]} what is selected, in the order shown */
  get selected() {
    return this.#view.filter((index) => this.#selected.has(index));
  }

  /** @returns {number} how many entries are shown */
  get count() {
    return this.#view.length;
  }

  /**
   * @param {Listing} listing
   * @param {number[]} view
   * @param {{ keep?: boolean, focus?: string }} [options] `keep` the selection; `focus` the entry of this name
   */
  show(listing, view, { keep = false, focus = "" } = {}) {
    const activeIndex = keep ? this.#view[this.#active] : undefined;
    this.#listing = listing;
    this.#view = view;
    const inView = new Set(view);
    this.#selected = new Set(keep ? [...this.#selected].filter((index) => inView.has(index)) : []);
    const wanted = focus ? view.findIndex((index) => listing.names[index] === focus) : view.indexOf(activeIndex ?? -1);
    this.#active = this.#anchor = Math.max(0, wanted);
    this.setAttribute("aria-multiselectable", String(this.multiple));
    this.setAttribute("aria-rowcount", String(view.length));
    this.#resize();
    if (!keep) this.scrollTop = 0;
    this.#scrollToActive();
    this.#redraw();
    this.#changed();
  }

  /** Move the keyboard to the first row: what a search has found. */
  first() {
    this.#moveTo(0, { select: true });
  }

  #rowHeight() {
    return parseFloat(getComputedStyle(this).getPropertyValue("--row")) || 36;
  }

  #resize() {
    this.#space.style.height = `${this.#view.length * this.#rowHeight()}px`;
  }

  #drawSoon() {
    this.#drawing ||= requestAnimationFrame(() => { this.#drawing = 0; this.#draw(); });
  }

  #redraw() {
    for (const row of this.#rows.values()) row.remove();
    this.#rows.clear();
    this.#draw();
  }

  /** Draw the rows in sight, keep those that stay, drop the others. */
  #draw() {
    const listing = this.#listing;
    if (!listing) return;
    const height = this.#rowHeight();
    const from = Math.max(0, Math.floor(this.scrollTop / height) - SPARE_ROWS);
    const to = Math.min(this.#view.length, Math.ceil((this.scrollTop + this.clientHeight) / height) + SPARE_ROWS);
    for (const [position, row] of this.#rows) {
      if (position >= from && position < to) continue;
      row.remove();
      this.#rows.delete(position);
    }
    for (let position = from; position < to; position += 1) {
      if (!this.#rows.has(position)) {
        const row = this.#makeRow(listing, position);
        row.style.transform = `translateY(${position * height}px)`;
        this.#rows.set(position, row);
        this.#space.append(row);
      }
    }
    this.#mark();
  }

  /**
   * @param {Listing} listing
   * @param {number} position
   */
  #makeRow(listing, position) {
    const index = /** @type {number} */ (this.#view[position]);
    const kind = /** @type {"d" | "f" | "o"} */ (listing.kinds[index]);
    const flags = listing.flags[index] ?? 0;
    const row = element("div", "row");
    row.setAttribute("role", "row");
    row.id = `row-${position}`;
    row.dataset["kind"] = kind;
    row.dataset["position"] = String(position);
    row.setAttribute("aria-rowindex", String(position + 1));
    const name = element("div", "name");
    name.setAttribute("role", "gridcell");
    if (this.multiple) name.append(element("span", this.selectable(kind) ? "tick" : "tick none"));
    const text = element("span", "text", shownName(listing, index));
    name.append(icon(ICONS[kind]), text);
    if (kind === "d") {
      const enter = element("span", "enter");
      enter.title = "Open this folder (Enter)";
      enter.append(icon("chevron"));
      name.append(enter);
    }
    row.title = describe(listing, index);
    row.classList.toggle("dim", kind === "o" || Boolean(flags & UNREADABLE));
    const size = element("div", "size", kind === "f" ? bytes(listing.sizes[index] ?? 0) : "");
    const time = element("div", "time", timeText(listing.times[index] ?? 0));
    size.setAttribute("role", "gridcell");
    time.setAttribute("role", "gridcell");
    row.append(name, size, time);
    return row;
  }

  /** Show in the rows what is selected and where the keyboard is. */
  #mark() {
    for (const [position, row] of this.#rows) {
      const index = /** @type {number} */ (this.#view[position]);
      row.setAttribute("aria-selected", String(this.#selected.has(index)));
      row.classList.toggle("active", position === this.#active);
    }
    if (this.#rows.has(this.#active)) this.setAttribute("aria-activedescendant", `row-${this.#active}`);
    else this.removeAttribute("aria-activedescendant");
  }

  #changed() {
    this.#mark();
    this.dispatchEvent(new Event("select"));
  }

  /** @param {number} position */
  #can(position) {
    const index = this.#view[position];
    return index !== undefined && this.selectable(this.#listing?.kinds[index] ?? "o") && !((this.#listing?.flags[index] ?? 0) & UNREADABLE);
  }

  /** @param {number} position */
  #toggle(position) {
    const index = this.#view[position];
    if (index === undefined || !this.#can(position)) return;
    if (this.#selected.has(index)) this.#selected.delete(index);
    else if (this.multiple) this.#selected.add(index);
    else this.#selected = new Set([index]);
  }

  /**
   * @param {number} from
   * @param {number} to
   */
  #selectRange(from, to) {
    this.#selected = new Set();
    for (let position = Math.min(from, to); position <= Math.max(from, to); position += 1) {
      if (this.#can(position)) this.#selected.add(/** @type {number} */ (this.#view[position]));
    }
  }

  /**
   * @param {number} position
   * @param {{ select?: boolean, extend?: boolean }} how
   */
  #moveTo(position, { select = false, extend = false }) {
    if (!this.#view.length) return;
    this.#active = Math.min(Math.max(0, position), this.#view.length - 1);
    if (extend && this.multiple) this.#selectRange(this.#anchor, this.#active);
    else {
      this.#anchor = this.#active;
      if (select) this.#selected = new Set(this.#can(this.#active) ? [/** @type {number} */ (this.#view[this.#active])] : []);
    }
    this.#scrollToActive();
    this.#draw();
    this.#changed();
  }

  #scrollToActive() {
    const height = this.#rowHeight();
    const top = this.#active * height;
    if (top < this.scrollTop) this.scrollTop = top;
    else if (top + height > this.scrollTop + this.clientHeight) this.scrollTop = top + height - this.clientHeight;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const page = Math.max(1, Math.floor(this.clientHeight / this.#rowHeight()) - 1);
    const target = {
      ArrowDown: this.#active + 1, ArrowUp: this.#active - 1, PageDown: this.#active + page, PageUp: this.#active - page,
      Home: 0, End: this.#view.length - 1,
    }[event.key];
    const command = event.ctrlKey || event.metaKey;
    if (target !== undefined && !event.altKey) this.#moveTo(target, { select: !command, extend: event.shiftKey });
    else if (event.key === " ") { this.#toggle(this.#active); this.#anchor = this.#active; this.#changed(); }
    else if (event.key === "Enter") this.#enter(command);
    else if (command && event.key.toLowerCase() === "a" && this.multiple) { this.#selectRange(0, this.#view.length - 1); this.#changed(); }
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {boolean} take take what is selected, even with the keyboard on a folder */
  #enter(take) {
    const index = this.#view[this.#active];
    if (index === undefined) return;
    if (!take && this.#listing?.kinds[index] === "d") {
      this.dispatchEvent(new CustomEvent("enter", { detail: index }));
      return;
    }
    if (!this.#selected.size && this.#can(this.#active)) { this.#toggle(this.#active); this.#changed(); }
    if (this.#selected.size) this.dispatchEvent(new Event("submit"));
  }

  /**
   * @param {Event} event
   * @returns {number} the position of the row it happened in, -1 for none
   */
  #positionOf(event) {
    const row = event.target instanceof Element ? event.target.closest(".row") : null;
    return row instanceof HTMLElement ? Number(row.dataset["position"]) : -1;
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const position = this.#positionOf(event);
    if (position < 0) {
      this.#selected.clear();
      this.#changed();
      return;
    }
    const index = /** @type {number} */ (this.#view[position]);
    const target = /** @type {Element} */ (event.target);
    const folder = this.#listing?.kinds[index] === "d";
    const touch = event instanceof PointerEvent && event.pointerType === "touch";
    if (folder && (target.closest(".enter") || (touch && !this.selectable("d")))) {
      this.dispatchEvent(new CustomEvent("enter", { detail: index }));
      return;
    }
    this.#active = position;
    if (event.shiftKey && this.multiple) this.#selectRange(this.#anchor, position);
    else {
      this.#anchor = position;
      if (this.multiple && (event.ctrlKey || event.metaKey || touch || target.closest(".tick:not(.none)"))) this.#toggle(position);
      else this.#selected = new Set(this.#can(position) ? [index] : []);
    }
    this.#changed();
  }

  /** @param {MouseEvent} event */
  #doubleClick(event) {
    const position = this.#positionOf(event);
    const target = /** @type {Element} */ (event.target);
    if (position < 0 || target.closest(".tick, .enter")) return;
    this.#active = position;
    this.#enter(false);
  }
}

/**
 * @param {Listing} listing
 * @param {number} index
 * @returns {string} the whole name, and what is special about the entry
 */
function describe(listing, index) {
  const flags = listing.flags[index] ?? 0;
  const notes = [];
  if (flags & LINK) notes.push(listing.kinds[index] === "o" ? "a link to something that is not there" : "a link");
  else if (listing.kinds[index] === "o") notes.push("neither a file nor a folder");
  if (flags & UNREADABLE) notes.push("you may not open it");
  return [shownName(listing, index), ...notes].join(" – ");
}

/**
 * @param {string} tag
 * @param {string} className
 * @param {string} [text]
 */
export function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  if (text) made.textContent = text;
  return made;
}

customElements.define("file-list", FileList);
