// The package's own connection, one for each client of the application: made at the first call, waited for within the
// call's deadline, made again when it broke. A call is sent once, while it is not yet late, or never; again only if it asks.

import { driver, refusal, type Client, type Driver, type Link } from "./client.js";
import { Deadlines, Waiting } from "./deadline.js";

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

/** One connection's life. */
interface Session {
  /** When something was last heard. */
  heard: number;
  /** The longest deadline of the calls that it was sent. */
  patienceMs: number;
}

class Call<T> extends Waiting {
  /** The connection that it was sent by, and when. */
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
    if (this.session) this.session.heard = performance.now();
    if (this.isDone) return;
    this.isDone = true;
    this.list?.remove(this);
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
      Deadlines.of(pauseMs).add(new Countdown(() => this.#again()));
      return;
    }
    this.isDone = true;
    this.list?.remove(this);
    this.#fail(error);
  }

  #again(): void {
    if (this.isDone) return;
    this.#isPaused = false;
    this.connection.send(this);
  }

  override expire(): void {
    this.isDone = true;
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
  #session: Session = { heard: 0, patienceMs: 0 };
  #link: Link | undefined;
  #closeDial: (() => void) | undefined;
  #isDialling = false;
  /** An attempt has outlasted a call's deadline: others do not wait for it. */
  #isSlow = false;
  #isClosed = false;
  #epoch = 0;
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
    if (this.#link) this.#send(this.#link, call);
    else this.#wait(call as unknown as Call<never>);
  }

  #send<T>(link: Link, call: Call<T>): void {
    call.session = this.#session;
    call.sent = performance.now();
    if (call.timeoutMs !== false && call.timeoutMs > this.#session.patienceMs) this.#session.patienceMs = call.timeoutMs;
    let answer: Promise<unknown>;
    try {
      answer = call.key === undefined ? link.each(call.args) : link.send(call.args, call.key);
    } catch (error) {
      answer = Promise.reject(error);
    }
    answer.then(
      (reply) => call.answer(reply),
      (error: unknown) => {
        const cause = errorOf(error);
        call.fail(cause);
        // The server has become a replica: whoever is the primary now is found by a new connection.
        if (cause.message.startsWith("READONLY ")) this.#drop(cause);
      },
    );
  }

  #wait(call: Call<never>): void {
    if (this.#isClosed && !(this.#isClosed = !this.#driver.isOpen())) this.#notBefore = 0;
    const refused = (text: string) => call.fail(new Unanswered("connection", text, this.#cause));
    if (this.#isClosed) return refused("the client was closed");
    if (this.#isDialling) {
      if (this.#isSlow) return refused("no connection to Redis: it does not answer");
    } else {
      if (performance.now() < this.#notBefore) return refused(`no connection to Redis: ${this.#cause?.message}`);
      this.#dial();
    }
    call.session = undefined;
    this.#waiting.push(call);
  }

  #dial(): void {
    const epoch = (this.#epoch += 1);
    this.#isDialling = true;
    const failed = (error: unknown) => {
      if (epoch === this.#epoch) this.#drop(errorOf(error), true);
    };
    const dial = new Countdown(() => failed(new Error(`no connection within ${DIAL_MS} ms`)));
    Deadlines.of(DIAL_MS).add(dial);
    this.#driver
      .dial(failed, (close) => (this.#closeDial = close))
      .finally(() => dial.list?.remove(dial))
      .then((link) => {
        if (epoch !== this.#epoch) return link.close();
        this.#link = link;
        this.#isDialling = this.#isSlow = false;
        this.#failures = this.#notBefore = 0;
        this.#session = { heard: 0, patienceMs: 0 };
        for (const call of this.#waiting.splice(0)) if (!call.isDone) this.#send(link, call);
      }, failed);
  }

  /**
   * A call is late that was sent by this connection, or by none so far. A connection that has been silent since, for as
   * long as any call waits, is taken for dead: by another one we learn whether Redis is.
   */
  isOverdue(session: Session | undefined, sent: number): void {
    if (!session) {
      this.#isSlow = true;
      return;
    }
    const isSilent = session.heard < sent && performance.now() - sent >= session.patienceMs;
    if (isSilent && session === this.#session && this.#link) this.#drop(new Error("the connection fell silent"));
  }

  #drop(error: Error, isFailure = false): void {
    const wasReady = this.#link !== undefined;
    const close = this.#link?.close ?? this.#closeDial;
    this.#epoch += 1;
    this.#link = this.#closeDial = undefined;
    this.#isDialling = this.#isSlow = false;
    this.#cause = error;
    if (isFailure && !wasReady) {
      this.#notBefore = performance.now() + Math.min(FIRST_BACKOFF_MS * 2 ** this.#failures, MAX_BACKOFF_MS);
      this.#failures += 1;
    }
    try {
      close?.();
    } catch {
      // it was closed already
    }
    for (const call of this.#waiting.splice(0)) call.fail(new Unanswered("connection", `no connection to Redis: ${error.message}`, error));
  }
}
