/**
 * The protocol of IBM Aspera for desktop by hand: JSON-RPC 2.0 over HTTP for calls, a WebSocket for news.
 * A page of your own would use a library; this one shows that there is no magic in it.
 */

import { open } from "../parts/page.js";

const ADDRESS = "127.0.0.1:33024";
const APP_ID = "examples/desktop-protocol " + crypto.randomUUID(); // makes our transfers ours, with this page's origin
const CANCELLED = -32002;
const AGAIN_MS = 1000;

let lastId = 0;

/** Call a method. @param {string} method @param {object} [params] @returns {Promise<any>} */
async function call(method, params = {}) {
  lastId += 1;
  const answer = await fetch(`http://${ADDRESS}/`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ jsonrpc: "2.0", id: lastId, method, params }),
  });
  const { result, error } = await answer.json();
  if (error) throw Object.assign(new Error(error.message), { code: error.code });
  return result;
}

/** Watch our transfers, and the helper by the way; begins again whenever the line is lost. @param {import("../parts/page.js").Events} events */
function watch(events) {
  const socket = new WebSocket(`ws://${ADDRESS}/`);
  socket.addEventListener("open", () => {
    const subscribe = { jsonrpc: "2.0", id: 1, method: "subscribe_transfer_activity", params: [APP_ID] };
    socket.send(JSON.stringify(subscribe));
  });
  socket.addEventListener("message", ({ data }) => {
    const message = JSON.parse(data);
    if (message.id === 1) events.helper(true);
    if (message.method !== "transfer_activity") return;
    const { data: told } = message.params.result;
    events.transfers(told.transfers ?? [told]);
  });
  socket.addEventListener("close", () => {
    events.helper(false);
    setTimeout(() => watch(events), AGAIN_MS);
  });
}

async function chooseFiles() {
  try {
    const options = { title: "Files to send", multiple: true };
    const { dataTransfer } = await call("show_file_dialog", { app_id: APP_ID, options });
    return dataTransfer.files.map((/** @type {{ name: string }} */ file) => file.name);
  } catch (problem) {
    if (/** @type {{ code?: number }} */ (problem).code === CANCELLED) return [];
    throw problem;
  }
}

await open({
  means: "with JSON-RPC by hand",
  launch: "aspera://initialize",
  connect: watch,
  chooseFiles,
  startTransfer: (spec) => call("start_transfer", { app_id: APP_ID, desktop_spec: {}, transfer_spec: spec }),
});
