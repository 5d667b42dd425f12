// The Sites page: what each origin was allowed, and how to take it back; and the paired browser extensions.

import { confirmed, find, h, icon } from "./dom.js";
import { showExtensions } from "./extensions.js";
import { counted, moment } from "./format.js";
import { ApiError, api, stream } from "./session.js";
import { toast } from "./shell.js";

/**
 * @typedef {{ host: string, port: number, name: string, since: number }} Host
 * @typedef {{ id: string, kind: "file" | "folder" | "save", path: string, app_id: string, since: number }} Grant
 * @typedef {{ name: string, light: string[], dark: string[] }} Branding colours like "#102030"
 * @typedef {{ origin: string, key: string, muted: boolean, branding: Branding | null, hosts: Host[], grants: Grant[] }} Site
 */

const SHOWN = 50; // entries of one list before "show all"
const KINDS = { file: "Read this file", folder: "Everything in this folder", save: "Write this file" };

const place = find("#sites", HTMLElement);
/** Origins whose long list is unfolded. @type {Set<string>} */
const unfolded = new Set();
let drawn = "";

/** @param {{ sites: Site[] }} answer */
function showSites({ sites }) {
  const key = JSON.stringify(sites) + [...unfolded].join();
  place.removeAttribute("aria-busy");
  find("#empty", HTMLElement).hidden = sites.length > 0;
  if (key === drawn) return;
  drawn = key;
  const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset["focus"] : undefined;
  place.replaceChildren(...sites.map(card));
  if (focused) restoreFocus(focused);
}

/** @param {string} name */
function restoreFocus(name) {
  const same = [...place.querySelectorAll("button")].find((button) => button.dataset["focus"] === name);
  (same ?? place.querySelector("button") ?? find("#main", HTMLElement)).focus();
}

/** @param {Site} site */
function name(site) {
  if (site.key === "link:") return "Links that carry a download";
  return site.key.startsWith("local:") ? `${site.origin.slice(6)} (a program on this computer)` : site.origin;
}

/** @param {Site} site */
function card(site) {
  const local = site.key.startsWith("local:") || site.key === "link:";
  const secure = site.key.startsWith("https:");
  const heading = h("h2", { class: "wrap" }, icon(local ? "drive" : secure ? "lock" : "globe"), name(site));
  const nothing = site.hosts.length + site.grants.length === 0;
  const revokeAll = nothing
    ? button(`all ${site.key}`, "Let it ask again", () => revoke(address(site), `${site.origin} may ask again.`))
    : button(`all ${site.key}`, "Take everything back", () => revokeSite(site));
  if (!nothing) revokeAll.classList.add("danger");
  return h("section", { class: "card site" },
    h("div", { class: "site-head" }, heading, badges(site, secure || local), revokeAll),
    site.branding ? branding(site.branding) : null,
    site.muted ? h("div", { class: "message warn" }, "You said no several times, so its questions are answered with no for an hour.") : null,
    site.hosts.length ? part("Servers it may always use", site, hostRows(site), site.hosts.length > 1
      ? button(`hosts ${site.key}`, "Ask again for all", () => revoke(`${address(site)}/hosts`, "The next transfer to any server asks again.")) : null) : null,
    site.grants.length ? part(`Files and folders you chose (${counted(site.grants.length, "entry", "entries")})`, site, grantRows(site), null) : null);
}

/**
 * What the site calls itself: its own words, so they stand below its address.
 * @param {Branding} shown
 */
function branding({ name, light, dark }) {
  return h("div", { class: "branding" },
    h("span", { class: "wrap" }, "Calls itself “", h("strong", {}, name), "”"),
    h("span", { class: "swatches light", "aria-hidden": "true" }, ...light.map(swatch)),
    h("span", { class: "swatches dark", "aria-hidden": "true" }, ...dark.map(swatch)));
}

/** @param {string} colour */
function swatch(colour) {
  const spot = h("span", { class: "swatch" });
  spot.style.backgroundColor = colour;
  return spot;
}

/**
 * @param {Site} site
 * @param {boolean} secure
 */
function badges(site, secure) {
  if (site.muted) return h("span", { class: "badge warn" }, "Muted");
  return secure ? null : h("span", { class: "badge" }, "Not encrypted");
}

/**
 * @param {string} heading
 * @param {Site} site
 * @param {HTMLElement[]} rows
 * @param {HTMLElement | null} more
 */
function part(heading, site, rows, more) {
  const all = unfolded.has(site.key) || rows.length <= SHOWN;
  const list = h("ul", { class: "permissions" }, ...(all ? rows : rows.slice(0, SHOWN)));
  const unfold = all ? null : button(`more ${site.key}`, `Show all ${rows.length}`, () => { unfolded.add(site.key); void load(); });
  return h("div", { class: "site-part" }, h("div", { class: "part-head" }, h("h3", {}, heading), more), list, unfold);
}

/** @param {Site} site */
const address = (site) => `/api/sites/${encodeURIComponent(site.key)}`;

/** @param {Site} site */
function hostRows(site) {
  return site.hosts.map((host) => {
    const name = `${host.name}:${host.port}`;
    const query = new URLSearchParams({ host: host.host, port: String(host.port) });
    return row("server", name, `since ${moment(host.since)}`,
      button(`host ${site.key} ${name}`, "Ask again", () => revoke(`${address(site)}/hosts?${query}`, `The next transfer to ${name} asks again.`)));
  });
}

/** @param {Site} site */
function grantRows(site) {
  return site.grants.map((grant) => row(grant.kind === "folder" ? "folder" : "file", grant.path, `${KINDS[grant.kind]} · since ${moment(grant.since)}`,
    button(`grant ${grant.id}`, "Take back", () => revoke(`/api/grants/${encodeURIComponent(grant.id)}`, "Taken back."))));
}

/**
 * @param {string} picture
 * @param {string} name
 * @param {string} detail
 * @param {HTMLButtonElement} action
 */
function row(picture, name, detail, action) {
  action.setAttribute("aria-label", `${action.textContent}: ${name}`);
  return h("li", {}, icon(picture), h("div", { class: "words" }, h("div", { class: "wrap" }, name), h("div", { class: "muted small" }, detail)), action);
}

/**
 * @param {string} focus keeps the keyboard at its place when the list is drawn anew
 * @param {string} label
 * @param {() => void} action
 */
function button(focus, label, action) {
  return h("button", { type: "button", class: "small", "data-focus": focus, onclick: action }, label);
}

/** @param {Site} site */
async function revokeSite(site) {
  const sure = await confirmed({
    heading: "Take everything back?",
    text: `${site.origin} loses its files and folders, and is asked about every server again.`,
    accept: "Take everything back",
  });
  if (sure) await revoke(address(site), `${site.origin} may do nothing any more.`);
}

/**
 * @param {string} path
 * @param {string} done
 */
async function revoke(path, done) {
  try {
    showSites(await api("DELETE", path));
    toast(done);
  } catch (error) {
    tell(error);
    await load();
  }
}

async function load() {
  await api("GET", "/api/sites").then(showSites).catch(tell);
  await api("GET", "/api/extensions").then(showExtensions).catch(tell);
}

/** @param {unknown} error */
function tell(error) {
  if (!(error instanceof ApiError)) throw error;
  if (error.code !== "signed_out" && error.code !== "unreachable") toast(error.user_message, { bad: true });
}

void stream("/api/events", ({ type, data }) => {
  if (type === "open") void load();
  if (type === "sites") showSites(data);
  if (type === "extensions") showExtensions(data);
}, new AbortController().signal, { whileVisible: true }).catch(tell);
