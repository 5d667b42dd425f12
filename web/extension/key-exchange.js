// How this extension and the helper come to share a secret. The extension commits to its key before it sees the
// helper's, so that nobody in between can choose the code; docs/browser-extension.md says why that is enough.

import { hex, sha256, unhex } from "./crypto.js";

const CURVE = { name: "ECDH", namedCurve: "P-256" };
const LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"; // 32 that are not taken for one another
const CODE_LENGTH = 6; // 30 bits

export class KeyExchange {
  #keys;

  /**
   * @param {CryptoKeyPair} keys
   * @param {string} publicKey a point, not compressed, in hex
   * @param {number} port the one of the helper
   */
  constructor(keys, publicKey, port) {
    this.#keys = keys;
    this.publicKey = publicKey;
    this.port = port;
  }

  /** Make a key for one pairing. @param {number} port */
  static async begin(port) {
    const keys = await crypto.subtle.generateKey(CURVE, false, ["deriveBits"]);
    return new KeyExchange(keys, hex(new Uint8Array(await crypto.subtle.exportKey("raw", keys.publicKey))), port);
  }

  /** Sent before the key itself. */
  async commitment() {
    return hex(await sha256(`connect-helper commitment\n${this.publicKey}`));
  }

  /**
   * @param {string} helperKey what the other side gave for its public key
   * @returns {Promise<{ code: string, secret: string }>} `code` is what the helper shows, and is not to be shown here
   * @throws {DOMException} for what is no point of the curve
   */
  async finish(helperKey) {
    const theirs = await crypto.subtle.importKey("raw", unhex(helperKey), CURVE, false, []);
    const shared = await crypto.subtle.deriveBits({ name: "ECDH", public: theirs }, this.#keys.privateKey, 256);
    const ikm = await crypto.subtle.importKey("raw", shared, "HKDF", false, ["deriveBits"]);
    const salt = await this.#digest("secret", helperKey);
    const info = new TextEncoder().encode("connect-helper secret");
    const secret = await crypto.subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt, info }, ikm, 256);
    const letters = [...(await this.#digest("code", helperKey)).slice(0, CODE_LENGTH)].map((byte) => LETTERS[byte % LETTERS.length]).join("");
    return { code: letters, secret: hex(new Uint8Array(secret)) };
  }

  /**
   * @param {string} purpose
   * @param {string} helperKey
   */
  #digest(purpose, helperKey) {
    return sha256(`connect-helper ${purpose}\n${this.publicKey}\n${helperKey}\n${location.origin}\n${this.port}`);
  }
}

/**
 * What the user typed, as the letters that are in codes.
 * @param {string} typed "4f7-k92", or with blanks
 */
export function lettersOf(typed) {
  return [...typed.toUpperCase()].filter((letter) => LETTERS.includes(letter)).join("");
}
