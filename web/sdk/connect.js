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

  /**
   * @typedef {object} Waiting a request on its way
   * @property {"GET" | "POST"} method
   * @property {string} path below /v5/connect/
   * @property {string | undefined} body
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
        const text = body === undefined ? undefined : JSON.stringify(body);
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

  // -- What pages use -------------------------------------------------------------------------------

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
      const wished = remembered(MIN_VERSION_KEY) || given.minVersion || OLDEST_VERSION;
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
      this.#appId = applicationId || remembered(APP_ID_KEY) || utoa(generateUuid());
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
      const hadTransfer = kind !== EVENT.STATUS && this.#watch.remove(listener);
      if (kind === EVENT.TRANSFER) return hadTransfer;
      const before = this.#statusListeners.length;
      this.#statusListeners = this.#statusListeners.filter((one) => listener && one !== listener);
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

  class ConnectInstaller {
    /** @type {HTMLElement | undefined} */
    #bar;
    #timer = 0;
    #silent;
    /** @type {((event: string) => void)[]} */
    #listeners = [];

    /** @param {{ style?: "carbon" | "none", sdkLocation?: string }} [options] */
    constructor(options) {
      this.#silent = options?.style === "none"; // the page shows its own words
      bindMethods(this);
    }

    /** @param {number} [timeout]  ms */
    showLaunching(timeout) {
      this.#say("Starting the transfer helper on this computer …");
      if (timeout) this.#timer = window.setTimeout(() => this.showDownload(), timeout);
    }

    showDownload() {
      const words = "The transfer helper is not running. Start connect-helper on this computer;";
      this.#say(`${words} this page goes on by itself.`, true);
    }

    showInstall() {
      this.showDownload();
    }

    showRetry() {
      this.showDownload();
    }

    showUpdate() {
      const words = "The transfer helper on this computer is too old for this page.";
      this.#say(`${words} Install its newest version and start it again.`);
    }

    /** @param {number} [timeout]  ms */
    connected(timeout) {
      if (!this.#bar) return;
      this.#say("The transfer helper is there.");
      this.#timer = window.setTimeout(() => this.dismiss(), timeout ?? 2000);
    }

    dismiss() {
      clearTimeout(this.#timer);
      this.#bar?.remove();
      this.#bar = undefined;
    }

    /** @param {(event: string) => void} listener */
    addEventListener(listener) {
      this.#listeners.push(listener);
    }

    #say(/** @type {string} */ message, retry = false) {
      this.dismiss();
      if (this.#silent) return;
      this.#bar = document.createElement("div");
      const root = this.#bar.attachShadow({ mode: "closed" });
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(BAR_STYLE); // a page's policy for styles does not forbid it
      root.adoptedStyleSheets = [sheet];
      const row = document.createElement("div");
      row.setAttribute("role", "status");
      const text = document.createElement("span");
      text.textContent = message;
      row.append(text);
      if (retry) row.append(this.#button("Start it", "retry", () => launchConnect()));
      row.append(this.#button("Close", "removeiframe", () => this.dismiss()));
      root.append(row);
      document.body.append(this.#bar);
    }

    #button(/** @type {string} */ label, /** @type {string} */ event, /** @type {() => void} */ act) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.addEventListener("click", () => {
        act();
        for (const listener of this.#listeners) listener(event);
      });
      return button;
    }
  }

  /** @type {typeof AW4} */
  const api = Object.freeze({ Connect, ConnectInstaller, Logger, Utils });
  Object.assign(globalThis, { AW4: api });
})();
