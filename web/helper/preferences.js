// The Preferences page: each field saves itself when it changes, and says so.

import { find, h, icon, setText } from "./dom.js";
import { ApiError, api, stream } from "./session.js";
import { toast } from "./shell.js";

/**
 * @typedef {string | number | boolean | null} Value
 * @typedef {{ type: string, optional: boolean, description: string, default: Value, minimum: number | null, maximum: number | null, choices: string[] | null }} FieldFacts
 * @typedef {{ values: Record<string, Value>, fields: Record<string, FieldFacts>, download_folder: string }} Preferences
 */

const SAVED_MS = 2_500;
const KBPS_PER_MBPS = 1_000;

/** One preference: its label, control, hint, and the words after a change. */
class Field {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #error = h("p", { class: "error", role: "alert", hidden: true });
  #saved = h("span", { class: "saved", role: "status" });
  #hint = h("p", { class: "hint" });
  /** What the helper has; an edit that is not saved differs. @type {Value} */
  #kept = null;

  /**
   * @param {HTMLElement} element
   * @param {FieldFacts} facts
   */
  constructor(element, facts) {
    this.element = element;
    this.name = element.dataset["field"] ?? "";
    this.kind = element.dataset["kind"] ?? "text";
    this.facts = facts;
    this.control = this.#build();
    this.#assemble();
    this.control.addEventListener("change", () => void this.#save());
  }

  #build() {
    const id = `field-${this.name}`;
    if (this.kind === "choice") {
      /** @type {Record<string, string>} */
      const labels = JSON.parse(this.element.dataset["choices"] ?? "{}");
      return h("select", { id }, ...(this.facts.choices ?? []).map((choice) => h("option", { value: choice }, labels[choice] ?? choice)));
    }
    if (this.kind === "switch") return h("input", { id, type: "checkbox", role: "switch" });
    if (this.kind === "text") return h("input", { id, type: "text", autocomplete: "off", spellcheck: "false", maxlength: 4096 });
    const scale = this.kind === "rate" ? KBPS_PER_MBPS : 1;
    return h("input", {
      id, type: "number", inputmode: "decimal", step: this.kind === "rate" ? "any" : 1, placeholder: this.#empty(),
      min: (this.facts.minimum ?? 0) / scale, max: (this.facts.maximum ?? 0) / scale,
    });
  }

  #assemble() {
    const { name, control } = this;
    this.#hint.id = `hint-${name}`;
    this.#error.id = `error-${name}`;
    control.setAttribute("aria-describedby", `${this.#hint.id} ${this.#error.id}`);
    setText(this.#hint, this.element.dataset["hint"] ?? this.facts.description);
    this.#hint.hidden = !this.#hint.textContent;
    const label = h("label", { for: control.id }, this.element.dataset["label"] ?? name);
    const unit = this.kind === "rate" ? h("span", { class: "muted" }, "Mbit/s") : null;
    if (this.kind === "switch") this.element.append(h("div", { class: "field-line" }, control, label, this.#saved), this.#hint, this.#error);
    else this.element.append(h("div", { class: "field-line" }, label, this.#saved), h("div", { class: `field-control ${this.kind}` }, control, unit), this.#hint, this.#error);
  }

  /** @returns {string} what an empty control means */
  #empty() {
    if (!this.facts.optional) return "";
    return this.kind === "rate" ? "no limit" : "automatic";
  }

  /** @returns {Value} what stands in the control, as the helper wants it */
  #read() {
    if (this.control instanceof HTMLInputElement && this.kind === "switch") return this.control.checked;
    const text = this.control.value.trim();
    if (this.kind === "choice" || this.kind === "text") return text;
    if (this.control instanceof HTMLInputElement && this.control.validity.badInput) return text || "?";
    if (text === "") return null;
    return this.kind === "rate" ? Math.round(Number(text) * KBPS_PER_MBPS) : Number(text);
  }

  /**
   * @param {Value} value
   * @param {{ force?: boolean }} [options]
   */
  show(value, { force = false } = {}) {
    const editing = document.activeElement === this.control && this.#read() !== this.#kept;
    this.#kept = value;
    if ((editing || !this.#error.hidden) && !force) return; // what the user typed is not taken away
    if (this.control instanceof HTMLInputElement && this.kind === "switch") this.control.checked = value === true;
    else if (this.kind === "rate") this.control.value = value === null ? "" : String(Number(value) / KBPS_PER_MBPS);
    else this.control.value = value === null ? "" : String(value);
  }

  /** @param {string} folder that is in use while the field is empty */
  showFallback(folder) {
    if (this.control instanceof HTMLInputElement) this.control.placeholder = folder;
  }

  async #save() {
    const value = this.#read();
    if (value === this.#kept) return this.#showError("");
    try {
      showAll(await api("PATCH", "/api/preferences", { [this.name]: value }));
      this.show(this.#kept, { force: true });
      this.#showError("");
      this.#confirm();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#showError(this.#words(error));
    }
  }

  /** @param {ApiError} error */
  #words(error) {
    const { minimum, maximum } = this.facts;
    const outOfRange = this.kind === "rate" && error.field === this.name;
    if (outOfRange) return `Choose a rate from ${(minimum ?? 0) / KBPS_PER_MBPS} to ${((maximum ?? 0) / KBPS_PER_MBPS).toLocaleString()} Mbit/s, or leave it empty for no limit.`;
    return error.user_message;
  }

  /** @param {string} text */
  #showError(text) {
    this.#error.hidden = !text;
    setText(this.#error, text);
    this.control.setAttribute("aria-invalid", String(Boolean(text)));
    if (text) this.#saved.replaceChildren();
  }

  #confirm() {
    clearTimeout(this.#timer);
    this.#saved.replaceChildren(icon("check"), "Saved");
    this.#timer = setTimeout(() => this.#saved.replaceChildren(), SAVED_MS);
  }
}

const form = find("#fields", HTMLFormElement);
/** @type {Map<string, Field>} */
const fields = new Map();

/** @param {Preferences} preferences */
function showAll({ values, fields: facts, download_folder: folder }) {
  for (const element of form.querySelectorAll("[data-field]")) {
    if (!(element instanceof HTMLElement)) continue;
    const name = element.dataset["field"] ?? "";
    const known = facts[name];
    if (!fields.has(name) && known) fields.set(name, new Field(element, known));
    fields.get(name)?.show(values[name] ?? null);
  }
  fields.get("download_folder")?.showFallback(folder);
  form.removeAttribute("aria-busy");
}

form.addEventListener("submit", (event) => event.preventDefault());

const links = [...document.querySelectorAll(".sections a")].filter((link) => link instanceof HTMLAnchorElement);

/** @param {string} name */
function goTo(name) {
  for (const link of links) {
    if (link.dataset["section"] === name) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  document.getElementById(name)?.scrollIntoView({ block: "start" });
}

for (const link of links) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    history.replaceState(null, "", link.href);
    goTo(link.dataset["section"] ?? "");
  });
}

/** @param {unknown} error */
function tell(error) {
  if (!(error instanceof ApiError)) throw error;
  if (error.code !== "signed_out" && error.code !== "unreachable") toast(error.user_message, { bad: true });
}

const section = location.pathname.split("/")[2];
let first = true;

async function load() {
  showAll(await api("GET", "/api/preferences"));
  if (first && section) goTo(section);
  first = false;
}

void stream("/api/events", ({ type, data }) => {
  if (type === "open") void load().catch(tell);
  if (type === "preferences") showAll(data);
}, new AbortController().signal, { whileVisible: true }).catch(tell);
