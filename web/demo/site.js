/** The site's own server: what it holds, and the transfer specs it writes. */

/**
 * @typedef {object} Entry
 * @property {string} name
 * @property {string} path
 * @property {"file" | "folder"} kind
 * @property {number} size bytes
 * @property {number} changed milliseconds since 1970
 */

/** @returns {Promise<{ host: string, port: number, user: string, helper_port: number }>} */
export const server = () => ask("/api/server");

/** @param {string} folder @returns {Promise<Entry[]>} */
export async function list(folder) {
  return (await ask(`/api/files?folder=${encodeURIComponent(folder)}`)).entries;
}

/** @param {string} folder @param {number | null} rate kbit/s @returns {Promise<AW4.TransferSpec>} */
export async function uploadSpec(folder, rate) {
  return (await ask("/api/upload-spec", { folder, target_rate_kbps: rate })).transfer_spec;
}

/** @param {string[]} paths @param {number | null} rate kbit/s @returns {Promise<AW4.TransferSpec>} */
export async function downloadSpec(paths, rate) {
  return (await ask("/api/download-spec", { paths, target_rate_kbps: rate })).transfer_spec;
}

/** @param {string} path @param {object} [body] @returns {Promise<any>} */
async function ask(path, body) {
  let answer;
  try {
    answer = await fetch(path, body && { method: "POST", body: JSON.stringify(body) });
  } catch {
    throw new Error("This site's server does not answer. Is the demo still running?");
  }
  if (!answer.ok) throw new Error((await answer.text()) || `This site's server answered ${answer.status}.`);
  return answer.json();
}
