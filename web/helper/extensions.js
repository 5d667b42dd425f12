// The part of the Sites page that lists paired browser extensions.

import { confirmed, find, h, icon } from "./dom.js";
import { moment } from "./format.js";
import { ApiError, api } from "./session.js";
import { toast } from "./shell.js";

/** @typedef {{ id: string, origin: string, browser: string, since: number }} Extension */

const place = find("#extensions", HTMLElement);
const list = find("ul", HTMLElement, place);
let drawn = "";

/** @param {{ extensions: Extension[] }} answer as /api/extensions gives it */
export function showExtensions({ extensions }) {
  const key = JSON.stringify(extensions);
  if (key === drawn) return; // a button drawn anew loses the click that is under way
  drawn = key;
  place.hidden = extensions.length === 0;
  list.replaceChildren(...extensions.map(row));
}

/** @param {Extension} extension */
function row(extension) {
  const remove = h("button", { type: "button", class: "small danger", "aria-label": `Remove: ${extension.browser}`, onclick: () => void removeIt(extension) }, "Remove");
  return h("li", {}, icon("plug"), h("div", { class: "words" },
    h("div", { class: "wrap" }, extension.browser),
    h("div", { class: "muted small wrap" }, `${extension.origin} · since ${moment(extension.since)}`)), remove);
}

/** @param {Extension} extension */
async function removeIt(extension) {
  const sure = await confirmed({
    heading: "Remove this extension?",
    text: `Pages in ${extension.browser} no longer reach the helper through it, until you pair it again.`,
    accept: "Remove",
  });
  if (!sure) return;
  try {
    showExtensions(await api("DELETE", `/api/extensions/${encodeURIComponent(extension.id)}`));
    toast("The extension was removed.");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(error.user_message, { bad: true });
  }
}
