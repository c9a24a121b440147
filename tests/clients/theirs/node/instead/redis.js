// The client that their tests make is one of this server. Where they read the number in a key, it is asked what is used of it.

import { createClient, url } from "./client.js";

const pairs = (flat) => Object.fromEntries(flat.flatMap((name, i) => (i % 2 === 0 ? [[name, flat[i + 1]]] : [])));
export const used = (info) => String(info === null ? 0 : pairs(pairs(info).limits[0]).used);

export default {
  createClient() {
    const client = createClient({ url, database: 9, RESP: 2 });
    return Object.assign(client, { get: async (key) => used(await client.sendCommand(["RL.INFO", key])) });
  },
};
