// A login of two keys: its address and its account, charged and given back together.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createLimiter, createLogin, withRateLimit } from "ratelimit-client";
import { createClient, createCluster } from "redis";
import { clusterPort, port } from "./servers.js";

for (const [name, open] of Object.entries({
  "one server": () => createClient({ socket: { port } }).connect(),
  cluster: () => createCluster({ rootNodes: [{ socket: { port: clusterPort } }] }).connect(),
})) {
  describe(`a login, ${name}`, () => {
    let client;
    before(async () => (client = await open()));
    after(() => client.destroy());
    const limiter = (own, what, limit) =>
      createLimiter({ client, prefix: `{${own}}:${what}`, algorithm: "sliding", limits: { limit, window: "15m" }, timeoutMs: 60_000, unavailable: "closed" });
    const logins = (own, address = 3, account = 5, options = {}) => {
      const perAddress = limiter(own, "address", address);
      const perAccount = limiter(own, "account", account);
      return { login: createLogin({ perAddress, perAccount, ...options }), perAddress, perAccount };
    };
    const alice = { address: "203.0.113.9", email: "Alice@Example.com " };

    it("an address may try three times, whichever account; an account five times, from wherever", async () => {
      const { login } = logins("login-wrong");
      const allowed = async (address, email) => (await login.hit({ address, email })).verdict.allowed;
      for (let i = 0; i < 3; i++) assert.equal(await allowed("203.0.113.9", `${i}@example.com`), true);
      assert.equal(await allowed("203.0.113.9:4711", "4@example.com"), false); // another port is nobody else
      for (let i = 0; i < 5; i++) assert.equal(await allowed(`198.51.100.${i}`, "bob@example.com"), true);
      assert.equal(await allowed("198.51.100.9", " BOB@example.com"), false);
      assert.equal(await allowed("198.51.100.9", "carol@example.com"), true); // the denied try was charged to nobody
    });

    it("a right password gives both back, a denied try opens nothing", async () => {
      const { login, perAccount } = logins("login-right", 1);
      let status = 200;
      const handle = withRateLimit(() => login.hit(alice), () => new Response("", { status }), { skipSuccessfulRequests: true });
      const ask = async () => await handle(new Request("http://x/", { method: "POST" }));
      for (let i = 0; i < 4; i++) assert.equal((await ask()).status, 200);
      status = 401;
      const wrong = await ask();
      assert.match(wrong.headers.get("RateLimit"), /^"\{login-right\}:address";r=0;t=\d+, "\{login-right\}:account";r=4;t=\d+$/);
      status = 200;
      assert.deepEqual([wrong.status, (await ask()).status, (await ask()).status], [401, 429, 429]);
      const { verdict, refund } = await login.hit(alice);
      await refund();
      assert.equal(verdict.allowed, false);
      const { byAccount } = await import("ratelimit-client");
      assert.equal((await perAccount.peek(await byAccount(alice.email), { cost: 0 })).remaining, 4);
    });

    it("is closed where Redis is away, and says which argument is missing", async () => {
      const { login } = logins("login-secret", 3, 5, { identitySecret: "ours" });
      assert.equal((await login.hit(alice)).verdict.allowed, true);
      await assert.rejects(login.hit({ email: "a@b.c" }), { name: "TypeError", message: /^address/ });
      await assert.rejects(login.hit({ address: "unknown", email: "" }), { name: "TypeError", message: /^email/ });
      assert.throws(() => createLogin({ perIp: 1 }), TypeError);
      const gone = createLimiter({ client: () => Promise.reject(new Error("away")), algorithm: "fixed", limits: { limit: 1, window: "1h" }, unavailable: "closed", onError() {} });
      const { verdict, refund } = await createLogin({ perAddress: gone, perAccount: gone }).hit(alice);
      await refund();
      assert.equal(verdict.allowed, false);
    });
  });
}
