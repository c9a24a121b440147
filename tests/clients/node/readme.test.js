// Every block of JavaScript and TypeScript in the packages' READMEs: type-checked as it stands there, and run on another port. And
// the line that starts ratelimit-rest.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import ts from "typescript";
import { port } from "./servers.js";

const here = fileURLToPath(new URL(".", import.meta.url));
const clients = join(process.env.RATELIMIT_CLIENT_TESTS, "..", "..", "clients");
// Where this machine's Rust makes no WebAssembly, scripts/test-clients says so.
const hasEngine = existsSync(join(here, "node_modules/ratelimit-client/dist/local/engine.wasm"));

// What a reader does next with the block that has this text: it runs behind the block, in its scope.
const uses = {
  "export const GET": `
    const answer = await GET(new Request("http://api/", { headers: { "X-Forwarded-For": stranger } }));
    assert.deepEqual([answer.status, await answer.json()], [200, { hello: "world" }]);
    assert.equal(answer.headers.get("X-RateLimit-Remaining"), "99");`,
  'app.post("/by-both"': `
    const server = app.listen(0);
    const post = async (path, email, password) => {
      const headers = { "Content-Type": "application/json", "X-Forwarded-For": stranger };
      const body = JSON.stringify({ email, password });
      return (await fetch("http://127.0.0.1:" + server.address().port + path, { method: "POST", headers, body })).status;
    };
    const email = stranger + "@example.com";
    for (const path of ["/by-address", "/by-account", "/by-both"]) {
      for (let i = 0; i < 21; i++) assert.equal(await post(path, email, "correct horse"), 200);
    }
    for (let i = 0; i < 20; i++) assert.equal(await post("/by-both", email, "wrong"), 401);
    assert.equal(await post("/by-both", email, "correct horse"), 429);
    assert.equal(await post("/by-address", email, "correct horse"), 429);
    for (let i = 20; i < 50; i++) assert.equal(await post("/by-account", email, "wrong"), 401);
    assert.equal(await post("/by-account", email, "correct horse"), 429);
    assert.equal(await post("/by-account", "another" + email, "correct horse"), 200);`,
  "export async function upload": `
    const sent = async (size) => {
      const request = new Request("http://upload/", { method: "POST", headers: size && { "Content-Length": size } });
      return (await upload(request, stranger)).status;
    };
    assert.equal(await sent(undefined), 411);
    assert.equal(await sent("999999995"), 201);
    assert.equal(await sent("6"), 429); // charged neither
    for (let i = 0; i < 5; i++) assert.equal(await sent("1"), 201);
    assert.equal((await files.peek(byUser(stranger), { cost: 0 })).remaining, 4);`,
  "export async function answer": `
    assert.equal(await answer(stranger, "hello"), "You said: hello");
    assert.equal((await budget.peek(byUser(stranger), { cost: 0 })).remaining, 500_000 - 42);
    assert.match(await answer(stranger, "x".repeat(2_000_000)), /^Come back in [0-9]+ s$/);`,
  'on("upgrade"': `
    const { WebSocket } = await import("ws");
    server.listen(0);
    const open = () => new WebSocket("ws://127.0.0.1:" + server.address().port, { headers: { "X-Forwarded-For": stranger } });
    const socket = open();
    const heard = [];
    socket.on("message", (data) => heard.push(String(data)));
    socket.on("open", () => Array.from({ length: 200 }, (_, n) => socket.send("n" + n)));
    const code = await new Promise((resolve) => socket.on("close", resolve));
    assert.equal(code, 1013);
    assert.ok(heard.length >= 20 && heard.length < 200 && heard[19] === "You said: n19", heard.length + " " + heard[19]);
    for (let n = 1; n < 30; n++) await new Promise((resolve, reject) => open().on("open", resolve).on("error", reject));
    const refused = await new Promise((resolve) => open().on("unexpected-response", (_, { statusCode }) => resolve(statusCode)).on("error", () => undefined));
    assert.equal(refused, 429);`,
  "new JobSlots": `
    const { Queue, QueueEvents } = await import("bullmq");
    const { createServer } = await import("node:http");
    let asked = 0; // busy at first, so that the job comes again
    const provider = createServer((_, res) => res.writeHead((asked += 1) === 1 ? 429 : 202, { "Retry-After": "1" }).end());
    await new Promise((resolve) => provider.listen(0, resolve));
    const elsewhere = fetch;
    globalThis.fetch = (url, options) => {
      assert.equal(url, "https://mail.example.com/send");
      return elsewhere("http://127.0.0.1:" + provider.address().port, options);
    };
    const connection = { host: "127.0.0.1", port: ${port} };
    const events = new QueueEvents("mails", { connection });
    await events.waitUntilReady();
    const job = await new Queue("mails", { connection }).add("mail", { tenant: stranger, mail: "hello" });
    await job.waitUntilFinished(events);
    assert.equal(asked, 2);`,
  'unavailable: "local"': `
    const { remaining, error } = await api.hit(stranger);
    assert.deepEqual([remaining, error], [99, undefined]);`,
  "month is over": "",
  "new Ratelimit(": `assert.deepEqual([success, limit, reason], [true, 20, undefined]);`,
};

const blocks = ["README.md", "node/README.md"].flatMap((name) => {
  const text = readFileSync(join(clients, name), "utf8");
  return Array.from(text.matchAll(/^```(?:[jt]sx?|javascript|typescript)\n(.*?)^```/gms), ({ index, 1: code }) => {
    const line = text.slice(0, index).split("\n").length + 1;
    return { title: `${name}:${line}`, code, file: `${name.replaceAll("/", "-")}-${line}` };
  });
});

describe("the READMEs' blocks", () => {
  // Node looks for packages upwards from a file, so the blocks lie beside the tests.
  const dir = mkdtempSync(join(here, "readme-"));
  after(() => rmSync(dir, { recursive: true }));
  const sourceOf = ({ file }) => join(dir, `${file}.ts`);

  it("are there", () => assert.ok(blocks.length >= 9, `${blocks.length} blocks`));

  it("type-check", () => {
    for (const block of blocks) writeFileSync(sourceOf(block), block.code);
    const { config } = ts.readConfigFile(join(here, "tsconfig.json"), ts.sys.readFile);
    const { options, errors } = ts.convertCompilerOptionsFromJson(config.compilerOptions, here);
    assert.deepEqual(errors, []);
    const found = ts.getPreEmitDiagnostics(ts.createProgram(blocks.map(sourceOf), { ...options, skipLibCheck: true }));
    const host = { getCanonicalFileName: (name) => name, getCurrentDirectory: () => dir, getNewLine: () => "\n" };
    assert.equal(ts.formatDiagnostics(found, host), "");
  });

  for (const block of blocks) {
    const needsEngine = block.code.includes("ratelimit-client/local");
    it(`${block.title} runs`, { skip: needsEngine && !hasEngine }, async () => {
      const [use, ...others] = Object.keys(uses).filter((text) => block.code.includes(text));
      assert.ok(use !== undefined && others.length === 0, "say in this test what a reader does with it");
      const code = block.code
        .replaceAll("createClient()", `createClient({ url: "redis://127.0.0.1:6379" })`)
        .replaceAll("6379", String(port))
        .replaceAll(/(createLimiter|JobLimiter|JobSlots)\(\{/g, "$1({ timeoutMs: 60_000,"); // however busy the machine is
      const { outputText } = ts.transpileModule(code, { compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext } });
      // Somebody who has not been here before: the server is shared, and lives as long as all tests.
      const stranger = `2001:db8:${[1, 2].map(() => Math.floor(Math.random() * 0x10000).toString(16)).join(":")}::1`;
      const file = join(dir, `${block.file}.mjs`);
      const lead = /import assert/.test(code) ? "" : `import assert from "node:assert/strict";\n`;
      writeFileSync(file, `${lead}const stranger = "${stranger}";\n${outputText}\n${uses[use]}\nprocess.exit();\n`);
      const { stdout, stderr } = await promisify(execFile)(process.execPath, [file], { timeout: 120_000 });
      assert.deepEqual([stdout, stderr], ["", ""]);
    });
  }
});

// As a reader has it: the tarball beside a file of tokens, and nothing installed.
it("ratelimit-rest answers, started by the README's line", async () => {
  const [, line] = /^(npx --package \.\/ratelimit-client-.*)$/m.exec(readFileSync(join(clients, "README.md"), "utf8"));
  const dir = mkdtempSync(join(tmpdir(), "ratelimit-npx-"));
  after(() => rmSync(dir, { recursive: true }));
  const [tarball] = readdirSync(join(here, "../node-package")).filter((name) => name.endsWith(".tgz"));
  symlinkSync(join(here, "../node-package", tarball), join(dir, tarball));
  const token = "a-token-of-the-edge";
  writeFileSync(join(dir, "tokens"), `${token}\n`);
  // The version that all tests have, from where it was installed from.
  const { version } = JSON.parse(readFileSync(join(here, "node_modules/redis/package.json"), "utf8"));
  const words = line.replace("--package redis ", `--package redis@${version} `).replace("6379", String(port)).split(" ");
  const options = ["--yes", "--prefer-offline", ...words.slice(1), "--listen", "127.0.0.1:0"];
  const server = spawn(words[0], options, { cwd: dir, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  try {
    let said = "";
    const listens = new Promise((listening, refused) => {
      const read = (chunk) => {
        said += chunk;
        const [, address] = /listening on (\S+)/.exec(said) ?? [];
        if (address) listening(address);
      };
      server.stdout.on("data", read);
      server.stderr.on("data", read);
      server.on("close", () => refused(new Error(said)));
    });
    const key = `api:${Math.random()}`;
    const answer = await fetch(`http://${await listens}/`, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}` },
      body: JSON.stringify(["RL.SLIDING", key, "5", "1m"]),
    });
    assert.deepEqual((await answer.json()).result, [1, 5, 4, 0, 60_000]);
  } finally {
    if (server.exitCode === null) process.kill(-server.pid);
  }
});
