// <transfer-row>: one line of the activity list. Built once, then only changed where figures differ.

import { h, icon, setText } from "./dom.js";
import { caller } from "./format.js";
import { RateGraph } from "./rate-graph.js";
import { ActionBar, ErrorBox } from "./transfer-actions.js";
import { figures, peerWords, share, stateWords } from "./transfer-model.js";

/** @typedef {import("./transfer-model.js").TransferView} TransferView */

export class TransferRow extends HTMLElement {
  /** @type {TransferView | undefined} */
  #transfer;
  #title = h("a", { class: "transfer-title" });
  #badge = h("span", { class: "badge" });
  #readable = h("span", { class: "badge warn", hidden: true }, "Not encrypted");
  #peer = h("span");
  #origin = h("span");
  #figures = h("span", { class: "number" });
  #note = h("p", { class: "transfer-note muted small", hidden: true });
  #fill = h("div", { class: "bar-fill" });
  #bar = h("div", { class: "bar", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, this.#fill);
  #graph = new RateGraph();
  #actions = new ActionBar(() => this.transfer);
  #error = new ErrorBox(() => this.transfer);
  #direction = h("div", { class: "transfer-direction" });

  get transfer() {
    if (!this.#transfer) throw new Error("A row without transfer.");
    return this.#transfer;
  }

  connectedCallback() {
    if (this.firstChild) return;
    this.setAttribute("role", "listitem");
    this.append(
      this.#direction,
      h("div", { class: "transfer-head" }, this.#title, this.#badge, this.#readable),
      h("div", { class: "transfer-peer muted small" }, this.#peer, " ", this.#origin),
      this.#bar,
      h("div", { class: "transfer-figures small" }, this.#figures),
      this.#graph,
      this.#actions.element,
      h("div", { class: "transfer-more" }, this.#error.element, this.#note),
    );
  }

  /**
   * @param {TransferView} transfer
   * @param {number} now seconds since the epoch
   */
  show(transfer, now) {
    if (this.#transfer && transfer.token < this.#transfer.token) return; // an answer overtaken by the stream
    if (!this.#transfer) this.#showFixed(transfer);
    this.#transfer = transfer;
    const [words, tone] = stateWords(transfer);
    setText(this.#badge, words);
    this.#badge.className = `badge ${tone}`;
    this.#readable.hidden = transfer.encrypted;
    setText(this.#title, transfer.title);
    this.dataset["group"] = transfer.group;
    this.dataset["status"] = transfer.status;
    this.tick(now);
    this.#showProgress(transfer);
    this.#graph.hidden = transfer.status !== "running";
    if (!this.#graph.hidden) this.#graph.show(transfer.rates);
    this.#actions.show(transfer);
    this.#error.show(transfer);
    setText(this.#note, transfer.note);
    this.#note.hidden = !transfer.note;
  }

  /** @param {TransferView} transfer */
  #showFixed(transfer) {
    const send = transfer.direction === "send";
    this.dataset["direction"] = transfer.direction;
    this.#direction.append(icon(send ? "up" : "down"));
    this.#title.href = `/activity/${encodeURIComponent(transfer.id)}`;
    this.#peer.textContent = peerWords(transfer);
    this.#origin.textContent = `· asked by ${caller(transfer.origin)}`;
  }

  /** @param {TransferView} transfer */
  #showProgress(transfer) {
    const done = share(transfer);
    const unknown = transfer.status === "initiating" && !transfer.bytes_expected;
    this.#bar.classList.toggle("unknown", unknown);
    this.#fill.style.transform = `scaleX(${done.toFixed(4)})`;
    this.#bar.setAttribute("aria-label", `Progress of ${transfer.title}`);
    this.#bar.setAttribute("aria-valuenow", String(Math.floor(done * 100)));
  }

  /** @param {number} now */
  tick(now) {
    setText(this.#figures, figures(this.transfer, now));
  }

  /** Put the keyboard on this row. */
  focusTitle() {
    this.#title.focus();
  }
}

customElements.define("transfer-row", TransferRow);
