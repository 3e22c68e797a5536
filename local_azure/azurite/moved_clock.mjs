// Loaded before Azurite. Standard input has the seconds by which its clock is ahead of the machine's,
// one value a line; each is confirmed on standard output. When standard input closes, the process
// that started Azurite has ended, for whatever reason, and Azurite ends too.
import { ServerResponse } from "node:http";
import { createInterface } from "node:readline";

const MachineDate = Date;
let aheadMs = 0;

globalThis.Date = new Proxy(MachineDate, {
  construct: (target, values, newTarget) =>
    Reflect.construct(target, values.length ? values : [target.now() + aheadMs], newTarget),
  apply: () => new Date().toString(),
  get: (target, name) => (name === "now" ? () => target.now() + aheadMs : target[name]),
});

// Node dates answers by the machine's clock, where Azurite does not date them itself.
const { writeHead } = ServerResponse.prototype;
ServerResponse.prototype.writeHead = function (...values) {
  if (!this.hasHeader("date")) this.setHeader("date", new Date().toUTCString());
  return writeHead.apply(this, values);
};

createInterface({ input: process.stdin })
  .on("line", (seconds) => {
    aheadMs = Math.round(Number(seconds) * 1000);
    process.stdout.write(`clock ahead by ${seconds}\n`);
  })
  .on("close", () => process.exit(0));
process.stdin.unref();
