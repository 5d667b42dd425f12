// Sends one file with tus-js-client: node tus_send.mjs '{"endpoint", "token", "file", "options", "stopAfter"}'.
// Prints {"url", "bytes"} when done, or {"stopped": url} when it broke off after `stopAfter` bytes.
import { createReadStream, readFileSync } from "node:fs";

import * as tus from "tus-js-client";

const wish = JSON.parse(process.argv[2]);
const content = wish.options.parallelUploads > 1 ? createReadStream(wish.file) : readFileSync(wish.file);
let reported = 0;

const upload = new tus.Upload(content, {
  endpoint: wish.endpoint,
  headers: { Authorization: `Bearer ${wish.token}` },
  retryDelays: [0, 100, 200],
  ...wish.options,
  onProgress(sent) {
    reported = sent;
  },
  async onChunkComplete(_, sent) {
    if (wish.stopAfter && sent >= wish.stopAfter) {
      await upload.abort(false);
      console.log(JSON.stringify({ stopped: upload.url }));
    }
  },
  onSuccess() {
    console.log(JSON.stringify({ url: upload.url, bytes: reported }));
  },
  onError(error) {
    console.error(String(error.message).slice(0, 500));
    process.exit(1);
  },
});
upload.start();
