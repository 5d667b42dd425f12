// The key of this extension: made here, kept here. The helper knows its hash only.

const KEY = "key";
const encoder = new TextEncoder();
const LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"; // 32 that are not taken for one another

/** @returns {Promise<string | null>} the key that a helper was paired with */
export async function storedKey() {
  const stored = await chrome.storage.local.get(KEY);
  return typeof stored[KEY] === "string" ? stored[KEY] : null;
}

/** @param {string} key */
export async function keepKey(key) {
  await chrome.storage.local.set({ [KEY]: key });
}

/** Keep the key from scripts that run in pages, where the browser can. */
export async function guardKey() {
  await chrome.storage.local.setAccessLevel?.({ accessLevel: "TRUSTED_CONTEXTS" });
}

/** @param {() => void} listener called when another key is kept */
export function onNewKey(listener) {
  chrome.storage.local.onChanged.addListener((changes) => { if (KEY in changes) listener(); });
}

/** @returns {string} 32 random bytes in base64url */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** @returns {string} 32 random bytes in hex */
export function newNonce() {
  return hex(crypto.getRandomValues(new Uint8Array(32)));
}

/**
 * @param {string} key
 * @returns {Promise<string>} SHA-256 in hex
 */
export async function hashOf(key) {
  return hex(await sha256(key));
}

/**
 * What the user compares with the helper's question: "4F7K-92QM".
 * @param {string} keyHash
 * @param {number} port the one the helper answers on
 */
export async function pairingCode(keyHash, port) {
  const digest = await sha256(`connect-helper pairing\n${keyHash}\n${location.origin}\n${port}`);
  const letters = [...digest.slice(0, 8)].map((byte) => LETTERS[byte % LETTERS.length]).join("");
  return `${letters.slice(0, 4)}-${letters.slice(4)}`;
}

/**
 * What only the paired helper can answer to this nonce, on this port.
 * @param {string} keyHash
 * @param {string} nonce
 * @param {number} port
 */
export async function helperProof(keyHash, nonce, port) {
  const raw = Uint8Array.from(keyHash.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const secret = await crypto.subtle.importKey("raw", raw, algorithm, false, ["sign"]);
  return hex(new Uint8Array(await crypto.subtle.sign("HMAC", secret, encoder.encode(`connect-helper proof\n${nonce}\n${port}`))));
}

/** @param {string} text */
async function sha256(text) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", encoder.encode(text)));
}

/** @param {Uint8Array} bytes */
function hex(bytes) {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
