/**
 * connect-helper's script for web pages: defines the global `AW4`.
 *
 *     <script src="connect.js"></script>
 *     const connect = new AW4.Connect({ minVersion: "4.0.0" });
 *     connect.initSession();
 *
 * It talks to the helper on this computer (127.0.0.1) by HTTP, finds it, waits for it and finds it again.
 * Names, callbacks and values are those that pages written for IBM Aspera Connect use; the types stand in
 * connect.d.ts. Requests carry text/plain and no header of our own, so that browsers send them without
 * asking first (Fetch standard: "CORS-safelisted").
 *
 * License: Apache-2.0
 */
(() => {
  "use strict";

  const STATUS = Object.freeze(
    /** @type {const} */ ({
      INITIALIZING: "INITIALIZING",
      RETRYING: "RETRYING",
      RUNNING: "RUNNING",
      OUTDATED: "OUTDATED",
      FAILED: "FAILED",
      EXTENSION_INSTALL: "EXTENSION_INSTALL", // pages compare with it; there is no extension to wait for
    }),
  );
  const EVENT = Object.freeze(/** @type {const} */ ({ ALL: "all", TRANSFER: "transfer", STATUS: "status" }));
  const HTTP_METHOD = Object.freeze(
    /** @type {const} */ ({ GET: "GET", POST: "POST", DELETE: "DELETE", REVERT: "REVERT" }),
  );
  const TRANSFER_STATUS = Object.freeze(
    /** @type {const} */ ({
      QUEUED: "queued",
      INITIATING: "initiating",
      RUNNING: "running",
      WILLRETRY: "willretry",
      COMPLETED: "completed",
      FAILED: "failed",
      CANCELLED: "cancelled",
      REMOVED: "removed",
    }),
  );
  const ACTIVE = new Set(["queued", "initiating", "running", "willretry"]);

  const PORTS = Array.from({ length: 20 }, (_, index) => 33003 + index);
  const ACTIVITY = "transfers/activity";
  const LAUNCH_LINK = "fasp://initialize";
  const OLDEST_VERSION = "3.9.0";
  // All in milliseconds.
  const LAUNCH_WAIT = 5000;
  const SEARCH_PAUSES = [1000, 1000, 2000, 3000, 5000]; // the last one repeats
  const SEARCH_LIMIT = 15000; // long enough to answer the browser's question about the local network
  const LOWER_PORT_GRACE = 300; // how long lower ports may take once a port has answered
  const VERSION_PAUSE = 1000;
  const POLL_IDLE = 2000;
  const POLL_BUSY = 500;
  const BODY_LIMIT = 1024 * 1024; // bytes; the helper takes no more in one request
  const APP_ID_KEY = "connect-app-id"; // local storage, shared with other scripts of this kind
  const MIN_VERSION_KEY = "aspera-min-version";
  const LOG_LEVEL_KEY = "aspera-log-level";

  // -- Small things ---------------------------------------------------------------------------------

  /** Local storage may be switched off; then nothing is remembered. @param {string} key */
  function remembered(key) {
    try {
      return localStorage.getItem(key) ?? "";
    } catch {
      return "";
    }
  }

  /** @param {string} key @param {string} value */
  function remember(key, value) {
    try {
      localStorage.setItem(key, value);
    } catch {
      Logger.debug("Local storage is not available; the next page will get another id.");
    }
  }

  let logLevel = Number(remembered(LOG_LEVEL_KEY)) || 0;

  const Logger = Object.freeze({
    /** @param {number} level */
    setLevel(level) {
      logLevel = level;
      remember(LOG_LEVEL_KEY, String(level));
    },
    /** @param {unknown[]} words */
    trace: (...words) => void (logLevel >= 2 && console.log(...words)),
    /** @param {unknown[]} words */
    debug: (...words) => void (logLevel >= 1 && console.log(...words)),
    /** @param {unknown[]} words */
    log: (...words) => console.log(...words),
    /** @param {unknown[]} words */
    warn: (...words) => console.warn(...words),
    /** @param {unknown[]} words */
    error: (...words) => console.error(...words),
  });

  /**
   * A failure found in the page, in the shape of those the helper answers.
   * @param {string} message
   * @returns {AW4.ConnectError}
   */
  function failure(message) {
    return { error: { code: -1, internal_message: "Invalid request", user_message: message } };
  }

  /** A random uuid; `crypto.randomUUID` is missing in http pages. */
  function generateUuid() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40; // version 4
    bytes[8] = (bytes[8] & 0x3f) | 0x80; // variant of RFC 9562
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  }

  /** @param {string} text */
  const utoa = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));
  /** @param {string} base64 */
  const atou = (base64) => new TextDecoder().decode(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)));

  /** @param {unknown} address */
  function getFullURI(address) {
    if (typeof address !== "string") return undefined;
    return new URL(address, document.baseURI).href.replace(/\/$/, "");
  }

  /** @param {string} version @param {string} other */
  function versionLessThan(version, other) {
    const [left, right] = [version, other].map((text) =>
      text
        .split(".")
        .map((part) => parseInt(part, 10))
        .filter((part) => !Number.isNaN(part)),
    );
    const shared = Math.min(left.length, right.length);
    const at = left.slice(0, shared).findIndex((part, index) => part !== right[index]);
    return at >= 0 && left[at] < right[at];
  }

  /**
   * Let the system start the helper through its link scheme. A hidden frame does nothing at all where no
   * program owns the scheme; setting the page's own address would show an error in some browsers.
   * @param {(started: boolean) => void} [callback]
   */
  function launchConnect(callback) {
    let lostFocus = false;
    const onBlur = () => (lostFocus = true);
    window.addEventListener("blur", onBlur);
    const frame = document.createElement("iframe");
    frame.hidden = true;
    frame.src = LAUNCH_LINK;
    (document.body ?? document.documentElement).append(frame);
    setTimeout(() => {
      window.removeEventListener("blur", onBlur);
      frame.remove();
      callback?.(lostFocus);
    }, 1000);
  }

  /** What the browser says it is; the plug-in browsers of old are named because pages ask for them. */
  function browserFacts() {
    const agent = navigator.userAgent;
    const has = (/** @type {RegExp} */ pattern) => pattern.test(agent);
    const edge = has(/Edg\//);
    const opera = has(/OPR\//);
    return Object.freeze({
      ANDROID: has(/Android/),
      IOS: has(/iPhone|iPad|iPod/),
      EDGE_CHROMIUM: edge,
      EDGE_WITH_EXTENSION: edge,
      OPERA: opera,
      CHROME: has(/Chrome\//) && !edge && !opera,
      FIREFOX: has(/Firefox\//),
      SAFARI: has(/Safari\//) && !has(/Chrome\/|Chromium\//),
      SAFARI_NO_NPAPI: has(/Safari\//) && !has(/Chrome\/|Chromium\//),
      IE: false,
      EDGE_LEGACY: false,
      FIREFOX_LEGACY: false,
    });
  }

  const Utils = Object.freeze({
    BROWSER: browserFacts(),
    utoa,
    atou,
    getFullURI,
    generateUuid,
    versionLessThan,
    launchConnect,
  });

  /** Wait; ends early and quietly when aborted. @param {number} ms @param {AbortSignal} signal */
  function pause(ms, signal) {
    return /** @type {Promise<void>} */ (
      new Promise((resolve) => {
        if (signal.aborted) return resolve();
        const timer = setTimeout(resolve, ms);
        signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
      })
    );
  }

  // -- Finding the helper ---------------------------------------------------------------------------

  /** @param {number} port @param {string} path */
  const addressOf = (port, path) => `http://127.0.0.1:${port}/v5/connect/${path}`;

  /** @type {RequestInit} */
  const PLAIN = { cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer", redirect: "error" };

  /** Resolves with the port if it answers like the helper. @param {number} port @param {AbortSignal} signal */
  async function ping(port, signal) {
    const answer = await fetch(addressOf(port, "info/ping"), { ...PLAIN, signal });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return port;
  }

  /**
   * The lowest port that answers, as all pages choose it, or 0. A port that takes the connection and never
   * answers must not hold up the others, so that lower ports get a moment and not forever.
   * @param {number[]} ports
   * @param {AbortSignal} signal
   */
  async function lowestAnswering(ports, signal) {
    const over = new AbortController();
    const stop = AbortSignal.any([signal, over.signal]);
    /** @type {number[]} */
    const answered = [];
    const probes = ports.map((port) => ping(port, stop).then((found) => void answered.push(found)));
    const first = Promise.any(probes).then(
      () => pause(LOWER_PORT_GRACE, stop),
      () => undefined, // nobody answered
    );
    await Promise.race([Promise.allSettled(probes), first, pause(SEARCH_LIMIT, stop)]);
    over.abort();
    return answered.length ? Math.min(...answered) : 0;
  }

  // -- Requests, and what becomes of them when the helper goes away ---------------------------------

  /**
   * @typedef {object} Waiting a request on its way
   * @property {"GET" | "POST"} method
   * @property {string} path below /v5/connect/
   * @property {string | undefined} body
   * @property {number} [lost] how often it was sent and no answer came
   * @property {(answer: any) => void} resolve
   * @property {(error: AW4.ConnectError) => void} reject
   */

  // The browser cuts requests when the page goes away; that says nothing of the helper.
  let leaving = false;
  window.addEventListener("pagehide", () => (leaving = true));
  window.addEventListener("pageshow", () => (leaving = false));
  const comesBack = () =>
    new Promise((resolve) => window.addEventListener("pageshow", resolve, { once: true }));

  const STOPPED = "The page stopped its session with the helper.";
  const LOST_ANSWERS = 5; // the same request is not what a helper that works would be lost over so often
  const LOST_TOO_OFTEN =
    "The connection to the helper was lost each time it was asked this. Try again; if it happens again, " +
    "look into the helper's log.";
  const TOO_LARGE =
    "This is more than the helper takes in one request (1 MiB, about 10,000 paths). " +
    "Choose a folder instead of the files in it, or start several transfers.";

  const NOT_JSON = "This cannot be sent: it holds itself, or a value that JSON does not have.";

  /** No character takes more than three bytes, so most texts need not be encoded. @param {string} text */
  const tooLarge = (text) =>
    text.length * 3 > BODY_LIMIT && new TextEncoder().encode(text).length > BODY_LIMIT;

  /** The line to the helper: finds it, sends requests, keeps them when the line is down. */
  class Line {
    /** @type {AW4.Status | ""} */
    #status = "";
    #port = 0;
    /** @type {Waiting[]} */
    #waiting = [];
    #life = new AbortController();
    #asked = false; // somebody wants something of the helper: reason enough to have it started
    #launched = false;
    #options;
    #onStatus;

    /**
     * @param {{ ports: number[], launchWait: number, minVersion: string, sdkLocation: string }} options
     * @param {(status: AW4.Status) => void} onStatus
     */
    constructor(options, onStatus) {
      this.#options = options;
      this.#onStatus = onStatus;
      this.#life.abort(); // closed until opened
    }

    get status() {
      return this.#status || STATUS.INITIALIZING;
    }

    open() {
      if (!this.#life.signal.aborted) return;
      this.#life = new AbortController();
      this.#asked = true;
      this.#become(STATUS.INITIALIZING);
      void this.#search();
    }

    close() {
      this.#life.abort();
      this.#status = "";
      const given = this.#waiting.splice(0);
      for (const request of given) request.reject(failure(STOPPED));
    }

    /**
     * Send now, or as soon as the helper is there. A request whose connection broke is sent again unchanged;
     * the helper knows a repeated start by its request_id.
     * @param {"GET" | "POST"} method
     * @param {string} path
     * @param {object} [body]
     * @returns {Promise<any>} the helper's answer; rejects with a ConnectError
     */
    send(method, path, body) {
      return new Promise((resolve, reject) => {
        if (this.#life.signal.aborted) {
          return reject(failure("There is no session with the helper: call initSession or start first."));
        }
        let text;
        try {
          text = JSON.stringify(body); // undefined stays that
        } catch {
          return reject(failure(NOT_JSON));
        }
        if (text !== undefined && tooLarge(text)) return reject(failure(TOO_LARGE));
        this.#deliver({ method, path, body: text, resolve, reject });
      });
    }

    /** @param {Waiting} request */
    #deliver(request) {
      if (this.#status === STATUS.RUNNING) return void this.#exchange(request);
      // A look at the transfers is no wish: a user who quit the helper would see it come back.
      this.#asked ||= request.path !== ACTIVITY;
      this.#waiting.push(request);
    }

    /** @param {Waiting} request */
    async #exchange(request) {
      const port = this.#port;
      const { signal } = this.#life; // a page that stops closes the dialogs it opened
      let status, text;
      try {
        const { method, body } = request;
        const answer = await fetch(addressOf(port, request.path), { ...PLAIN, method, body, signal });
        status = answer.status;
        text = await answer.text();
      } catch {
        if (leaving) await comesBack();
        if (signal.aborted) return request.reject(failure(STOPPED));
        Logger.debug("No answer from the helper to", request.path);
        if (this.#port === port && this.#status === STATUS.RUNNING) this.#lost();
        request.lost = (request.lost ?? 0) + 1;
        if (request.lost > LOST_ANSWERS) return request.reject(failure(LOST_TOO_OFTEN));
        return this.#deliver(request);
      }
      Logger.trace(request.path, status);
      const answer = parsed(text);
      const good = status >= 200 && status < 300 && answer?.error === undefined;
      if (good) request.resolve(answer);
      else request.reject(answer?.error ? answer : failure(`The helper answered with status ${status}.`));
    }

    #lost() {
      this.#become(STATUS.RETRYING);
      void this.#search();
    }

    /** Look until the helper is found and new enough; then send what waits. */
    async #search() {
      const { signal } = this.#life;
      const timer = setTimeout(() => {
        if (!signal.aborted && !this.#found()) this.#become(STATUS.FAILED);
      }, this.#options.launchWait);
      signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
      for (let attempt = 0; !signal.aborted; attempt++) {
        const port = await lowestAnswering(this.#options.ports, signal);
        if (port && (await this.#admit(port, signal))) break;
        if (attempt > 0 && !signal.aborted) this.#callForIt();
        await pause(SEARCH_PAUSES[Math.min(attempt, SEARCH_PAUSES.length - 1)], signal);
      }
      clearTimeout(timer);
    }

    #found() {
      return this.#status === STATUS.RUNNING || this.#status === STATUS.OUTDATED;
    }

    /** The second look found nothing either: have the helper started, once for each time it is missed. */
    #callForIt() {
      if (this.#status !== STATUS.FAILED) this.#become(STATUS.RETRYING);
      if (this.#launched || !this.#asked) return;
      this.#launched = true;
      launchConnect();
    }

    /**
     * Wait at `port` until the helper there is new enough.
     * @param {number} port
     * @param {AbortSignal} signal
     * @returns {Promise<boolean>} false when it went silent
     */
    async #admit(port, signal) {
      while (!signal.aborted) {
        const version = await versionAt(port, signal);
        if (version === undefined) return false;
        // A helper that does not tell its version counts as good.
        if (!version || !versionLessThan(version, this.#options.minVersion)) {
          if (!signal.aborted) this.#admitted(port);
          return true;
        }
        if (this.#status !== STATUS.OUTDATED) {
          this.#become(STATUS.OUTDATED);
          const { minVersion, sdkLocation } = this.#options;
          const body = JSON.stringify({ min_version: minVersion, sdk_location: sdkLocation });
          const asked = fetch(addressOf(port, "update/require"), { ...PLAIN, method: "POST", body, signal });
          asked.catch(() => Logger.debug("The helper did not take the wish for an update."));
        }
        await pause(VERSION_PAUSE, signal);
      }
      return false;
    }

    /** @param {number} port */
    #admitted(port) {
      this.#port = port;
      this.#asked = false;
      this.#launched = false;
      this.#become(STATUS.RUNNING);
      for (const request of this.#waiting.splice(0)) this.#deliver(request);
    }

    /** @param {AW4.Status} status */
    #become(status) {
      if (status === this.#status) return;
      Logger.debug("Helper:", this.#status, "->", status);
      this.#status = status;
      this.#onStatus(status);
    }
  }

  /** @param {string} text @returns {any} */
  function parsed(text) {
    try {
      return JSON.parse(text);
    } catch {
      return failure("The helper's answer is not readable.");
    }
  }

  /**
   * @param {number} port
   * @param {AbortSignal} signal
   * @returns {Promise<string | undefined>} "" when it does not tell, undefined when it does not answer
   */
  async function versionAt(port, signal) {
    try {
      const answer = await fetch(addressOf(port, "info/version"), { ...PLAIN, signal });
      const version = answer.ok ? parsed(await answer.text()).version : "";
      return typeof version === "string" ? version : "";
    } catch {
      return undefined;
    }
  }

  // -- Transfer events ------------------------------------------------------------------------------

  /** Asks for changed transfers while anybody listens; a new listener first gets all there are. */
  class Watch {
    /** @type {AW4.EventListener[]} */
    #listeners = [];
    /** @type {AW4.EventListener[]} */
    #newcomers = [];
    /** @type {number | string} */
    #token = 0;
    /** @type {Set<string>} */
    #active = new Set();
    #timer = 0;
    #asking = false;
    #ready;
    #ask;
    #pollingTime;

    /**
     * @param {() => boolean} ready whether the helper can be asked now; `soon` says when that begins
     * @param {(token: number | string) => Promise<AW4.Activity>} ask
     * @param {number | undefined} pollingTime  ms
     */
    constructor(ready, ask, pollingTime) {
      this.#ready = ready;
      this.#ask = ask;
      this.#pollingTime = pollingTime;
    }

    /** @param {AW4.EventListener} listener */
    add(listener) {
      this.#newcomers.push(listener);
      this.soon();
    }

    /** @param {AW4.EventListener} [listener] without one: all */
    remove(listener) {
      const before = this.#listeners.length + this.#newcomers.length;
      const stays = (/** @type {AW4.EventListener} */ one) => listener !== undefined && one !== listener;
      this.#listeners = this.#listeners.filter(stays);
      this.#newcomers = this.#newcomers.filter(stays);
      if (!this.#wanted()) clearTimeout(this.#timer);
      return before > this.#listeners.length + this.#newcomers.length;
    }

    /** Look now, because something was started or somebody came. */
    soon() {
      clearTimeout(this.#timer);
      if (this.#wanted() && !this.#asking) void this.#look();
    }

    #wanted() {
      return this.#listeners.length + this.#newcomers.length > 0 && this.#ready();
    }

    async #look() {
      this.#asking = true;
      let interval = this.#interval();
      try {
        const fresh = this.#newcomers.length > 0;
        const activity = await this.#ask(fresh ? 0 : this.#token);
        if (fresh) this.#welcome(activity);
        else this.#tell(activity);
        interval = this.#newcomers.length > 0 ? 0 : this.#interval(); // somebody came meanwhile
      } catch (error) {
        Logger.debug("No list of transfers this time.", error);
      } finally {
        this.#asking = false;
        clearTimeout(this.#timer);
        if (this.#wanted()) this.#timer = window.setTimeout(() => this.soon(), interval);
      }
    }

    /** The whole list is for newcomers only; the others go on from their own token, to see removals too. */
    #welcome(/** @type {AW4.Activity} */ activity) {
      const newcomers = this.#newcomers.splice(0);
      if (this.#listeners.length === 0) this.#token = activity.iteration_token;
      this.#listeners.push(...newcomers);
      this.#note(activity);
      for (const listener of newcomers) call(listener, EVENT.TRANSFER, activity);
    }

    #tell(/** @type {AW4.Activity} */ activity) {
      this.#token = activity.iteration_token;
      this.#note(activity);
      for (const listener of [...this.#listeners]) call(listener, EVENT.TRANSFER, activity);
    }

    #note(/** @type {AW4.Activity} */ activity) {
      for (const { uuid, status } of activity.transfers) {
        if (ACTIVE.has(status)) this.#active.add(uuid);
        else this.#active.delete(uuid);
      }
    }

    #interval() {
      return this.#pollingTime ?? (this.#active.size > 0 ? POLL_BUSY : POLL_IDLE);
    }
  }

  /**
   * A listener's own mistake is reported like any other of the page and does not stop the rest.
   * @param {AW4.EventListener} listener
   * @param {AW4.EventType} type
   * @param {unknown} data
   */
  function call(listener, type, data) {
    try {
      listener(type, data);
    } catch (error) {
      reportError(error);
    }
  }

  // -- What pages call: the methods of AW4.Connect ---------------------------------------------------

  /** @type {WeakMap<Element, AbortController>} */
  const dropTargets = new WeakMap();

  const PREFERENCES_PAGES = ["general", "transfers", "bandwidth", "network", "security"];
  const CHECKSUM_METHODS = ["md5", "sha1", "sha256", "sha512"];

  class Connect {
    static STATUS = STATUS;
    static EVENT = EVENT;
    static HTTP_METHOD = HTTP_METHOD;
    static TRANSFER_STATUS = TRANSFER_STATUS;

    #appId = "";
    #authorizationKey;
    #dragDropEnabled;
    #line;
    #watch;
    /** @type {AW4.EventListener[]} */
    #statusListeners = [];

    /** @param {AW4.Options} [options] */
    constructor(options) {
      const given = options ?? {};
      const wished = String(remembered(MIN_VERSION_KEY) || given.minVersion || OLDEST_VERSION); // 4.2, too
      this.#authorizationKey = given.authorizationKey || "";
      this.#dragDropEnabled = given.dragDropEnabled === true;
      this.#line = new Line(
        {
          ports: given.ports ?? PORTS,
          launchWait: given.connectLaunchWaitTimeoutMs || LAUNCH_WAIT,
          minVersion: versionLessThan(wished, OLDEST_VERSION) ? OLDEST_VERSION : wished,
          sdkLocation: getFullURI(given.sdkLocation) ?? "",
        },
        (status) => this.#statusChanged(status),
      );
      this.#watch = new Watch(
        () => this.#line.status === STATUS.RUNNING,
        (token) => this.getAllTransfers(null, token),
        given.pollingTime || undefined,
      );
      bindMethods(this);
    }

    // Session

    /** @param {string} [applicationId] */
    initSession(applicationId) {
      if (this.#appId) return failure("The session was started before.");
      const given = typeof applicationId === "object" ? "" : applicationId; // an event: onload = initSession
      this.#appId = String(given || remembered(APP_ID_KEY) || utoa(generateUuid()));
      remember(APP_ID_KEY, this.#appId);
      this.start();
      return { app_id: this.#appId };
    }

    start() {
      if (!this.#appId) return failure("Call initSession first.");
      this.#line.open();
      return undefined;
    }

    stop() {
      this.#line.close();
    }

    getStatus() {
      return this.#line.status;
    }

    /** @param {AW4.Callbacks<any>} [callbacks] @returns {any} */
    version(callbacks) {
      return this.#get("info/version", callbacks);
    }

    // Events

    /** @param {AW4.EventType} type @param {AW4.EventListener} listener */
    addEventListener(type, listener) {
      if (!Object.values(EVENT).includes(type)) return failure("The event is transfer, status or all.");
      if (typeof listener !== "function") return failure("The listener is no function.");
      if (type !== EVENT.STATUS) this.#watch.add(listener);
      if (type !== EVENT.TRANSFER) this.#statusListeners.push(listener);
      return undefined;
    }

    /**
     * @param {AW4.EventType | AW4.EventListener} [type]
     * @param {AW4.EventListener} [listener]
     * @returns {boolean}
     */
    removeEventListener(type, listener) {
      if (typeof type === "function") return this.removeEventListener(EVENT.ALL, type);
      const kind = type ?? EVENT.ALL;
      if (!Object.values(EVENT).includes(kind)) return false;
      const which = typeof listener === "function" ? listener : undefined; // without one: all
      const hadTransfer = kind !== EVENT.STATUS && this.#watch.remove(which);
      if (kind === EVENT.TRANSFER) return hadTransfer;
      const before = this.#statusListeners.length;
      this.#statusListeners = this.#statusListeners.filter((one) => which && one !== which);
      return hadTransfer || before > this.#statusListeners.length;
    }

    #statusChanged(/** @type {AW4.Status} */ status) {
      if (status === STATUS.RUNNING) {
        if (this.#dragDropEnabled) {
          const watching = this.#get("file/initialize-drag-drop");
          watching.catch(() => Logger.debug("The helper does not watch for drags."));
        }
        this.#watch.soon();
      }
      for (const listener of [...this.#statusListeners]) call(listener, EVENT.STATUS, status);
    }

    // Transfers

    /**
     * @param {AW4.TransferSpec} spec
     * @param {AW4.ConnectSpec | null} [settings]
     * @param {AW4.Callbacks<any>} [callbacks]
     */
    startTransfer(spec, settings, callbacks) {
      const requests = [{ transfer_spec: spec, aspera_connect_settings: settings ?? {} }];
      return this.startTransfers({ transfer_specs: requests }, callbacks ?? {});
    }

    /** @param {AW4.TransferSpec} spec @param {AW4.ConnectSpec | null} [settings] @returns {Promise<any>} */
    startTransferPromise(spec, settings) {
      const requests = [{ transfer_spec: spec, aspera_connect_settings: settings ?? {} }];
      return this.startTransfers({ transfer_specs: requests });
    }

    /**
     * @param {{ transfer_specs: AW4.TransferRequest[] }} request
     * @param {AW4.Callbacks<any>} [callbacks]
     * @returns {any}
     */
    startTransfers(request, callbacks) {
      const requestId = generateUuid();
      const specs = request?.transfer_specs;
      if (!Array.isArray(specs) || specs.length === 0 || specs.some((one) => !one?.transfer_spec)) {
        const refused = this.#refuse("A transfer spec is missing.", callbacks);
        return callbacks ? { request_id: requestId } : refused;
      }
      const body = { transfer_specs: specs.map((one) => this.#withSettings(one, requestId)) };
      const started = this.#line.send("POST", "transfers/start", this.#withScope(body));
      this.#lookAfter(started);
      const answer = deliver(started, callbacks);
      return callbacks ? { request_id: requestId } : answer;
    }

    #withSettings(/** @type {AW4.TransferRequest} */ request, /** @type {string} */ requestId) {
      const settings = { ...request.aspera_connect_settings, app_id: this.#appId, request_id: requestId };
      settings.back_link ||= location.href;
      const key = this.#authorizationKey ? { authorization_key: this.#authorizationKey } : {};
      return { ...request, ...key, aspera_connect_settings: settings };
    }

    /** @param {string} id @param {AW4.Callbacks<any>} [callbacks] @returns {any} */
    stopTransfer(id, callbacks) {
      return this.#change("stop", id, {}, callbacks);
    }

    /**
     * @param {string} id
     * @param {Partial<AW4.TransferSpec> | null} [changes]
     * @param {AW4.Callbacks<any>} [callbacks]
     * @returns {any}
     */
    resumeTransfer(id, changes, callbacks) {
      return this.#change("resume", id, changes ?? {}, callbacks);
    }

    /** @param {string} id @param {AW4.Callbacks<any>} [callbacks] @returns {any} */
    removeTransfer(id, callbacks) {
      return this.#change("remove", id, {}, callbacks);
    }

    /**
     * @param {string} id
     * @param {Partial<AW4.TransferSpec>} changes
     * @param {AW4.Callbacks<any>} [callbacks]
     * @returns {any}
     */
    modifyTransfer(id, changes, callbacks) {
      return this.#change("modify", id, changes ?? {}, callbacks);
    }

    /** @param {string} id @param {AW4.Callbacks<any>} [callbacks] @returns {any} */
    getTransfer(id, callbacks) {
      return this.#change("info", id, {}, callbacks);
    }

    /**
     * @param {AW4.Callbacks<AW4.Activity> | null} [callbacks]
     * @param {number | string} [iterationToken]
     * @returns {any}
     */
    getAllTransfers(callbacks, iterationToken) {
      return this.#post(ACTIVITY, { iteration_token: iterationToken ?? 0 }, callbacks);
    }

    /**
     * @param {"stop" | "resume" | "remove" | "modify" | "info"} verb
     * @param {string} id
     * @param {object} body
     * @param {AW4.Callbacks<any>} [callbacks]
     */
    #change(verb, id, body, callbacks) {
      if (!id) return this.#refuse("The id of a transfer is missing.", callbacks);
      const path = `transfers/${verb}/${encodeURIComponent(id)}`;
      const answer = this.#line.send("POST", path, this.#withScope(body));
      if (verb !== "info") this.#lookAfter(answer);
      return deliver(answer, callbacks);
    }

    /** Show at once what a request changed. @param {Promise<unknown>} answer */
    #lookAfter(answer) {
      void answer.then(
        () => this.#watch.soon(),
        () => undefined, // told to the one who asked
      );
    }

    // Dialogs

    /**
     * @param {AW4.Callbacks<AW4.Picked> | null} [callbacks]
     * @param {AW4.FileDialogOptions | null} [options]
     * @returns {any}
     */
    showSelectFileDialog(callbacks, options) {
      const body = {
        title: options?.title ?? "",
        suggestedName: options?.suggestedName ?? "",
        allowMultipleSelection: options?.allowMultipleSelection ?? true,
        allowedFileTypes: options?.allowedFileTypes ?? "",
      };
      return this.#post("windows/select-open-file-dialog/", body, callbacks);
    }

    /** @param {AW4.FileDialogOptions | null} [options] @returns {Promise<AW4.Picked>} */
    showSelectFileDialogPromise(options) {
      return this.showSelectFileDialog(null, options);
    }

    /**
     * @param {AW4.Callbacks<AW4.Picked> | null} [callbacks]
     * @param {AW4.FolderDialogOptions | null} [options]
     * @returns {any}
     */
    showSelectFolderDialog(callbacks, options) {
      const body = {
        title: options?.title ?? "",
        allowMultipleSelection: options?.allowMultipleSelection ?? true,
      };
      return this.#post("windows/select-open-folder-dialog/", body, callbacks);
    }

    /** @param {AW4.FolderDialogOptions | null} [options] @returns {Promise<AW4.Picked>} */
    showSelectFolderDialogPromise(options) {
      return this.showSelectFolderDialog(null, options);
    }

    /**
     * @param {AW4.Callbacks<AW4.Picked> | null} [callbacks]
     * @param {AW4.SaveDialogOptions | null} [options]
     * @returns {any}
     */
    showSaveFileDialog(callbacks, options) {
      const body = {
        title: options?.title ?? "",
        suggestedName: options?.suggestedName ?? "",
        allowedFileTypes: options?.allowedFileTypes ?? "",
      };
      return this.#post("windows/select-save-file-dialog/", body, callbacks);
    }

    /** @param {AW4.SaveDialogOptions | null} [options] @returns {Promise<AW4.Picked>} */
    showSaveFileDialogPromise(options) {
      return this.showSaveFileDialog(null, options);
    }

    // Drops

    /**
     * @param {string} cssSelector
     * @param {AW4.DropOptions} options
     * @param {(result: AW4.DropResult) => void} listener
     */
    setDragDropTargets(cssSelector, options, listener) {
      if (!this.#dragDropEnabled) return failure("Drops need the option dragDropEnabled: true.");
      if (typeof listener !== "function") return failure("The listener is no function.");
      if (!options) return failure("Give an object of options, {} for the usual ones.");
      const targets = document.querySelectorAll(cssSelector);
      if (targets.length === 0) return failure("No element matches the selector.");
      for (const target of targets) this.#serveDrops(target, options, listener);
      return undefined;
    }

    #serveDrops(
      /** @type {Element} */ target,
      /** @type {AW4.DropOptions} */ options,
      /** @type {(result: AW4.DropResult) => void} */ listener,
    ) {
      dropTargets.get(target)?.abort();
      const until = new AbortController();
      dropTargets.set(target, until);
      /** @param {string} type @param {(event: DragEvent) => void} act */
      const on = (type, act) => {
        const handle = (/** @type {Event} */ event) => {
          if (!options.allowPropagation) event.stopPropagation();
          if (type !== "drop" || !options.disablePreventDefault) event.preventDefault();
          act(/** @type {DragEvent} */ (event));
        };
        target.addEventListener(type, handle, { signal: until.signal });
      };
      if (options.dragEnter) on("dragenter", (event) => listener({ event }));
      if (options.dragLeave) on("dragleave", (event) => listener({ event }));
      // Without a handler that prevents the default there would be no drop at all.
      on("dragover", (event) => void (options.dragOver && listener({ event })));
      if (options.drop !== false) on("drop", (event) => this.#dropped(event, listener));
    }

    #dropped(/** @type {DragEvent} */ event, /** @type {(result: AW4.DropResult) => void} */ listener) {
      const files = Array.from(event.dataTransfer?.files ?? [], (file) => ({
        name: file.name,
        size: file.size,
        type: file.type,
        lastModifiedDate: new Date(file.lastModified).toISOString(),
      }));
      const none = { dataTransfer: { files: [] } };
      if (files.length === 0) return listener({ event, files: none }); // a piece of text, or a link
      this.getDroppedFiles(
        { dataTransfer: { files } },
        {
          success: (picked) => listener({ event, files: picked }),
          error: (error) => listener({ event, files: none, error }),
        },
      );
    }

    /** @param {AW4.DroppedFiles} data @param {AW4.Callbacks<AW4.Picked>} callbacks @returns {any} */
    getDroppedFiles(data, callbacks) {
      if (!this.#dragDropEnabled) return failure("Drops need the option dragDropEnabled: true.");
      return this.#post("file/dropped-files", data, callbacks);
    }

    // Reading files the user gave to this page

    /** @param {{ path: string }} options @param {AW4.Callbacks<any>} [callbacks] @returns {any} */
    readAsArrayBuffer(options, callbacks) {
      if (!options?.path) return this.#refuse("path is missing.", callbacks);
      return this.#post("file/read-as-array-buffer/", { path: options.path }, callbacks);
    }

    /**
     * @param {{ path: string, offset: number, chunkSize: number }} options
     * @param {AW4.Callbacks<any>} [callbacks]
     * @returns {any}
     */
    readChunkAsArrayBuffer(options, callbacks) {
      const { path, offset, chunkSize } = options ?? {};
      if (!path) return this.#refuse("path is missing.", callbacks);
      if (offset === undefined || offset === null) return this.#refuse("offset is missing.", callbacks);
      if (!chunkSize) return this.#refuse("chunkSize is missing.", callbacks);
      return this.#post("file/read-chunk-as-array-buffer/", { path, offset, chunkSize }, callbacks);
    }

    /** @param {AW4.ChecksumOptions} options @param {AW4.Callbacks<any>} [callbacks] @returns {any} */
    getChecksum(options, callbacks) {
      if (!options?.path) return this.#refuse("path is missing.", callbacks);
      const { path, offset = 0, chunkSize = 0, checksumMethod = "md5" } = options;
      if (!CHECKSUM_METHODS.includes(checksumMethod)) {
        return this.#refuse(`checksumMethod is one of ${CHECKSUM_METHODS.join(", ")}.`, callbacks);
      }
      return this.#post("file/checksum/", { path, offset, chunkSize, checksumMethod }, callbacks);
    }

    // Servers

    /** @param {AW4.PortOptions} options @param {AW4.Callbacks<any>} [callbacks] @returns {any} */
    testSshPorts(options, callbacks) {
      if (!options?.remote_host) return this.#refuse("remote_host is missing.", callbacks);
      const { remote_host, ssh_port, timeout_sec } = options;
      const body = { remote_host, ssh_port: ssh_port || 33001, timeout_sec: timeout_sec || 3 };
      return this.#post("info/ports", body, callbacks);
    }

    /** @param {Partial<AW4.TransferSpec>} spec @param {AW4.Callbacks<any>} [callbacks] @returns {any} */
    authenticate(spec, callbacks) {
      if (!spec?.remote_host) return this.#refuse("remote_host is missing.", callbacks);
      return this.#post("info/authenticate", spec, callbacks);
    }

    // The helper's windows

    /** @param {AW4.Callbacks<any>} [callbacks] @returns {any} */
    showAbout(callbacks) {
      return this.#get("windows/about", callbacks);
    }

    /** @param {AW4.Callbacks<any>} [callbacks] @returns {any} */
    showPreferences(callbacks) {
      return this.#get("windows/preferences", callbacks);
    }

    /**
     * @param {{ page: AW4.PreferencesPage }} options
     * @param {AW4.Callbacks<any>} [callbacks]
     * @returns {any}
     */
    showPreferencesPage(options, callbacks) {
      if (!PREFERENCES_PAGES.includes(options?.page)) {
        return this.#refuse(`page is one of ${PREFERENCES_PAGES.join(", ")}.`, callbacks);
      }
      return this.#get(`windows/preferences/${options.page}`, callbacks);
    }

    /** @param {AW4.Callbacks<any>} [callbacks] @returns {any} */
    showTransferManager(callbacks) {
      return this.#get("windows/transfer-manager", callbacks);
    }

    /** @param {string} id @param {AW4.Callbacks<any>} [callbacks] @returns {any} */
    showTransferMonitor(id, callbacks) {
      if (!id) return this.#refuse("The id of a transfer is missing.", callbacks);
      return this.#get(`windows/transfer-monitor/${encodeURIComponent(id)}`, callbacks);
    }

    /** @param {string} id @param {AW4.Callbacks<any>} [callbacks] @returns {any} */
    showDirectory(id, callbacks) {
      if (!id) return this.#refuse("The id of a transfer is missing.", callbacks);
      return this.#get(`windows/finder/${encodeURIComponent(id)}`, callbacks);
    }

    // Sending

    /** @param {string} path @param {AW4.Callbacks<any> | null} [callbacks] @returns {any} */
    #get(path, callbacks) {
      return deliver(this.#line.send("GET", path), callbacks);
    }

    /**
     * @param {string} path
     * @param {object} body
     * @param {AW4.Callbacks<any> | null} [callbacks]
     * @returns {any}
     */
    #post(path, body, callbacks) {
      return deliver(this.#line.send("POST", path, this.#withScope(body)), callbacks);
    }

    /** @param {string} message @param {AW4.Callbacks<any> | null} [callbacks] @returns {any} */
    #refuse(message, callbacks) {
      return deliver(Promise.reject(failure(message)), callbacks);
    }

    /** Says whose request it is. @param {object} body */
    #withScope(body) {
      const given = /** @type {{ aspera_connect_settings?: object }} */ (body).aspera_connect_settings;
      const scoped = { ...body, aspera_connect_settings: { ...given, app_id: this.#appId } };
      return this.#authorizationKey ? { ...scoped, authorization_key: this.#authorizationKey } : scoped;
    }
  }

  /**
   * Hand a promise's outcome to callbacks, or return the promise when there are none.
   * @param {Promise<any>} answer
   * @param {AW4.Callbacks<any> | null} [callbacks]
   */
  function deliver(answer, callbacks) {
    if (!callbacks) return answer;
    void answer.then(
      (value) => callbacks.success?.(value),
      (error) => callbacks.error?.(error),
    );
    return undefined;
  }

  /** Pages pass methods around (`button.onclick = connect.showAbout`). @param {object} object */
  function bindMethods(object) {
    const methods = /** @type {Record<string, unknown>} */ (Object.getPrototypeOf(object));
    for (const name of Object.getOwnPropertyNames(methods)) {
      const method = methods[name];
      if (name === "constructor" || typeof method !== "function") continue;
      Object.defineProperty(object, name, { value: method.bind(object), configurable: true, writable: true });
    }
  }

  // -- The bar that says what to do -----------------------------------------------------------------

  const BAR_STYLE = `
    :host { all: initial; position: fixed; inset: 0 0 auto 0; z-index: 2147483647; }
    div { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; padding: .75rem 1rem;
      font: 15px/1.4 system-ui, sans-serif; color: #f5f7fa; background: #1d2939; box-shadow: 0 1px 6px #0006; }
    span { flex: 1 1 16rem; }
    button { font: inherit; color: inherit; background: none; border: 1px solid #98a2b3; border-radius: 6px;
      padding: .3rem .8rem; cursor: pointer; }
    button:focus-visible { outline: 2px solid #84adff; outline-offset: 2px; }`;

  const INSTALLER_EVENT = Object.freeze({
    DOWNLOAD_CONNECT: "downloadconnect",
    REFRESH_PAGE: "refresh",
    IFRAME_REMOVED: "removeiframe",
    IFRAME_LOADED: "iframeloaded",
    TROUBLESHOOT: "troubleshoot",
    CONTINUE: "continue",
    RESIZE: "px",
    RETRY: "retry",
    EXTENSION_INSTALL: "extension_install",
    DOWNLOAD_EXTENSION: "download_extension",
  });
  const ACTIVITY_EVENT = Object.freeze({
    CONNECT_BAR_VISIBLE: "connect_bar_visible",
    CLICKED_INSTALL_EXTENSION: "clicked_install_extension",
    CLICKED_ENABLE_EXTENSION: "clicked_enable_extension",
    CLICKED_INSTALL_ADDON: "clicked_install_addon",
    CLICKED_DOWNLOAD_APP: "clicked_download_app",
    CLICKED_INSTALL_APP: "clicked_install_app",
    CLICKED_TROUBLESHOOT: "clicked_troubleshoot",
    CLICKED_DOWNLOAD_INDICATOR: "clicked_download_indicator",
    DOWNLOAD_INDICATOR_VISIBLE: "download_indicator_visible",
    CLICKED_HOW_LINK: "clicked_how_link",
    CONNECT_BAR_REMOVED: "connect_bar_removed",
    CLICKED_RETRY: "mitigate_with_tab",
  });
  const EVENT_TYPE = Object.freeze(/** @type {const} */ ({ CONNECT_BAR_EVENT: "connect_bar_event" }));

  const LAUNCHING_WAIT = 3500; // ms; a helper that runs is found sooner, and no bar flashes up
  const CONNECTED_WAIT = 2000; // ms

  const GOES_ON = "this page goes on by itself.";
  const BAR_WORDS = {
    launching: "Starting the transfer helper on this computer …",
    download: `The transfer helper is not running. Start connect-helper on this computer; ${GOES_ON}`,
    install: `Once connect-helper is installed on this computer, start it; ${GOES_ON}`,
    update:
      "The transfer helper on this computer is too old for this page. " +
      "Install its newest version and start it again.",
    extension: `connect-helper needs no browser extension. Start it on this computer; ${GOES_ON}`,
    browser: "This browser cannot reach the transfer helper. Open this page in Chrome, Edge or Firefox.",
    running: "The transfer helper is there.",
  };
  const STARTABLE = new Set(["download", "install", "extension"]); // bars with a button that starts the helper

  /** The system's name as lists of installers have it. @returns {AW4.Installation["platform"]["os"]} */
  function platformName() {
    const { platform, userAgent } = navigator;
    if (/Win/.test(platform)) return "win64";
    if (/CrOS/.test(userAgent)) return "unsupported";
    if (/Mac/.test(platform)) return "macOS";
    return /Linux/.test(platform) ? "linux" : "unsupported";
  }

  class ConnectInstaller {
    static EVENT = INSTALLER_EVENT;
    static ACTIVITY_EVENT = ACTIVITY_EVENT;
    static EVENT_TYPE = EVENT_TYPE;
    static supportsInstallingExtensions = false; // pages set it; there is no extension to install

    /** @type {HTMLElement | undefined} */
    #bar;
    /** @type {keyof typeof BAR_WORDS | undefined} */
    #last;
    #timer = 0;
    #silent;
    #sdkLocation;
    /** @type {((event: string) => void)[]} */
    #listeners = [];
    /** @type {((activity: string) => void)[]} */
    #activityListeners = [];

    /** @param {{ style?: "carbon" | "none", sdkLocation?: string }} [options] */
    constructor(options) {
      this.#silent = options?.style === "none"; // the page shows its own words
      this.#sdkLocation = getFullURI(options?.sdkLocation) ?? "";
      bindMethods(this);
    }

    // What the bar says

    /** @param {number} [timeout]  ms until the bar shows, unless the helper is found before */
    showLaunching(timeout) {
      clearTimeout(this.#timer);
      this.#timer = window.setTimeout(() => this.#show("launching"), timeout ?? LAUNCHING_WAIT);
    }

    showDownload() {
      this.#show("download");
    }

    showInstall() {
      this.#show("install");
    }

    showRetry() {
      this.#show("download");
    }

    showUpdate() {
      this.#show("update");
    }

    showExtensionInstall() {
      this.#show("extension");
    }

    showUnsupportedBrowser() {
      this.#show("browser");
    }

    /** The last bar again; nothing when there was none. */
    showPrevious() {
      if (this.#last) this.#show(this.#last);
    }

    /** @param {number} [timeout]  ms */
    connected(timeout) {
      clearTimeout(this.#timer);
      if (!this.#bar) return;
      this.#draw("running");
      this.#timer = window.setTimeout(() => this.dismiss(), timeout ?? CONNECTED_WAIT);
    }

    dismiss() {
      clearTimeout(this.#timer);
      if (!this.#bar) return;
      this.#bar.remove();
      this.#bar = undefined;
      this.#note(ACTIVITY_EVENT.CONNECT_BAR_REMOVED);
    }

    // Who hears of it

    /** @param {(event: string) => void} listener */
    addEventListener(listener) {
      if (typeof listener === "function") this.#listeners.push(listener);
    }

    /** @param {string} type @param {(activity: string) => void} listener */
    addActivityListener(type, listener) {
      const known = type === EVENT_TYPE.CONNECT_BAR_EVENT && typeof listener === "function";
      if (known) this.#activityListeners.push(listener);
    }

    #note(/** @type {string} */ activity) {
      for (const listener of [...this.#activityListeners]) told(listener, activity);
    }

    // What pages ask of extensions and installers

    /**
     * Never: this script reaches the helper without an extension.
     * @param {number} [_timeout]  ms; the answer needs no wait
     * @param {{ success?(): void, timedout?(): void }} [callbacks]
     * @returns {any}
     */
    isExtensionInstalled(_timeout, callbacks) {
      const answer = Promise.resolve(false);
      if (!callbacks) return answer;
      void answer.then(() => callbacks.timedout?.());
      return undefined;
    }

    doesBrowserNeedExtensionStore() {
      return false;
    }

    getExtensionStoreLink() {
      return "";
    }

    startExtensionInstall() {
      this.#show("extension");
    }

    /** @param {(entry: AW4.Installation) => void} callback */
    installationJSON(callback) {
      if (typeof callback !== "function") return;
      const href = this.#sdkLocation;
      const link = { title: "connect-helper", type: "text/html", hreflang: "en", rel: "enclosure" };
      const entry = {
        title: "connect-helper",
        platform: { os: platformName() },
        version: "",
        updated: "",
        links: href ? [{ ...link, href, hrefAbsolute: href }] : [],
      };
      queueMicrotask(() => callback(entry));
    }

    // The bar itself

    #show(/** @type {keyof typeof BAR_WORDS} */ kind) {
      clearTimeout(this.#timer);
      this.#last = kind;
      if (this.#silent) return Logger.debug("No bar, as the page wishes:", BAR_WORDS[kind]);
      const fresh = !this.#bar;
      this.#draw(kind);
      if (fresh) this.#note(ACTIVITY_EVENT.CONNECT_BAR_VISIBLE);
    }

    #draw(/** @type {keyof typeof BAR_WORDS} */ kind) {
      this.#bar?.remove();
      this.#bar = document.createElement("div");
      const root = this.#bar.attachShadow({ mode: "closed" });
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(BAR_STYLE); // a page's policy for styles does not forbid it
      root.adoptedStyleSheets = [sheet];
      const row = document.createElement("div");
      row.setAttribute("role", "status");
      const text = document.createElement("span");
      text.textContent = BAR_WORDS[kind];
      row.append(text);
      if (STARTABLE.has(kind)) row.append(this.#button("Start it", INSTALLER_EVENT.RETRY, this.#retry));
      row.append(this.#button("Close", INSTALLER_EVENT.IFRAME_REMOVED, this.dismiss));
      root.append(row);
      (document.body ?? document.documentElement).append(this.#bar);
    }

    #retry = () => {
      this.#note(ACTIVITY_EVENT.CLICKED_RETRY);
      launchConnect();
    };

    #button(/** @type {string} */ label, /** @type {string} */ event, /** @type {() => void} */ act) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.addEventListener("click", () => {
        act();
        for (const listener of [...this.#listeners]) told(listener, event);
      });
      return button;
    }
  }

  /** As `call`, for listeners of the bar. @param {(word: string) => void} listener @param {string} word */
  function told(listener, word) {
    try {
      listener(word);
    } catch (error) {
      reportError(error);
    }
  }

  /** @type {typeof AW4} */
  const api = Object.freeze({ Connect, ConnectInstaller, Logger, Utils });
  Object.assign(globalThis, { AW4: api });
})();
