// A tus server that others wrote, where our helper looks for one: node tus_server.mjs FOLDER TOKEN.
// Prints its port. Finished files are in FOLDER/done under the name their client told.
import { mkdirSync, renameSync } from "node:fs";
import { basename, join } from "node:path";

import { FileStore } from "@tus/file-store";
import { Server } from "@tus/server";

const [folder, token] = process.argv.slice(2);
const unfinished = join(folder, "unfinished");
const done = join(folder, "done");
for (const each of [unfinished, done]) mkdirSync(each, { recursive: true });

const server = new Server({
  path: "/fallback/v1/uploads",
  datastore: new FileStore({ directory: unfinished }),
  async onIncomingRequest(request) {
    if (request.headers.get("authorization") !== `Bearer ${token}`) throw { status_code: 401, body: "no\n" };
  },
  async onUploadFinish(_, upload) {
    renameSync(upload.storage.path, join(done, basename(upload.metadata.filename)));
    return {};
  },
});
const http = server.listen({ host: "127.0.0.1", port: 0 });
http.on("listening", () => console.log(http.address().port));
