/** The example site: puts the helper, the list of files and the list of transfers together. */

import { FileList } from "./files.js";
import { downloadSpec, server, uploadSpec } from "./site.js";
import { TransferList } from "./transfers.js";
import { size } from "./words.js";

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** @param {string} id */
const button = (id) => /** @type {HTMLButtonElement} */ (element(id));
const speed = /** @type {HTMLSelectElement} */ (element("speed"));
const { STATUS } = AW4.Connect;

const ASKING_MS = 800; // an answer that takes longer waits for the user
const NO_LIMIT_KBPS = 0; // as modifyTransfer takes it

/** @type {Record<string, string>} */
const HELPER_WORDS = {
  INITIALIZING: "Looking for the helper …",
  RETRYING: "Waiting for the helper …",
  RUNNING: "Helper connected",
  OUTDATED: "Helper too old",
  FAILED: "Helper not found",
};

/** @type {Record<string, string>} */
const ABSENT_WORDS = {
  FAILED: "This page needs a small program on this computer to move files.",
  OUTDATED: "It is too old for this page: install its newest version, then start it again.",
};

const facts = await server();
element("server").textContent = `SSH server ${facts.host}, port ${facts.port}`;

const connect = new AW4.Connect({
  dragDropEnabled: true,
  ...(facts.helper_port ? { ports: [facts.helper_port] } : {}),
});
const files = new FileList();
const transfers = new TransferList(act, () => files.refresh());

/** kbit/s the user wants, or null. */
const wantedRate = () => Number(speed.value) || null;

/** @param {string} words @param {"hint" | "problem"} kind */
function say(words, kind) {
  const message = element("message");
  message.textContent = words;
  message.dataset.kind = kind;
  message.hidden = false;
}

/** Show a failure of the helper, the site's server or the page. @param {any} problem */
function tell(problem) {
  say(problem?.error?.user_message ?? problem?.message ?? String(problem), "problem");
}

/**
 * Run what a button asks for; its failure is shown, an older message goes. While the helper asks the
 * user something, the page says where to look.
 * @param {() => Promise<void>} work
 */
async function attempt(work) {
  const message = element("message");
  message.hidden = true;
  const hint = setTimeout(() => say("The helper asks you something: look for its window.", "hint"), ASKING_MS);
  try {
    await work();
    if (message.dataset.kind === "hint") message.hidden = true;
  } catch (problem) {
    tell(problem);
  } finally {
    clearTimeout(hint);
  }
}

/** @param {AW4.Picked} picked */
async function send(picked) {
  const { files: chosen } = picked.dataTransfer;
  if (chosen.length === 0) return; // cancelled
  const spec = await uploadSpec(files.folder, wantedRate());
  await connect.startTransferPromise({ ...spec, paths: chosen.map((file) => ({ source: file.name })) });
}

/** @param {string} [into] full path of a folder the user chose; the download folder without it */
async function fetchPicked(into) {
  const spec = await downloadSpec(files.picked.map((entry) => entry.path), wantedRate());
  const settings = into ? { use_absolute_destination_path: true } : {};
  await connect.startTransferPromise(into ? { ...spec, destination_root: into } : spec, settings);
  files.clear();
}

async function fetchPickedTo() {
  const title = "Where to put the download";
  const options = { title, allowMultipleSelection: false };
  const picked = await connect.showSelectFolderDialogPromise(options);
  const folder = picked.dataTransfer.files[0];
  if (folder) await fetchPicked(folder.name);
}

/** @param {import("./transfers.js").Action} action @param {AW4.TransferInfo} info */
function act(action, info) {
  const { uuid } = info;
  void attempt(async () => {
    if (action === "stop") await connect.stopTransfer(uuid);
    else if (action === "remove") await connect.removeTransfer(uuid);
    else if (action === "show") await connect.showDirectory(uuid);
    else await resume(info);
  });
}

/** The helper forgets passwords when it ends; the site's server gives them again. @param {AW4.TransferInfo} info */
async function resume(info) {
  const fresh = await uploadSpec("/", null);
  const { remote_user, remote_password } = fresh;
  await connect.resumeTransfer(info.uuid, { remote_user, remote_password });
}

/** @param {string} status */
function showHelper(status) {
  element("helper").dataset.state = status;
  element("helper-text").textContent = HELPER_WORDS[status] ?? status;
  element("absent").hidden = !(status in ABSENT_WORDS);
  element("absent-text").textContent = ABSENT_WORDS[status] ?? "";
  element("absent-steps").hidden = status !== STATUS.FAILED;
  element("absent-title").textContent =
    status === STATUS.OUTDATED ? "The transfer helper is too old" : "The transfer helper is not answering";
  showButtons();
  if (status === STATUS.RUNNING) void showVersion();
}

async function showVersion() {
  const { version } = await connect.version();
  element("helper").title = `Reports version ${version}`;
}

function showButtons() {
  const running = connect.getStatus() === STATUS.RUNNING;
  const { picked } = files;
  button("send-files").disabled = button("send-folder").disabled = !running;
  button("download").disabled = button("download-to").disabled = !running || picked.length === 0;
  const bytes = picked.reduce((sum, entry) => sum + entry.size, 0);
  const known = picked.every((entry) => entry.kind === "file");
  const words = known ? `${picked.length} chosen, ${size(bytes)}` : `${picked.length} chosen`;
  element("picked").textContent = picked.length ? words : "Choose files or folders";
}

function watchDrops() {
  const targets = "#drop, .table-frame";
  const options = { dragEnter: true, dragOver: true, dragLeave: true };
  connect.setDragDropTargets(targets, options, ({ event, files: dropped, error }) => {
    const over = event.type === "dragenter" || event.type === "dragover";
    for (const target of document.querySelectorAll(targets)) {
      target.classList.toggle("over", over && target === event.currentTarget);
    }
    if (error) tell(error);
    else if (dropped) void attempt(() => send(dropped));
  });
  // Dropped beside the targets, a file would replace the page.
  for (const type of ["dragover", "drop"]) addEventListener(type, (event) => event.preventDefault());
}

button("send-files").addEventListener("click", () =>
  attempt(async () => send(await connect.showSelectFileDialogPromise({ title: "Files to send" }))),
);
button("send-folder").addEventListener("click", () =>
  attempt(async () => send(await connect.showSelectFolderDialogPromise({ title: "Folder to send" }))),
);
button("download").addEventListener("click", () => attempt(() => fetchPicked()));
button("download-to").addEventListener("click", () => attempt(fetchPickedTo));
button("refresh").addEventListener("click", () => files.refresh());
speed.addEventListener("change", () =>
  attempt(async () => {
    const rate = wantedRate() ?? NO_LIMIT_KBPS;
    for (const id of transfers.active) await connect.modifyTransfer(id, { target_rate_kbps: rate });
  }),
);
files.addEventListener("picked", showButtons);
files.addEventListener("opened", () => (element("target").textContent = files.folder));

connect.addEventListener("status", (_, status) => showHelper(status));
connect.addEventListener("transfer", (_, activity) => transfers.update(activity.transfers));
connect.initSession();
watchDrops();
await files.open("/");
