/** The list of what the server holds: folders to open, files and folders to choose. */

import { list } from "./site.js";
import { moment, size } from "./words.js";

/** @typedef {import("./site.js").Entry} Entry */

/** Fires "opened" when another folder shows and "picked" when the choice changes. */
export class FileList extends EventTarget {
  folder = "/";
  /** @type {Set<string>} */
  #picked = new Set();
  /** @type {Entry[]} */
  #entries = [];
  #body = /** @type {HTMLElement} */ (document.querySelector("#files tbody"));
  #all = /** @type {HTMLInputElement} */ (document.querySelector("#pick-all"));
  #state = /** @type {HTMLElement} */ (document.querySelector("#files-state"));
  #crumbs = /** @type {HTMLElement} */ (document.querySelector("#crumbs"));
  #asked = 0; // number of the newest look at the server, so that an older answer does not win

  constructor() {
    super();
    this.#all.addEventListener("change", () => {
      this.#picked = new Set(this.#all.checked ? this.#entries.map((entry) => entry.path) : []);
      this.#show();
    });
  }

  /** The chosen entries, in the order of the list. */
  get picked() {
    return this.#entries.filter((entry) => this.#picked.has(entry.path));
  }

  /** @param {string} folder */
  async open(folder) {
    if (folder !== this.folder) this.#picked.clear();
    this.folder = folder;
    this.dispatchEvent(new Event("opened"));
    await this.refresh();
  }

  async refresh() {
    const mine = ++this.#asked;
    try {
      const entries = await list(this.folder);
      if (mine !== this.#asked) return;
      this.#entries = entries;
      this.#state.textContent = "This folder is empty. Drop something here to send it.";
    } catch (error) {
      if (mine !== this.#asked) return;
      this.#entries = [];
      this.#state.textContent = /** @type {Error} */ (error).message;
    }
    this.#show();
  }

  clear() {
    this.#picked.clear();
    this.#show();
  }

  #show() {
    this.#showCrumbs();
    this.#body.replaceChildren(...this.#entries.map((entry) => this.#row(entry)));
    this.#state.hidden = this.#entries.length > 0;
    const count = this.picked.length;
    this.#all.checked = count > 0 && count === this.#entries.length;
    this.#all.indeterminate = count > 0 && count < this.#entries.length;
    this.#all.disabled = this.#entries.length === 0;
    this.dispatchEvent(new Event("picked"));
  }

  #showCrumbs() {
    const names = this.folder.split("/").filter(Boolean);
    const steps = ["All files", ...names].map((name, depth) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      button.addEventListener("click", () => this.open(`/${names.slice(0, depth).join("/")}`));
      if (depth === names.length) button.setAttribute("aria-current", "location");
      return button;
    });
    this.#crumbs.replaceChildren(...steps);
  }

  /** @param {Entry} entry */
  #row(entry) {
    const row = document.createElement("tr");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = this.#picked.has(entry.path);
    box.setAttribute("aria-label", `Choose ${entry.name}`);
    row.setAttribute("aria-selected", String(box.checked));
    const toggle = () => {
      if (this.#picked.has(entry.path)) this.#picked.delete(entry.path);
      else this.#picked.add(entry.path);
      this.#show();
    };
    box.addEventListener("change", toggle);
    row.append(cell("pick", box), cell("name", this.#name(entry)));
    row.append(cell("number", entry.kind === "file" ? size(entry.size) : "–"));
    row.append(cell("changed", moment(entry.changed)));
    return row;
  }

  /** @param {Entry} entry */
  #name(entry) {
    if (entry.kind === "file") return entry.name;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = entry.name;
    button.addEventListener("click", () => this.open(entry.path));
    return button;
  }
}

/** @param {string} name @param {Node | string} content */
function cell(name, content) {
  const td = document.createElement("td");
  td.className = name;
  td.append(content);
  return td;
}
