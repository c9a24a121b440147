// A server that passes commands of the REST protocol on to Redis, whoever sends them: `node bridge.mjs REDIS_PORT`. Prints its port.

import { createServer } from "node:http";
import { createClient } from "redis";

const redis = await createClient({ socket: { host: "127.0.0.1", port: Number(process.argv[2]) } }).connect();

const base64 = (value) => (typeof value === "string" ? Buffer.from(value).toString("base64") : Array.isArray(value) ? value.map(base64) : value);

async function answer(command, encoding) {
  try {
    const result = await redis.sendCommand(command.map(String));
    return { status: 200, body: { result: encoding === "base64" ? base64(result) : result } };
  } catch (error) {
    return { status: 400, body: { error: error.message } };
  }
}

const server = createServer(async (req, res) => {
  let text = "";
  req.setEncoding("utf8");
  for await (const part of req) text += part;
  const { status, body } = await answer(JSON.parse(text), req.headers["upstash-encoding"]);
  const data = JSON.stringify(body);
  res.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(data) }).end(data);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit(0)).resume(); // ends with whoever started it
