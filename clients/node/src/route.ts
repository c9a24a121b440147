// A connection that is ready, and how long its nodes have been silent. A connection to a cluster is one to each primary, of
// which one may be dead and the others sound: whoever takes another one's place lets what is under way be answered first.

import type { Link } from "./client.js";

/** What is known of one node. */
export interface Session {
  readonly route: Route;
  /** When something was last heard. */
  heard: number;
  /** The longest deadline of the calls that it was sent. */
  patienceMs: number;
  /** How many calls wait for an answer. */
  waiting: number;
  /** It is taken for dead: nobody waits for what it might still say. */
  isDead: boolean;
}

export class Route {
  readonly link: Link;
  readonly #sessions = new Map<unknown, Session>();
  #isRetired = false;

  constructor(link: Link) {
    this.link = link;
  }

  /** Of a cluster, that of the node that has the slot. */
  session(slot: number | undefined): Session {
    const node = slot === undefined ? undefined : this.link.nodeOf?.(slot);
    let session = this.#sessions.get(node);
    if (!session) this.#sessions.set(node, (session = { route: this, heard: 0, patienceMs: 0, waiting: 0, isDead: false }));
    return session;
  }

  hear(session: Session): void {
    session.heard = performance.now();
    session.isDead = false;
  }

  /** When something was last heard from any node. */
  get heard(): number {
    return Math.max(0, ...[...this.#sessions.values()].map(({ heard }) => heard));
  }

  /** Closes as soon as nobody waits for a node that lives. */
  retire(): void {
    this.#isRetired = true;
    this.#closeIfIdle();
  }

  /** A call waits no longer. */
  leave(session: Session): void {
    session.waiting -= 1;
    if (this.#isRetired) this.#closeIfIdle();
  }

  #closeIfIdle(): void {
    for (const { waiting, isDead } of this.#sessions.values()) if (waiting > 0 && !isDead) return;
    this.close();
  }

  close(): void {
    this.#isRetired = false;
    try {
      this.link.close();
    } catch {
      // it was closed already
    }
  }
}
