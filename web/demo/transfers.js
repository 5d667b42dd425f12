/** The list of transfers, as the helper tells of them. */

import { state } from "./words.js";

/** @typedef {"stop" | "resume" | "remove" | "show"} Action */

/** @type {Record<string, [Action, string][]>} */
const ACTIONS = {
  queued: [["stop", "Stop"]],
  initiating: [["stop", "Stop"]],
  running: [["stop", "Stop"]],
  willretry: [["resume", "Try now"], ["stop", "Stop"]],
  completed: [["show", "Show in folder"], ["remove", "Remove"]],
  failed: [["resume", "Try again"], ["remove", "Remove"]],
  cancelled: [["resume", "Resume"], ["remove", "Remove"]],
};
const FINISHED = new Set(["completed", "failed", "cancelled"]);

export class TransferList {
  /** @type {Map<string, AW4.TransferInfo>} */
  #known = new Map();
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map();
  #list = /** @type {HTMLElement} */ (document.querySelector("#transfers"));
  #empty = /** @type {HTMLElement} */ (document.querySelector("#no-transfers"));
  #clear = /** @type {HTMLElement} */ (document.querySelector("#clear"));
  #act;
  #serverChanged;

  /**
   * @param {(action: Action, info: AW4.TransferInfo) => void} act the user pressed a button
   * @param {() => void} serverChanged the server may hold something else than before
   */
  constructor(act, serverChanged) {
    this.#act = act;
    this.#serverChanged = serverChanged;
    this.#clear.addEventListener("click", () => {
      for (const info of this.#known.values()) if (FINISHED.has(info.status)) act("remove", info);
    });
  }

  /** Ids of those that are under way. */
  get active() {
    return [...this.#known.values()].filter((info) => !FINISHED.has(info.status)).map((info) => info.uuid);
  }

  /** @param {AW4.TransferInfo[]} changed */
  update(changed) {
    let stale = false;
    for (const info of changed) {
      const before = this.#known.get(info.uuid)?.status;
      if (info.status === "removed") this.#remove(info.uuid);
      else this.#show(info);
      // A quick one has ended when it is heard of first.
      const ended = FINISHED.has(info.status) && before !== info.status;
      // A failed download may have asked for something that is gone.
      if (ended && (info.transfer_spec.direction === "send" || info.status === "failed")) stale = true;
    }
    if (stale) this.#serverChanged();
    this.#empty.hidden = this.#known.size > 0;
    this.#clear.hidden = ![...this.#known.values()].some((info) => FINISHED.has(info.status));
  }

  /** @param {string} uuid */
  #remove(uuid) {
    this.#known.delete(uuid);
    this.#rows.get(uuid)?.remove();
    this.#rows.delete(uuid);
  }

  /** @param {AW4.TransferInfo} info */
  #show(info) {
    const row = this.#rows.get(info.uuid) ?? this.#newRow(info);
    const statusChanged = this.#known.get(info.uuid)?.status !== info.status;
    this.#known.set(info.uuid, info);
    row.dataset.status = info.status;
    part(row, ".state").textContent = state(info);
    const bar = /** @type {HTMLProgressElement} */ (part(row, "progress"));
    bar.value = info.status === "completed" ? 1 : info.percentage;
    bar.setAttribute("aria-label", `Progress of ${info.title}`);
    // Buttons are made anew only when they change: one under the pointer must not vanish each second.
    if (statusChanged) part(row, ".buttons").replaceChildren(...this.#buttons(info));
  }

  /** @param {AW4.TransferInfo} info */
  #newRow(info) {
    const template = /** @type {HTMLTemplateElement} */ (document.querySelector("#transfer-row"));
    const copy = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    const row = /** @type {HTMLElement} */ (copy.firstElementChild);
    const sends = info.transfer_spec.direction === "send";
    part(row, ".way").textContent = sends ? "↑" : "↓";
    part(row, ".title").textContent = info.title;
    this.#rows.set(info.uuid, row);
    this.#list.prepend(row);
    return row;
  }

  /** @param {AW4.TransferInfo} info */
  #buttons(info) {
    const sends = info.transfer_spec.direction === "send";
    const actions = (ACTIONS[info.status] ?? []).filter(([action]) => action !== "show" || !sends);
    return actions.map(([action, label]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.setAttribute("aria-label", `${label}: ${info.title}`);
      button.addEventListener("click", () => this.#act(action, this.#known.get(info.uuid) ?? info));
      return button;
    });
  }
}

/** @param {HTMLElement} row @param {string} selector */
function part(row, selector) {
  return /** @type {HTMLElement} */ (row.querySelector(selector));
}
