// The files of one transfer: by page, newest first, filtered by state, and handed out whole.

import { h, setText } from "./dom.js";
import { bytes, counted, percent } from "./format.js";
import { api, download } from "./session.js";

/**
 * @typedef {{ index: number, path: string, remote_path: string, bytes_expected: number, bytes_written: number, state: string, code: string, message: string, proof: string, digest: string }} FileView
 * @typedef {{ under_way: FileView[], files: FileView[], before: number | null }} FilePage
 * @typedef {import("./transfer-model.js").TransferView} TransferView
 */

const PAGE = 100;
const SCROLLED = 2_000; // rows that come by scrolling; more of them at a click
const FILTERS = /** @type {const} */ ([["all", "All"], ["running", "Under way"], ["done", "Done"], ["skipped", "Skipped"], ["failed", "Failed"]]);

/** The card with the table of files. */
export class FileList {
  #path;
  #tell;
  #show = "all";
  /** @type {number | null} */
  #before = null; // where older ones begin
  #loading = 0; // number of the newest load, so that an old answer does not win
  /** @type {Map<string, { row: HTMLTableRowElement, key: string }>} */
  #rows = new Map();
  #heading = h("h2");
  #body = h("tbody");
  #none = h("p", { class: "muted", hidden: true }, "No file is in this state.");
  #older = h("button", { type: "button", class: "small", hidden: true }, "Show older files");
  /** @type {HTMLButtonElement[]} */
  #filters;

  /**
   * @param {string} path of the transfer in the API
   * @param {(problem: unknown) => void} tell
   */
  constructor(path, tell) {
    this.#path = path;
    this.#tell = tell;
    this.#filters = FILTERS.map(([name, label]) => h("button", { type: "button", "data-show": name, "aria-pressed": String(name === "all"), onclick: () => this.#choose(name) }, `${label} `, h("span", { class: "count" })));
    this.#older.addEventListener("click", () => void this.#load(this.#before));
    const exports = h("div", { class: "files-exports" },
      h("span", { class: "muted small" }, "Save the list as"), this.#exportButton("csv", "CSV"), this.#exportButton("json", "JSON"));
    this.element = h("section", { class: "card", "aria-label": "Files", hidden: true }, h("div", { class: "card-body" },
      h("div", { class: "files-head" }, this.#heading, exports),
      h("div", { class: "segments", role: "group", "aria-label": "Show files" }, ...this.#filters),
      h("div", { class: "files-scroll" }, h("table", { class: "files" },
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "File"), h("th", { scope: "col", class: "number" }, "Size"), h("th", { scope: "col" }, "State"))), this.#body)),
      this.#none, h("div", { class: "center" }, this.#older)));
    new IntersectionObserver(([entry]) => {
      if (entry?.isIntersecting && !this.#older.hidden && this.#rows.size < SCROLLED) this.#older.click();
    }, { rootMargin: "200px" }).observe(this.#older);
  }

  /**
   * @param {"csv" | "json"} ending
   * @param {string} label
   */
  #exportButton(ending, label) {
    const button = h("button", { type: "button", class: "small" }, label);
    button.addEventListener("click", async () => {
      button.disabled = true;
      await download(`${this.#path}/files.${ending}`).catch(this.#tell);
      button.disabled = false;
    });
    return button;
  }

  /** @param {string} show */
  #choose(show) {
    this.#show = show;
    for (const button of this.#filters) button.setAttribute("aria-pressed", String(button.dataset["show"] === show));
    this.#clear();
    void this.#load(null);
  }

  /**
   * Show what is new; called whenever the transfer changed.
   * @param {TransferView} transfer
   */
  async refresh({ counts, status }) {
    /** @type {Record<string, number>} */
    const numbers = { all: counts.attempted, done: counts.completed - counts.skipped, skipped: counts.skipped, failed: counts.failed, running: Math.max(0, counts.attempted - counts.completed - counts.failed) };
    this.element.hidden = counts.attempted === 0;
    setText(this.#heading, counted(counts.attempted, "file"));
    for (const button of this.#filters) {
      const name = button.dataset["show"] ?? "";
      const number = numbers[name] ?? 0;
      if (button.lastElementChild) setText(button.lastElementChild, String(number));
      button.firstChild?.replaceWith(`${name === "running" && status !== "running" ? "Not finished" : labelOf(name)} `);
      button.hidden = name !== "all" && number === 0 && name !== this.#show;
    }
    if (!this.element.hidden) await this.#load(null);
  }

  /** @param {number | null} before */
  async #load(before) {
    const mine = ++this.#loading;
    const query = new URLSearchParams({ show: this.#show, limit: String(PAGE) });
    if (before !== null) query.set("before", String(before));
    this.#older.disabled = true;
    try {
      /** @type {FilePage} */
      const page = await api("GET", `${this.#path}/files?${query}`);
      if (mine === this.#loading) this.#place(page, before);
    } catch (problem) {
      this.#tell(problem);
    } finally {
      this.#older.disabled = false;
    }
  }

  /**
   * @param {FilePage} page
   * @param {number | null} before what it was asked with
   */
  #place(page, before) {
    const under = page.under_way.map((file) => ({ key: `u${file.index}`, file }));
    const ended = page.files.map((file) => ({ key: `f${file.index}`, file }));
    if (before === null) {
      const known = ended.some(({ key }) => this.#rows.has(key));
      // More came than a page holds: what is shown further down would leave a gap.
      if (!known && page.before !== null) this.#clear();
      if (!known || this.#before === null) this.#before = page.before;
      const present = new Set(under.map(({ key }) => key));
      for (const key of [...this.#rows.keys()]) if (key.startsWith("u") && !present.has(key)) this.#drop(key);
      this.#insert([...under, ...ended], this.#body.firstChild);
    } else {
      this.#before = page.before;
      this.#insert(ended, null);
    }
    this.#older.hidden = this.#before === null;
    this.#none.hidden = this.#rows.size > 0;
  }

  /**
   * Bring rows into the table, in the order given, ahead of `next`.
   * @param {{ key: string, file: FileView }[]} some
   * @param {ChildNode | null} next
   */
  #insert(some, next) {
    for (const { key, file } of some) {
      const text = JSON.stringify(file);
      const known = this.#rows.get(key);
      if (known?.key === text && known.row === next) {
        next = next.nextSibling;
        continue;
      }
      const row = known?.key === text ? known.row : fileRow(file);
      if (known && known.row !== row) {
        if (known.row === next) next = next.nextSibling;
        known.row.remove();
      }
      this.#body.insertBefore(row, next);
      this.#rows.set(key, { row, key: text });
    }
  }

  /** @param {string} key */
  #drop(key) {
    this.#rows.get(key)?.row.remove();
    this.#rows.delete(key);
  }

  #clear() {
    this.#rows.clear();
    this.#body.replaceChildren();
    this.#before = null;
    this.#older.hidden = true;
  }
}

/** @param {string} name */
const labelOf = (name) => FILTERS.find(([one]) => one === name)?.[1] ?? name;

/** @param {FileView} file */
function fileRow(file) {
  const cut = file.path.lastIndexOf(file.path.startsWith("/") ? "/" : "\\") + 1;
  return h("tr", { "data-state": file.state },
    h("td", {}, h("span", { class: "path" }, file.path.slice(0, cut)), file.path.slice(cut)),
    h("td", { class: "number" }, bytes(file.bytes_expected)),
    h("td", {}, ...fileState(file)));
}

/** @param {FileView} file */
function fileState(file) {
  const [words, tone] = stateWords(file);
  const proof = file.state === "done" ? proofWords(file) : "";
  return [
    h("span", { class: `badge ${tone}` }, words),
    proof ? h("div", { class: "small muted" }, proof) : null,
    file.digest ? h("code", { class: "digest small" }, file.digest.slice(file.digest.indexOf(":") + 1)) : null,
    file.message ? h("div", { class: "small wrap" }, file.message) : null,
  ];
}

/**
 * @param {FileView} file
 * @returns {[string, string]} words and class of the badge
 */
function stateWords(file) {
  if (file.state === "done") return ["Done", "good"];
  if (file.state === "failed") return ["Failed", "bad"];
  if (file.state === "skipped") return [file.code ? "Left out" : "There already", ""];
  const share = percent(file.bytes_expected ? file.bytes_written / file.bytes_expected : 0);
  return file.state === "unfinished" ? [`Not finished, ${share}`, "warn"] : [share, "live"];
}

/** @param {FileView} file */
function proofWords(file) {
  const kind = file.digest.slice(0, file.digest.indexOf(":"));
  if (file.proof === "digest") return `Verified: size and ${kind || "digest"}`;
  return file.proof === "size" ? "Verified: size" : "";
}
