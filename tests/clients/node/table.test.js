// inputs.json: what this package and Python's must do alike. What is sent is kept, and answered as the table says.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { byAccount, byIp, clientAddress, createLimiter, hitAll, rateLimitHeaders } from "ratelimit-client";

const table = JSON.parse(readFileSync(new URL("inputs.json", `file://${process.env.RATELIMIT_CLIENT_TESTS}/`), "utf8"));
const NOW = 1_700_000_000_000;

/** A client that answers with `reply`, and what it was sent. */
function answering(reply) {
  const sent = [];
  const client = async (args) => {
    sent.push(args);
    if (reply === "fails") throw new Error("away");
    return reply;
  };
  return { client, sent };
}

describe("addresses", () => {
  for (const [written, expected] of table.byIp) {
    it(`byIp(${JSON.stringify(written)}) is ${expected}`, () => assert.equal(byIp(written ?? undefined), expected));
  }
  for (const [written, ipv4, ipv6, expected] of table.byIpPrefixes) {
    it(`byIp(${JSON.stringify(written)}, ${ipv4}, ${ipv6}) is ${expected}`, () => assert.equal(byIp(written, { ipv4, ipv6 }), expected));
  }
  for (const [email, secret, expected] of table.byAccount) {
    it(`byAccount(${JSON.stringify(email)}, ${secret})`, async () => assert.equal(await byAccount(email, secret === null ? {} : { identitySecret: secret }), expected));
  }
  for (const { trust, forwarded, headers = {}, peer, is } of table.clientAddress) {
    it(`${JSON.stringify(trust)}: "${forwarded}" from ${peer} is ${is}`, () => {
      const fields = { ...headers, ...(forwarded === undefined ? {} : { "x-forwarded-for": forwarded }) };
      assert.equal(clientAddress(trust)({ headers: fields, peer }), is);
      assert.equal(clientAddress(trust)({ headers: new Headers(fields), peer }), is);
    });
  }
  for (const trust of table.trustRefused) {
    it(`trust ${JSON.stringify(trust)} is refused`, () => assert.throws(() => clientAddress(trust), { name: "TypeError", message: /^(trust|proxies)/ }));
  }
});

/** JSON's null stands for what is not there. */
const has = (actual, expected) => {
  for (const [name, value] of Object.entries(expected)) assert.deepEqual(actual[name], value ?? undefined, name);
};

describe("exchanges", () => {
  for (const { name, limiter, call: [method, key, options], sends, reply, verdict, fields } of table.exchanges) {
    it(name, async () => {
      const { client, sent } = answering(reply);
      const answer = await createLimiter({ client, ...limiter })[method](key, options);
      assert.deepEqual(sent, [sends]);
      has(answer, verdict);
      if (fields) assert.deepEqual(rateLimitHeaders(answer, NOW), fields);
    });
  }
  for (const { name, limiters, keys, costs, options, sends, reply, verdict, allowed, taken, fields } of table.all) {
    it(`several keys: ${name}`, async () => {
      const { client, sent } = answering(reply);
      const parts = limiters.map((limiter, i) => ({ limiter: createLimiter({ client, ...limiter }), key: keys[i], cost: costs[i] }));
      const answer = await hitAll(parts, options);
      assert.deepEqual(sent, [sends]);
      has(answer, verdict);
      assert.deepEqual(answer.keys.map((key) => key.allowed), allowed);
      assert.deepEqual(answer.keys.map((key) => key.taken), taken);
      assert.deepEqual(rateLimitHeaders(answer, NOW), fields);
    });
  }
});

describe("replies of another server", () => {
  for (const reply of table.unread) {
    it(`${JSON.stringify(reply)} is an error, and no open door`, async () => {
      const limiter = createLimiter({ client: answering(reply).client, algorithm: "fixed", limits: { limit: 5, window: "1h" }, unavailable: "closed", onError() {} });
      const { allowed, error } = await limiter.hit("k", { stamp: true });
      assert.equal(allowed, false);
      assert.match(error.message, /^not a reply of RL/);
    });
  }
});

describe("refused before anything is sent", () => {
  for (const { limiter = {}, call: [method, key, options] = ["hit", "k", {}], says } of table.refused) {
    it(`${JSON.stringify({ ...limiter, key, options })}: ${says}`, async () => {
      const { client, sent } = answering([1, 5, 4, 0, 0]);
      const given = { client, algorithm: "sliding", limits: { limit: 5, window: "15m" }, ...limiter };
      await assert.rejects(async () => createLimiter(given)[method](key ?? undefined, options), (error) => {
        assert.equal(error.name, "TypeError");
        return error.message.includes(says) || assert.fail(error.message);
      });
      assert.deepEqual(sent, []);
    });
  }
});

describe("settling", () => {
  for (const { name, reserved, add = [], used, sends } of table.settling) {
    it(name, async () => {
      const { client, sent } = answering(reserved);
      const limiter = createLimiter({ client, algorithm: "fixed", limits: { limit: 1000, window: "1h" }, onError() {} });
      const reservation = await limiter.reserve("k", 900);
      assert.deepEqual(sent.splice(0), [["RL.FIXED", "k", "1000", "1h", "COST", "900", "STAMP"]]);
      for (const amount of add) reservation.add(amount ?? undefined);
      await reservation.settle(used ?? undefined);
      await reservation.settle(7); // the first one counts
      assert.deepEqual(sent, sends === null ? [] : [["RL.FIXED", "k", "1000", "1h", ...sends]]);
    });
  }
});
