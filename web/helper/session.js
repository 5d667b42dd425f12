// How a page of the helper's window talks to the helper.
//
// A window is opened with a one-time code in the address's fragment, which browsers send to nobody.
// The code is changed for a token here; the token lives in this tab's sessionStorage and travels in a
// header, never in an address or a cookie: cookies do not tell ports of this machine apart.

const TOKEN_KEY = "connect-helper.token";
const SILENCE_MS = 40_000; // the helper sends something every 15 s; after this the line is dead
const HIDDEN_MS = 3_000; // a tab out of sight that long lets go of its line
const BACKOFF_MS = [250, 500, 1_000, 2_000, 4_000, 8_000];

/** What went wrong with a call, in words for the user. */
export class ApiError extends Error {
  /**
   * @param {string} userMessage
   * @param {{ code?: string, status?: number, field?: string, cause?: unknown }} [facts]
   *   `status` 0 means the helper did not answer; `field` names a form field, if one is to blame
   */
  constructor(userMessage, { code = "internal", status = 0, field = "", cause } = {}) {
    super(userMessage, { cause });
    this.name = "ApiError";
    this.user_message = userMessage;
    this.code = code;
    this.status = status;
    this.field = field;
  }
}

/**
 * Tells about the connection as a whole. Events: `locked` (no valid token: open the window anew),
 * `lost` (the helper does not answer), `back` (it answers again).
 */
export const session = new EventTarget();

/** @type {Promise<string> | undefined} */
let opening;

/** @returns {Promise<string>} the token of this window */
function token() {
  opening ??= open();
  return opening;
}

/** @returns {Promise<string>} */
async function open() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code) {
    history.replaceState(history.state, "", location.pathname + location.search);
    const answer = await send("POST", "/api/session", { code }, "").catch((error) => {
      if (!sessionStorage.getItem(TOKEN_KEY)) throw lock(error);
      return null; // a code used before, in a tab that already has its token: reload, back button
    });
    if (answer) sessionStorage.setItem(TOKEN_KEY, answer.token);
  }
  const kept = sessionStorage.getItem(TOKEN_KEY);
  if (!kept) throw lock(new ApiError("Open this window from the program: connect-helper open.", { code: "signed_out", status: 401 }));
  return kept;
}

/**
 * @param {unknown} error
 * @returns {unknown} the same error, after telling the page when it means that the token is no good
 */
function lock(error) {
  if (error instanceof ApiError && error.status === 401) {
    sessionStorage.removeItem(TOKEN_KEY);
    session.dispatchEvent(new Event("locked"));
  }
  return error;
}

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} body
 * @param {string} bearer
 * @param {{ signal?: AbortSignal, accept?: string }} [options]
 * @returns {Promise<Response>}
 */
async function request(method, path, body, bearer, { signal, accept = "application/json" } = {}) {
  /** @type {Record<string, string>} */
  const headers = { Accept: accept };
  if (bearer) headers["Authorization"] = `Bearer ${bearer}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method, headers, signal: signal ?? null, cache: "no-store", credentials: "omit", redirect: "error",
      body: body === undefined ? null : JSON.stringify(body),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError("The helper does not answer. Start it again with: connect-helper run.", { code: "unreachable", cause: error });
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

/**
 * @param {Response} response
 * @returns {Promise<ApiError>}
 */
async function errorOf(response) {
  const body = await response.json().catch(() => ({}));
  const { code, user_message: message, field } = body.error ?? {};
  return new ApiError(message ?? `The helper answered with an error (${response.status}).`, { code, field, status: response.status });
}

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} body
 * @param {string} bearer
 * @param {AbortSignal} [signal]
 */
async function send(method, path, body, bearer, signal) {
  const response = await request(method, path, body, bearer, signal ? { signal } : {});
  return response.status === 204 ? null : response.json();
}

/**
 * Call the helper.
 * @param {"GET" | "POST" | "PATCH" | "PUT" | "DELETE"} method
 * @param {string} path such as "/api/transfers?limit=50"
 * @param {unknown} [body] sent as JSON
 * @param {{ signal?: AbortSignal }} [options]
 * @returns {Promise<any>} the parsed answer, null when it has none
 * @throws {ApiError} with `user_message`, `code`, `status`, `field`
 */
export async function api(method, path, body, { signal } = {}) {
  const bearer = await token();
  try {
    return await send(method, path, body, bearer, signal);
  } catch (error) {
    throw lock(error);
  }
}

/**
 * Fetch a file and hand it to the browser to keep. It goes through here, and is no plain link, since the
 * token travels in a header only.
 * @param {string} path such as "/api/transfers/7/files.csv"
 * @returns {Promise<void>}
 * @throws {ApiError}
 */
export async function download(path) {
  const bearer = await token();
  try {
    const response = await request("GET", path, undefined, bearer, { accept: "*/*" });
    const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1];
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    link.download = name ?? "transfer";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch (error) {
    throw lock(error);
  }
}

/**
 * Listen to a stream of events until `signal` aborts; a lost line is taken up again by itself.
 * Network trouble shows as `lost` and `back` on `session`. Ends early, with an ApiError, only when the
 * helper refuses (401, 404 and the like).
 * @param {string} path
 * @param {(event: { type: string, data: any }) => void} onEvent `type` "open" comes first on every (re)connection
 * @param {AbortSignal} signal
 * @param {{ whileVisible?: boolean }} [options] `whileVisible`: no line while the tab is out of sight. A browser
 *   opens six connections to one address, for all its tabs together: six forgotten tabs would block a seventh
 * @returns {Promise<void>} settled when the stream is over
 */
export async function stream(path, onEvent, signal, { whileVisible = false } = {}) {
  const bearer = await token();
  for (let failures = 0; !signal.aborted; failures += 1) {
    if (whileVisible) await untilVisible(signal);
    const line = new AbortController();
    const stopWatching = whileVisible ? abortWhenHidden(line) : () => {};
    try {
      const response = await request("GET", path, undefined, bearer, { signal: AbortSignal.any([signal, line.signal]), accept: "text/event-stream" });
      if (failures) session.dispatchEvent(new Event("back"));
      failures = 0;
      onEvent({ type: "open", data: null });
      await read(response, onEvent, line);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && error.status >= 400 && error.status < 500) throw lock(error);
    } finally {
      stopWatching();
    }
    if (signal.aborted) return;
    if (line.signal.reason === OUT_OF_SIGHT) {
      failures = -1;
      continue;
    }
    session.dispatchEvent(new Event("lost"));
    await pause((BACKOFF_MS[Math.min(failures, BACKOFF_MS.length - 1)] ?? 8_000) * (0.75 + Math.random() / 2), signal);
  }
}

const OUT_OF_SIGHT = "out of sight";

/**
 * @param {AbortController} line
 * @returns {() => void} ends the watch
 */
function abortWhenHidden(line) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const look = () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(() => line.abort(OUT_OF_SIGHT), HIDDEN_MS);
  };
  document.addEventListener("visibilitychange", look);
  look();
  return () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  };
}

/**
 * @param {AbortSignal} signal
 * @returns {Promise<void>} when the tab is in sight, or on abort
 */
function untilVisible(signal) {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look, { once: true });
    look();
  });
}

/**
 * @param {Response} response
 * @param {(event: { type: string, data: any }) => void} onEvent
 * @param {AbortController} line aborted when nothing comes for too long
 */
async function read(response, onEvent, line) {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let timer = setTimeout(() => line.abort(), SILENCE_MS);
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => line.abort(), SILENCE_MS);
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) deliver(block, onEvent);
    }
  } finally {
    clearTimeout(timer);
  }
}

/**
 * @param {string} block one event: "event: NAME" and "data: JSON" lines; comments start with a colon
 * @param {(event: { type: string, data: any }) => void} onEvent
 */
function deliver(block, onEvent) {
  let type = "message";
  let data = "";
  for (const text of block.split("\n")) {
    if (text.startsWith("event: ")) type = text.slice(7);
    if (text.startsWith("data: ")) data += text.slice(6);
  }
  if (data) onEvent({ type, data: JSON.parse(data) });
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>} after the time, or at once on abort
 */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
