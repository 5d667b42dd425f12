// What the pages know about one transfer, and the words for it.

import { bytes, counted, duration, fraction, moment, percent, rate } from "./format.js";

/**
 * @typedef {{
 *   id: string, title: string, direction: "send" | "receive", host: string, port: number, user: string,
 *   origin: string, status: string, group: "running" | "finished" | "failed", token: number,
 *   bytes_written: number, bytes_expected: number, rate_kbps: number, rates: number[],
 *   remaining_s: number, elapsed_s: number, added_at: number, started_at: number, ended_at: number,
 *   retry_at: number, attempts: number, current_file: string, place: string, transport: string, encrypted: boolean,
 *   counts: { attempted: number, completed: number, failed: number, skipped: number },
 *   note: string, error: { code: string, number: number, message: string, advice: string } | null,
 *   can: string[],
 * }} TransferView
 */

/** @type {Record<string, [string, string]>} status -> words and class of its badge */
const STATES = {
  queued: ["Waiting", ""],
  initiating: ["Connecting", "live"],
  running: ["Running", "live"],
  willretry: ["Trying again", "warn"],
  completed: ["Completed", "good"],
  cancelled: ["Stopped", ""],
  failed: ["Failed", "bad"],
};

/**
 * @param {TransferView} transfer
 * @returns {[string, string]} words and class of the badge
 */
export function stateWords(transfer) {
  return STATES[transfer.status] ?? [transfer.status, ""];
}

/** @param {TransferView} transfer */
export function share(transfer) {
  return transfer.status === "completed" ? 1 : fraction(transfer.bytes_written, transfer.bytes_expected);
}

/** @param {TransferView} transfer */
export function peerWords(transfer) {
  const server = transfer.port === 22 ? transfer.host : `${transfer.host}:${transfer.port}`;
  return `${transfer.direction === "send" ? "Upload to" : "Download from"} ${server}`;
}

/**
 * How the bytes go.
 * @param {TransferView} transfer
 */
export function transportWords(transfer) {
  if (transfer.transport !== "http") return "SSH";
  return transfer.encrypted ? "HTTPS" : "HTTP, not encrypted";
}

/**
 * One line of figures.
 * @param {TransferView} transfer
 * @param {number} now seconds since the epoch
 */
export function figures(transfer, now) {
  if (transfer.status === "queued") return "Waits for a free place in the queue";
  if (transfer.status === "willretry") return retryWords(transfer, now);
  if (transfer.status === "initiating") return "Connecting to the server";
  const parts = [];
  if (transfer.group === "running") {
    parts.push(`${bytes(transfer.bytes_written)} of ${bytes(transfer.bytes_expected)}`, percent(share(transfer)));
    parts.push(transfer.rate_kbps >= 1 ? rate(transfer.rate_kbps) : "no data at the moment");
    if (transfer.remaining_s >= 1) parts.push(`${duration(transfer.remaining_s)} left`);
  } else if (transfer.status === "completed") {
    parts.push(bytes(transfer.bytes_expected), ...fileWords(transfer), ...averageWords(transfer));
    if (transfer.ended_at) parts.push(moment(transfer.ended_at));
  } else {
    const total = transfer.bytes_expected ? `${bytes(transfer.bytes_written)} of ${bytes(transfer.bytes_expected)}` : "";
    if (total) parts.push(total, percent(share(transfer)));
    if (transfer.ended_at) parts.push(moment(transfer.ended_at));
  }
  return parts.join(" · ");
}

/**
 * @param {TransferView} transfer
 * @param {number} now
 */
function retryWords(transfer, now) {
  const wait = Math.ceil(transfer.retry_at - now);
  const when = wait > 0 ? `in ${duration(wait)}` : "now";
  return `Tries again ${when}${transfer.attempts > 1 ? `, try ${transfer.attempts + 1}` : ""}`;
}

/** @param {TransferView} transfer */
function fileWords({ counts }) {
  const words = [];
  if (counts.attempted > 1) words.push(counted(counts.attempted, "file"));
  if (counts.skipped) words.push(`${counted(counts.skipped, "file")} skipped`);
  return words;
}

/** @param {TransferView} transfer */
function averageWords(transfer) {
  const seconds = transfer.elapsed_s;
  if (seconds < 1 || !transfer.bytes_expected) return [];
  return [`${duration(seconds)} at ${rate((transfer.bytes_expected * 8) / 1_000 / seconds)}`];
}
