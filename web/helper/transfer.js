// The page of one transfer: its figures, its rate, its files, and what went wrong.

import { find, h, icon, setText } from "./dom.js";
import { caller, duration, moment, percent, rate } from "./format.js";
import { RateGraph } from "./rate-graph.js";
import { ApiError, api, stream } from "./session.js";
import { toast } from "./shell.js";
import { ActionBar, ErrorBox } from "./transfer-actions.js";
import { FileList } from "./transfer-files.js";
import { figures, peerWords, share, stateWords, transportWords } from "./transfer-model.js";

/**
 * @typedef {import("./transfer-model.js").TransferView & { app_id: string, rate_limit_kbps: number | null, rate_choice: RateChoice, facts: [string, string][] }} Details
 * @typedef {{ locked: boolean, cap_kbps: number | null, policy: string, policies: string[] }} RateChoice
 */

const POLICIES = { low: "low: what others leave", fair: "fair: an equal part", high: "high: two parts", fixed: "fixed: its limit first" };

const id = decodeURIComponent(location.pathname.split("/")[2] ?? "");
const path = `/api/transfers/${encodeURIComponent(id)}`;
const monitor = find("#monitor", HTMLElement);
const MIN_GAP_MS = 700; // between two fetches of the details

/** @type {Details | undefined} */
let details;
const current = () => {
  if (!details) throw new Error("Nothing is loaded yet.");
  return details;
};

const title = h("h1");
const badge = h("span", { class: "badge" });
const readable = h("span", { class: "badge warn", hidden: true }, "Not encrypted");
const peer = h("p", { class: "muted" });
const direction = h("div", { class: "transfer-direction" });
const actions = new ActionBar(current, { removed: () => location.assign("/") });
const fill = h("div", { class: "bar-fill" });
const bar = h("div", { class: "bar", role: "progressbar", "aria-label": "Progress", "aria-valuemin": 0, "aria-valuemax": 100 }, fill);
const line = h("p", { class: "number" });
const error = new ErrorBox(current);
const note = h("div", { class: "message", hidden: true });
const graph = new RateGraph();
const graphTop = h("span", { class: "graph-top muted small number" });
const graphCard = h("section", { class: "card", "aria-label": "Rate of the last minute" },
  h("div", { class: "card-body" }, h("h2", {}, "Rate"),
    h("div", { class: "graph-box" }, graphTop, graph, h("div", { class: "graph-ends muted small" }, h("span", {}, "a minute ago"), h("span", {}, "now")))));
const limit = h("input", { type: "number", min: "0.008", max: "100000", step: "any", inputmode: "decimal", placeholder: "none", "aria-label": "Limit of this transfer in Mbit/s" });
const setLimit = h("button", { type: "submit", class: "small" }, "Set");
const policy = h("select", { "aria-label": "Part of the limit of all transfers" }, ...Object.entries(POLICIES).map(([value, words]) => h("option", { value }, words)));
const rateReason = h("p", { class: "muted small rate-reason", id: "rate-reason", hidden: true });
const limitForm = h("form", { class: "rate-form" },
  h("div", {}, h("span", {}, "Limit"), limit, h("span", { class: "muted" }, "Mbit/s"), setLimit),
  h("div", {}, h("span", {}, "Policy"), policy), rateReason);
const stats = h("dl", { class: "stats" });
const files = new FileList(path, tell);
const factsList = h("dl", { class: "facts" });
const factsCard = h("section", { class: "card" }, h("div", { class: "card-body" }, h("h2", {}, "What the page asked for"), factsList));

const figuresCard = h("section", { class: "card" }, h("div", { class: "card-body figures" }, bar, line, error.element, note, stats));
monitor.append(
  h("div", { class: "monitor-head" }, direction, h("div", { class: "words" }, title, peer), readable, badge, actions.element),
  figuresCard,
  graphCard, files.element, factsCard,
);
graphCard.querySelector(".card-body")?.append(limitForm);
monitor.hidden = true;

/** @param {Details} next */
function showDetails(next) {
  const first = !details;
  details = next;
  if (first) showFixed(next);
  monitor.dataset["status"] = next.status;
  const [words, tone] = stateWords(next);
  readable.hidden = next.encrypted;
  setText(badge, words);
  badge.className = `badge ${tone}`;
  actions.show(next);
  fill.style.transform = `scaleX(${share(next).toFixed(4)})`;
  bar.setAttribute("aria-valuenow", percent(share(next)).slice(0, -1));
  setText(line, figures(next, Date.now() / 1_000));
  error.show(next);
  setText(note, next.note);
  note.hidden = !next.note;
  showRate(next);
  showPairs(stats, statsOf(next));
  void files.refresh(next);
}

/** @param {Details} one */
function showFixed(one) {
  setText(title, one.title);
  document.title = `${one.title} · connect-helper`;
  monitor.dataset["direction"] = one.direction;
  direction.append(icon(one.direction === "send" ? "up" : "down"));
  setText(peer, `${peerWords(one)} as ${one.user || "?"} · asked by ${caller(one.origin)}`);
  limit.value = one.rate_limit_kbps ? String(one.rate_limit_kbps / 1_000) : "";
  showPairs(factsList, one.facts);
  factsCard.hidden = one.facts.length === 0;
  monitor.hidden = false;
  monitor.removeAttribute("aria-busy");
}

/** @param {Details} one */
function showRate(one) {
  graphCard.hidden = one.group !== "running";
  graph.show(one.rates);
  const top = Math.max(0, ...one.rates);
  setText(graphTop, top >= 1 ? `highest ${rate(top)}` : "");
  limitForm.hidden = one.group !== "running";
  showChoice(one.rate_choice);
}

/**
 * What the page fixed stays to be seen, with the reason.
 * @param {RateChoice} choice
 */
function showChoice(choice) {
  limit.disabled = setLimit.disabled = choice.locked;
  limit.max = String(choice.cap_kbps ? choice.cap_kbps / 1_000 : 100_000);
  policy.disabled = choice.policies.length === 0;
  if (document.activeElement !== policy) policy.value = choice.policy;
  for (const option of policy.options) option.disabled = !choice.policies.includes(option.value);
  const reasons = [
    choice.locked ? "The site that started this transfer has fixed its rate." : choice.cap_kbps ? `The site allows at most ${rate(choice.cap_kbps)}.` : "",
    choice.policies.length === 0 ? "The site has fixed the policy." : choice.policies.length < 4 ? `The site allows no policy above ${choice.policies.at(-1)}.` : "",
  ];
  setText(rateReason, reasons.filter(Boolean).join(" "));
  rateReason.hidden = !rateReason.textContent;
  for (const control of [limit, policy]) control.setAttribute("aria-describedby", rateReason.id);
}

/**
 * @param {Details} one
 * @returns {[string, string][]}
 */
function statsOf(one) {
  const { counts } = one;
  const files = [counts.completed ? `${counts.completed} done` : "", counts.skipped ? `${counts.skipped} of them skipped` : "", counts.failed ? `${counts.failed} failed` : ""];
  /** @type {[string, string][]} */
  const pairs = [
    ["Added", moment(one.added_at)],
    ["Started", one.started_at ? moment(one.started_at) : "not yet"],
    ["Ended", one.ended_at ? moment(one.ended_at) : ""],
    ["Data flowed for", one.elapsed_s ? duration(one.elapsed_s) : ""],
    ["Files", files.filter(Boolean).join(", ")],
    ["Transport", one.started_at ? transportWords(one) : ""],
    ["Error number", one.error?.number ? `${one.error.number} (${one.error.code})` : ""],
    ["In progress", one.group === "running" ? one.current_file : ""],
    ["On this computer", one.place],
  ];
  return pairs.filter(([, value]) => value);
}

/**
 * @param {HTMLElement} parent
 * @param {[string, string][]} pairs
 */
function showPairs(parent, pairs) {
  const key = JSON.stringify(pairs);
  if (parent.dataset["key"] === key) return;
  parent.dataset["key"] = key;
  parent.replaceChildren(...pairs.map(([label, value]) =>
    h("div", { class: value.length > 36 ? "wide" : "" }, h("dt", {}, label), h("dd", {}, value))));
}

limitForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  const kbps = limit.value === "" ? null : Math.round(Number(limit.value) * 1_000);
  try {
    showDetails(await api("POST", `${path}/rate`, { rate_kbps: kbps }));
    toast(kbps ? `Limited to ${rate(kbps)}.` : "No limit of its own any more.");
  } catch (problem) {
    tell(problem);
  }
});

policy.addEventListener("change", async () => {
  try {
    showDetails(await api("POST", `${path}/rate`, { rate_policy: policy.value }));
    toast(`The policy is ${policy.value} now.`);
  } catch (problem) {
    tell(problem);
    if (details) showChoice(details.rate_choice);
  }
});

/** @param {unknown} problem */
function tell(problem) {
  if (!(problem instanceof ApiError)) throw problem;
  if (problem.status === 404) {
    monitor.hidden = true;
    find("#gone", HTMLElement).hidden = false;
  } else if (problem.code !== "signed_out" && problem.code !== "unreachable") {
    toast(problem.user_message, { bad: true });
  }
}

let fetching = false;
let again = false;

/** Fetch the details; calls that come meanwhile melt into one more. */
async function refresh() {
  again = true;
  if (fetching) return;
  fetching = true;
  while (again) {
    again = false;
    await api("GET", path).then(showDetails).catch(tell);
    await new Promise((resolve) => setTimeout(resolve, MIN_GAP_MS));
  }
  fetching = false;
}

setInterval(() => {
  if (details?.status === "willretry") setText(line, figures(details, Date.now() / 1_000));
}, 1_000);

void stream("/api/events", ({ type, data }) => {
  const concerns = type === "open"
    || (type === "transfer" && data.transfers.some((/** @type {Details} */ one) => one.id === details?.id || one.id === id))
    || (type === "removed" && data.ids.includes(details?.id ?? id));
  if (concerns) void refresh();
}, new AbortController().signal, { whileVisible: true }).catch(tell);
