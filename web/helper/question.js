// A yes-or-no question, or a login that is missing. No is the default; yes counts after a second in sight.

import "./shell.js";
import { ApiError, api, stream } from "./session.js";

const id = location.pathname.split("/").pop() ?? "";
const base = `/api/pending/${id}`;
const BEFORE_YES_MS = 1_050; // the helper itself refuses a yes within a second

/**
 * @template {HTMLElement} T
 * @param {string} name
 * @param {new () => T} kind
 * @returns {T}
 */
function part(name, kind) {
  const found = document.getElementById(name);
  if (!(found instanceof kind)) throw new TypeError(`no ${name} in the page`);
  return found;
}

const form = part("question", HTMLFormElement);
const accept = part("accept", HTMLButtonElement);
const refuse = part("refuse", HTMLButtonElement);
const remember = part("remember", HTMLInputElement);
const user = part("user", HTMLInputElement);
const secret = part("secret", HTMLInputElement);
const problem = part("problem", HTMLElement);
const ended = new AbortController();
/** @type {ReturnType<typeof setTimeout> | undefined} */
let arming;

/** @type {{ kind: "question" | "credentials", caller: string, heading: string, details: string[], accept?: string,
 *   refuse?: string, remember?: string, user?: string | null, secret_label?: string }} */
let asked;

async function begin() {
  asked = await api("GET", base);
  if (!("heading" in asked)) throw new ApiError("This address belongs to a file dialog.", { status: 404 });
  document.title = asked.heading;
  part("caller", HTMLElement).textContent = asked.caller;
  part("heading", HTMLElement).textContent = asked.heading;
  showDetails(asked.details);
  if (asked.kind === "credentials") showLogin();
  else showChoices();
  form.hidden = false;
  firstField().focus();
  await stream(`${base}/stream`, (event) => (event.type === "over" ? finish() : event.type === "open" && arm()), ended.signal);
}

/** @param {string[]} lines */
function showDetails(lines) {
  const box = part("details", HTMLElement);
  box.hidden = !lines.length;
  box.replaceChildren(...lines.map((line) => {
    const item = document.createElement("li");
    item.textContent = line;
    item.className = /SHA256:|^\//.test(line) ? "mono" : "";
    return item;
  }));
}

function showChoices() {
  accept.textContent = asked.accept ?? "Allow";
  refuse.textContent = asked.refuse ?? "Deny";
  part("always", HTMLElement).hidden = !asked.remember;
  part("remember-text", HTMLElement).textContent = asked.remember ?? "";
}

function showLogin() {
  part("login", HTMLElement).hidden = false;
  accept.textContent = "Sign in";
  refuse.textContent = "Cancel";
  part("secret-label", HTMLElement).textContent = asked.secret_label ?? "Password";
  const known = typeof asked.user === "string";
  user.readOnly = known;
  user.value = known ? (asked.user ?? "") : "";
}

/** @returns {HTMLElement} where a keystroke does no harm: no, or the first empty field */
function firstField() {
  if (asked.kind !== "credentials") return refuse;
  return user.readOnly ? secret : user;
}

/** Let yes work after a second in sight; a window brought to the front starts anew. */
function arm() {
  clearTimeout(arming);
  accept.disabled = true;
  accept.classList.remove("filling");
  void accept.offsetWidth; // so that the filling starts from empty
  accept.classList.add("filling");
  if (document.visibilityState !== "visible") return;
  arming = setTimeout(() => {
    accept.disabled = false;
    accept.classList.remove("filling");
  }, BEFORE_YES_MS);
}

/** @param {Record<string, unknown>} body */
async function answer(body) {
  problem.hidden = true;
  accept.disabled = refuse.disabled = true;
  try {
    await api("POST", `${base}/answer`, body);
    secret.value = "";
    const yes = !("cancelled" in body) && body["accepted"] !== false;
    finish(yes ? "Thank you" : "Declined", yes ? "Your answer was handed over. You can close this window." : "Nothing will be done. You can close this window.", yes);
  } catch (error) {
    accept.disabled = refuse.disabled = false;
    problem.textContent = error instanceof ApiError ? error.user_message : "Something went wrong in this window. Reload it.";
    problem.hidden = false;
    if (error instanceof ApiError && error.status === 404) finish();
    else if (error instanceof ApiError && error.field) part(error.field === "user" ? "user" : "secret", HTMLInputElement).focus();
  }
}

/**
 * @param {string} [title]
 * @param {string} [words]
 * @param {boolean} [good]
 */
function finish(title = "This is over", words = "It was answered in another window, cancelled by the page that asked, or open for too long.", good = false) {
  if (ended.signal.aborted) return;
  ended.abort();
  clearTimeout(arming);
  form.hidden = true;
  const over = part("over", HTMLElement);
  over.hidden = false;
  over.classList.toggle("good", good);
  document.getElementById("over-icon")?.setAttribute("href", good ? "#i-check" : "#i-close");
  part("over-title", HTMLElement).textContent = title;
  part("over-text", HTMLElement).textContent = words;
  document.title = title;
  window.close(); // browsers allow it for a window that a program opened; else the words above stay
}

function decline() {
  void answer(asked.kind === "credentials" ? { cancelled: true } : { accepted: false });
}

refuse.addEventListener("click", decline);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (accept.disabled) return;
  void answer(asked.kind === "credentials" ? { user: user.value, secret: secret.value } : { accepted: true, remember: remember.checked });
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || ended.signal.aborted || form.hidden) return;
  event.preventDefault();
  decline();
});
document.addEventListener("visibilitychange", () => !form.hidden && arm());

begin().catch((error) => {
  if (error instanceof ApiError && error.status === 401) return;
  if (error instanceof ApiError && error.status !== 404) finish("This did not work", error.user_message);
  else finish();
});
