// The Activity page: the live list of transfers.

import { find, h, setText } from "./dom.js";
import { counted, rate } from "./format.js";
import { ApiError, api, stream } from "./session.js";
import { toast } from "./shell.js";
import { TransferRow } from "./transfer-row.js";

/** @typedef {import("./transfer-model.js").TransferView} TransferView */
/** @typedef {{ all: number, running: number, finished: number, failed: number }} Counts */

const PAGE = 200;
const PAGE_LIMIT = 500; // of the helper
const SCROLLED = 2_000; // rows that come by scrolling

const list = find("#transfers", HTMLElement);
const empty = find("#empty", HTMLElement);
const emptyFilter = find("#empty-filter", HTMLElement);
const older = find("#older", HTMLButtonElement);
const clear = find("#clear", HTMLButtonElement);
const summary = find("#summary", HTMLElement);
const filters = [...document.querySelectorAll("#filters button")].filter((button) => button instanceof HTMLButtonElement);

/** @type {Map<string, TransferRow>} */
const rows = new Map();
/** @type {Counts} */
let counts = { all: 0, running: 0, finished: 0, failed: 0 };
let show = "all";
let boundary = ""; // id of the oldest transfer that came by paging; news may bring older ones
let loading = 0; // number of the newest load, so that an old answer does not win

const now = () => Date.now() / 1_000;

/** @param {TransferView} transfer */
const wanted = (transfer) => show === "all" || transfer.group === show;

/** @param {TransferView} transfer */
function place(transfer) {
  let row = rows.get(transfer.id);
  if (!wanted(transfer)) return drop(transfer.id);
  if (!row) {
    row = new TransferRow();
    rows.set(transfer.id, row);
    list.insertBefore(row, firstOlder(transfer));
  }
  row.show(transfer, now());
}

/**
 * @param {TransferView} transfer
 * @returns {TransferRow | null} the row that `transfer` stands before: the newest is at the top
 */
function firstOlder(transfer) {
  for (const row of list.children) {
    if (row instanceof TransferRow && row.transfer.added_at < transfer.added_at) return row;
  }
  return null;
}

/** @param {string} id */
function drop(id) {
  const row = rows.get(id);
  if (!row) return;
  if (row.contains(document.activeElement)) {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    if (next instanceof TransferRow) next.focusTitle();
  }
  row.remove();
  rows.delete(id);
}

function showFrame() {
  for (const button of filters) {
    const name = /** @type {keyof Counts} */ (button.dataset["show"]);
    button.setAttribute("aria-pressed", String(name === show));
    setText(find(".count", HTMLElement, button), String(counts[name]));
  }
  empty.hidden = counts.all > 0;
  emptyFilter.hidden = rows.size > 0 || counts.all === 0;
  find("#toolbar", HTMLElement).hidden = counts.all === 0;
  clear.hidden = counts.finished === 0;
  showSummary();
}

function showSummary() {
  let total = 0;
  for (const row of rows.values()) total += row.transfer.rate_kbps;
  const words = counts.running ? `${counted(counts.running, "transfer")} under way` : counts.all ? "Nothing under way" : "";
  setText(summary, total >= 1 ? `${words} · ${rate(total)}` : words);
  document.title = counts.running ? `(${counts.running}) Activity · connect-helper` : "Activity · connect-helper";
}

/** @param {string} [before] id of the transfer to go on after; "" loads anew what is shown */
async function load(before = "") {
  const mine = ++loading;
  const limit = before ? PAGE : Math.min(PAGE_LIMIT, Math.max(PAGE, rows.size));
  const query = new URLSearchParams({ limit: String(limit), show });
  if (before) query.set("before", before);
  const answer = await api("GET", `/api/transfers?${query}`);
  if (mine !== loading) return;
  if (!before) forgetMissing(answer.transfers);
  for (const transfer of answer.transfers) place(transfer);
  counts = answer.counts;
  boundary = answer.transfers.at(-1)?.id ?? boundary;
  older.hidden = !answer.more;
  list.removeAttribute("aria-busy");
  showFrame();
}

/** @param {TransferView[]} present */
function forgetMissing(present) {
  const ids = new Set(present.map((transfer) => transfer.id));
  for (const id of [...rows.keys()]) if (!ids.has(id)) drop(id);
}

/** @param {{ type: string, data: any }} event */
function hear({ type, data }) {
  if (type === "open") void load().catch(tell);
  if (type === "removed") for (const id of data.ids) drop(id);
  if (type === "transfer") {
    for (const transfer of data.transfers) place(transfer);
    counts = data.counts;
  }
  if (type === "removed" || type === "transfer") showFrame();
}

/** @param {unknown} error */
function tell(error) {
  if (!(error instanceof ApiError)) throw error;
  if (error.code !== "signed_out" && error.code !== "unreachable") toast(error.user_message, { bad: true });
}

for (const button of filters) {
  button.addEventListener("click", () => {
    show = button.dataset["show"] ?? "all";
    for (const [id, row] of [...rows]) if (!wanted(row.transfer)) drop(id);
    showFrame();
    void load().catch(tell);
  });
}

older.addEventListener("click", () => {
  older.disabled = true; // one page at a time, also for the impatient
  void load(boundary).catch(tell).finally(() => { older.disabled = false; });
});
// Who scrolls to the end wants more; after some pages a click is asked for, since rows cost the browser memory.
new IntersectionObserver(([entry]) => {
  if (entry?.isIntersecting && !older.hidden && rows.size < SCROLLED) older.click();
}, { rootMargin: "300px" }).observe(older);

clear.addEventListener("click", async () => {
  clear.disabled = true;
  try {
    await api("POST", "/api/transfers/clear");
    await load();
    toast("Finished transfers are off the list. Their files stay where they are.");
  } catch (error) {
    tell(error);
  } finally {
    clear.disabled = false;
  }
});

// Up and down go from transfer to transfer, when the keyboard is in the list and not in a form.
list.addEventListener("keydown", (event) => {
  const row = event.target instanceof Element ? event.target.closest("transfer-row") : null;
  if (!row || event.target instanceof HTMLInputElement || event.altKey || event.ctrlKey || event.metaKey) return;
  /** @type {Record<string, Element | null>} */
  const targets = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling, Home: list.firstElementChild, End: list.lastElementChild };
  const target = targets[event.key];
  if (!(target instanceof TransferRow)) return;
  event.preventDefault();
  target.focusTitle();
});

setInterval(() => {
  for (const row of rows.values()) if (row.transfer.status === "willretry") row.tick(now());
}, 1_000);

void api("GET", "/api/about").then((about) => {
  find("#address", HTMLElement).replaceChildren(h("code", {}, about.pages_address));
}).catch(tell);
void stream("/api/events", hear, new AbortController().signal, { whileVisible: true }).catch(tell);
