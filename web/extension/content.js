// Runs in every page, and does nothing until the page speaks to the extension: it hands the page's requests to
// background.js and the answers back. It adds nothing of its own to a request; which page is asking, the
// browser tells background.js itself.
"use strict";

(() => {
  /** Asked again by the worker until the helper answers; anything else the page itself sends again. */
  const WAITS = /^\/connect\/(info\/version|transfers\/activity)\/?$/;
  const NO_EXTENSION = "The browser extension was updated or switched off; reload this page.";
  const NO_HELPER = "connect-helper does not answer.";

  /** @typedef {{ request_id: number | string, method: string, uri_reference: string, body: string, timeout: number, waits: boolean }} PageRequest */

  /** @type {chrome.runtime.Port | null} */
  let port = null;
  /** What the page still waits for, by request_id. @type {Map<number | string, PageRequest>} */
  const unanswered = new Map();

  function link() {
    if (port) return port;
    const opened = chrome.runtime.connect({ name: "page" });
    opened.onMessage.addListener(receive);
    opened.onDisconnect.addListener(() => {
      if (port === opened) port = null;
      comeBack();
    });
    port = opened;
    return opened;
  }

  /** @param {unknown} message */
  function send(message) {
    try {
      link().postMessage(message);
    } catch { // this script outlived the extension it belongs to
      port = null;
      disconnected(NO_EXTENSION);
    }
  }

  /** @param {any} message from background.js */
  function receive(message) {
    if (message.kind === "here") tell({ type: "AsperaConnectCheckResponse", detail: {} });
    if (message.kind === "lost") disconnected(NO_HELPER);
    if (message.kind === "answer") answer(message.detail);
  }

  /** @param {{ request_id: number | string, status: number, body?: string, body64?: string, complete?: boolean }} detail */
  function answer(detail) {
    if (!("body64" in detail) || detail.complete) unanswered.delete(detail.request_id);
    tell({ type: "AsperaConnectResponse", detail });
  }

  /** The browser ended the worker, or froze this page for a while: what was under way is not known any more. */
  function comeBack() {
    if (unanswered.size === 0) return;
    const again = [...unanswered.values()];
    for (const request of again) if (!request.waits) answer({ request_id: request.request_id, status: 0, body: "" });
    disconnected(NO_HELPER);
    for (const request of again) if (request.waits) send({ kind: "request", request });
  }

  /** @param {string} why */
  function disconnected(why) {
    document.dispatchEvent(new CustomEvent("AsperaConnectDisconnect", { detail: why }));
  }

  /** @param {unknown} message to the scripts of this very page */
  function tell(message) {
    window.postMessage(message, window.location.origin);
  }

  document.addEventListener("AsperaConnectCheck", () => send({ kind: "check" }));
  document.addEventListener("AsperaConnectRequest", (event) => {
    const { request_id, method, uri_reference, body, timeout } = /** @type {any} */ (event).detail ?? {};
    if (typeof request_id !== "number" && typeof request_id !== "string") return;
    const uri = String(uri_reference);
    const request = {
      request_id, method: String(method), uri_reference: uri, body: typeof body === "string" ? body : "",
      timeout: typeof timeout === "number" ? timeout : 0, waits: WAITS.test(uri),
    };
    unanswered.set(request_id, request);
    send({ kind: "request", request });
  });
})();
