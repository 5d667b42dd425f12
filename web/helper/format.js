// Figures as people read them.

const NUMBER = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });
const WHOLE = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY_CLOCK = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

/**
 * @param {number} value
 * @param {number} step from one unit to the next
 * @param {readonly string[]} units
 */
function scaled(value, step, units) {
  let index = 0;
  let rest = value;
  while (rest >= step * 0.9995 && index < units.length - 1) {
    rest /= step;
    index += 1;
  }
  return `${rest >= 100 ? WHOLE.format(rest) : NUMBER.format(rest)} ${units[index]}`;
}

/** @param {number} count bytes; units of 1000, as disks are sold */
export function bytes(count) {
  return scaled(count, 1_000, ["bytes", "kB", "MB", "GB", "TB", "PB"]);
}

/** @param {number} kbps kbit/s of 1000 bit */
export function rate(kbps) {
  return scaled(kbps * 1_000, 1_000, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"]);
}

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 1) return "less than 1 s";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.round(hours / 24)} days`;
}

/**
 * @param {number} done
 * @param {number} total
 * @returns {number} 0 to 1, also for a total of 0
 */
export function fraction(done, total) {
  return total > 0 ? Math.min(1, Math.max(0, done / total)) : 0;
}

/** @param {number} share 0 to 1; never rounds up to a "100 %" that is not there yet */
export function percent(share) {
  return `${share >= 1 ? 100 : Math.min(99, Math.floor(share * 100))}%`;
}

/** @param {number} time seconds since the epoch */
export function moment(time) {
  const when = new Date(time * 1_000);
  return when.toDateString() === new Date().toDateString() ? CLOCK.format(when) : DAY_CLOCK.format(when);
}

/**
 * @param {number} count
 * @param {string} one "file"
 * @param {string} [many]
 */
export function counted(count, one, many = `${one}s`) {
  return `${WHOLE.format(count)} ${count === 1 ? one : many}`;
}

/** @param {string} origin "https://portal.example", "local:curl", "link:" */
export function caller(origin) {
  if (origin === "link:") return "a link";
  return origin.startsWith("local:") ? `${origin.slice(6)} on this computer` : origin.replace(/^https?:\/\//, "");
}
