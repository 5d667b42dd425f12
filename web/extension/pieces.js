// Cutting long answers: a message between parts of a browser may not be of any size.

const PIECE = 3 * 128 * 1024; // bytes; three make four letters of base64, so that pieces can be put in a row

/**
 * @typedef {{ body: string } | { body64: string, complete: boolean }} Piece
 */

/**
 * The whole answer as text when it is short, else in pieces, the last of which is marked.
 * @param {ReadableStream<Uint8Array> | null} stream
 * @returns {AsyncGenerator<Piece>}
 */
export async function* pieces(stream) {
  let held = new Uint8Array(0);
  let cut = false;
  for await (const bytes of read(stream)) {
    held = joined(held, bytes);
    for (; held.length > PIECE; held = held.slice(PIECE)) {
      yield { body64: base64(held.subarray(0, PIECE)), complete: false };
      cut = true;
    }
  }
  yield cut ? { body64: base64(held), complete: true } : { body: new TextDecoder().decode(held) };
}

/** @param {ReadableStream<Uint8Array> | null} stream */
async function* read(stream) {
  if (!stream) return;
  const reader = stream.getReader();
  for (let step = await reader.read(); !step.done; step = await reader.read()) yield step.value;
}

/**
 * @param {Uint8Array} first
 * @param {Uint8Array} second
 */
function joined(first, second) {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

/** @param {Uint8Array} bytes */
function base64(bytes) {
  let letters = "";
  for (let at = 0; at < bytes.length; at += 0x8000) letters += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(letters);
}
