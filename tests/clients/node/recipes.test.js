// Every recipe, on a real server.

import assert from "node:assert/strict";
import { BlockList } from "node:net";
import { after, before, describe, it } from "node:test";
import { createClient } from "redis";
import { withBlockedCache } from "./recipes/blocked.js";
import { withDeadline } from "./recipes/deadline.js";
import { definePlans, endpointLimiters, endpoints, planLimiter } from "./recipes/endpoints.js";
import { byApiKey, byIp, byLogin, byUser, clientIp } from "./recipes/identify.js";
import { limiter } from "./recipes/limiter.js";
import { dailyBudget, spendTokens } from "./recipes/tokens.js";
import { untilReady } from "./recipes/wait.js";
import { port, stalled } from "./servers.js";

let client;
let sent = 0; // commands that went to the server
const send = (args) => {
  sent += 1;
  return client.sendCommand(args);
};
before(async () => (client = await createClient({ socket: { port } }).connect()));
after(() => client.close());

/** Answers like `limit`, and counts how often it was asked. */
const counting = (limit) => {
  const counted = (...args) => ((counted.calls += 1), limit(...args));
  counted.calls = 0;
  return counted;
};

describe("limiter", () => {
  it("names the five integers", async () => {
    const limit = limiter(send, "SLIDING", [1, "15m"]);
    const { resetAfterMs, ...first } = await limit("recipe:limiter");
    assert.deepEqual(first, { allowed: true, limit: 1, remaining: 0, retryAfterMs: 0, deniedValue: undefined });
    assert.ok(resetAfterMs > 0 && resetAfterMs <= 900_000);
    const second = await limit("recipe:limiter");
    assert.equal(second.allowed, false);
    assert.ok(second.retryAfterMs > 0 && second.retryAfterMs <= 900_000);
  });

  it("takes several limits, a cost, FORCE and a deny list", async () => {
    const limit = limiter(send, "FIXED", [10, "3650d", 4, "3660d"]);
    await send(["RL.DENY", "ADD", "recipe:deny", "192.0.2.0/24"]);
    const deny = ["recipe:deny", "192.0.2.7"];
    assert.equal((await limit("recipe:options", { deny })).deniedValue, "192.0.2.7");
    const verdict = await limit("recipe:options", { cost: 5, force: true, deny: ["recipe:deny", "198.51.100.1"] });
    assert.deepEqual([verdict.allowed, verdict.limit, verdict.remaining, verdict.deniedValue], [false, 4, 0, undefined]);
  });
});

describe("identify", () => {
  it("users, API keys and logins", () => {
    assert.equal(byUser(42), "user:42");
    assert.match(byApiKey("sk-live-secret"), /^key:[0-9a-f]{32}$/);
    assert.notEqual(byApiKey("sk-live-secret"), byApiKey("sk-live-secret2"));
    assert.equal(byLogin("203.0.113.9", " Alice@Example.com"), byLogin("203.0.113.9", "alice@example.com"));
    assert.notEqual(byLogin("203.0.113.9", "alice@example.com"), byLogin("203.0.113.10", "alice@example.com"));
  });

  it("an IPv6 address by its /64, however it is written", () => {
    assert.equal(byIp("203.0.113.9"), "ip:203.0.113.9");
    assert.equal(byIp("::ffff:203.0.113.9"), "ip:203.0.113.9");
    assert.equal(byIp("2001:db8::1"), "ip:2001:db8:0:0::/64");
    assert.equal(byIp("2001:DB8:0:0:ffff::2"), "ip:2001:db8:0:0::/64");
    assert.equal(byIp("2001:db8:0:1::2"), "ip:2001:db8:0:1::/64");
    assert.equal(byIp("::1"), "ip:0:0:0:0::/64");
    assert.equal(byIp("unknown"), "ip:unknown");
  });

  it("the right-most untrusted hop of X-Forwarded-For, whatever stands left of it", () => {
    const ours = new BlockList();
    ours.addSubnet("10.0.0.0", 8);
    const isTrusted = (address) => ours.check(address);
    assert.equal(clientIp("203.0.113.9", "10.0.0.1", isTrusted), "203.0.113.9");
    assert.equal(clientIp("1.1.1.1, 203.0.113.9, 10.0.0.2", "10.0.0.1", isTrusted), "203.0.113.9");
    assert.equal(clientIp("1.1.1.1", "203.0.113.9", isTrusted), "203.0.113.9"); // did not come through a proxy of ours
    assert.equal(clientIp(undefined, "203.0.113.9", isTrusted), "203.0.113.9");
    assert.equal(clientIp("10.0.0.3, 10.0.0.2", "10.0.0.1", isTrusted), "10.0.0.3");
    assert.equal(clientIp("1.1.1.1, 203.0.113.9", undefined, isTrusted), "203.0.113.9");
    assert.equal(clientIp(undefined, undefined, isTrusted), "unknown");
  });
});

describe("endpoints and plans", () => {
  it("each endpoint denies one more than its limit", async () => {
    const limits = endpointLimiters(send);
    for (const [name, [, [limit]]] of Object.entries(endpoints)) {
      for (let hit = 1; hit <= limit; hit++) assert.ok((await limits[name]("ip:203.0.113.9")).allowed, `${name} ${hit}`);
      assert.equal((await limits[name]("ip:203.0.113.9")).allowed, false, name);
    }
  });

  it("an upgrade holds from the next request on, with usage kept", async () => {
    await definePlans(send);
    const limit = planLimiter(send);
    for (let hit = 1; hit <= 100; hit++) assert.ok((await limit("7", "free")).allowed);
    assert.equal((await limit("7", "free")).allowed, false);
    const { allowed, remaining } = await limit("7", "pro");
    assert.deepEqual({ allowed, remaining }, { allowed: true, remaining: 899 });
    await client.sendCommand(["RL.POLICY", "SET", "plan-free", "SLIDING", "200", "15m"]); // no deploy
    assert.equal((await limit("7", "free")).remaining, 98);
  });
});

describe("LLM tokens", () => {
  const remaining = async (key) => (await client.sendCommand(["RL.PEEK", "FIXED", key, "50000", "1d", "COST", "0"]))[2];

  it("are settled with what was used: less, more, or nothing where the call failed", async () => {
    const key = "recipe:tokens:settled";
    const budget = dailyBudget(send, "free");
    const { result } = await spendTokens(budget, key, 2000, async () => ({ tokens: 1500, text: "..." }));
    assert.equal(result.text, "...");
    assert.equal(await remaining(key), 48_500);
    await spendTokens(budget, key, 1000, async () => ({ tokens: 1200 }));
    assert.equal(await remaining(key), 47_300);
    await assert.rejects(spendTokens(budget, key, 4000, () => Promise.reject(new Error("model away"))), /model away/);
    assert.equal(await remaining(key), 47_300);
  });

  it("an estimate that does not fit makes no call; an overrun is a debt", async () => {
    const key = "recipe:tokens:debt";
    const budget = dailyBudget(send, "free");
    await spendTokens(budget, key, 49_000, async () => ({ tokens: 51_000 }));
    let asked = false;
    const { verdict, result } = await spendTokens(budget, key, 1, async () => ((asked = true), { tokens: 1 }));
    assert.deepEqual([verdict.allowed, result, asked], [false, undefined, false]);
  });

  it("a paid plan has 500,000 a day", async () => {
    const { limit } = await dailyBudget(send, "paid")("recipe:tokens:paid", { cost: 400_000 });
    assert.equal(limit, 500_000);
  });
});

describe("deadline", () => {
  const slow = { timeoutMs: 50, onError() {} };

  it("a server that does not answer: open lets through, closed does not, and it recovers", async (t) => {
    const patient = await createClient({ socket: { port: stalled.port } }).connect();
    t.after(() => patient.destroy());
    const limit = limiter((args) => patient.sendCommand(args), "FIXED", [5, "3650d"]);
    try {
      process.kill(stalled.pid, "SIGSTOP");
      const opened = await withDeadline(limit, { ...slow, open: true })("k");
      const closed = await withDeadline(limit, { ...slow, open: false })("k");
      assert.equal(opened.allowed, true);
      assert.equal(closed.allowed, false);
      assert.match(closed.error.message, /within 50 ms/);
    } finally {
      process.kill(stalled.pid, "SIGCONT");
    }
    const { allowed, error } = await withDeadline(limit, { timeoutMs: 10_000, open: false })("k");
    assert.deepEqual([allowed, error], [true, undefined]);
  });

  it("a connection that is gone: no queue, an answer at once", async () => {
    const gone = createClient({ disableOfflineQueue: true, socket: { port: stalled.port, reconnectStrategy: false } });
    gone.on("error", () => {});
    await gone.connect();
    gone.destroy();
    const errors = [];
    const limit = limiter((args) => gone.sendCommand(args), "FIXED", [5, "3650d"]);
    const guarded = withDeadline(limit, { timeoutMs: 10_000, open: true, onError: (error) => errors.push(error) });
    assert.equal((await guarded("k")).allowed, true);
    assert.equal(errors.length, 1);
  });

  it("a refusal of the server is reported, not hidden", async () => {
    await client.set("recipe:text", "text");
    const errors = [];
    const limit = limiter(send, "FIXED", [5, "3650d"]);
    await withDeadline(limit, { open: true, onError: (error) => errors.push(error) })("recipe:text");
    assert.match(errors[0].message, /^WRONGTYPE /);
  });
});

describe("blocked identifiers", () => {
  it("a flood from one identifier costs as many commands as its limit, and one", async (t) => {
    const limit = withBlockedCache(limiter(send, "SLIDING", [100, "15m"]));
    const before = sent;
    let allowed = 0;
    for (let i = 0; i < 10_000; i++) if ((await limit("recipe:flood")).allowed) allowed += 1;
    assert.equal(allowed, 100);
    assert.equal(sent - before, 101);
    t.diagnostic(`10000 requests of one identifier: ${sent - before} commands, ${10_000 - (sent - before)} round trips saved`);
  });

  it("asks again when the time has come, and not before", async () => {
    let clock = 0;
    const asked = counting(limiter(send, "SLIDING", [1, "15m"]));
    const limit = withBlockedCache(asked, { maxMs: Infinity, now: () => clock });
    await limit("recipe:blocked");
    const { retryAfterMs } = await limit("recipe:blocked");
    clock += retryAfterMs - 1;
    const last = await limit("recipe:blocked");
    assert.deepEqual([last.allowed, last.retryAfterMs, asked.calls], [false, 1, 2]);
    clock += 1;
    await limit("recipe:blocked");
    assert.equal(asked.calls, 3);
  });

  it("a greater cost is blocked too, a smaller one is asked, what is given back unblocks", async () => {
    const asked = counting(limiter(send, "FIXED", [10, "3650d"]));
    const limit = withBlockedCache(asked);
    await limit("recipe:cost", { cost: 8 });
    assert.equal((await limit("recipe:cost", { cost: 4 })).allowed, false);
    assert.equal((await limit("recipe:cost", { cost: 5 })).allowed, false);
    assert.equal(asked.calls, 2);
    assert.equal((await limit("recipe:cost", { cost: 1 })).allowed, true);
    await limit("recipe:cost", { cost: -5 });
    assert.equal((await limit("recipe:cost", { cost: 4 })).allowed, true);
    assert.equal(asked.calls, 5);
  });

  it("keeps to its size, drops the oldest, and never keeps a failure or a value of a deny list", async () => {
    const asked = counting(limiter(send, "FIXED", [0, "3650d"]));
    const limit = withBlockedCache(asked, { maxEntries: 2 });
    for (const key of ["a", "b", "c", "b", "c"]) await limit(`recipe:size:${key}`);
    assert.equal(asked.calls, 3);
    await limit("recipe:size:a");
    assert.equal(asked.calls, 4);

    await send(["RL.DENY", "ADD", "recipe:blocked-deny", "192.0.2.7"]);
    const open = withBlockedCache(limiter(send, "FIXED", [5, "3650d"]));
    assert.equal((await open("recipe:shared", { deny: ["recipe:blocked-deny", "192.0.2.7"] })).allowed, false);
    assert.equal((await open("recipe:shared", { deny: ["recipe:blocked-deny", "192.0.2.8"] })).allowed, true);

    let failing = true;
    const flaky = withBlockedCache(async () => (failing ? { allowed: false, error: new Error("away") } : { allowed: true }));
    assert.equal((await flaky("k")).allowed, false);
    failing = false;
    assert.equal((await flaky("k")).allowed, true);
  });
});

describe("waiting until ready", () => {
  it("asks twice: once to be told how long, once when it fits", async () => {
    const asked = counting(limiter(send, "SLIDING", [2, "2s"])); // longer than a busy machine takes to ask again
    await asked("recipe:wait", { cost: 2 });
    const { allowed } = await untilReady(asked, "recipe:wait");
    assert.deepEqual([allowed, asked.calls], [true, 3]);
  });

  it("says no at once where the wait is too long, or for ever", async () => {
    const asked = counting(limiter(send, "SLIDING", [2, "15m"]));
    await asked("recipe:wait-long", { cost: 2 });
    assert.equal((await untilReady(asked, "recipe:wait-long", { timeoutMs: 1000 })).allowed, false);
    assert.equal((await untilReady(asked, "recipe:wait-long", { cost: 3 })).retryAfterMs, -1);
    assert.equal(asked.calls, 3);
  });

  it("can be aborted", async () => {
    const limit = limiter(send, "SLIDING", [1, "15m"]);
    await limit("recipe:abort");
    const waiting = untilReady(limit, "recipe:abort", { timeoutMs: 1e6, signal: AbortSignal.timeout(20) });
    await assert.rejects(waiting, { name: "AbortError" });
  });
});
