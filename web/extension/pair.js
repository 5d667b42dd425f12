// The pairing window. Closing it takes the helper's question away. It never shows the code: what the user types
// can only come from the helper's own window.

import { browserName } from "./browser-name.js";
import { anyHelper, confirmPairing, post } from "./helper.js";
import { KeyExchange, lettersOf } from "./key-exchange.js";
import { keepPairing, pairingOf } from "./pairing.js";

const TRIES = 3;
const NOBODY = "Start it with: connect-helper run";
const ENDED = "The helper ended. Start it again with: connect-helper run";
const STRANGER = "What answered was not the helper. Close this window, and say no if the helper asks.";
const WRONG = `That was wrong ${TRIES} times. If the helper shows just what you typed, another program stands between: say no there.`;

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

/** Why there is no pairing, in a sentence for the user. */
class NotPaired extends Error {}

async function pair() {
  tell("busy", "Looking for the helper");
  const port = await anyHelper();
  if (!port) return tell("bad", "The helper is not running", NOBODY);
  const over = new AbortController();
  try {
    await pairAt(port, over.signal);
    tell("good", "Paired", "Pages reach the helper from now on. Reload those that were open before the extension came.");
  } catch (error) {
    if (!(error instanceof NotPaired)) throw error;
    tell("bad", "Not paired", error.message);
  } finally {
    over.abort(); // the helper's question, too, if it is still open
  }
}

/**
 * @param {number} port
 * @param {AbortSignal} signal
 * @throws {NotPaired}
 */
async function pairAt(port, signal) {
  const exchange = await KeyExchange.begin(port);
  const begun = await answerOf(post(port, "/extension/pair/begin", { commitment: await exchange.commitment() }, { signal }));
  const { code, secret } = await exchange.finish(String(begun.public_key)).catch(() => { throw new NotPaired(STRANGER); });
  const revealed = { exchange: begun.exchange, public_key: exchange.publicKey, browser: await browserName() };
  const agreed = answerOf(post(port, "/extension/pair", revealed, { signal }));
  await Promise.all([agreed, typed(code)]);
  const pairing = await pairingOf(secret);
  const confirmed = await confirmPairing(port, pairing);
  if (!confirmed) throw new NotPaired(STRANGER);
  if (!confirmed.ok) throw new NotPaired(await sentenceOf(confirmed));
  await keepPairing(pairing);
}

/**
 * Have the user type the code that the helper's window shows.
 * @param {string} code
 * @returns {Promise<void>} once it was right
 * @throws {NotPaired} when it was wrong too often
 */
function typed(code) {
  const form = /** @type {HTMLFormElement} */ (element("asking"));
  const field = /** @type {HTMLInputElement} */ (element("code"));
  form.hidden = element("steps").hidden = false;
  field.value = "";
  field.focus();
  element("wrong").hidden = true;
  tell("busy", "Type the helper’s code");
  return new Promise((resolve, reject) => {
    let wrong = 0;
    form.onsubmit = (event) => {
      event.preventDefault();
      const right = lettersOf(field.value) === code;
      element("wrong").hidden = right;
      if (right) {
        form.hidden = true;
        tell("busy", "The code is right: now say yes in the helper’s window");
        resolve();
      } else if (++wrong >= TRIES) reject(new NotPaired(WRONG));
      else field.select();
    };
  });
}

/**
 * @param {Promise<Response>} asking
 * @returns {Promise<any>} the body
 * @throws {NotPaired}
 */
async function answerOf(asking) {
  const response = await asking.catch(() => { throw new NotPaired(ENDED); });
  if (!response.ok) throw new NotPaired(await sentenceOf(response));
  return (await response.json().catch(() => null)) ?? {};
}

/** @param {Response} response */
async function sentenceOf(response) {
  const body = await response.json().catch(() => ({}));
  return body?.error?.user_message ?? `The helper answered with an error (${response.status}).`;
}

element("again").addEventListener("click", () => void pair());
element("done").addEventListener("click", () => window.close());
void pair();
