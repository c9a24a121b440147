// Limits inside the jobs of BullMQ: real queues and real workers on a real server.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { Queue, Worker } from "bullmq";
import { JobLimiter, JobSlots } from "ratelimit-client/bullmq";
import { createClient } from "redis";
import { port, until } from "./servers.js";

let client;
before(async () => (client = await createClient({ socket: { port } }).connect()));
after(() => client.close());

const connection = { host: "127.0.0.1", port, maxRetriesPerRequest: null };
const away = () => Promise.reject(new Error("away"));
let made = 0;
const prefix = () => `jobs:${process.pid}:${(made += 1)}`;
const limiter = (more) => new JobLimiter({ client, prefix: prefix(), timeoutMs: 60_000, sleepMs: 20, ...more });

/** A queue, and what its workers do; `done` waits until so many jobs have ended, whichever way. */
async function queue(t, work, { workers = 2, concurrency = 5 } = {}) {
  const name = `jobs-${process.pid}-${(made += 1)}`;
  const jobs = new Queue(name, { connection });
  const ended = [];
  const running = Array.from({ length: workers }, () => new Worker(name, work, { connection, concurrency }));
  for (const worker of running) {
    worker.on("completed", (job) => ended.push(job));
    worker.on("failed", (job) => ended.push(job));
    worker.on("error", () => {});
  }
  t.after(async () => {
    await Promise.all(running.map((worker) => worker.close(true)));
    await jobs.obliterate({ force: true });
    await jobs.close();
  });
  const add = (many, options) => jobs.addBulk(Array.from({ length: many }, (_, i) => ({ name: "job", data: { i }, opts: options })));
  const done = (many) => until(() => ended.length >= many, () => `${ended.length} of ${many}`);
  return { jobs, add, done, ended };
}

describe("BullMQ", () => {
  it("a rate over all workers: each job acts once, at its turn, and waiting is no failed attempt", async (t) => {
    const limit = limiter({ limits: { capacity: 2, refill: 20, interval: "1s" } });
    const acts = [];
    const { add, done, ended } = await queue(t, async (job) => {
      await limit.turn(job, "provider");
      acts.push([job.data.i, performance.now()]);
      assert.deepEqual(Object.keys(job.data), ["i"]);
    });
    const began = performance.now();
    await add(30);
    await done(30);
    assert.deepEqual(acts.map(([i]) => i).sort((a, b) => a - b), Array.from({ length: 30 }, (_, i) => i));
    // Late they may be on a busy machine, never early: the n-th has to wait for the n - 2 before it.
    acts.forEach(([, at], n) => assert.ok(at - began > ((n - 1) * 1000) / 20 - 60, `act ${n} after ${at - began} ms`));
    assert.ok(ended.every(({ attemptsMade, failedReason }) => attemptsMade === 1 && !failedReason));
    assert.ok(ended.some(({ attemptsStarted }) => attemptsStarted > 1)); // some have waited in the queue
  });

  it("a provider's Retry-After holds for all workers, also for who had a place already", async (t) => {
    const limit = limiter({ limits: { capacity: 1, refill: 10, interval: "1s" } });
    const acts = [];
    let shutUntil;
    const { add, done, ended } = await queue(t, async (job) => {
      await limit.turn(job, "provider");
      acts.push([job.data.i, performance.now()]);
      if (shutUntil !== undefined) return;
      await pause(50); // the others have taken their places
      shutUntil = performance.now() + 1000;
      await limit.comeBack(job, "provider", "1");
    });
    await add(8);
    await done(8);
    const [first, ...others] = acts.filter(([, at], n) => n === 0 || at > shutUntil - 900);
    assert.equal(acts.filter(([i]) => i === first[0]).length, 2); // it was refused, and came back
    for (const [i, at] of others) assert.ok(at >= shutUntil - 20, `${i} acted ${shutUntil - at} ms early`);
    assert.ok(ended.every(({ attemptsMade, failedReason }) => attemptsMade === 1 && !failedReason));
  });

  it("what a provider writes as Retry-After: seconds, a date, nothing, nonsense", async () => {
    const limit = limiter({ limits: { capacity: 1, refill: 1, interval: "1s" } });
    const date = new Date(Date.now() + 30_000).toUTCString();
    for (const [after, least, most] of [["2", 2000, 2000], [3, 3000, 3000], [date, 28_000, 30_000], [null, 10_000, 10_000], ["soon", 10_000, 10_000], ["-5", 10_000, 10_000], ["1e9", 10_000, 86_400_000], [1e12, 86_400_000, 86_400_000]]) {
      let delayed;
      const job = { data: {}, moveToDelayed: async (timestamp) => void (delayed = timestamp - Date.now()), updateData: async () => {} };
      await assert.rejects(limit.comeBack(job, `${after}`, after), { name: "DelayedError" });
      assert.ok(delayed > least - 1000 && delayed <= most + 5, `${after}: ${delayed}`);
    }
  });

  it("slots: two at once over all workers, given back however the work ends", async (t) => {
    const slots = new JobSlots({ client, prefix: prefix(), limit: 2, ttl: "30s", againMs: 30, timeoutMs: 60_000 });
    let [now, most] = [0, 0];
    const { add, done, ended } = await queue(t, (job) =>
      slots.hold(job, "tenant", async () => {
        most = Math.max(most, (now += 1));
        await pause(20);
        now -= 1;
        if (job.data.i % 2 === 0) throw new Error("the work failed");
      }));
    await add(10);
    await done(10);
    assert.equal(most, 2);
    assert.deepEqual(ended.map(({ failedReason }) => failedReason ?? "").filter(Boolean), Array(5).fill("the work failed"));
    await until(async () => Number(await client.sendCommand(["EXISTS", `jobs:${process.pid}:${made - 1}:tenant`])) === 0);
  });

  it("an attempt that fails after its turn takes a place of its own next time", async (t) => {
    const limit = limiter({ limits: { capacity: 1, refill: 20, interval: "1s" } });
    const acts = [];
    const { add, done, ended } = await queue(t, async (job) => {
      await limit.turn(job, "k");
      acts.push(performance.now());
      if (job.attemptsMade < 2) throw new Error("again");
    });
    const began = performance.now();
    await add(1, { attempts: 3 });
    await done(3); // two failures and one success
    assert.equal(acts.length, 3);
    assert.ok(acts[2] - began > 2 * 50 - 5, `${began}: ${acts}`);
    assert.equal(ended.at(-1).attemptsMade, 3);
  });

  it("Redis away: open acts, closed comes back later and fails nobody", async (t) => {
    const open = limiter({ client: away, onError() {}, limits: { capacity: 1, refill: 1, interval: "1h" } });
    let acted = 0;
    const first = await queue(t, async (job) => void (await open.turn(job, "k"), (acted += 1)));
    await first.add(3);
    await first.done(3);
    assert.equal(acted, 3);
    const closed = limiter({ client: away, onError() {}, unavailable: "closed", limits: { capacity: 1, refill: 1, interval: "1h" } });
    let tried = 0;
    const second = await queue(t, async (job) => {
      tried += 1;
      await closed.turn(job, "k");
      assert.fail("it acted");
    });
    const [job] = await second.add(1);
    await until(async () => tried > 1 && (await job.isDelayed()));
    assert.equal(second.ended.length, 0);
  });

  it("mistakes: a cost that never fits fails once, data that is no object and wrong options are errors", async (t) => {
    const limit = limiter({ limits: { capacity: 2, refill: 1, interval: "1s" } });
    const { add, done, ended } = await queue(t, (job) => limit.turn(job, "k", { cost: 3 }));
    await add(1, { attempts: 5 });
    await done(1);
    assert.match(ended[0].failedReason, /a cost of 3 never fits the limit 2/);
    assert.equal(ended[0].attemptsMade, 1);
    await assert.rejects(limit.turn({ data: "text" }, "k"), { name: "TypeError", message: /job\.data: expected an object/ });
    for (const wrong of [{ limits: { limit: 1, window: "1m" } }, { limits: [] }, { limits: { capacity: 1, refill: 1, interval: "1s" }, maxWaitMs: 0 }, { algorithm: "sliding" }]) {
      assert.throws(() => new JobLimiter({ client, ...wrong }), TypeError);
    }
    assert.throws(() => new JobSlots({ client, limit: 2, ttl: "30s", again: 1 }), TypeError);
  });
});
