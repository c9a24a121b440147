// The loop of cluster.py, through node-redis' and ioredis' cluster clients.

import { createInterface } from "node:readline";
import { Cluster } from "ioredis";
import { createCluster } from "redis";
import { clusterPort as port } from "./servers.js";

const senders = {
  async "node-redis"() {
    const cluster = await createCluster({ rootNodes: [{ socket: { port } }] }).connect();
    return ({ key, words }) => cluster.sendCommand(key, false, words);
  },
  async ioredis() {
    const cluster = new Cluster([{ host: "127.0.0.1", port }]);
    return ({ words: [command, ...args] }) => cluster.call(command, ...args);
  },
};

const send = await senders[process.argv[2]]();
for await (const line of createInterface({ input: process.stdin })) {
  const answer = await send(JSON.parse(line)).then((reply) => ({ reply }), (error) => ({ error: String(error.message) }));
  console.log(JSON.stringify(answer));
}
process.exit();
