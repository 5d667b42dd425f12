// Finding the helper on this computer and calling it.

import { hashOf, helperProof, newNonce, storedKey } from "./key.js";

const FIRST_PORT = 33003;
const PORTS = Array.from({ length: 20 }, (_, index) => FIRST_PORT + index);
const PROBE_MS = 3_000; // a port that takes the connection and stays silent must not hold up the others
const LOOK_AGAIN_MS = 500; // a page can ask as often as it likes

/** @typedef {"stopped" | "unpaired"} Reason */

/** No helper, or none that knows this extension. */
export class Unreachable extends Error {
  /** @param {Reason} reason */
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

/** @param {number} port */
const address = (port) => `http://127.0.0.1:${port}`;

/**
 * @param {number} port
 * @param {string} path
 * @param {unknown} body
 * @param {{ bearer?: string, signal?: AbortSignal }} [options]
 */
export function post(port, path, body, { bearer = "", signal } = {}) {
  /** @type {Record<string, string>} */
  const headers = bearer ? { Authorization: `Bearer ${bearer}` } : {};
  return fetch(address(port) + path, { method: "POST", headers, body: JSON.stringify(body), ...usual, ...(signal ? { signal } : {}) });
}

/** @type {RequestInit} */
const usual = { cache: "no-store", credentials: "omit", redirect: "error" };

/** @returns {Promise<number | null>} the lowest port that a helper answers on, paired or not */
export async function anyHelper() {
  const answers = await Promise.all(PORTS.map(async (port) => {
    const answer = await fetch(`${address(port)}/v5/connect/info/ping`, { ...usual, signal: AbortSignal.timeout(PROBE_MS) }).catch(() => null);
    return answer?.ok ?? false;
  }));
  return PORTS[answers.indexOf(true)] ?? null;
}

/**
 * @param {number} port
 * @param {string} keyHash
 * @returns {Promise<"proved" | "stranger" | "nothing">} whether the paired helper is there, another, or none
 */
export async function lookAt(port, keyHash) {
  const nonce = newNonce();
  try {
    const response = await post(port, "/extension/hello", { key_hash: keyHash, nonce }, { signal: AbortSignal.timeout(PROBE_MS) });
    const { proof } = await response.json();
    if (response.ok && proof === await helperProof(keyHash, nonce, port)) return "proved";
    return "stranger";
  } catch {
    return "nothing";
  }
}

/**
 * @param {string} keyHash
 * @returns {Promise<number>} where the paired helper is, as soon as it has proved itself: others may stay silent
 * @throws {Unreachable}
 */
async function findProved(keyHash) {
  let reason = /** @type {Reason} */ ("stopped");
  const looks = PORTS.map(async (port) => {
    const seen = await lookAt(port, keyHash);
    if (seen === "stranger") reason = "unpaired";
    if (seen !== "proved") throw new Error(seen);
    return port;
  });
  return Promise.any(looks).catch(() => { throw new Unreachable(reason); });
}

/** The way to the paired helper: found once, found again when it was lost. */
export class Connection {
  /** @type {{ port: number, token: string } | null} */
  #found = null;
  /** @type {Promise<{ port: number, token: string }> | null} */
  #looking = null;
  /** @type {{ until: number, reason: Reason } | null} */
  #failure = null;

  /** Look anew: another key is kept. */
  forget() {
    this.#found = null;
    this.#failure = null;
  }

  /**
   * What a page asks.
   * @param {string} page its origin
   * @param {"GET" | "POST"} method
   * @param {string} path below /v5
   * @param {string} body
   * @param {AbortSignal} signal
   * @throws {Unreachable}
   */
  carry(page, method, path, body, signal) {
    return this.#call((found) => fetch(address(found.port) + path, {
      ...usual, method, signal, body: method === "POST" ? body : null,
      headers: { Authorization: `Bearer ${found.token}`, "Connect-Helper-Page": page },
    }), signal);
  }

  /** @returns {Promise<number>} how many transfers run or wait for their turn. @throws {Unreachable} */
  async running() {
    const response = await this.#call((found) => post(found.port, "/extension/status", {}, { bearer: found.token }));
    return response.ok ? (await response.json()).transfers.running : 0;
  }

  /**
   * Have the helper open its window.
   * @returns {Promise<string>} why it did not, "" when it did
   * @throws {Unreachable}
   */
  async openWindow() {
    const response = await this.#call((found) => post(found.port, "/extension/window", { page: "activity" }, { bearer: found.token }));
    return response.ok ? "" : (await response.json()).error.user_message;
  }

  /**
   * @param {(found: { port: number, token: string }) => Promise<Response>} ask
   * @param {AbortSignal} [signal]
   */
  async #call(ask, signal) {
    const known = this.#found;
    const response = await this.#once(ask, signal);
    if (response.status !== 401 || !known) return response;
    if (this.#found === known) this.#found = null; // the helper was started anew, or the pairing was removed
    return this.#once(ask, signal);
  }

  /**
   * @param {(found: { port: number, token: string }) => Promise<Response>} ask
   * @param {AbortSignal} [signal]
   */
  async #once(ask, signal) {
    const found = await this.reach();
    try {
      return await ask(found);
    } catch (error) {
      if (signal?.aborted) throw error;
      if (this.#found === found) this.#found = null;
      throw new Unreachable("stopped");
    }
  }

  /** Make sure that the paired helper is there, or was a moment ago. @throws {Unreachable} */
  async reach() {
    if (this.#found) return this.#found;
    if (this.#failure && Date.now() < this.#failure.until) throw new Unreachable(this.#failure.reason);
    this.#looking ??= this.#look().finally(() => { this.#looking = null; });
    try {
      this.#found = await this.#looking;
    } catch (error) {
      if (error instanceof Unreachable) this.#failure = { until: Date.now() + LOOK_AGAIN_MS, reason: error.reason };
      throw error;
    }
    return this.#found;
  }

  async #look() {
    const key = await storedKey();
    if (!key) throw new Unreachable("unpaired");
    const keyHash = await hashOf(key);
    const port = await findProved(keyHash);
    const response = await post(port, "/extension/session", {}, { bearer: key }).catch(() => null);
    if (!response?.ok) throw new Unreachable("stopped");
    return { port, token: (await response.json()).token };
  }
}
