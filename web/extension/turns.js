// Long requests take turns. A browser opens six connections to the helper for all pages of an extension together:
// six dialogs that are left open would keep every page from hearing of its transfers.

const AT_ONCE = 4;

let taken = 0;
/** @type {(() => void)[]} */
const waiting = [];

/** @returns {Promise<() => void>} when it is one's turn; call what it resolves to when done */
export async function takeTurn() {
  if (taken >= AT_ONCE) await /** @type {Promise<void>} */ (new Promise((resolve) => waiting.push(resolve)));
  else taken += 1;
  return giveBack;
}

/** The turn goes on to the next who waits. */
function giveBack() {
  const next = waiting.shift();
  if (next) next();
  else taken -= 1;
}
