// The buttons of a transfer, for the list and for its own page.

import { confirmed, h, icon, iconButton } from "./dom.js";
import { ApiError, api } from "./session.js";
import { toast } from "./shell.js";

/** @typedef {import("./transfer-model.js").TransferView} TransferView */

/**
 * @param {TransferView} transfer
 * @param {string} action stop, resume, remove, reveal
 * @param {unknown} [body]
 * @returns {Promise<boolean>} whether it was done; if not, the user has been told
 */
export async function act(transfer, action, body) {
  try {
    await api("POST", `/api/transfers/${encodeURIComponent(transfer.id)}/${action}`, body);
    return true;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.code !== "signed_out") toast(error.user_message, { bad: true });
    return false;
  }
}

/**
 * Take a transfer off the list; asks first when that stops it.
 * @param {TransferView} transfer
 */
export async function remove(transfer) {
  const sure = transfer.group !== "running" || (await confirmed({
    heading: "Stop and remove?",
    text: `“${transfer.title}” has not finished. What has arrived so far stays as a partial file only.`,
    accept: "Stop and remove",
  }));
  return sure && act(transfer, "remove");
}

/** One row of buttons; which of them show follows what is possible now. */
export class ActionBar {
  /** @type {Map<string, HTMLButtonElement>} */
  #buttons = new Map();

  /**
   * @param {() => TransferView} current
   * @param {{ removed?: () => void }} [hooks]
   */
  constructor(current, { removed = () => {} } = {}) {
    this.element = h("div", { class: "transfer-actions" });
    this.#add("stop", iconButton("stop", "Stop", () => this.#run("stop", () => act(current(), "stop"))));
    this.#add("resume", iconButton("resume", "Resume", () => this.#run("resume", () => act(current(), "resume"))));
    this.#add("reveal", iconButton("folder", "Show in folder", () => this.#run("reveal", () => act(current(), "reveal"))));
    this.#add("remove", iconButton("trash", "Remove from the list", () => this.#run("remove", async () => {
      if (await remove(current())) removed();
    })));
  }

  /**
   * @param {string} name
   * @param {HTMLButtonElement} button
   */
  #add(name, button) {
    this.#buttons.set(name, button);
    this.element.append(button);
  }

  /**
   * @param {string} name
   * @param {() => Promise<unknown>} work
   */
  async #run(name, work) {
    const button = this.#buttons.get(name);
    if (!button || button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", "true");
    await work().finally(() => button.removeAttribute("aria-busy"));
  }

  /** @param {TransferView} transfer */
  show(transfer) {
    const focused = [...this.#buttons.values()].find((button) => button === document.activeElement);
    for (const [name, button] of this.#buttons) {
      const hide = !transfer.can.includes(name);
      if (button.hidden !== hide) button.hidden = hide;
    }
    // The keyboard must not fall off the page: "Resume" takes the place of "Stop".
    if (focused?.hidden) [...this.#buttons.values()].find((button) => !button.hidden)?.focus();
  }
}

/** What went wrong, what to do, and, where a login helps, a form for it. */
export class ErrorBox {
  /** @type {HTMLFormElement | null} */
  #form = null;
  #message = h("span", { class: "wrap" });
  #advice = h("span", { class: "wrap" });

  /** @param {() => TransferView} current */
  constructor(current) {
    this.current = current;
    const words = h("div", { class: "error-words" }, this.#message, " ", this.#advice);
    this.element = h("div", { class: "transfer-error", hidden: true }, h("div", { class: "message bad" }, icon("warning"), words));
  }

  /** @param {TransferView} transfer */
  show(transfer) {
    const waiting = transfer.group === "running";
    const error = transfer.error;
    this.element.hidden = !error;
    if (!error) return this.#closeForm();
    this.element.firstElementChild?.classList.toggle("bad", !waiting);
    this.element.firstElementChild?.classList.toggle("warn", waiting);
    if (this.#message.textContent !== error.message) this.#message.textContent = error.message;
    this.#advice.textContent = waiting ? "" : error.advice;
    if (transfer.can.includes("sign_in")) this.#openForm(transfer);
    else this.#closeForm();
  }

  #closeForm() {
    this.#form?.remove();
    this.#form = null;
  }

  /** @param {TransferView} transfer */
  #openForm(transfer) {
    if (this.#form) return;
    const user = h("input", { type: "text", name: "user", autocomplete: "off", spellcheck: "false", required: true, value: transfer.user, maxlength: 1024 });
    const password = h("input", { type: "password", name: "password", autocomplete: "off", required: true, maxlength: 1024 });
    const button = h("button", { type: "submit", class: "primary" }, icon("key"), "Sign in and go on");
    this.#form = h("form", { class: "sign-in", "aria-label": `Sign in to ${transfer.host}` },
      h("label", {}, h("span", {}, "User"), user), h("label", {}, h("span", {}, "Password"), password), button);
    this.#form.addEventListener("submit", async (event) => {
      event.preventDefault();
      button.disabled = true;
      const body = { user: user.value, password: password.value };
      password.value = "";
      await act(this.current(), "resume", body);
      button.disabled = false;
    });
    this.element.append(this.#form);
  }
}
