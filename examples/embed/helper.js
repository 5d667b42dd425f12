import { overConnect } from "../parts/aw4.js";
import { open } from "../parts/page.js";

const connect = new AW4.Connect();
await open({ means: "with connect.js", ...overConnect(connect) });
