// The package's own connection, one for each client of the application: made at the first call, waited for within the
// call's deadline, made again when it broke. A call is sent once, while it is not yet late, or never; again only if it asks.

import { driver, isServers, refusal, type Client, type Driver } from "./client.js";
import { Deadlines, Waiting } from "./deadline.js";
import { Route, type Session } from "./route.js";
import { slotOf } from "./slot.js";

/** A connection that takes longer to be made has failed. */
const DIAL_MS = 3000;
const FIRST_BACKOFF_MS = 25;
const MAX_BACKOFF_MS = 1000;

/** Why there is no answer, in one word for metrics. */
export class Unanswered extends Error {
  override readonly name = "Unanswered";
  readonly reason: "timeout" | "connection";
  constructor(reason: "timeout" | "connection", message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.reason = reason;
  }
}

const errorOf = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)));

class Call<T> extends Waiting {
  /** The node that it was sent to, and when. */
  session: Session | undefined;
  sent = 0;
  isDone = false;
  /** How often it failed, and was sent again. */
  #tries = 0;
  #isPaused = false;
  #cause: Error | undefined;
  constructor(
    readonly connection: Connection,
    readonly args: string[],
    readonly key: string | undefined,
    readonly timeoutMs: number | false,
    readonly read: (reply: unknown) => T,
    readonly failed: (error: Error) => T | Promise<T>,
    readonly resolve: (value: T | Promise<T>) => void,
    readonly reject: (error: unknown) => void,
    readonly retries: number,
  ) {
    super();
  }

  answer(reply: unknown): void {
    if (this.isDone) return;
    this.#end();
    let value: T;
    try {
      value = this.read(reply);
    } catch (error) {
      this.#fail(errorOf(error));
      return;
    }
    this.resolve(value);
  }

  fail(error: Error): void {
    if (this.isDone) return;
    if (this.#tries < this.retries && !refusal(error)) {
      this.#cause = error;
      const pauseMs = Math.min(FIRST_BACKOFF_MS * 2 ** this.#tries, MAX_BACKOFF_MS);
      this.#tries += 1;
      this.#isPaused = true;
      this.#leave();
      Deadlines.of(pauseMs).add(new Countdown(() => this.#again()));
      return;
    }
    this.#end();
    this.#fail(error);
  }

  #end(): void {
    this.isDone = true;
    this.list?.remove(this);
    if (!this.#isPaused) this.#leave();
  }

  #leave(): void {
    this.session?.route.leave(this.session);
  }

  #again(): void {
    if (this.isDone) return;
    this.#isPaused = false;
    this.connection.send(this);
  }

  override expire(): void {
    this.#end();
    if (!this.#isPaused) this.connection.isOverdue(this.session, this.sent);
    const missing = this.session ? "no answer from" : "no connection to";
    this.#fail(new Unanswered("timeout", `${missing} Redis within ${this.timeoutMs} ms`, this.#cause));
  }

  #fail(error: Error): void {
    try {
      this.resolve(this.failed(error));
    } catch (thrown) {
      this.reject(thrown);
    }
  }
}

/** What is waited for beside a call's answer, and counted as that is: a stall of the application is no fault of Redis. */
class Countdown extends Waiting {
  override readonly isIdle = true;
  constructor(override readonly expire: () => void) {
    super();
  }
}

export class Connection {
  static readonly #all = new WeakMap<object, Connection>();
  readonly #driver: Driver;
  #route: Route | undefined;
  /** What gives up the connection that is being made: the first one, or one in another's place. */
  #dialling: (() => void) | undefined;
  #renewing: (() => void) | undefined;
  #renewed = Number.NEGATIVE_INFINITY;
  /** An attempt has outlasted a call's deadline: others do not wait for it. */
  #isSlow = false;
  #isClosed = false;
  #failures = 0;
  #notBefore = 0;
  #cause: Error | undefined;
  #waiting: Call<never>[] = [];

  private constructor(client: Client) {
    this.#driver = driver(client);
    this.#driver.onEnd(() => {
      this.#isClosed = true;
      this.#drop(new Error("the client was closed"));
    });
  }

  /** One for each client, however many limiters use it. */
  static of(client: Client): Connection {
    const known = typeof client === "object" || typeof client === "function" ? client : undefined;
    let connection = known && Connection.#all.get(known);
    if (!connection) {
      connection = new Connection(client);
      Connection.#all.set(client, connection);
    }
    return connection;
  }

  /**
   * Sends a command. What `read` makes of its reply is the answer; where there is none in time, or the server or `read`
   * refuses, what `failed` makes of the error. Without a key every primary is asked, and the reply is an array of theirs.
   * A command that is charged once, however often it is sent, may be sent again so many times.
   */
  ask<T>(
    args: string[],
    key: string | undefined,
    timeoutMs: number | false,
    read: (reply: unknown) => T,
    failed: (error: Error) => T | Promise<T>,
    retries = 0,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const call = new Call(this, args, key, timeoutMs, read, failed, resolve, reject, retries);
      Deadlines.of(timeoutMs).add(call);
      this.send(call);
    });
  }

  send<T>(call: Call<T>): void {
    if (this.#route) this.#send(this.#route, call);
    else this.#wait(call as unknown as Call<never>);
  }

  #send<T>(route: Route, call: Call<T>): void {
    const { link } = route;
    const slot = link.nodeOf && call.key !== undefined ? slotOf(call.key) : undefined;
    const session = (call.session = route.session(slot));
    session.waiting += 1;
    call.sent = performance.now();
    if (call.timeoutMs !== false && call.timeoutMs > session.patienceMs) session.patienceMs = call.timeoutMs;
    let answer: Promise<unknown>;
    try {
      answer = call.key === undefined ? link.each(call.args) : link.send(call.args, call.key, slot);
    } catch (error) {
      answer = Promise.reject(error);
    }
    answer.then(
      (reply) => {
        route.hear(session);
        call.answer(reply);
      },
      (error: unknown) => {
        const cause = errorOf(error);
        if (isServers(cause)) route.hear(session);
        call.fail(cause);
        if (route !== this.#route) return;
        // The server has become a replica: whoever is the primary now is found by a new connection.
        if (cause.message.startsWith("READONLY ")) this.#drop(cause);
        else if (link.nodeOf && !isServers(cause)) this.#renew(session);
      },
    );
  }

  #wait(call: Call<never>): void {
    if (this.#isClosed && !(this.#isClosed = !this.#driver.isOpen())) this.#notBefore = 0;
    call.session = undefined;
    const refused = (text: string) => call.fail(new Unanswered("connection", text, this.#cause));
    if (this.#isClosed) return refused("the client was closed");
    if (this.#dialling) {
      if (this.#isSlow) return refused("no connection to Redis: it does not answer");
    } else {
      if (performance.now() < this.#notBefore) return refused(`no connection to Redis: ${this.#cause?.message}`);
      this.#dial();
    }
    this.#waiting.push(call);
  }

  /** Makes a connection, which is `ready` in time or has `failed`; what gives it up is returned. */
  #open(ready: (route: Route) => void, failed: (error: Error) => void): () => void {
    let route: Route | undefined;
    let close: (() => void) | undefined;
    let isOver = false;
    const end = (): boolean => {
      if (isOver) return false;
      late.list?.remove(late);
      return (isOver = true);
    };
    const giveUp = (): boolean => {
      if (!end()) return false;
      try {
        close?.();
      } catch {
        // it was closed already
      }
      return true;
    };
    const lost = (error: unknown): void => {
      if (giveUp()) failed(errorOf(error));
      else if (route && route === this.#route) this.#drop(errorOf(error));
    };
    const late = new Countdown(() => lost(new Error(`no connection within ${DIAL_MS} ms`)));
    Deadlines.of(DIAL_MS).add(late);
    this.#driver
      .dial(lost, (closing) => (close = closing))
      .then((link) => {
        if (end()) ready((route = new Route(link)));
        else link.close();
      }, lost);
    return giveUp;
  }

  #dial(): void {
    const failed = (error: Error): void => {
      this.#drop(error);
      this.#notBefore = performance.now() + Math.min(FIRST_BACKOFF_MS * 2 ** this.#failures, MAX_BACKOFF_MS);
      this.#failures += 1;
    };
    this.#dialling = this.#open((route) => {
      this.#route = route;
      this.#dialling = undefined;
      this.#isSlow = false;
      this.#failures = this.#notBefore = 0;
      for (const call of this.#waiting.splice(0)) if (!call.isDone) this.#send(route, call);
    }, failed);
  }

  /**
   * A node of a cluster is dead, or the connection to it, while others answer: they go on by this one until there is
   * another. At most one a second is made.
   */
  #renew(session: Session): void {
    const { route } = session;
    const since = performance.now();
    session.isDead = true;
    if (this.#renewing || since - this.#renewed < MAX_BACKOFF_MS) return;
    this.#renewed = since;
    this.#renewing = this.#open(
      (next) => {
        this.#renewing = undefined;
        this.#route = next;
        route.retire();
      },
      (error) => {
        this.#renewing = undefined;
        if (route.heard < since) this.#drop(error); // no node says a word
      },
    );
  }

  /**
   * A call is late that was sent to this node, or to none so far. A node that has been silent since, for as long as any
   * call waits, is taken for dead: by another connection we learn whether Redis is.
   */
  isOverdue(session: Session | undefined, sent: number): void {
    if (!session) {
      this.#isSlow = true;
      return;
    }
    const isSilent = session.heard < sent && performance.now() - sent >= session.patienceMs;
    if (!isSilent || session.route !== this.#route) return;
    if (session.route.link.nodeOf) this.#renew(session);
    else this.#drop(new Error("the connection fell silent"));
  }

  #drop(error: Error): void {
    const route = this.#route;
    this.#route = undefined; // first: to close it may be to lose it
    this.#dialling?.();
    this.#renewing?.();
    route?.close();
    this.#dialling = this.#renewing = undefined;
    this.#isSlow = false;
    this.#cause = error;
    for (const call of this.#waiting.splice(0)) call.fail(new Unanswered("connection", `no connection to Redis: ${error.message}`, error));
  }
}
