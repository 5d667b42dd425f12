// The About page: version, addresses and folders.

import { find, h } from "./dom.js";
import { ApiError, api } from "./session.js";
import { toast } from "./shell.js";

/** @typedef {{ version: string, pages_address: string, desktop_address: string, window_address: string, python: string, system: string, program: string, folders: Record<string, string> }} About */

const FOLDERS = { downloads: "Downloads go to", preferences: "Preferences", state: "State", log: "Log" };

/** @param {About} about */
function show(about) {
  /** @type {[string, string][]} */
  const pairs = [
    ["Version", about.version],
    ["Address for web pages", about.pages_address],
    ["Address for pages of the Aspera SDK", about.desktop_address || "Not served: another program has the port"],
    ["Address of this window", about.window_address],
    ...Object.entries(FOLDERS).map(([key, label]) => /** @type {[string, string]} */ ([label, about.folders[key] ?? ""])),
    ["System", about.system],
    ["Python", `${about.python} (${about.program})`],
  ];
  const list = find("#facts", HTMLElement);
  list.replaceChildren(...pairs.map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", { class: "wrap" }, value))));
  list.removeAttribute("aria-busy");
}

api("GET", "/api/about").then(show).catch((error) => {
  if (!(error instanceof ApiError)) throw error;
  if (error.code !== "signed_out") toast(error.user_message, { bad: true });
});
