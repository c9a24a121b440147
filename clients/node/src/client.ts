// The one place that knows Redis clients: how a connection of the package's own is made from each, by which a command
// is sent at most once and never later, and what errors mean.
//
// With their defaults they send again what may have been charged already (ioredis resends what was unanswered when a
// connection broke, 20 times), and send later what was asked while Redis was away. So the limiter takes from a client
// its address, its password and its TLS, and has a connection of its own.

import { wrong } from "./check.js";

/**
 * Sends one command. `key` is the key that decides on the node of a cluster. It must not send again what may have
 * reached the server, nor later: nothing here can see to that.
 */
export type Send = (args: string[], key: string) => Promise<unknown>;

type Listen = (event: string, listener: (error: Error) => void) => unknown;

/** A client of node-redis. */
export interface NodeRedisClient {
  sendCommand(args: string[]): Promise<unknown>;
}
/** A cluster of node-redis. */
export interface NodeRedisCluster {
  readonly masters: unknown;
  sendCommand(key: string, isReadonly: boolean, args: string[]): Promise<unknown>;
}
/** ioredis, a client or a cluster. */
export interface IoRedisClient {
  call(command: string, ...args: string[]): Promise<unknown>;
}
/** What speaks REST: @upstash/redis with `retry: { retries: 0 }`, or `restClient()` of this package. */
export interface RestClient {
  exec(command: [string, ...string[]]): Promise<unknown>;
}

/** What a limiter reaches Redis by. Where it can, it makes a connection of its own from it. */
export type Client = Send | NodeRedisClient | NodeRedisCluster | IoRedisClient | RestClient;

/** A connection that is ready. */
export interface Link {
  /** As {@link Send} does; of a cluster's, `slot` is the key's. */
  readonly send: (args: string[], key: string, slot?: number) => Promise<unknown>;
  /** Sends to every primary. */
  readonly each: (args: string[]) => Promise<unknown[]>;
  /** Of a cluster: which node has the slot, as whatever is the same for the same node. */
  readonly nodeOf?: (slot: number) => unknown;
  readonly close: () => void;
}

export interface Driver {
  /** Makes a connection. `lost` is called once it is gone; `made` with what closes it while it is not ready yet. */
  dial(lost: (error: Error) => void, made: (close: () => void) => void): Promise<Link>;
  /** Calls `end` whenever the application closes its client. */
  onEnd(end: () => void): void;
  /** Whether the application's client is open, now that it was closed once. */
  isOpen(): boolean;
}

/** Of what is no cluster. */
const alone = (send: Send): Pick<Link, "send" | "each"> => ({ send, each: async (args) => [await send(args, "")] });

interface NodeRedis extends NodeRedisClient {
  readonly options?: { readonly socket?: object };
  readonly isOpen: boolean;
  readonly on: Listen;
  duplicate(overrides: object): NodeRedis;
  connect(): Promise<unknown>;
  sendCommand(args: string[], options?: object): Promise<unknown>;
  unref(): void;
  destroy(): void;
}

/** By default each command has an AbortSignal of 5 s, which costs more than all the rest of it. */
const UNTIMED = { timeout: undefined };

function nodeRedis(client: NodeRedis): Driver {
  const overrides = {
    disableOfflineQueue: true,
    commandOptions: UNTIMED,
    clientSideCache: undefined,
    emitInvalidate: undefined,
    pingInterval: undefined,
    commandsQueueMaxLength: undefined,
  };
  return {
    async dial(lost, made) {
      const socket = { ...client.options?.socket, reconnectStrategy: false };
      const own = client.duplicate({ ...overrides, socket });
      own.on("error", (error) => own.isOpen || lost(error));
      own.on("end", () => lost(new Error("the connection was closed")));
      own.unref(); // who waits for an answer keeps the process alive, a connection does not
      const close = () => own.destroy();
      made(close);
      await own.connect();
      return { ...alone((args) => own.sendCommand(args, UNTIMED)), close };
    },
    onEnd: (end) => client.on("end", end),
    isOpen: () => client.isOpen,
  };
}

interface NodeRedisClusterWhole extends NodeRedisCluster {
  readonly isOpen: boolean;
  readonly _options?: { readonly defaults?: { readonly socket?: object } };
  readonly masters: readonly object[];
  readonly slots: readonly ({ readonly master: unknown } | undefined)[];
  nodeClient(node: object): NodeRedis | Promise<NodeRedis>;
  readonly on: Listen;
  duplicate(overrides: object): NodeRedisClusterWhole;
  connect(): Promise<unknown>;
  sendCommand(key: string, isReadonly: boolean, args: string[], options?: object): Promise<unknown>;
  destroy(): void;
}

function nodeRedisCluster(client: NodeRedisClusterWhole): Driver {
  return {
    async dial(lost, made) {
      // Each node is connected to by its first call: who does not answer holds up nobody else. One that is lost has failed,
      // and is found again by another connection.
      const socket = { ...client._options?.defaults?.socket, reconnectStrategy: false };
      const defaults = { ...client._options?.defaults, socket, disableOfflineQueue: true, commandOptions: UNTIMED };
      const own = client.duplicate({ defaults, commandOptions: UNTIMED, minimizeConnections: true });
      own.on("error", () => undefined); // what a call meets, it is told
      own.on("disconnect", () => lost(new Error("the connection was closed")));
      const close = () => own.destroy();
      made(close);
      await own.connect();
      const each = (args: string[]) => Promise.all(own.masters.map(async (node) => (await own.nodeClient(node)).sendCommand(args, UNTIMED)));
      return { send: (args, key) => own.sendCommand(key, false, args, UNTIMED), each, nodeOf: (slot) => own.slots[slot]?.master, close };
    },
    onEnd: (end) => client.on("disconnect", end),
    isOpen: () => client.isOpen,
  };
}

interface Stream {
  cork(): void;
  uncork(): void;
  unref?(): void;
  destroy?(): void;
}
interface IoRedis extends IoRedisClient {
  readonly status: string;
  readonly isCluster?: boolean;
  readonly stream?: Stream;
  readonly options: { readonly redisOptions?: object };
  readonly on: Listen;
  duplicate(...overrides: object[]): IoRedis;
  connect(): Promise<unknown>;
  disconnect(): void;
}

/** Sends nothing twice, nothing later, and tells at once that a connection broke. */
const ONCE = {
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  reconnectOnError: null,
  commandTimeout: undefined,
  monitor: false,
};

/** Dials by itself alone, so that a failure is one. */
const DIALLED = { ...ONCE, lazyConnect: true, enableOfflineQueue: false, enableAutoPipelining: false, retryStrategy: () => null };

/** ioredis writes each command by itself: what is sent in one turn of the loop goes out together here. */
function together(stream: Stream | undefined): () => void {
  if (stream === undefined || typeof setImmediate !== "function") return () => undefined;
  let corked = false;
  const uncork = () => {
    corked = false;
    stream.uncork();
  };
  return () => {
    if (corked) return;
    corked = true;
    stream.cork();
    setImmediate(uncork);
  };
}

interface Routing extends IoRedisClient {
  sendCommand(command: { slot?: number }, ...rest: unknown[]): unknown;
}

/**
 * ioredis does not know the keys of a module's commands: it would begin at any node, which may be a dead one, and be sent
 * on to the right one.
 */
function routed(cluster: Routing): Link["send"] {
  const { sendCommand } = cluster;
  let current: number | undefined;
  cluster.sendCommand = (command, ...rest) => {
    if (current !== undefined) command.slot = current;
    return sendCommand.call(cluster, command, ...rest);
  };
  return (args, _key, slot) => {
    current = slot;
    try {
      return cluster.call(...(args as [string, ...string[]]));
    } finally {
      current = undefined;
    }
  };
}

function ioRedis(client: IoRedis): Driver {
  return {
    async dial(lost, made) {
      const own = client.isCluster
        ? client.duplicate([], {
            lazyConnect: true,
            enableReadyCheck: false, // asks any node, without a deadline: one that is silent would hold up all
            enableOfflineQueue: true, // of calls to a node that is being connected to: no more than their deadline
            enableAutoPipelining: false,
            retryDelayOnFailover: 0, // tells of a node that is gone, and does not send again
            retryDelayOnClusterDown: 0,
            clusterRetryStrategy: () => null,
            redisOptions: { ...client.options.redisOptions, ...ONCE },
          })
        : client.duplicate(DIALLED);
      let cause: Error | undefined; // ioredis' rejection says "Connection is closed."
      own.on("error", (error) => (cause = error));
      own.on("end", () => lost(cause ?? new Error("the connection was closed")));
      const close = () => {
        if (own.status === "end") return;
        own.disconnect(); // it says goodbye, and a server that is stopped does not answer
        if (!client.isCluster) own.stream?.destroy?.();
      };
      made(close);
      try {
        await own.connect();
      } catch (error) {
        throw cause ?? error;
      }
      if (client.isCluster) {
        const { nodes } = own as unknown as { nodes(role?: string): IoRedis[] };
        const { slots } = own as unknown as { slots: readonly (readonly string[] | undefined)[] };
        const call = routed(own as unknown as Routing);
        nodes.call(own).forEach((node) => node.stream?.unref?.());
        const each = ([command, ...args]: string[]) => Promise.all(nodes.call(own, "master").map((node) => node.call(command as string, ...args)));
        return { send: call, each, nodeOf: (slot) => slots[slot]?.[0], close };
      }
      own.stream?.unref?.();
      const cork = together(own.stream);
      const send: Send = (args) => {
        cork();
        return own.call(...(args as [string, ...string[]]));
      };
      return { ...alone(send), close };
    },
    onEnd: (end) => client.on("end", end),
    isOpen: () => client.status !== "end",
  };
}

/** What needs no connection: a function, or HTTP. */
const direct = (send: Send): Driver => ({
  dial: async () => ({ ...alone(send), close: () => undefined }),
  onEnd: () => undefined,
  isOpen: () => true,
});

function rest(client: RestClient): Driver {
  const retries = (client as { client?: { retry?: { attempts?: unknown } } }).client?.retry?.attempts;
  if (typeof retries === "number" && retries > 0) {
    throw new TypeError(
      "client: @upstash/redis sends a command again when an answer is lost, and it would be counted again: " +
        "new Redis({ url, token, retry: { retries: 0 } })",
    );
  }
  return direct((args) => client.exec(args as [string, ...string[]]));
}

const SHAPES = "a client of node-redis, ioredis or @upstash/redis, or a function that sends a command";

/** How to reach Redis by whichever client. What cannot be made safe is refused, with what to do instead. */
export function driver(client: Client): Driver {
  if (typeof client === "function") return direct(client);
  if (typeof client !== "object" || client === null) throw wrong("client", SHAPES, client);
  const has = (...names: string[]): boolean => names.every((name) => name in client);
  if (has("call", "duplicate", "status")) return ioRedis(client as unknown as IoRedis);
  if (has("masters", "duplicate")) return nodeRedisCluster(client as unknown as NodeRedisClusterWhole);
  if (has("sendCommand", "getMasterNode")) {
    throw new TypeError("client: a sentinel of node-redis sends again after a failure, and a hit would be counted again: use ioredis with `sentinels`");
  }
  if (has("sendCommand", "duplicate", "isOpen")) return nodeRedis(client as unknown as NodeRedis);
  if (has("execute", "acquire") || has("sendCommand", "execute")) {
    throw new TypeError("client: a pool keeps commands and sends them later: pass createClient(options), of which one connection is made that takes any number of hits at once");
  }
  if (has("exec")) return rest(client as RestClient);
  throw wrong("client", SHAPES, client);
}

/** What the server refused: a mistake in the set-up, on either side, which trying again does not mend. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
  /** `ERR`, `WRONGTYPE`, `NOPERM` ... */
  readonly code: string;
  constructor(message: string, code: string, cause: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

const REFUSALS = new Set(["ERR", "WRONGTYPE", "CROSSSLOT", "NOPERM", "NOAUTH", "WRONGPASS", "EXECABORT", "MOVED"]);

/** Whether the server said it: `ERR`, `MOVED`, `LOADING` ... */
export const isServers = (error: Error): boolean => /^[A-Z]+ /.test(error.message);

/** The error as a refusal, or undefined where Redis is away, busy, loading or full: where another try may succeed. */
export function refusal(error: unknown): RefusedError | undefined {
  if (error instanceof RefusedError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const code = /^([A-Z]+) /.exec(message)?.[1];
  if (code === undefined || !REFUSALS.has(code) || message.startsWith("ERR max number of clients")) return undefined;
  return new RefusedError(message, code, error);
}
