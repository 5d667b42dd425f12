// Finding the helper on this computer and calling it.

import { Greeting, storedPairing } from "./pairing.js";

const FIRST_PORT = 33003;
const PORTS = Array.from({ length: 20 }, (_, index) => FIRST_PORT + index);
const PROBE_MS = 3_000; // a port that takes the connection and stays silent must not hold up the others
const LOOK_AGAIN_MS = 500; // a page can ask as often as it likes
const PROVED_MS = 2_000; // the helper may end at any time, and another program take its port

/** @typedef {"stopped" | "unpaired"} Reason */
/** @typedef {import("./pairing.js").Pairing} Pairing */
/** @typedef {{ greeting: Greeting, run: string }} Proved whom the helper at that port answered rightly */
/** @typedef {{ port: number, token: string, run: string, pairing: Pairing, provedAt: number }} Session */

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
 * Whether the paired helper is at a port. Whoever else is there hears an id and a nonce, which help with no proof.
 * @param {number} port
 * @param {Pairing} pairing
 * @returns {Promise<Proved | "stranger" | "nothing">} the latter two when another answers, or none
 */
async function lookAt(port, pairing) {
  const greeting = new Greeting(pairing, port);
  try {
    const body = { pairing: pairing.id, nonce: greeting.nonce };
    const response = await post(port, "/extension/hello", body, { signal: AbortSignal.timeout(PROBE_MS) });
    const { run, proof } = await response.json();
    if (response.ok && proof === await greeting.helperProof(run)) return { greeting, run };
    return "stranger";
  } catch {
    return "nothing";
  }
}

/**
 * Open a session with the helper that proved itself.
 * @param {Proved} proved
 * @returns {Promise<Response>}
 */
async function openSession({ greeting, run }) {
  const proof = await greeting.extensionProof(run);
  return post(greeting.port, "/extension/session", { pairing: greeting.pairing.id, nonce: greeting.nonce, proof });
}

/**
 * The end of a pairing: each side proves that it has the secret.
 * @param {number} port
 * @param {Pairing} pairing
 * @returns {Promise<Response | null>} the helper's answer; null when what answers is not the helper
 */
export async function confirmPairing(port, pairing) {
  const seen = await lookAt(port, pairing);
  return typeof seen === "string" ? null : openSession(seen).catch(() => null);
}

/**
 * @param {Pairing} pairing
 * @returns {Promise<Proved>} the paired helper, as soon as it has proved itself: others may stay silent
 * @throws {Unreachable}
 */
async function findProved(pairing) {
  let reason = /** @type {Reason} */ ("stopped");
  const looks = PORTS.map(async (port) => {
    const seen = await lookAt(port, pairing);
    if (seen === "stranger") reason = "unpaired";
    if (typeof seen === "string") throw new Error(seen);
    return seen;
  });
  return Promise.any(looks).catch(() => { throw new Unreachable(reason); });
}

/** The way to the paired helper: found once, found again when it was lost. */
export class Connection {
  /** @type {Session | null} */
  #found = null;
  /** @type {Promise<Session> | null} */
  #looking = null;
  /** @type {{ until: number, reason: Reason } | null} */
  #failure = null;

  /** Look anew: another pairing is kept. */
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
   * @param {(found: Session) => Promise<Response>} ask
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
   * @param {(found: Session) => Promise<Response>} ask
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
    if (this.#found && Date.now() < this.#found.provedAt + PROVED_MS) return this.#found;
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

  /** The helper known so far, if it is still there; else the one that is found. */
  async #look() {
    const known = this.#found;
    const seen = known && await lookAt(known.port, known.pairing);
    if (known && known === this.#found && seen && typeof seen !== "string" && seen.run === known.run) {
      known.provedAt = Date.now();
      return known;
    }
    this.#found = null;
    const pairing = await storedPairing();
    if (!pairing) throw new Unreachable("unpaired");
    const proved = await findProved(pairing);
    const response = await openSession(proved).catch(() => null);
    if (!response?.ok) throw new Unreachable("stopped");
    const { greeting, run } = proved;
    return { port: greeting.port, token: await greeting.token(run), run, pairing, provedAt: Date.now() };
  }
}
