/**
 * The page that all examples show: what it looks like and what its buttons do. How it reaches the helper is
 * each example's own: an object with the five parts of `Helper`.
 */

import { size, state } from "../../web/demo/words.js";

/**
 * @typedef {object} Helper
 * @property {string} means how this example reaches the helper, in a few words
 * @property {string} launch the link that starts the helper
 * @property {(events: Events) => void} connect begin to look for the helper and to watch transfers
 * @property {() => Promise<string[]>} chooseFiles full paths of what the user picked; none when cancelled
 * @property {(spec: object) => Promise<unknown>} startTransfer
 */

/**
 * @typedef {object} Events
 * @property {(running: boolean) => void} helper the helper was found or lost
 * @property {(transfers: any[]) => void} transfers what is new about transfers, each as the helper tells it
 */

const MARKUP = `
  <header class="top">
    <div class="brand">
      <img src="../../web/demo/icon.svg" alt="" width="28" height="28">
      <div><h1>File exchange</h1><p id="means"></p></div>
    </div>
    <p id="helper" class="helper" role="status" data-state="INITIALIZING">
      <span class="dot" aria-hidden="true"></span><span id="helper-text">Looking for the helper …</span>
    </p>
  </header>
  <section id="absent" class="notice" hidden>
    <h2>The transfer helper is not answering</h2>
    <p>Start it on this computer: <code>connect-helper run</code>, or
      <a id="launch">by this link</a> once <code>connect-helper install</code> was run.</p>
  </section>
  <p id="message" class="message" role="alert" hidden></p>
  <main>
    <section class="card" aria-labelledby="send-title">
      <h2 id="send-title">Send</h2>
      <p class="quiet">You choose in a dialog of this computer; the page sees only what you choose.</p>
      <div class="actions"><button type="button" id="send" class="main" disabled>Choose files …</button></div>
    </section>
    <section class="card" id="fetch" aria-labelledby="fetch-title" hidden>
      <h2 id="fetch-title">Fetch</h2>
      <ul id="files" class="transfers"></ul>
    </section>
    <section class="card wide" aria-labelledby="transfers-title">
      <h2 id="transfers-title">Transfers</h2>
      <ul id="transfers" class="transfers"></ul>
      <p id="none" class="empty">Nothing yet.</p>
    </section>
  </main>`;

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** @param {string} id */
const button = (id) => /** @type {HTMLButtonElement} */ (element(id));

/** @type {Map<string, { row: HTMLElement, status: string }>} */
const shown = new Map();
let running = false;

/** Show the page and bring it to life. @param {Helper} helper */
export async function open(helper) {
  document.body.append(document.createRange().createContextualFragment(MARKUP));
  element("means").textContent = helper.means;
  /** @type {HTMLAnchorElement} */ (element("launch")).href = helper.launch;
  button("send").addEventListener("click", () => attempt(() => send(helper)));
  helper.connect({ helper: showHelper, transfers: (all) => all.forEach((info) => showTransfer(info, helper)) });
  await attempt(() => showFiles(helper));
}

/** @param {Helper} helper */
async function send(helper) {
  const paths = await helper.chooseFiles();
  if (paths.length === 0) return;
  const spec = await ask("/api/upload-spec", {});
  await helper.startTransfer({ ...spec, paths: paths.map((source) => ({ source })) });
}

/** @param {Helper} helper @param {string} path on the server */
async function fetchFile(helper, path) {
  await helper.startTransfer(await ask("/api/download-spec", { path }));
}

/** @param {Helper} helper */
async function showFiles(helper) {
  const { files } = await ask("/api/files");
  element("fetch").hidden = files === null;
  const rows = (files ?? []).map((/** @type {{ path: string, size: number }} */ file) => {
    const get = document.createElement("button");
    get.type = "button";
    get.textContent = "Fetch";
    get.disabled = !running;
    get.setAttribute("aria-label", `Fetch ${file.path.slice(1)}`);
    get.addEventListener("click", () => attempt(() => fetchFile(helper, file.path)));
    return row("↓", file.path.slice(1), size(file.size), get);
  });
  element("files").replaceChildren(...rows);
}

/** @param {boolean} found */
function showHelper(found) {
  running = found;
  element("helper").dataset.state = found ? "RUNNING" : "FAILED";
  element("helper-text").textContent = found ? "Helper connected" : "Helper not found";
  element("absent").hidden = found;
  for (const one of document.querySelectorAll("main button")) /** @type {HTMLButtonElement} */ (one).disabled = !found;
}

/** @param {any} info a transfer as either protocol tells it @param {Helper} helper */
function showTransfer(info, helper) {
  const known = shown.get(info.uuid);
  if (info.status === "removed") {
    known?.row.remove();
    shown.delete(info.uuid);
  } else {
    const sends = info.transfer_spec.direction === "send";
    const line = known?.row ?? row(sends ? "↑" : "↓", info.title, "", progressOf(info));
    line.dataset.status = info.status;
    part(line, ".state").textContent = state(info);
    const bar = /** @type {HTMLProgressElement} */ (part(line, "progress"));
    bar.value = info.status === "completed" ? 1 : info.percentage;
    if (!known) element("transfers").prepend(line);
    shown.set(info.uuid, { row: line, status: info.status });
    if (sends && info.status === "completed" && known?.status !== "completed") void attempt(() => showFiles(helper));
  }
  element("none").hidden = shown.size > 0;
}

/** @param {string} sign @param {string} title @param {string} words @param {HTMLElement} more */
function row(sign, title, words, more) {
  const line = document.createElement("li");
  line.className = "transfer";
  const way = piece("span", "way", sign);
  way.setAttribute("aria-hidden", "true");
  const what = piece("div", "what", "");
  what.append(piece("p", "title", title), piece("p", "state", words));
  line.append(way, what, more);
  return line;
}

/** @param {any} info */
function progressOf(info) {
  const bar = document.createElement("progress");
  bar.max = 1;
  bar.setAttribute("aria-label", `Progress of ${info.title}`);
  return bar;
}

/** @param {string} tag @param {string} name @param {string} text */
function piece(tag, name, text) {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
}

/** @param {HTMLElement} line @param {string} selector */
function part(line, selector) {
  return /** @type {HTMLElement} */ (line.querySelector(selector));
}

/** Run what a button asks for and show its failure. @param {() => Promise<void>} work */
async function attempt(work) {
  const message = element("message");
  message.hidden = true;
  try {
    await work();
  } catch (problem) {
    message.textContent = /** @type {Error} */ (problem).message;
    message.hidden = false;
  }
}

/** Ask this page's own server. @param {string} path @param {object} [body] @returns {Promise<any>} */
async function ask(path, body) {
  const answer = await fetch(path, body && { method: "POST", body: JSON.stringify(body) });
  if (!answer.ok) throw new Error((await answer.text()) || `This site's server answered ${answer.status}.`);
  return answer.json();
}
