// Long requests take turns. A browser opens six connections to the helper for all pages of an extension together:
// six dialogs that are left open would keep every page from hearing of its transfers. No origin takes all turns, and
// those that wait are served in rotation: what one page leaves open does not hold up another.

const AT_ONCE = 4;
const OF_ONE_ORIGIN = 2;

/** Turns taken, by origin. @type {Map<string, number>} */
const taken = new Map();
/** Who waits, by origin; the origin served last stands last. @type {Map<string, (() => void)[]>} */
const waiting = new Map();
let free = AT_ONCE;

/**
 * @param {string} origin of the page
 * @returns {Promise<() => void>} when it is one's turn; call what it resolves to when done
 */
export async function takeTurn(origin) {
  if (mayTake(origin)) take(origin);
  else await /** @type {Promise<void>} */ (new Promise((resolve) => wait(origin, resolve)));
  return () => giveBack(origin);
}

/** @param {string} origin */
function mayTake(origin) {
  return free > 0 && (taken.get(origin) ?? 0) < OF_ONE_ORIGIN;
}

/** @param {string} origin */
function take(origin) {
  free -= 1;
  taken.set(origin, (taken.get(origin) ?? 0) + 1);
}

/**
 * @param {string} origin
 * @param {() => void} resolve
 */
function wait(origin, resolve) {
  const queue = waiting.get(origin);
  if (queue) queue.push(resolve);
  else waiting.set(origin, [resolve]);
}

/** @param {string} origin */
function giveBack(origin) {
  free += 1;
  const left = (taken.get(origin) ?? 0) - 1;
  if (left > 0) taken.set(origin, left);
  else taken.delete(origin);
  serveNext();
}

/** One turn became free: the first origin in rotation that may take it does. */
function serveNext() {
  for (const [origin, queue] of waiting) {
    if (!mayTake(origin)) continue;
    const next = queue.shift();
    waiting.delete(origin);
    if (queue.length) waiting.set(origin, queue);
    take(origin);
    next?.();
    return;
  }
}
