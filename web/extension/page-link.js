// One page that speaks to the extension, for as long as it is open.

import { Unreachable } from "./helper.js";
import { pieces } from "./pieces.js";
import { takeTurn } from "./turns.js";

const LAST_PAUSE_MS = 5_000;
const OPEN_LIMIT = 64; // requests of one page under way
/** Answered at once; of the others each may wait for the user, or for a disk. */
const QUICK = /^\/connect\/(info\/(ping|version)|transfers\/(activity|info|modify|stop|remove))\b/;
const VERSION = /^\/connect\/info\/version\/?$/;
const SENTENCES = {
  unpaired: "The browser extension is not paired with connect-helper. Open it from the toolbar and pair it.",
  timeout: "The dialog was open for too long and was closed.",
  origin: "This page has no address that the helper could ask you about. Open it from a web server.",
  many: "This page asks for too much at once; let some of it be answered first.",
  invalid: "The browser extension does not carry such a request.",
  cut: "The answer of connect-helper broke off; ask again.",
};

/**
 * @typedef {{ request_id: number | string, method: string, uri_reference: string, body: string, timeout: number, waits: boolean }} PageRequest
 * @typedef {{ seen: (state: "answered" | import("./helper.js").Reason) => void, busy: () => () => void }} Surroundings
 *   `seen` is told how each try ended; `busy` keeps the worker awake until what it returns is called
 */

export class PageLink {
  #ended = new AbortController();
  #connected = false;
  /** Searches for the helper that are under way, by request_id. @type {Set<number | string>} */
  #searching = new Set();
  #open = 0;

  /**
   * @param {chrome.runtime.Port} port
   * @param {string} origin of the page, from the browser and not from the page
   * @param {import("./helper.js").Connection} connection
   * @param {Surroundings} surroundings
   */
  constructor(port, origin, connection, surroundings) {
    this.port = port;
    this.origin = origin;
    this.connection = connection;
    this.surroundings = surroundings;
  }

  /** Sandboxed frames, files and the like have none, and could be anybody. */
  get hasOrigin() {
    return /^https?:\/\//.test(this.origin);
  }

  /** The page is gone: so are its dialogs. */
  end() {
    this.#ended.abort();
  }

  /** @param {PageRequest} request */
  async carry(request) {
    const path = pathOf(request.uri_reference);
    const method = request.method === "GET" || request.method === "POST" ? request.method : null;
    if (!this.hasOrigin) return this.#refuse(request, 403, SENTENCES.origin);
    if (!path || !method) return this.#refuse(request, 400, SENTENCES.invalid);
    const search = VERSION.test(request.uri_reference);
    if (search && this.#searching.has(request.request_id)) return; // pages ask every second; one answer is enough
    if (this.#open >= OPEN_LIMIT) return this.#refuse(request, 429, SENTENCES.many);
    if (search) this.#searching.add(request.request_id);
    this.#open += 1;
    const idle = this.surroundings.busy();
    const giveBack = QUICK.test(request.uri_reference) ? () => {} : await takeTurn(this.origin);
    try {
      await this.#deliver(request, method, path);
    } finally {
      giveBack();
      idle();
      this.#open -= 1;
      this.#searching.delete(request.request_id);
    }
  }

  /**
   * @param {PageRequest} request
   * @param {"GET" | "POST"} method
   * @param {string} path at the helper
   */
  async #deliver(request, method, path) {
    const limit = request.timeout > 0 ? AbortSignal.timeout(Math.min(request.timeout, 2 ** 31 - 1)) : null;
    const signal = limit ? AbortSignal.any([this.#ended.signal, limit]) : this.#ended.signal;
    for (let pause = 1_000; !signal.aborted; pause = Math.min(pause * 1.5, LAST_PAUSE_MS)) {
      try {
        const response = await this.connection.carry(this.origin, method, path, request.body, signal);
        return await this.#answer(request, response);
      } catch (error) {
        if (signal.aborted) break;
        if (!(error instanceof Unreachable)) throw error;
        const over = !request.waits;
        if (over && error.reason === "unpaired") this.#refuse(request, 401, SENTENCES.unpaired);
        else if (over) this.#post(request, 0, { body: "" }); // the page sends it again once the helper is back
        this.#lose(error.reason);
        if (over) return;
      }
      await sleep(pause, signal);
    }
    if (limit?.aborted) this.#refuse(request, 408, SENTENCES.timeout);
  }

  /**
   * @param {PageRequest} request
   * @param {Response} response
   */
  async #answer(request, response) {
    this.#connected = true;
    let begun = false;
    try {
      for await (const piece of pieces(response.body)) {
        this.#post(request, response.status, piece);
        begun = true;
      }
    } catch {
      if (this.#ended.signal.aborted) return;
      if (begun) this.#post(request, 500, { body64: "", complete: true });
      else this.#refuse(request, 500, SENTENCES.cut);
    }
    this.surroundings.seen("answered");
  }

  /** @param {import("./helper.js").Reason} reason */
  #lose(reason) {
    if (this.#connected && !this.#ended.signal.aborted) this.port.postMessage({ kind: "lost" });
    this.#connected = false;
    this.surroundings.seen(reason);
  }

  /**
   * @param {PageRequest} request
   * @param {number} code
   * @param {string} sentence
   */
  #refuse(request, code, sentence) {
    const error = { code, internal_message: "browser extension", user_message: sentence };
    this.#post(request, code, { body: JSON.stringify({ error }) });
  }

  /**
   * @param {PageRequest} request
   * @param {number} status
   * @param {import("./pieces.js").Piece} piece
   */
  #post(request, status, piece) {
    if (!this.#ended.signal.aborted) this.port.postMessage({ kind: "answer", detail: { request_id: request.request_id, status, ...piece } });
  }
}

/**
 * @param {string} reference as the page gives it, such as "/connect/info/version"
 * @returns {string | null} the path at the helper; null for anything that leads elsewhere
 */
function pathOf(reference) {
  if (!reference.startsWith("/connect/") || /[?#\\]/.test(reference)) return null;
  const { origin, pathname } = new URL(`http://127.0.0.1/v5${reference}`);
  return origin === "http://127.0.0.1" && pathname.startsWith("/v5/connect/") ? pathname : null;
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>} after the time, or at once on abort
 */
function sleep(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done, { once: true });
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
  });
}
