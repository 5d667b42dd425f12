import { overConnect } from "../parts/aw4.js";
import { open } from "../parts/page.js";

// The one thing to know: without "http" the SDK waits for the browser extension of Aspera Connect.
const connect = new AW4.Connect({ connectMethod: "http", minVersion: "3.10.1" });
await open({ means: "with the Connect SDK", ...overConnect(connect) });
