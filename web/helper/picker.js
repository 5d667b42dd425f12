// The file picker: puts the folder view, the places and the answer together.

import "./shell.js";
import { ApiError, api, stream } from "./session.js";
import { icon } from "./dom.js";
import { bytes } from "./format.js";
import { arrange } from "./picker_view.js";
import { FileList, element } from "./picker_list.js";

/** @typedef {import("./picker_view.js").Listing} Listing */

const id = location.pathname.split("/").pop() ?? "";
const base = `/api/pending/${id}`;
const PLACE_ICONS = { home: "home", desktop: "folder", documents: "file", downloads: "down", recent: "clock", drive: "drive" };
const LOADING_SHOWS_MS = 250;

/**
 * @template {HTMLElement} T
 * @param {string} name
 * @param {new () => T} kind
 * @returns {T}
 */
function part(name, kind) {
  const found = document.getElementById(name);
  if (!(found instanceof kind)) throw new TypeError(`no ${name} in the page`);
  return found;
}

const list = part("list", FileList);
const find = part("find", HTMLInputElement);
const types = part("types", HTMLSelectElement);
const hiddenFiles = part("hidden-files", HTMLInputElement);
const choose = part("choose", HTMLButtonElement);
const problem = part("problem", HTMLElement);
const nameField = part("name", HTMLInputElement);
const up = part("up", HTMLButtonElement);
const makeDialog = part("make", HTMLDialogElement);
const replaceDialog = part("replace", HTMLDialogElement);
const ended = new AbortController();

/** @type {{ kind: "open-file" | "open-folder" | "save-file", caller: string, wants: string, title: string,
 *   multiple: boolean, suggested_name: string, filters: { name: string, extensions: string[] }[], start: string,
 *   places: { kind: keyof typeof PLACE_ICONS, name: string, path: string }[] }} */
let asked;
/** @type {Listing | null} */
let listing = null;
let visits = 0; // counts folders asked for; an answer that comes late shows nothing
/** @type {{ sort: "name" | "size" | "time", descending: boolean }} */
let order = { sort: "name", descending: false };

// What is asked ----------------------------------------------------------------------------------

async function begin() {
  asked = await api("GET", base);
  if (!("wants" in asked)) throw new ApiError("This address belongs to a question.", { status: 404 });
  document.title = `${asked.caller} ${asked.wants}`;
  part("caller", HTMLElement).textContent = asked.caller;
  part("wish", HTMLElement).textContent = asked.wants;
  const words = part("own-words", HTMLElement);
  words.textContent = asked.title;
  words.hidden = !asked.title;
  list.multiple = asked.multiple;
  list.classList.toggle("multiple", asked.multiple);
  list.selectable = (kind) => kind === (asked.kind === "open-folder" ? "d" : "f");
  const folders = asked.kind === "open-folder";
  part("new-folder", HTMLElement).hidden = asked.kind === "open-file";
  part("save-name", HTMLElement).hidden = asked.kind !== "save-file";
  nameField.value = asked.suggested_name;
  showTypes(folders ? [] : asked.filters);
  showPlaces();
  part("sheet", HTMLElement).hidden = false;
  void stream(`${base}/stream`, (event) => event.type === "over" && finish(), ended.signal).catch(finish);
  await go(asked.start);
  if (asked.kind === "save-file") focusName();
  else list.focus();
}

/** @param {{ name: string, extensions: string[] }[]} filters */
function showTypes(filters) {
  part("types-label", HTMLElement).hidden = !filters.length;
  for (const [index, filter] of filters.entries()) {
    const endings = filter.extensions.includes("*") ? "" : ` (${filter.extensions.slice(0, 4).map((ending) => `.${ending}`).join(", ")}${filter.extensions.length > 4 ? ", …" : ""})`;
    types.append(new Option(filter.name + endings, String(index)));
  }
}

function showPlaces() {
  const items = asked.places.map((place, index) => {
    const item = element("li", index && place.kind !== asked.places[index - 1]?.kind && ["recent", "drive"].includes(place.kind) ? "apart" : "");
    const button = document.createElement("button");
    button.type = "button";
    button.title = place.path;
    button.dataset["path"] = place.path;
    button.append(icon(PLACE_ICONS[place.kind]), element("span", "", place.name));
    button.addEventListener("click", () => go(place.path));
    item.append(button);
    return item;
  });
  part("places", HTMLElement).replaceChildren(...items);
}

// Going through folders -----------------------------------------------------------------------------

/**
 * @param {string} path
 * @param {string} [focus] name of the entry the keyboard goes to
 */
async function go(path, focus = "") {
  const visit = (visits += 1);
  const slow = setTimeout(() => visit === visits && showState("clock", "Opening the folder…"), LOADING_SHOWS_MS);
  showProblem("");
  try {
    const answer = /** @type {Listing} */ (await api("POST", `${base}/folder`, { path }));
    if (visit !== visits) return;
    listing = answer;
    find.value = "";
    showCrumbs(answer.crumbs);
    refresh({ focus });
  } catch (error) {
    if (visit !== visits) return;
    showUnopened(path, wordsOf(error)); // when all of it is over, the stream says so too
  } finally {
    clearTimeout(slow);
  }
}

/**
 * @param {string} path
 * @param {string} words
 */
function showUnopened(path, words) {
  const cut = Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\"));
  const parent = cut > 0 ? path.slice(0, cut) : path.slice(0, cut + 1);
  const steps = listing?.crumbs.filter(([, step]) => path.startsWith(step) && step !== path) ?? [];
  listing = {
    path, shown_path: path, parent: steps.at(-1)?.[1] ?? (parent !== path ? parent : null), crumbs: [...steps, [path.slice(cut + 1) || path, path]],
    names: [], kinds: "", sizes: [], times: [], flags: [], shown: {}, writable: false, cut: false,
  };
  showCrumbs(listing.crumbs);
  list.show(listing, []);
  showState("lock", words, { bad: true, wayUp: listing.parent !== null });
  summarize();
}

/** @param {[string, string][]} steps */
function showCrumbs(steps) {
  const items = steps.map(([name, path], index) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.title = name;
    if (index === steps.length - 1) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => go(path, steps[index + 1]?.[0]));
    item.append(button);
    return item;
  });
  const crumbs = part("crumbs", HTMLElement);
  crumbs.replaceChildren(...items);
  const frame = crumbs.parentElement;
  if (frame) frame.scrollLeft = frame.scrollWidth;
  up.disabled = steps.length < 2;
  const here = steps.at(-1)?.[1];
  for (const button of document.querySelectorAll(".places button")) {
    if (button instanceof HTMLElement) button.toggleAttribute("aria-current", button.dataset["path"] === here);
  }
}

function goUp() {
  if (listing?.parent) void go(listing.parent, listing.crumbs.at(-1)?.[0]);
}

/** @param {{ keep?: boolean, focus?: string }} [options] */
function refresh(options = {}) {
  if (!listing) return;
  const extensions = types.value === "" ? [] : asked.filters[Number(types.value)]?.extensions ?? [];
  const wish = { ...order, hidden: hiddenFiles.checked, find: find.value.trim(), extensions, foldersOnly: asked.kind === "open-folder" };
  list.show(listing, arrange(listing, wish), options);
  showOrder();
  showEmptiness(listing);
  summarize();
}

/** @param {Listing} folder */
function showEmptiness(folder) {
  if (list.count) return showState("", "");
  if (find.value.trim()) return showState("search", `Nothing here is named like “${find.value.trim()}”.`);
  if (!folder.names.length) return showState("folder", "This folder is empty.");
  if (asked.kind === "open-folder") return showState("folder", "No folders in here. You can choose this folder itself.");
  const kept = folder.names.length === 1 ? "One entry is" : `${folder.names.length.toLocaleString()} entries are`;
  showState("folder", types.value === "" ? `${kept} hidden.` : `${kept} here, none of the chosen type.`);
}

/**
 * @param {string} picture "" hides the state
 * @param {string} words
 * @param {{ bad?: boolean, wayUp?: boolean }} [options]
 */
function showState(picture, words, { bad = false, wayUp = false } = {}) {
  const state = part("state", HTMLElement);
  state.hidden = !picture;
  state.classList.toggle("bad", bad);
  document.getElementById("state-icon")?.setAttribute("href", `#i-${picture || "folder"}`);
  part("state-text", HTMLElement).textContent = words;
  part("state-up", HTMLElement).hidden = !wayUp;
}

function showOrder() {
  for (const button of document.querySelectorAll("[data-sort]")) {
    if (!(button instanceof HTMLElement)) continue;
    const mine = button.dataset["sort"] === order.sort;
    button.setAttribute("aria-pressed", String(mine));
    if (mine) button.dataset["direction"] = order.descending ? "down" : "up";
    else delete button.dataset["direction"];
  }
}

// The choice ---------------------------------------------------------------------------------------

function summarize() {
  if (!listing) return;
  const chosen = list.selected;
  const total = chosen.reduce((sum, index) => sum + (listing?.sizes[index] ?? 0), 0);
  const folders = asked.kind === "open-folder";
  const noun = folders ? ["folder", "folders"] : ["file", "files"];
  const count = `${chosen.length.toLocaleString()} ${chosen.length === 1 ? noun[0] : noun[1]}`;
  const here = `${list.count.toLocaleString()} ${list.count === 1 ? "item" : "items"}${listing.cut ? ", more are not shown" : ""}`;
  part("summary", HTMLElement).textContent = chosen.length && asked.kind !== "save-file" ? `${count} selected${folders ? "" : `, ${bytes(total)}`}` : here;
  const blocked = !part("state", HTMLElement).hidden && part("state", HTMLElement).classList.contains("bad");
  if (asked.kind === "save-file") {
    choose.textContent = "Save";
    choose.disabled = blocked || !nameField.value.trim() || !listing.writable;
    if (!listing.writable && !blocked) part("summary", HTMLElement).textContent = "You may not save into this folder.";
  } else if (folders && !chosen.length) {
    choose.textContent = "Choose this folder";
    choose.disabled = blocked;
  } else {
    choose.textContent = chosen.length > 1 ? `Choose ${count}` : "Choose";
    choose.disabled = !chosen.length;
  }
}

/** @returns {string[]} full paths of the choice */
function chosenPaths() {
  if (!listing) return [];
  const folder = listing.path;
  const separator = folder.includes("\\") && !folder.startsWith("/") ? "\\" : "/";
  const below = (/** @type {string} */ name) => (folder.endsWith(separator) ? folder + name : folder + separator + name);
  if (asked.kind === "save-file") return [below(nameField.value.trim())];
  const chosen = list.selected.map((index) => below(listing?.names[index] ?? ""));
  return chosen.length || asked.kind !== "open-folder" ? chosen : [folder];
}

/** @param {{ overwrite?: boolean }} [options] */
async function submit({ overwrite = false } = {}) {
  if (choose.disabled) return;
  showProblem("");
  choose.disabled = true;
  try {
    const paths = chosenPaths();
    await api("POST", `${base}/answer`, asked.kind === "save-file" ? { paths, overwrite } : { paths });
    finish("Thank you", "Your choice was handed over. You can close this window.", true);
  } catch (error) {
    summarize();
    if (error instanceof ApiError && error.code === "wrong_state") askToReplace(error.message);
    else if (error instanceof ApiError && error.code === "too_many_requests") setTimeout(() => submit({ overwrite }), 400);
    else showProblem(wordsOf(error));
  }
}

/** @param {string} words */
function askToReplace(words) {
  part("replace-text", HTMLElement).textContent = `${words} Replacing it destroys what it holds now.`;
  replaceDialog.showModal();
}

async function cancel() {
  await api("POST", `${base}/answer`, { cancelled: true }).catch(() => null);
  finish("Cancelled", "Nothing was chosen. You can close this window.");
}

/** @param {string} words "" hides the problem */
function showProblem(words) {
  problem.textContent = words;
  problem.hidden = !words;
}

/**
 * @param {unknown} error
 * @returns {string}
 */
function wordsOf(error) {
  return error instanceof ApiError ? error.user_message : "Something went wrong in this window. Reload it.";
}

/**
 * Nothing is left to do here.
 * @param {unknown} [title]
 * @param {string} [words]
 * @param {boolean} [good]
 */
function finish(title, words = "It was answered in another window, cancelled by the page that asked, or open for too long.", good = false) {
  if (ended.signal.aborted) return;
  ended.abort();
  for (const dialog of [makeDialog, replaceDialog]) dialog.close();
  part("sheet", HTMLElement).hidden = true;
  const over = part("over", HTMLElement);
  over.hidden = false;
  over.classList.toggle("good", good);
  document.getElementById("over-icon")?.setAttribute("href", good ? "#i-check" : "#i-close");
  part("over-title", HTMLElement).textContent = typeof title === "string" ? title : "This is over";
  part("over-text", HTMLElement).textContent = words;
  document.title = part("over-title", HTMLElement).textContent ?? "";
  window.close(); // browsers allow it for a window that a program opened; else the words above stay
}

// New folder ---------------------------------------------------------------------------------------

async function makeFolder() {
  const field = part("make-name", HTMLInputElement);
  const words = part("make-problem", HTMLElement);
  if (!listing) return;
  try {
    const { path } = await api("POST", `${base}/new-folder`, { path: listing.path, name: field.value });
    makeDialog.close();
    await go(path);
    list.focus();
  } catch (error) {
    words.textContent = wordsOf(error);
    words.hidden = false;
    field.setAttribute("aria-invalid", "true");
    field.focus();
  }
}

function openMakeDialog() {
  part("make-problem", HTMLElement).hidden = true;
  const field = part("make-name", HTMLInputElement);
  field.value = "";
  field.removeAttribute("aria-invalid");
  makeDialog.showModal();
  field.focus();
}

/** Put the cursor on the name, the extension left out: that is the part people change. */
function focusName() {
  nameField.focus();
  const dot = nameField.value.lastIndexOf(".");
  nameField.setSelectionRange(0, dot > 0 ? dot : nameField.value.length);
}

// Hands --------------------------------------------------------------------------------------------

list.addEventListener("select", () => {
  const index = list.selected[0];
  if (asked.kind === "save-file" && index !== undefined && listing) nameField.value = listing.names[index] ?? "";
  summarize();
});
list.addEventListener("enter", (event) => {
  const index = event instanceof CustomEvent ? Number(event.detail) : -1;
  if (!listing) return;
  const path = listing.path.endsWith("/") || listing.path.endsWith("\\") ? listing.path : `${listing.path}${/^[A-Za-z]:/.test(listing.path) ? "\\" : "/"}`;
  void go(path + (listing.names[index] ?? "")).then(() => list.focus());
});
list.addEventListener("submit", () => submit());
choose.addEventListener("click", () => submit());
part("cancel", HTMLElement).addEventListener("click", cancel);
up.addEventListener("click", goUp);
part("state-up", HTMLElement).addEventListener("click", goUp);
find.addEventListener("input", () => { refresh(); if (find.value && list.count) list.first(); });
types.addEventListener("change", () => refresh());
hiddenFiles.addEventListener("change", () => refresh({ keep: true }));
nameField.addEventListener("input", summarize);
part("new-folder", HTMLElement).addEventListener("click", openMakeDialog);
part("make-cancel", HTMLElement).addEventListener("click", () => makeDialog.close());
part("make-form", HTMLFormElement).addEventListener("submit", (event) => { event.preventDefault(); void makeFolder(); });
part("replace-cancel", HTMLElement).addEventListener("click", () => { replaceDialog.close(); focusName(); });
part("replace-form", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  replaceDialog.close();
  void submit({ overwrite: true });
});
for (const button of document.querySelectorAll("[data-sort]")) {
  button.addEventListener("click", () => {
    const sort = /** @type {"name" | "size" | "time"} */ (button instanceof HTMLElement ? button.dataset["sort"] : "name");
    // Times and sizes are looked at from the newest and largest; names from A.
    order = { sort, descending: order.sort === sort ? !order.descending : sort !== "name" };
    refresh({ keep: true });
  });
}

document.addEventListener("keydown", (event) => {
  if (makeDialog.open || replaceDialog.open || ended.signal.aborted || !asked || event.defaultPrevented) return;
  const typing = event.target instanceof HTMLInputElement && event.target.type !== "checkbox";
  if (event.key === "Escape") escape();
  else if (event.key === "Enter" && event.target === nameField) void submit();
  else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void submit();
  else if (event.target === find && ["ArrowDown", "ArrowUp", "Enter", "PageDown", "PageUp"].includes(event.key)) fromFind(event);
  else if ((event.key === "Backspace" && !typing) || (event.altKey && event.key === "ArrowUp")) goUp();
  else if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "h") hiddenFiles.click();
  else if (!typing && event.key.length === 1 && event.key !== " " && !event.ctrlKey && !event.metaKey && !event.altKey) return find.focus(); // the letter goes into it
  else return;
  event.preventDefault();
});

function escape() {
  if (find.value) {
    find.value = "";
    refresh();
    list.focus();
  } else void cancel();
}

/** @param {KeyboardEvent} event keys that belong to the list though the cursor is in the search field */
function fromFind(event) {
  list.focus();
  list.dispatchEvent(new KeyboardEvent("keydown", { key: event.key, bubbles: false }));
}

begin().catch((error) => {
  if (error instanceof ApiError && error.status === 401) return;
  finish(error instanceof ApiError && error.status === 404 ? "This is over" : "This did not work", wordsOf(error));
});
