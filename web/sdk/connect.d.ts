/**
 * What connect.js puts into the page: the global `AW4`.
 *
 * Load it with `<script src="connect.js"></script>`, or `import "./connect.js"` for its effect.
 * A page written in TypeScript references this file: `/// <reference path="connect.d.ts" />`.
 */
declare namespace AW4 {
  /** What the script knows about the helper. */
  type Status = "INITIALIZING" | "RETRYING" | "RUNNING" | "OUTDATED" | "FAILED" | "EXTENSION_INSTALL";

  type TransferStatus =
    | "queued"
    | "initiating"
    | "running"
    | "willretry"
    | "completed"
    | "failed"
    | "cancelled"
    | "removed";

  type EventType = "transfer" | "status" | "all";

  /** How every failure looks: `code` is the HTTP status, or -1 when the request never left the page. */
  interface ConnectError {
    error: { code: number; internal_message: string; user_message: string };
  }

  interface Callbacks<T> {
    success?(answer: T): void;
    error?(error: ConnectError): void;
  }

  interface Options {
    /** Milliseconds until the status becomes FAILED when no helper answers; the search goes on. Default 5000. */
    connectLaunchWaitTimeoutMs?: number;
    /** Oldest acceptable version of the helper, "3.9.0" or higher. */
    minVersion?: string;
    /** Needed for `setDragDropTargets` and `getDroppedFiles`. Default false. */
    dragDropEnabled?: boolean;
    /** Milliseconds between two looks at the transfers. Default: 2000, and 500 while one of them is active. */
    pollingTime?: number;
    /**
     * Sent along with every POST when given. By itself it grants nothing: a page's files come from dialogs
     * and drops whether it is there or not.
     */
    authorizationKey?: string;
    /** Only HTTP to 127.0.0.1 exists here, so "extension" means the same as "http". */
    connectMethod?: "http" | "extension" | "";
    /** Where an update can be had; shown by an outdated helper. */
    sdkLocation?: string;
    /** Names of plug-in elements in old pages. There is no plug-in element any more: nothing uses them. */
    id?: string;
    containerId?: string;
    /** Ports of 127.0.0.1 on which to look for the helper. Default: 33003 to 33022. */
    ports?: number[];
  }

  /** Settings of one start call, beside the transfer spec. */
  interface ConnectSpec {
    /** Shown by the helper as the way back to the page. Default: the page's address. */
    back_link?: string;
    /** False: the transfer's information comes without `transfer_spec.paths`. */
    return_paths?: boolean;
    /** False: the transfer's information comes without `files`. */
    return_files?: boolean;
    /** False: no window by itself, except the question whether the server may be used. */
    allow_dialogs?: boolean;
    /** True: `destination_root` of a download is a full path the user chose in a dialog. */
    use_absolute_destination_path?: boolean;
  }

  interface ConnectSettings extends ConnectSpec {
    app_id: string;
    request_id?: string;
  }

  interface TransferPath {
    source: string;
    destination?: string;
  }

  /** The fields pages use most; the helper understands many more. */
  interface TransferSpec {
    direction: "send" | "receive";
    remote_host: string;
    paths: TransferPath[];
    ssh_port?: number;
    remote_user?: string;
    remote_password?: string;
    token?: string;
    authentication?: string;
    ssh_private_key?: string;
    sshfp?: string;
    source_root?: string;
    destination_root?: string;
    create_dir?: boolean;
    target_rate_kbps?: number;
    title?: string;
    cookie?: string;
    tags?: Record<string, unknown>;
    [field: string]: unknown;
  }

  interface TransferRequest {
    transfer_spec: TransferSpec;
    aspera_connect_settings?: ConnectSpec;
  }

  interface StartedTransfer {
    uuid: string;
    aspera_connect_settings: ConnectSettings;
    tags: { aspera: { index: number; xfer_id: string; xfer_retry: number | string } };
    transfer_spec: TransferSpec;
  }

  interface FileInfo {
    /** Full path. */
    file: string;
    bytes_expected: number;
    bytes_written: number;
    fasp_file_id: string;
  }

  interface TransferInfo {
    uuid: string;
    status: TransferStatus;
    previous_status: TransferStatus | "";
    title: string;
    /** Local time, "YYYY-MM-DDTHH:MM:SS"; "" while it has not come. */
    add_time: string;
    start_time: string;
    end_time: string;
    modify_time: string;
    /** Bytes of the whole transfer; 0 while unknown. */
    bytes_expected: number;
    bytes_written: number;
    /** 0 to 1. */
    percentage: number;
    calculated_rate_kbps: number;
    /** Microseconds. */
    elapsed_usec: number;
    remaining_usec: number;
    current_file: string;
    explorer_path: string;
    file_counts: { attempted: number; completed: number; failed: number; skipped: number };
    files?: FileInfo[];
    transport: "fasp" | "http";
    transfer_iteration_token: number;
    error_code: number;
    error_desc: string;
    aspera_connect_settings: ConnectSettings;
    transfer_spec: TransferSpec;
  }

  interface Activity {
    iteration_token: number;
    result_count: number;
    transfers: TransferInfo[];
  }

  interface PickedFile {
    /** Full local path, to be used as `paths[].source`. */
    name: string;
    /** Bytes; 0 for folders. */
    size: number;
    /** MIME type; "inode/directory" for folders. */
    type: string;
    lastModifiedDate: string;
    /** Milliseconds since 1970. */
    lastModified?: number;
  }

  /** What dialogs and drops answer; no files when the user cancelled. */
  interface Picked {
    dataTransfer: { files: PickedFile[] };
  }

  interface FileFilter {
    filter_name: string;
    /** Without dot; "*" means all. */
    extensions: string[];
  }

  interface SaveDialogOptions {
    title?: string;
    suggestedName?: string;
    allowedFileTypes?: FileFilter[] | "";
  }

  interface FileDialogOptions extends SaveDialogOptions {
    /** Default true. */
    allowMultipleSelection?: boolean;
  }

  interface FolderDialogOptions {
    title?: string;
    /** Default true. */
    allowMultipleSelection?: boolean;
  }

  interface DropOptions {
    /** Call the listener for these events too. Default false. */
    dragEnter?: boolean;
    dragOver?: boolean;
    dragLeave?: boolean;
    /** Default true. */
    drop?: boolean;
    /** Let the events go on to the elements around. Default false. */
    allowPropagation?: boolean;
    /** Leave the browser's own handling of a drop in place. Default false. */
    disablePreventDefault?: boolean;
  }

  interface DropResult {
    event: DragEvent;
    /** Only for a drop; no files when none could be found or the user declined. */
    files?: Picked;
    /** Only for a drop that the helper could not serve. */
    error?: ConnectError;
  }

  /** What the page tells of dropped files; names only, never paths. */
  interface DroppedFiles {
    dataTransfer: { files: { name: string; size: number; type: string; lastModifiedDate?: string | Date }[] };
  }

  interface ChecksumOptions {
    path: string;
    offset?: number;
    /** Bytes; 0 means to the end of the file. */
    chunkSize?: number;
    checksumMethod?: "md5" | "sha1" | "sha256" | "sha512";
  }

  /** `data` is base64. */
  interface FileContent {
    type: string;
    data: string;
  }

  interface PortOptions {
    remote_host: string;
    /** Default 33001. */
    ssh_port?: number;
    /** Seconds, default 3. */
    timeout_sec?: number;
  }

  type EventListener = (type: EventType, data: any) => void;

  type Empty = Record<string, never>;

  /**
   * A page's line to the helper.
   *
   * Every method with callbacks answers by a promise when they are left out. A request made before the
   * helper is found, or lost with its connection, waits and is sent when the helper is there.
   */
  class Connect {
    constructor(options?: Options);

    static readonly STATUS: { readonly [S in Status]: S };
    static readonly EVENT: { readonly ALL: "all"; readonly TRANSFER: "transfer"; readonly STATUS: "status" };
    static readonly HTTP_METHOD: {
      readonly GET: "GET";
      readonly POST: "POST";
      readonly DELETE: "DELETE";
      readonly REVERT: "REVERT";
    };
    static readonly TRANSFER_STATUS: { readonly [S in TransferStatus as Uppercase<S>]: S };

    /** Start looking for the helper. The id names the application: a page sees transfers of its own id only. */
    initSession(applicationId?: string): { app_id: string } | ConnectError;
    /** Look for the helper again after `stop`. */
    start(): void | ConnectError;
    /** Send nothing more; what waits is answered with an error. Transfers go on in the helper. */
    stop(): void;
    getStatus(): Status;
    version(callbacks: Callbacks<{ version: string; system_wide: boolean }>): void;
    version(): Promise<{ version: string; system_wide: boolean }>;

    addEventListener(type: EventType, listener: EventListener): void | ConnectError;
    /** Without a listener: all of the type; without anything: all. Tells whether there was one. */
    removeEventListener(type?: EventType | EventListener, listener?: EventListener): boolean;

    startTransfer(
      spec: TransferSpec,
      settings?: ConnectSpec | null,
      callbacks?: Callbacks<{ transfer_specs: StartedTransfer[] }>,
    ): { request_id: string };
    startTransferPromise(
      spec: TransferSpec,
      settings?: ConnectSpec | null,
    ): Promise<{ transfer_specs: StartedTransfer[] }>;
    startTransfers(
      request: { transfer_specs: TransferRequest[] },
      callbacks: Callbacks<{ transfer_specs: StartedTransfer[] }>,
    ): { request_id: string };
    startTransfers(request: { transfer_specs: TransferRequest[] }): Promise<{ transfer_specs: StartedTransfer[] }>;
    stopTransfer(id: string, callbacks: Callbacks<Empty>): void;
    stopTransfer(id: string): Promise<Empty>;
    resumeTransfer(
      id: string,
      changes: Partial<TransferSpec> | null | undefined,
      callbacks: Callbacks<{ transfer_spec: StartedTransfer }>,
    ): void;
    resumeTransfer(id: string, changes?: Partial<TransferSpec> | null): Promise<{ transfer_spec: StartedTransfer }>;
    removeTransfer(id: string, callbacks: Callbacks<Empty>): void;
    removeTransfer(id: string): Promise<Empty>;
    modifyTransfer(id: string, changes: Partial<TransferSpec>, callbacks: Callbacks<Partial<TransferSpec>>): void;
    modifyTransfer(id: string, changes: Partial<TransferSpec>): Promise<Partial<TransferSpec>>;
    getAllTransfers(callbacks: Callbacks<Activity>, iterationToken?: number | string): void;
    getAllTransfers(callbacks?: null, iterationToken?: number | string): Promise<Activity>;
    getTransfer(id: string, callbacks: Callbacks<{ transfer_info: TransferInfo }>): void;
    getTransfer(id: string): Promise<{ transfer_info: TransferInfo }>;

    showSelectFileDialog(callbacks: Callbacks<Picked>, options?: FileDialogOptions | null): void;
    showSelectFileDialogPromise(options?: FileDialogOptions | null): Promise<Picked>;
    showSelectFolderDialog(callbacks: Callbacks<Picked>, options?: FolderDialogOptions | null): void;
    showSelectFolderDialogPromise(options?: FolderDialogOptions | null): Promise<Picked>;
    showSaveFileDialog(callbacks: Callbacks<Picked>, options?: SaveDialogOptions | null): void;
    showSaveFileDialogPromise(options?: SaveDialogOptions | null): Promise<Picked>;

    /** Serve drops on all elements that match now; a second call for an element replaces the first. */
    setDragDropTargets(
      cssSelector: string,
      options: DropOptions,
      listener: (result: DropResult) => void,
    ): void | ConnectError;
    getDroppedFiles(data: DroppedFiles, callbacks: Callbacks<Picked>): void | ConnectError;

    readAsArrayBuffer(options: { path: string }, callbacks: Callbacks<FileContent>): void;
    readAsArrayBuffer(options: { path: string }): Promise<FileContent>;
    readChunkAsArrayBuffer(
      options: { path: string; offset: number; chunkSize: number },
      callbacks: Callbacks<FileContent>,
    ): void;
    readChunkAsArrayBuffer(options: { path: string; offset: number; chunkSize: number }): Promise<FileContent>;
    getChecksum(
      options: ChecksumOptions,
      callbacks: Callbacks<{ checksumMethod: string; checksum: string }>,
    ): void;
    getChecksum(options: ChecksumOptions): Promise<{ checksumMethod: string; checksum: string }>;

    testSshPorts(options: PortOptions, callbacks: Callbacks<Empty>): void;
    testSshPorts(options: PortOptions): Promise<Empty>;
    authenticate(spec: Partial<TransferSpec>, callbacks: Callbacks<Empty>): void;
    authenticate(spec: Partial<TransferSpec>): Promise<Empty>;

    showAbout(callbacks: Callbacks<Empty>): void;
    showAbout(): Promise<Empty>;
    showPreferences(callbacks: Callbacks<Empty>): void;
    showPreferences(): Promise<Empty>;
    showPreferencesPage(options: { page: PreferencesPage }, callbacks: Callbacks<Empty>): void;
    showPreferencesPage(options: { page: PreferencesPage }): Promise<Empty>;
    showTransferManager(callbacks: Callbacks<Empty>): void;
    showTransferManager(): Promise<Empty>;
    showTransferMonitor(id: string, callbacks: Callbacks<Empty>): void;
    showTransferMonitor(id: string): Promise<Empty>;
    showDirectory(id: string, callbacks: Callbacks<Empty>): void;
    showDirectory(id: string): Promise<Empty>;
  }

  type PreferencesPage = "general" | "transfers" | "bandwidth" | "network" | "security";

  /** What `installationJSON` tells. The page's `sdkLocation` is the one link, if there is one. */
  interface Installation {
    title: string;
    platform: { os: "win64" | "macOS" | "linux" | "unsupported" };
    /** "": which versions there are is known at that address only. */
    version: string;
    updated: string;
    links: { title: string; type: string; href: string; hrefAbsolute: string; hreflang: string; rel: string }[];
  }

  /** A bar at the top of the page that says what to do when the helper is not there. */
  class ConnectInstaller {
    /**
     * @param options `style: "none"` shows no bar, for pages with words of their own; `sdkLocation` is where
     *   the page's users get the helper.
     */
    constructor(options?: { sdkLocation?: string; style?: "carbon" | "none" });

    /** What listeners may hear. This bar has two buttons, so it is RETRY or IFRAME_REMOVED. */
    static readonly EVENT: {
      readonly DOWNLOAD_CONNECT: string;
      readonly REFRESH_PAGE: string;
      readonly IFRAME_REMOVED: string;
      readonly IFRAME_LOADED: string;
      readonly TROUBLESHOOT: string;
      readonly CONTINUE: string;
      readonly RESIZE: string;
      readonly RETRY: string;
      readonly EXTENSION_INSTALL: string;
      readonly DOWNLOAD_EXTENSION: string;
    };
    /** What listeners of activities may hear: CONNECT_BAR_VISIBLE, CONNECT_BAR_REMOVED or CLICKED_RETRY. */
    static readonly ACTIVITY_EVENT: {
      readonly CONNECT_BAR_VISIBLE: string;
      readonly CLICKED_INSTALL_EXTENSION: string;
      readonly CLICKED_ENABLE_EXTENSION: string;
      readonly CLICKED_INSTALL_ADDON: string;
      readonly CLICKED_DOWNLOAD_APP: string;
      readonly CLICKED_INSTALL_APP: string;
      readonly CLICKED_TROUBLESHOOT: string;
      readonly CLICKED_DOWNLOAD_INDICATOR: string;
      readonly DOWNLOAD_INDICATOR_VISIBLE: string;
      readonly CLICKED_HOW_LINK: string;
      readonly CONNECT_BAR_REMOVED: string;
      readonly CLICKED_RETRY: string;
    };
    static readonly EVENT_TYPE: { readonly CONNECT_BAR_EVENT: "connect_bar_event" };
    /** Pages set it; it changes nothing, since there is no extension to install. */
    static supportsInstallingExtensions: boolean;

    /** The helper is being started: says so after `timeout` ms (default 3500), unless it was found before. */
    showLaunching(timeout?: number): void;
    /** The helper was not found. */
    showDownload(): void;
    /** The helper was fetched and waits to be installed. */
    showInstall(): void;
    showRetry(): void;
    /** The helper is too old. */
    showUpdate(): void;
    /** Says that no extension is needed. */
    showExtensionInstall(): void;
    showUnsupportedBrowser(): void;
    /** Shows the last bar again, if there was one. */
    showPrevious(): void;
    /** The helper is there; the bar leaves after `timeout` ms (default 2000). */
    connected(timeout?: number): void;
    dismiss(): void;
    /** Called with "retry" or "removeiframe" when the user presses the bar's buttons. */
    addEventListener(listener: (event: string) => void): void;
    /** Called when the bar comes, goes, or is asked to start the helper; see ACTIVITY_EVENT. */
    addActivityListener(type: "connect_bar_event", listener: (activity: string) => void): void;
    /** The helper is reached without an extension: always `timedout`, or false. */
    isExtensionInstalled(timeout: number, callbacks: { success?(): void; timedout?(): void }): void;
    isExtensionInstalled(timeout?: number): Promise<boolean>;
    /** Always false. */
    doesBrowserNeedExtensionStore(): boolean;
    /** Always "". */
    getExtensionStoreLink(): string;
    /** There is none to install: says so in the bar. */
    startExtensionInstall(): void;
    installationJSON(callback: (entry: Installation) => void): void;
  }

  const Logger: {
    /** 0: messages and errors; 1: also what happens; 2: also every request. */
    setLevel(level: number): void;
    trace(...words: unknown[]): void;
    debug(...words: unknown[]): void;
    log(...words: unknown[]): void;
    warn(...words: unknown[]): void;
    error(...words: unknown[]): void;
  };

  const Utils: {
    /** Which browser this is, by its own word. */
    readonly BROWSER: Readonly<Record<string, boolean>>;
    /** Base64 of a text's UTF-8 bytes, and back. */
    utoa(text: string): string;
    atou(base64: string): string;
    /** The full address of a relative one, without a slash at the end; undefined for what is no text. */
    getFullURI(address: unknown): string | undefined;
    generateUuid(): string;
    /** Compare dot-separated numbers over the parts both have: "4" is not less than "4.4". */
    versionLessThan(version: string, other: string): boolean;
    /** Ask the system to start the helper. The callback hears whether the page lost the focus to it. */
    launchConnect(callback?: (started: boolean) => void): void;
  };
}
