// The number on the toolbar: how many transfers run; or a mark when a page finds no helper.

import { Unreachable } from "./helper.js";

const ALARM = "badge";
const EVERY_MS = 2_000; // while pages are in touch with the helper
const TITLES = {
  stopped: "connect-helper does not run: a page waits for it",
  unpaired: "connect-helper: not paired. Click to pair",
};

/** @param {number} running */
export async function showRunning(running) {
  await chrome.action.setBadgeBackgroundColor({ color: "#1f5fd6" });
  await chrome.action.setBadgeTextColor?.({ color: "#ffffff" });
  await chrome.action.setBadgeText({ text: running ? String(running) : "" });
  await chrome.action.setTitle({ title: running ? `connect-helper: ${running} ${running === 1 ? "transfer" : "transfers"} running` : "connect-helper" });
  // Pages may be closed while transfers go on.
  if (running) await chrome.alarms.create(ALARM, { periodInMinutes: 0.5 });
  else await chrome.alarms.clear(ALARM);
}

/** @param {import("./helper.js").Reason} reason why a page that asked got no answer */
export async function showTrouble(reason) {
  await chrome.action.setBadgeBackgroundColor({ color: "#b06a00" });
  await chrome.action.setBadgeTextColor?.({ color: "#ffffff" });
  await chrome.action.setBadgeText({ text: "!" });
  await chrome.action.setTitle({ title: TITLES[reason] });
}

/** Keeps the badge true, asking the helper no more often than needed. */
export class Badge {
  #next = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {import("./helper.js").Connection} connection */
  constructor(connection) {
    this.connection = connection;
    chrome.alarms.onAlarm.addListener(() => void this.#refresh());
  }

  /** Something may have changed. */
  touch() {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#next = Date.now() + EVERY_MS;
      void this.#refresh();
    }, Math.max(0, this.#next - Date.now()));
  }

  async #refresh() {
    try {
      await showRunning(await this.connection.running());
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      await showRunning(0);
    }
  }
}
