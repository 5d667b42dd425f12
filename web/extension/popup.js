// The popup: whether pages reach the helper, what to do if not, and the way to its window.

import { showRunning } from "./badge.js";
import { Connection, Unreachable, anyHelper } from "./helper.js";
import { storedPairing } from "./pairing.js";

const LOOK_MS = 2_000;
const PAIR_WINDOW = { width: 440, height: 560 };

/** @typedef {"paired" | "unpaired" | "stopped"} State */

const connection = new Connection();
const problem = element("problem");

/** @param {string} id */
function element(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The popup has no #${id}.`);
  return found;
}

/** @returns {Promise<{ state: State, running: number }>} */
async function look() {
  try {
    return { state: "paired", running: await connection.running() };
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    if (await storedPairing()) return { state: error.reason, running: 0 };
    return { state: await anyHelper() ? "unpaired" : "stopped", running: 0 };
  }
}

/** @param {{ state: State, running: number }} seen */
function show({ state, running }) {
  for (const section of document.querySelectorAll("section")) section.hidden = section.dataset["state"] !== state;
  element("open").hidden = state !== "paired";
  element("pair").hidden = state !== "unpaired";
  element("transfers").textContent = running === 0 ? "No transfers at the moment." : running === 1 ? "One transfer runs." : `${running} transfers run.`;
  document.documentElement.dataset["state"] = state;
}

async function keepLooking() {
  for (;;) {
    const seen = await look();
    show(seen);
    await showRunning(seen.running);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

element("open").addEventListener("click", async () => {
  problem.hidden = true;
  try {
    const sentence = await connection.openWindow();
    if (!sentence) return window.close();
    problem.textContent = sentence;
    problem.hidden = false;
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    show(await look());
  }
});

// A window of its own: this popup closes as soon as the helper's question comes to the front.
element("pair").addEventListener("click", async () => {
  await chrome.windows.create({ url: chrome.runtime.getURL("pair.html"), type: "popup", ...PAIR_WINDOW });
  window.close();
});

void keepLooking();
