// Bytes, hex and the browser's own cryptography.

const encoder = new TextEncoder();

/** @param {Uint8Array} bytes */
export function hex(bytes) {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {string} text in hex */
export function unhex(text) {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** @param {number} length in bytes */
export function randomHex(length) {
  return hex(crypto.getRandomValues(new Uint8Array(length)));
}

/** @param {string} text */
export async function sha256(text) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", encoder.encode(text)));
}

/**
 * @param {string} secret in hex
 * @param {string} message
 * @returns {Promise<string>} HMAC-SHA256 in hex
 */
export async function hmac(secret, message) {
  const key = await crypto.subtle.importKey("raw", unhex(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return hex(new Uint8Array(await crypto.subtle.sign("HMAC", key, encoder.encode(message))));
}
