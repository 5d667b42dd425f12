/** The way to the helper over an `AW4.Connect` object: connect.js and the Connect SDK have the same one. */

/**
 * @param {any} connect
 * @returns {Omit<import("./page.js").Helper, "means">}
 */
export function overConnect(connect) {
  return {
    launch: "fasp://initialize",
    connect({ helper, transfers }) {
      connect.addEventListener("status", (/** @type {string} */ _, /** @type {string} */ status) => {
        if (status === "RUNNING" || status === "FAILED" || status === "RETRYING") helper(status === "RUNNING");
      });
      connect.addEventListener("transfer", (/** @type {string} */ _, /** @type {any} */ news) => transfers(news.transfers));
      connect.initSession();
    },
    async chooseFiles() {
      const { dataTransfer } = await told(connect.showSelectFileDialogPromise({ title: "Files to send" }));
      return dataTransfer.files.map((/** @type {{ name: string }} */ file) => file.name);
    },
    startTransfer: (spec) => told(connect.startTransferPromise(spec, {})),
  };
}

/** A failure comes as `{ error: { user_message } }`. @param {Promise<any>} answer */
async function told(answer) {
  try {
    return await answer;
  } catch (problem) {
    const { error } = /** @type {{ error?: { user_message: string } }} */ (problem);
    throw error ? new Error(error.user_message) : problem;
  }
}
