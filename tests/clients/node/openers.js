// How an application opens its client: with the defaults, but for where it connects to. And what is asked of all of them.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import calculateSlot from "cluster-key-slot";
import { Cluster, Redis } from "ioredis";
import { createClient, createCluster } from "redis";
import { clusterPort, port, started, until } from "./servers.js";

export const TIMEOUT_MS = 300;
/** The contract says 50; a busy machine may hold a process up for longer than that. A client that retries takes 10 s and more. */
export const SLACK_MS = 5000;
/** For hits that are not about the deadline. */
export const PATIENT_MS = 30_000;
/** What a client would send again, it has sent by then. */
export const AGAIN_MS = 250;

export const limits = { algorithm: "fixed", limits: { limit: 1000, window: "3650d" } };

const admins = new Map();
/** Whom to ask of a server what it counted. */
export const adminOf = (of) => {
  if (!admins.has(of)) admins.set(of, createClient({ socket: { port: of } }).connect());
  return admins.get(of);
};
after(async () => {
  for (const one of admins.values()) (await one).close();
});

export const used = async (key, of = port) => {
  const [, limit, remaining] = await (await adminOf(of)).sendCommand(["RL.PEEK", "FIXED", key, "1000", "3650d", "COST", "0"]);
  return limit - remaining;
};

export const timed = async (work) => {
  const since = performance.now();
  const value = await work();
  return [value, performance.now() - since];
};

/** The first answer of the server's: a busy machine may be late, and a connection has to be made. */
export const up = async (api, key, options) => {
  let verdict;
  await until(async () => !(verdict = await api.hit(key, options)).error, () => verdict?.error);
  return verdict;
};

/** With their default settings, but for where they connect to; each with the application's own connection, too. */
export const clients = {
  async "node-redis"(at) {
    const client = createClient({ socket: { port: at } });
    client.on("error", () => {});
    client.connect().catch(() => {});
    return [client, () => client.destroy()];
  },
  async ioredis(at) {
    const client = new Redis(at);
    client.on("error", () => {});
    return [client, () => client.disconnect()];
  },
};

/** A cluster's keys of one tag lie on one primary, which the proxy stands in front of. */
export const TAG = "{a}";
let owners;
export const owner = async (tag = TAG) => {
  owners ??= (async () => {
    const node = await createClient({ socket: { port: clusterPort } }).connect();
    const slots = await node.sendCommand(["CLUSTER", "SLOTS"]);
    await node.close();
    return slots;
  })();
  return (await owners).find(([first, last]) => first <= calculateSlot(tag) && calculateSlot(tag) <= last)[2][1];
};
const mapped = (from, to) => (address) => (address === `127.0.0.1:${from}` ? { host: "127.0.0.1", port: to } : undefined);
export const clusters = {
  async "node-redis cluster"(at, of) {
    const client = createCluster({ rootNodes: [{ socket: { port: clusterPort } }], nodeAddressMap: mapped(of, at) });
    client.on("error", () => {});
    client.connect().catch(() => {});
    return [client, () => client.destroy()];
  },
  async "ioredis cluster"(at, of) {
    const client = new Cluster([{ host: "127.0.0.1", port: clusterPort }], { natMap: mapped(of, at) });
    client.on("error", () => {});
    return [client, () => client.disconnect()];
  },
};

/** A redis-sentinel that knows each proxy as a primary of its own. It takes none for dead: that is the client's to notice. */
let sentinel;
const sentinelHome = mkdtempSync(join(tmpdir(), "ratelimit-sentinel."));
after(async () => {
  (await sentinel)?.end();
  rmSync(sentinelHome, { recursive: true });
});
const watched = async (name, at) => {
  sentinel ??= started(process.env.RATELIMIT_SERVER, (free) => {
    const file = join(sentinelHome, `${free}.conf`); // which it writes to
    writeFileSync(file, `port ${free}\nbind 127.0.0.1\ndir ${sentinelHome}\n`);
    return [file, "--sentinel"];
  });
  const { port: of } = await sentinel;
  const asked = await adminOf(of);
  await asked.sendCommand(["SENTINEL", "MONITOR", name, "127.0.0.1", String(at), "1"]);
  await asked.sendCommand(["SENTINEL", "SET", name, "down-after-milliseconds", "3600000"]);
  return of;
};
export const sentinels = {
  async "ioredis sentinel"(at) {
    const name = `main-${at}`;
    const of = await watched(name, at);
    const client = new Redis({ sentinels: [{ host: "127.0.0.1", port: of }], name });
    client.on("error", () => {});
    return [client, async () => {
      client.disconnect();
      await (await adminOf(of)).sendCommand(["SENTINEL", "REMOVE", name]);
    }];
  },
};
