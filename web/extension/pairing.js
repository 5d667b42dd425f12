// The pairing with the helper: a secret that both keep and neither sends, and what it proves.

import { hmac, randomHex } from "./crypto.js";

const PAIRING = "pairing";

/** @typedef {{ id: string, secret: string }} Pairing `secret` is 32 bytes in hex; `id` may be told to anybody */

/** @returns {Promise<Pairing | null>} with the helper that the user paired */
export async function storedPairing() {
  const stored = (await chrome.storage.local.get(PAIRING))[PAIRING];
  return isPairing(stored) ? stored : null;
}

/** @param {Pairing} pairing */
export async function keepPairing(pairing) {
  await chrome.storage.local.set({ [PAIRING]: pairing });
}

/** Keep the secret from scripts that run in pages, where the browser can. */
export async function guardPairing() {
  await chrome.storage.local.setAccessLevel?.({ accessLevel: "TRUSTED_CONTEXTS" });
}

/** @param {() => void} listener called when another pairing is kept */
export function onNewPairing(listener) {
  chrome.storage.local.onChanged.addListener((changes) => { if (PAIRING in changes) listener(); });
}

/**
 * @param {string} secret
 * @returns {Promise<Pairing>}
 */
export async function pairingOf(secret) {
  return { id: (await hmac(secret, "connect-helper pairing")).slice(0, 32), secret };
}

/** One meeting with the helper. What is proved in it is good for nothing in another. */
export class Greeting {
  nonce = randomHex(32);

  /**
   * @param {Pairing} pairing
   * @param {number} port the one that was asked: nobody on another port can pass the proof on
   */
  constructor(pairing, port) {
    this.pairing = pairing;
    this.port = port;
  }

  /** What only the paired helper can answer. @param {string} run as the helper names it */
  helperProof(run) {
    return this.#mac("helper", run);
  }

  /** What only the paired extension can answer to that. @param {string} run */
  extensionProof(run) {
    return this.#mac("extension", run);
  }

  /** The bearer of the requests that follow; the helper derives it, too. @param {string} run */
  token(run) {
    return this.#mac("token", run);
  }

  /**
   * @param {string} purpose
   * @param {string} run
   */
  #mac(purpose, run) {
    return hmac(this.pairing.secret, `connect-helper ${purpose}\n${this.nonce}\n${run}\n${this.port}`);
  }
}

/**
 * @param {unknown} value
 * @returns {value is Pairing}
 */
function isPairing(value) {
  const { id, secret } = /** @type {Partial<Pairing>} */ (value ?? {});
  return typeof id === "string" && typeof secret === "string";
}
