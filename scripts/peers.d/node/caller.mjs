// Asks a server for http.mjs, as cheaply as can be: connections that stay, one request at a time on each.

import { connect } from "node:net";

function call({ port, hits, atOnce, keys, prefix }) {
  return new Promise((resolve, reject) => {
    let left = hits;
    let open = hits;
    let allowed = 0;
    const caller = () => {
      const socket = connect(port, "127.0.0.1");
      let heard = "";
      const next = () => {
        if (left > 0) {
          left -= 1;
          socket.write(`GET / HTTP/1.1\r\nHost: localhost\r\nx-key: ${prefix}${left % keys}\r\n\r\n`);
        } else {
          socket.destroy();
        }
      };
      socket.setEncoding("latin1");
      socket.on("connect", next).on("error", reject);
      socket.on("data", (data) => {
        heard += data;
        const end = heard.indexOf("\r\n\r\n");
        if (end < 0) return;
        const length = Number(/\r\ncontent-length: (\d+)/i.exec(heard)?.[1]);
        if (heard.length < end + 4 + length) return;
        if (heard.startsWith("HTTP/1.1 200")) allowed += 1;
        heard = "";
        open -= 1;
        next();
        if (open === 0) resolve(allowed);
      });
    };
    for (let n = 0; n < atOnce; n++) caller();
  });
}

process.on("message", async (asked) => process.send(await call(asked)));
process.on("disconnect", () => process.exit());
