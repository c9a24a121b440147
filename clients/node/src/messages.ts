// A limiter of a WebSocket's messages, for `ws`. The handshake is a request like any other, and limited as such.

import { members, wrong } from "./check.js";
import type { AnyVerdict } from "./headers.js";
import { refusalOf } from "./middleware.js";

/** Of a WebSocket of `ws` only what is needed. */
export interface MessageSocket {
  readonly readyState: number;
  on(event: string, listener: (...given: never[]) => void): unknown;
  off(event: string, listener: (...given: never[]) => void): unknown;
  pause(): void;
  resume(): void;
  close(code: number, reason: string): void;
}

/** A message of a WebSocket that was let through. */
export interface Message<Data> {
  /** As `ws` has it: a Buffer, unless `binaryType` says otherwise. */
  readonly data: Data;
  readonly isBinary: boolean;
}

/** What becomes of messages that are denied. */
export interface MessageOptions<Data> {
  /**
   * What is done about a message that is not allowed, and the next one is read. Without it the socket is closed: 1013 where
   * trying later helps, 1008 where it does not.
   */
  readonly denied?: (verdict: AnyVerdict, message: Message<Data>) => unknown;
}

/** What `ws` tells of a socket that is open. */
const OPEN = 1;

/** Of a message that can never be allowed, or is on a deny list: policy violation. Of the others: try again later. */
function codeOf(verdict: AnyVerdict): 1008 | 1013 {
  return !verdict.error && (verdict.deniedValue !== undefined || verdict.retryAfterMs < 0) ? 1008 : 1013;
}

/**
 * The messages of a socket that are allowed, one after the other. The next one is looked at when the loop comes back: until
 * then the socket is paused, so whoever sends too fast has to wait, and no queue grows. Call it before anything is awaited,
 * or what arrives until then is lost. The loop ends with the socket. What `limit` or `denied` throws closes it (1011), and
 * is thrown by the loop.
 *
 * @param limit charges one message. With `limiter.wait(key, { signal })` it is held back until its turn comes
 * @example
 * for await (const { data } of limitMessages(socket, () => chat.hit(key))) socket.send(answer(data));
 */
export function limitMessages<Data = Uint8Array>(
  socket: MessageSocket,
  limit: (message: Message<Data>, signal: AbortSignal) => Promise<AnyVerdict>,
  options: MessageOptions<Data> = {},
): AsyncIterableIterator<Message<Data>> {
  members("options of limitMessages", options, ["denied"]);
  if (typeof socket?.pause !== "function" || typeof socket.on !== "function") throw wrong("socket", "a WebSocket of ws, which can pause", socket);
  for (const [name, hook] of [["limit", limit], ["denied", options.denied ?? limit]] as const) {
    if (typeof hook !== "function") throw wrong(name, "a function", hook);
  }
  const waiting: Message<Data>[] = [];
  const closed = new AbortController();
  let taker: ((message: Message<Data> | undefined) => void) | undefined;
  const give = (message: Message<Data> | undefined): boolean => {
    const took = taker !== undefined;
    taker?.(message);
    taker = undefined;
    return took;
  };
  const onMessage = (data: Data, isBinary: boolean): void => {
    const message = { data, isBinary };
    if (give(message)) return;
    waiting.push(message); // with it only what was read at once
    socket.pause();
  };
  const onClose = (): void => {
    closed.abort();
    give(undefined);
  };
  const onError = (): void => undefined; // a frame that is none is no mistake of the application's: the socket closes
  socket.on("message", onMessage);
  socket.on("close", onClose);
  socket.on("error", onError);
  if (socket.readyState > OPEN) closed.abort();

  const next = (): Promise<Message<Data> | undefined> | Message<Data> | undefined => {
    const message = waiting.shift();
    if (message && waiting.length === 0) socket.resume();
    return message || closed.signal.aborted ? message : new Promise((resolve) => (taker = resolve));
  };
  async function* allowed(): AsyncGenerator<Message<Data>, void, undefined> {
    try {
      for (let message = await next(); message; message = await next()) {
        const verdict = await limit(message, closed.signal);
        if (verdict.allowed) yield message;
        else if (options.denied) await options.denied(verdict, message);
        else return socket.close(codeOf(verdict), refusalOf(verdict).body.error);
      }
    } catch (mistake) {
      if (closed.signal.aborted && mistake === closed.signal.reason) return; // nobody waits for it any more
      socket.close(1011, "");
      throw mistake;
    } finally {
      socket.off("message", onMessage);
      socket.off("close", onClose);
      socket.resume(); // or nobody would see it close
    }
  }
  return allowed();
}
