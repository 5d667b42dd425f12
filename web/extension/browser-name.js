// What the helper's question calls this browser.

/** @type {Record<string, string>} */
const SYSTEMS = { linux: "Linux", mac: "macOS", win: "Windows", cros: "ChromeOS", openbsd: "OpenBSD" };

/** @returns {Promise<string>} such as "Chromium 156 on Linux" */
export async function browserName() {
  const { os } = await chrome.runtime.getPlatformInfo();
  return `${product()} on ${SYSTEMS[os] ?? os}`;
}

/** The brand a person knows: browsers built on Chromium name it beside their own, and one that means nothing. */
function product() {
  /** @type {{ brand: string, version: string }[]} */
  const brands = /** @type {any} */ (navigator).userAgentData?.brands ?? [];
  const real = brands.filter(({ brand }) => !/^.?Not.?A.?Brand/i.test(brand));
  const chosen = real.find(({ brand }) => brand !== "Chromium") ?? real[0];
  if (chosen) return `${chosen.brand} ${chosen.version}`;
  return /Firefox\/\d+/.exec(navigator.userAgent)?.[0].replace("/", " ") ?? "an unknown browser";
}
