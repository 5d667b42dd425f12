// Which entries of a folder are shown, and in what order. No page here, only arrays.

export const HIDDEN = 1;
export const LINK = 2;
export const UNREADABLE = 4;

/**
 * @typedef {object} Listing one folder as the helper lists it; the arrays run side by side
 * @property {string} path
 * @property {string} shown_path
 * @property {string | null} parent
 * @property {[string, string][]} crumbs
 * @property {string[]} names
 * @property {string} kinds a letter each: "d", "f", "o"
 * @property {number[]} sizes bytes
 * @property {number[]} times seconds since the epoch
 * @property {number[]} flags
 * @property {Record<string, string>} shown names that are not shown as they are, by index
 * @property {boolean} writable
 * @property {boolean} cut
 */

/**
 * @typedef {object} Wish what to show
 * @property {"name" | "size" | "time"} sort
 * @property {boolean} descending
 * @property {boolean} hidden show hidden files too
 * @property {string} find part of a name, "" for all
 * @property {string[]} extensions without dot; [] or one "*" for all
 * @property {boolean} foldersOnly
 */

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

/** @type {WeakMap<Listing, Uint32Array>} each listing's order by name, found once: comparing names is the slow part */
const ranks = new WeakMap();

/**
 * @param {Listing} listing
 * @returns {Uint32Array} the rank by name of each entry
 */
function rankByName(listing) {
  let rank = ranks.get(listing);
  if (!rank) {
    const order = Array.from(listing.names.keys());
    const names = listing.names;
    order.sort((a, b) => collator.compare(/** @type {string} */ (names[a]), /** @type {string} */ (names[b])));
    rank = new Uint32Array(order.length);
    for (let place = 0; place < order.length; place += 1) rank[/** @type {number} */ (order[place])] = place;
    ranks.set(listing, rank);
  }
  return rank;
}

/**
 * @param {Listing} listing
 * @param {number} index
 * @returns {string} the name as it may be shown
 */
export function shownName(listing, index) {
  return listing.shown[index] ?? listing.names[index] ?? "";
}

/**
 * @param {Listing} listing
 * @param {Wish} wish
 * @returns {number[]} indexes into the listing, folders first
 */
export function arrange(listing, wish) {
  const view = visible(listing, wish);
  const rank = rankByName(listing);
  const sign = wish.descending ? -1 : 1;
  const values = wish.sort === "size" ? listing.sizes : wish.sort === "time" ? listing.times : null;
  return view.sort((a, b) => {
    const folders = Number(listing.kinds[b] === "d") - Number(listing.kinds[a] === "d");
    if (folders) return folders;
    const byValue = values ? (values[a] ?? 0) - (values[b] ?? 0) : 0;
    return sign * (byValue || (rank[a] ?? 0) - (rank[b] ?? 0));
  });
}

/**
 * @param {Listing} listing
 * @param {Wish} wish
 * @returns {number[]}
 */
function visible(listing, wish) {
  const wanted = wish.find.toLocaleLowerCase();
  const endings = wish.extensions.includes("*") ? [] : wish.extensions.map((extension) => `.${extension.toLowerCase()}`);
  const found = [];
  for (let index = 0; index < listing.names.length; index += 1) {
    if (!wish.hidden && ((listing.flags[index] ?? 0) & HIDDEN)) continue;
    const folder = listing.kinds[index] === "d";
    if (wish.foldersOnly && !folder) continue;
    if (!folder && endings.length) {
      const name = (listing.names[index] ?? "").toLowerCase();
      if (!endings.some((ending) => name.endsWith(ending))) continue;
    }
    if (wanted && !shownName(listing, index).toLocaleLowerCase().includes(wanted)) continue;
    found.push(index);
  }
  return found;
}

const sameYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const otherYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });

/**
 * @param {number} seconds since the epoch; 0 is unknown
 * @returns {string} "4 Mar, 09:10", with the year instead of the time when it was another year
 */
export function timeText(seconds) {
  if (!seconds) return "";
  const date = new Date(seconds * 1000);
  return (date.getFullYear() === new Date().getFullYear() ? sameYear : otherYear).format(date);
}
