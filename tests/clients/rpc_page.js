// A page of the desktop protocol: json-rpc-2.0 (unmodified, from npm) for calls, the browser's own WebSocket
// for news, in the order in which the newer Aspera SDK begins a session.
"use strict";

const ADDRESS = "127.0.0.1:33024";
const { JSONRPCClient } = window.jsonRpc2;

const rpc = new JSONRPCClient(async (request) => {
  const response = await fetch(`http://${ADDRESS}/`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(request),
  });
  if (!response.ok) throw new Error(`status ${response.status}`); // code and message of the answer are lost
  rpc.receive(await response.json());
});

const statuses = [];
const transfers = new Map(); // uuid -> the newest transfer object, and all statuses it went through
const news = []; // every notification
let appId = "";
let methods = [];
let socket = null;

function note({ type, data }) {
  for (const transfer of data.transfers ?? [data]) {
    const known = transfers.get(transfer.uuid) ?? { seen: [] };
    if (known.seen.at(-1) !== transfer.status) known.seen.push(transfer.status);
    transfers.set(transfer.uuid, { transfer, seen: known.seen });
  }
  news.push(type);
}

/** Resolves when the subscription is answered; a lost socket is opened again every second. */
function connect() {
  return new Promise((resolve) => {
    socket = new WebSocket(`ws://${ADDRESS}/`);
    let subscribed = false;
    socket.onopen = () => {
      socket.send(JSON.stringify({ jsonrpc: "2.0", method: "subscribe_transfer_activity", params: [appId], id: 1 }));
    };
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.id === 1) {
        if (statuses.includes("DISCONNECTED")) statuses.push("RUNNING");
        subscribed = true;
        resolve();
      } else if (!subscribed) {
        throw new Error("news before the answer to the subscription");
      } else if (message.method === "transfer_activity") {
        note(message.params.result);
      }
    };
    socket.onclose = () => {
      if (subscribed && statuses.at(-1) !== "DISCONNECTED") statuses.push("DISCONNECTED");
      setTimeout(() => connect().then(resolve), 1000);
    };
  });
}

window.client = {
  statuses,
  news,

  async init(id) {
    appId = id;
    statuses.push("INITIALIZING");
    await connect();
    const info = await rpc.request("get_info", {});
    ({ methods } = await rpc.request("rpc.discover", {}));
    const drops = await rpc.request("init_drag_drop", {});
    statuses.push("RUNNING");
    return { info, methods: methods.map(({ name }) => name), drops };
  },

  /** Call a method; tell how it ended. */
  async call(method, params = {}) {
    try {
      return { value: await rpc.request(method, params) };
    } catch ({ code, message, data }) {
      return { error: { code, message, data } };
    }
  },

  /** Post whatever drops bring, as the SDK does. */
  watchDrops() {
    const target = document.querySelector("#target");
    target.addEventListener("dragover", (event) => event.preventDefault());
    target.addEventListener("drop", async (event) => {
      event.preventDefault();
      const files = [...event.dataTransfer.files].map(({ lastModified, name, size, type }) => ({ lastModified, name, size, type }));
      window.dropped = await client.call("dropped_files", { files, app_id: appId });
    });
  },

  /** Show a picture from its answer; resolves with its size. */
  async preview({ data, type }) {
    const picture = document.querySelector("#preview");
    picture.src = `data:${type};base64,${data}`;
    await picture.decode();
    return [picture.naturalWidth, picture.naturalHeight];
  },

  transfer: (id) => transfers.get(id),
};
