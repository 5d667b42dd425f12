/** Figures and states in words. */

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

/** @param {number} bytes */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} ${bytes === 1 ? "byte" : "bytes"}`;
  const step = Math.min(Math.floor(Math.log10(bytes) / 3), UNITS.length - 1);
  const value = bytes / 1000 ** step;
  return `${value.toFixed(value < 10 ? 1 : 0)} ${UNITS[step]}`;
}

/** @param {number} kbps kilobits a second */
export function rate(kbps) {
  return kbps >= 1000 ? `${(kbps / 1000).toFixed(kbps < 10_000 ? 1 : 0)} Mbit/s` : `${Math.round(kbps)} kbit/s`;
}

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 1) return "a moment";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** @param {number} milliseconds since 1970 */
export function moment(milliseconds) {
  const options = /** @type {const} */ ({ dateStyle: "medium", timeStyle: "short" });
  return new Date(milliseconds).toLocaleString(undefined, options);
}

/**
 * One line about a transfer.
 * @param {AW4.TransferInfo} info
 */
export function state(info) {
  const done = info.bytes_expected
    ? `${size(info.bytes_written)} of ${size(info.bytes_expected)}`
    : size(info.bytes_written);
  switch (info.status) {
    case "queued":
      return "Waits for its turn";
    case "initiating":
      return "Connecting …";
    case "running":
      return [done, rate(info.calculated_rate_kbps), left(info)].filter(Boolean).join(" · ");
    case "willretry":
      return `Connection lost; tries again soon · ${done}`;
    case "completed":
      return `Done · ${size(info.bytes_written)}${skipped(info)}`;
    case "failed":
      return info.error_desc || `Failed with code ${info.error_code}.`;
    case "cancelled":
      return `Stopped · ${done}`;
    default:
      return info.status;
  }
}

/** @param {AW4.TransferInfo} info */
function left(info) {
  return info.remaining_usec > 0 ? `${duration(info.remaining_usec / 1e6)} left` : "";
}

/** @param {AW4.TransferInfo} info */
function skipped(info) {
  const count = info.file_counts?.skipped ?? 0;
  return count ? ` · ${count} already there` : "";
}
