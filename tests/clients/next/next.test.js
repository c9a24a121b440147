// clients/examples/next, built and started, with node-redis and with ioredis; its pages in Chromium.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { after, before, describe, it } from "node:test";
import { chromium } from "playwright-core";
import { createClient } from "redis";
import { port as redisPort } from "./servers.js";

const home = process.env.RATELIMIT_NEXT; // where scripts/test-clients built it
const browserFile = process.env.RATELIMIT_CHROMIUM;

const freePort = async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
};

const until = async (what, condition) => {
  const end = Date.now() + 60_000;
  for (;;) {
    const found = await condition();
    if (found !== undefined) return found;
    if (Date.now() > end) assert.fail(`never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

let redis;
before(async () => (redis = await createClient({ socket: { port: redisPort } }).connect()));
after(() => redis.close());

for (const client of ["node-redis", "ioredis"]) {
  describe(`Next.js with ${client}`, { skip: home ? false : "the example is not built: run scripts/test-clients" }, () => {
    let url;
    let child;
    let output = "";
    before(async () => {
      const port = await freePort();
      url = `http://127.0.0.1:${port}`;
      child = spawn(process.execPath, ["node_modules/next/dist/bin/next", "start", "--hostname", "127.0.0.1", "--port", String(port)], {
        cwd: home,
        env: { ...process.env, NODE_ENV: "production", REDIS_URL: `redis://127.0.0.1:${redisPort}`, RATELIMIT_CLIENT: client, NEXT_TELEMETRY_DISABLED: "1" },
        stdio: ["ignore", "pipe", "pipe"],
      });
      for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (output += data));
      await until("Next.js is ready", async () => {
        if (child.exitCode !== null) assert.fail(output);
        return output.includes("Ready") ? true : undefined;
      });
    });
    after(async () => {
      child.kill("SIGKILL");
      await once(child, "exit");
    });

    const user = (name) => `${client}-${name}`;
    const chat = (name, prompt, { plan = "free", address = "203.0.113.1", signal } = {}) =>
      fetch(`${url}/api/chat`, {
        method: "POST",
        headers: { "X-Forwarded-For": address, Cookie: `user=${user(name)}; plan=${plan}` },
        body: JSON.stringify(prompt === undefined ? {} : { prompt }),
        signal,
      });
    const used = async (name) => 2000 - (await redis.sendCommand(["RL.PEEK", "FIXED", `tokens:user:${user(name)}`, "2000", "1d", "COST", "0"]))[2];

    it("proxy.ts: one address is refused after its limit, another is not", async () => {
      const address = client === "ioredis" ? "198.51.100.1" : "198.51.100.2";
      const statuses = new Map();
      for (let request = 0; request < 101; request++) {
        const response = await chat("nobody", undefined, { address });
        statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
        if (response.status === 429) assert.match(response.headers.get("Retry-After"), /^\d+$/);
        await response.arrayBuffer();
      }
      assert.deepEqual([...statuses], [[400, 100], [429, 1]]);
      assert.equal((await chat("nobody", undefined, { address: "203.0.113.7" })).status, 400);
      assert.equal((await chat("nobody", undefined, { address: `${address}:40001` })).status, 429);
    });

    it("a stream that is read to its end is charged what the model says", async () => {
      const response = await chat("read", "twenty-eight characters long");
      assert.equal(response.status, 200);
      assert.match(response.headers.get("RateLimit"), /^"tokens";r=1593;t=\d+$/);
      assert.equal((await response.text()).length, 400);
      assert.equal(await until("it is settled", async () => ((await used("read")) === 407 ? undefined : used("read"))), 100);
    });

    it("a model that fails half-way is charged as far as it came", async () => {
      await assert.rejects((await chat("failed", "please fail half-way, thanks")).text(), /terminated/);
      assert.equal(await until("it is settled", async () => ((await used("failed")) === 407 ? undefined : used("failed"))), 57);
    });

    it("a reader who goes is charged as far as it came", async () => {
      const controller = new AbortController();
      const response = await chat("aborted", "tell me a story without end.", { signal: controller.signal });
      const reader = response.body.getReader();
      for (let chunk = 0; chunk < 3; chunk++) await reader.read();
      controller.abort();
      await reader.read().catch(() => {});
      const charged = await until("it is settled", async () => ((await used("aborted")) === 407 ? undefined : used("aborted")));
      assert.ok(charged >= 7 + 5 && charged < 407, `${charged}`);
    });

    it("a budget that is spent is refused before the model is asked; another plan has more", async () => {
      await redis.sendCommand(["RL.FIXED", `tokens:user:${user("spent")}`, "2000", "1d", "COST", "1900"]);
      const refused = await chat("spent", "hello");
      assert.equal(refused.status, 429);
      assert.match(refused.headers.get("Retry-After"), /^\d+$/);
      assert.equal(await used("spent"), 1900);
      await redis.sendCommand(["RL.POLICY", "SET", "tokens:pro", "FIXED", "500000", "1d"]);
      const allowed = await chat("spent", "hello", { plan: "pro" });
      await allowed.text();
      await redis.sendCommand(["RL.POLICY", "DEL", "tokens:pro"]);
      assert.equal(allowed.status, 200);
    });

    describe("in Chromium", { skip: browserFile ? false : "Chromium is not there" }, () => {
      let browser;
      before(async () => (browser = await chromium.launch({ executablePath: browserFile, args: ["--no-sandbox"] })));
      after(() => browser.close());
      const open = async (path, address) => {
        const context = await browser.newContext({ extraHTTPHeaders: { "X-Forwarded-For": address } });
        await context.addCookies([{ name: "user", value: user("browser"), url }]);
        const page = await context.newPage();
        await page.goto(url + path);
        return page;
      };

      it("a person sees the limit, what is left, and when it is back", async () => {
        const page = await open("/", "203.0.113.20");
        for (let left = 5; left > 0; left--) {
          await page.getByText(`${left} of 5 clicks left`).waitFor();
          await page.getByRole("button", { name: "Click" }).click();
        }
        await page.getByText("0 of 5 clicks left").waitFor();
        const back = Date.parse(await page.locator("#back time").first().getAttribute("datetime"));
        assert.ok(back > Date.now() && back <= Date.now() + 60_000);
        assert.equal(await page.getByRole("button", { name: "Click" }).isDisabled(), true);
        if (process.env.RATELIMIT_SCREENSHOT) await page.screenshot({ path: process.env.RATELIMIT_SCREENSHOT });
      });

      it("a Server Action: who guesses a password is out for 15 minutes, also with the right one", async () => {
        const page = await open("/login", client === "ioredis" ? "203.0.113.30" : "203.0.113.31");
        const attempt = async (password, says) => {
          await page.getByLabel("Password").fill(password);
          await page.getByRole("button", { name: "Log in" }).click();
          await page.getByText(says).waitFor();
        };
        for (let left = 4; left >= 0; left--) await attempt("guess", `Wrong e-mail address or password. ${left} attempts left.`);
        await attempt("guess", "Too many attempts. Try again in 15 minutes.");
        await attempt("correct horse", /Too many attempts\. Try again in (15|14) minutes\./);
      });
    });
  });
}
