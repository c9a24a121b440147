// The servers that scripts/test-clients started.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { setTimeout as pause } from "node:timers/promises";

const number = (name) => {
  const value = Number(process.env[name]);
  if (!(value > 0)) throw new Error(`${name} is not set: run scripts/test-clients`);
  return value;
};

export const port = number("RATELIMIT_PORT");
export const clusterPort = number("RATELIMIT_CLUSTER_PORT");
export const { scenarios } = JSON.parse(readFileSync(process.env.RATELIMIT_SCENARIOS, "utf8"));

async function freePort() {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port: free } = probe.address();
  probe.close();
  await once(probe, "close");
  return free;
}

/** A program that speaks RESP, when it does: `words(port)` are its arguments. It ends with this process, however that ends. */
export async function started(program, words) {
  for (let attempt = 1; ; attempt++) {
    const free = await freePort();
    const child = spawn("setpriv", ["--pdeathsig", "KILL", program, ...words(free)], { stdio: "ignore" });
    child.unref();
    const end = () => child.kill("SIGKILL");
    let isUp = false;
    for (const limit = performance.now() + 30_000; !isUp && child.exitCode === null && performance.now() < limit; await pause(20)) {
      isUp = await answers(free);
    }
    if (isUp) return { port: free, pid: child.pid, end };
    end();
    assert.ok(attempt < 3, `${program} ${words(free).join(" ")} does not start`); // another one may have taken the port
  }
}

const answers = (at) =>
  new Promise((resolve) => {
    const socket = connect(at, "127.0.0.1");
    const tell = (is) => {
      socket.destroy();
      resolve(is);
    };
    socket.on("connect", () => socket.write("PING\r\n"));
    socket.on("data", (bytes) => tell(bytes.includes("PONG")));
    socket.on("error", () => tell(false));
    socket.on("close", () => tell(false));
  });

/** A server of a file's own, with the module: one that a test may hold still with SIGSTOP, as slow as a server can be. */
export const ownServer = () =>
  started(process.env.RATELIMIT_SERVER, (at) => ["--port", String(at), "--bind", "127.0.0.1", "--save", "", "--dir", tmpdir(), "--loadmodule", process.env.RATELIMIT_MODULE]);

/** Waits for what must happen, however busy the machine is. */
export async function until(condition, seen = () => "") {
  for (const end = performance.now() + 30_000; !(await condition()); await pause(20)) {
    assert.ok(performance.now() < end, `never happened: ${condition} ${seen()}`);
  }
}

/** Holds a server still, and returns when it is. SIGCONT lets it go on. */
export async function stop({ pid }) {
  process.kill(pid, "SIGSTOP");
  await until(() => readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].startsWith("T"));
}
