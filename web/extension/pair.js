// The pairing window. Closing it takes the helper's question away.

import { browserName } from "./browser-name.js";
import { anyHelper, lookAt, post } from "./helper.js";
import { hashOf, keepKey, newKey, pairingCode } from "./key.js";

const SIGNS = {
  busy: "M10 3a7 7 0 1 0 0 14a7 7 0 1 0 0-14M10 6v4.2l2.8 1.7",
  good: "m4.4 10.6 3.7 3.7 7.5-8",
  bad: "m5.5 5.5 9 9M14.5 5.5l-9 9",
};

/** @param {string} id */
function element(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The window has no #${id}.`);
  return found;
}

/**
 * @param {keyof typeof SIGNS} tone
 * @param {string} title
 * @param {string} text
 */
function tell(tone, title, text = "") {
  element("outcome").dataset["tone"] = tone;
  element("sign").setAttribute("d", SIGNS[tone]);
  element("title").textContent = title;
  element("text").textContent = text;
  element("text").hidden = !text;
  element("again").hidden = tone !== "bad";
  element("done").hidden = tone !== "good";
  if (tone !== "busy") element("asking").hidden = element("steps").hidden = true;
}

async function pair() {
  tell("busy", "Looking for the helper");
  const port = await anyHelper();
  if (!port) return tell("bad", "The helper is not running", "Start it with: connect-helper run");
  const key = newKey();
  const keyHash = await hashOf(key);
  const code = await pairingCode(keyHash, port);
  element("code").textContent = code;
  document.title = `${code} · Pairing`; // in sight, too, when the helper's question is another tab
  element("asking").hidden = element("steps").hidden = false;
  tell("busy", "Waiting for your answer");
  const response = await post(port, "/extension/pair", { key_hash: keyHash, browser: await browserName() }).catch(() => null);
  document.title = "Pairing · connect-helper";
  if (!response) return tell("bad", "The helper ended", "Start it again with: connect-helper run");
  if (!response.ok) return tell("bad", "Not paired", await sentenceOf(response));
  if (await lookAt(port, keyHash) !== "proved") return tell("bad", "Not paired", "What answered was not the helper. Close this window.");
  await keepKey(key);
  tell("good", "Paired", "Pages reach the helper from now on. Reload those that were open before the extension came.");
}

/** @param {Response} response */
async function sentenceOf(response) {
  const body = await response.json().catch(() => ({}));
  return body.error?.user_message ?? `The helper answered with an error (${response.status}).`;
}

element("again").addEventListener("click", () => void pair());
element("done").addEventListener("click", () => window.close());
void pair();
