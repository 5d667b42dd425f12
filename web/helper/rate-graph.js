// <rate-graph>: the rate of the last minute as a small area chart.

import { svg } from "./dom.js";

const SAMPLES = 60;
const HEIGHT = 100; // of the drawing; the style sheet stretches it

export class RateGraph extends HTMLElement {
  #line = svg("path", { class: "line" });
  #area = svg("path", { class: "area" });
  #drawn = "";

  connectedCallback() {
    if (this.firstChild) return;
    const picture = svg("svg", { viewBox: `0 0 ${SAMPLES - 1} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    picture.append(this.#area, this.#line);
    this.append(picture);
  }

  /**
   * @param {readonly number[]} rates kbit/s, one a second, the newest last
   */
  show(rates) {
    const shown = rates.slice(-SAMPLES);
    const key = shown.join();
    if (key === this.#drawn) return;
    this.#drawn = key;
    const top = Math.max(...shown, 1) * 1.1;
    const first = SAMPLES - shown.length;
    const points = shown.map((kbps, index) => `${first + index} ${(HEIGHT - (kbps / top) * HEIGHT).toFixed(1)}`);
    this.#line.setAttribute("d", points.length > 1 ? `M${points.join("L")}` : "");
    this.#area.setAttribute("d", points.length > 1 ? `M${first} ${HEIGHT}L${points.join("L")}L${SAMPLES - 1} ${HEIGHT}Z` : "");
  }
}

customElements.define("rate-graph", RateGraph);
