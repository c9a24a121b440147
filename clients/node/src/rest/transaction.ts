// MULTI .. EXEC through whichever client: one reply or error for each command.

import type { Client } from "../client.js";

export type Outcome = { readonly result: unknown } | { readonly error: string };

interface IoRedisMulti {
  multi(commands: string[][]): { exec(): Promise<[Error | null, unknown][] | null> };
}
interface NodeRedisMulti {
  addCommand(args: string[]): NodeRedisMulti;
  exec(): Promise<unknown[]>;
}

const outcome = (reply: unknown): Outcome => (reply instanceof Error ? { error: reply.message } : { result: reply });

/** Undefined where the client cannot: a function, a cluster, REST. */
export function transactor(client: Client): ((commands: string[][]) => Promise<Outcome[]>) | undefined {
  if (typeof client === "function" || !("multi" in client) || typeof client.multi !== "function" || "masters" in client) return undefined;
  if ("call" in client) {
    const ioredis = client as unknown as IoRedisMulti;
    const called = (args: string[]) => ["call", ...args]; // a row is a method's name and its arguments
    return async (commands) => ((await ioredis.multi(commands.map(called)).exec()) ?? []).map(([error, reply]) => outcome(error ?? reply));
  }
  if (!("sendCommand" in client)) return undefined;
  const nodeRedis = client as unknown as { multi(): NodeRedisMulti };
  return async (commands) => {
    try {
      const replies = await commands.reduce((multi, args) => multi.addCommand(args), nodeRedis.multi()).exec();
      return replies.map(outcome);
    } catch (error) {
      // node-redis rejects where one of the commands failed; the replies of all are with the error.
      const { replies } = error as { replies?: unknown[] };
      if (Array.isArray(replies)) return replies.map(outcome);
      throw error;
    }
  };
}
