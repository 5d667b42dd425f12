// The extension's worker: carries what pages ask to the helper, under the origin the browser gives for them.

import { Badge, showTrouble } from "./badge.js";
import { Connection, Unreachable } from "./helper.js";
import { guardPairing, onNewPairing } from "./pairing.js";
import { PageLink } from "./page-link.js";

const AWAKE_MS = 20_000; // browsers end a worker that used no interface of theirs for 30 s

const connection = new Connection();
const badge = new Badge(connection);
let open = 0;
/** @type {ReturnType<typeof setInterval> | undefined} */
let keeping;

/** A dialog may be open for hours, and ending the worker would close it. */
function busy() {
  open += 1;
  keeping ??= setInterval(() => void chrome.runtime.getPlatformInfo(), AWAKE_MS);
  return () => {
    open -= 1;
    if (open) return;
    clearInterval(keeping);
    keeping = undefined;
  };
}

/** @param {"answered" | import("./helper.js").Reason} state */
function seen(state) {
  if (state === "answered") badge.touch();
  else void showTrouble(state);
}

/**
 * Tell a page that the extension is there, if it is of use: without a pairing pages had better go on alone.
 * @param {chrome.runtime.Port} port
 */
async function present(port) {
  try {
    await connection.reach();
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    seen(error.reason);
    if (error.reason === "unpaired") return;
  }
  port.postMessage({ kind: "here" });
}

chrome.runtime.onConnect.addListener((port) => {
  const origin = port.sender?.origin ?? ""; // the browser's word; nothing a page says of itself counts
  const link = new PageLink(port, origin, connection, { seen, busy });
  port.onMessage.addListener((message) => {
    if (message.kind === "check" && link.hasOrigin) void present(port).catch(() => {}); // the page may be gone by then
    if (message.kind === "request") void link.carry(message.request);
  });
  port.onDisconnect.addListener(() => link.end());
});

onNewPairing(() => {
  connection.forget();
  badge.touch();
});
void guardPairing();
