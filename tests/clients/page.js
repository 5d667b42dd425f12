// Lets a test call the official SDK and see what it answers and reports. The SDK itself is unmodified.
// With "?installer" it is a page in the SDK's default set-up, which looks for the browser extension.
"use strict";

const byDefault = new URLSearchParams(location.search).has("installer");
if (byDefault) new AW4.ConnectInstaller({ sdkLocation: `${location.origin}/sdk` });

const connect = new AW4.Connect({
  ...(byDefault ? {} : { connectMethod: "http" }),
  minVersion: "3.10.1",
  dragDropEnabled: true,
  pollingTime: 250,
});

const statuses = [];
const reports = []; // every answer of the activity route that told of a transfer
const transfers = new Map(); // request_id -> the newest TransferInfo, and all statuses it went through

connect.addEventListener(AW4.Connect.EVENT.STATUS, (_type, status) => statuses.push(status));

function noteTransfers(_type, report) {
  if (!Array.isArray(report.transfers)) throw new Error("a report without transfers");
  if (report.transfers.length) reports.push(report);
  for (const info of report.transfers) {
    const key = info.aspera_connect_settings.request_id;
    const known = transfers.get(key) || { seen: [] };
    if (known.seen[known.seen.length - 1] !== info.status) known.seen.push(info.status);
    transfers.set(key, { info, seen: known.seen });
  }
}

window.client = {
  connect,
  statuses,
  reports,

  init(appId) {
    connect.addEventListener(AW4.Connect.EVENT.TRANSFER, noteTransfers);
    return connect.initSession(appId);
  },

  /** Call a method that gives a promise; tell how it ended. */
  async promise(name, ...values) {
    try {
      return { value: await connect[name](...values) };
    } catch (error) {
      return error instanceof Error ? { thrown: error.message } : { error };
    }
  },

  /** Call a method that takes callbacks at `position` among its arguments; tell which one was called. */
  callbacks(name, position, ...values) {
    return new Promise((resolve) => {
      const callbacks = {
        success: (value) => resolve({ value }),
        error: (error) => resolve({ error }),
      };
      values.splice(position, 0, callbacks);
      connect[name](...values);
    });
  },

  /** Start a transfer as pages do; the answer comes at once, the rest by events. */
  start(spec, settings) {
    const ended = {};
    const { request_id: requestId } = connect.startTransfer(spec, settings, {
      success: (value) => (ended.value = value),
      error: (error) => (ended.error = error),
    });
    started.set(requestId, ended);
    return requestId;
  },

  started: (requestId) => started.get(requestId),
  transfer: (requestId) => transfers.get(requestId),
};

const started = new Map();
