// What stands between a client and a server, and fails as failures.json says.

import { once } from "node:events";
import { connect, createServer } from "node:net";

const isOurs = (chunk) => chunk.includes("RL.");

async function byteByByte(socket, bytes) {
  for (const byte of bytes) {
    socket.write(Uint8Array.of(byte));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

export class Proxy {
  /** What is done to the next command of the module: `{ fault, bytes, until }`. */
  next;
  /** Nobody listens, or nobody answers, for as long as this is set. */
  refuses = false;
  isSilent = false;
  #sockets = new Set();
  #server;
  #target;

  static async to(target) {
    const proxy = new Proxy();
    proxy.#target = target;
    proxy.#server = createServer((client) => proxy.#serve(client));
    await proxy.#listen(0);
    return proxy;
  }

  async #listen(port) {
    this.#server.listen(port, "127.0.0.1");
    await once(this.#server, "listening");
    this.port = this.#server.address().port;
  }

  #serve(client) {
    const server = connect(this.#target, "127.0.0.1");
    const both = [client, server];
    for (const socket of both) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#sockets.delete(socket);
        for (const other of both) other.destroy();
      });
    }
    const cut = () => both.forEach((socket) => socket.destroy());
    let answer = (chunk) => client.write(chunk);
    let isDeaf = false; // a connection does not lose bytes in its middle: after one, all
    client.on("data", (chunk) => {
      if (this.isSilent || isDeaf) return;
      const fault = isOurs(chunk) ? this.next : undefined;
      if (fault === undefined) return void server.write(chunk);
      this.next = undefined;
      const faulty = {
        "cut-before": cut,
        "reset-before": () => client.resetAndDestroy(),
        swallow: () => (isDeaf = true),
        error: () => client.write(fault.bytes),
        "cut-after": () => (answer = cut),
        "cut-middle": () => (answer = (reply) => client.write(reply.subarray(0, reply.length >> 1), cut)),
        stall: () => (answer = () => {}),
        late: () => (answer = (reply) => void fault.until.then(() => client.write(reply))),
        slow: () => (answer = (reply) => {
          const isThrough = byteByByte(client, reply);
          answer = async (following) => {
            await isThrough; // a client may take a reply for whole before its last byte
            client.write(following);
          };
        }),
      };
      faulty[fault.fault]();
      if (!["cut-before", "reset-before", "swallow", "error"].includes(fault.fault)) server.write(chunk);
    });
    server.on("data", (chunk) => answer(chunk));
  }

  /** From now on nobody listens, or again. */
  async refuse(isRefusing) {
    if (isRefusing) {
      this.cut();
      await new Promise((resolve) => this.#server.close(resolve));
    } else await this.#listen(this.port);
  }

  cut() {
    for (const socket of this.#sockets) socket.destroy();
  }

  close() {
    this.cut();
    if (this.#server.listening) this.#server.close();
  }
}
