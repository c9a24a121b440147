// When a call has waited for long enough. One timer for all of them, and none while nobody waits.
//
// What counts is the time in which the event loop turned: of a stall of the application (a long JSON.parse, a burst of
// 30,000 requests) a turn's worth counts and no more, for a reply that lies in the socket unread is no fault of Redis. And
// once a call is due, what has arrived is read first.

const TICK_MS = 25;
const TURN_MS = 2 * TICK_MS;

/** Something that waits. Kept in a list, so that it leaves without a trace. */
export abstract class Waiting {
  due = 0;
  list: Deadlines | undefined;
  previous: Waiting | undefined;
  following: Waiting | undefined;
  /** The process need not live for it. */
  readonly isIdle: boolean = false;
  /** Its time is over. */
  abstract expire(): void;
}

let clock = 0; // ms in which the loop turned
let turned = 0; // when it was last seen to
let waiting = 0;
let busy = 0; // of these, who is not idle
interface Timer {
  ref?(): void;
  unref?(): void;
}
let timer: Timer | undefined;
let isHolding = true; // whether the timer keeps the process alive
const all = new Set<Deadlines>();

const since = (): number => Math.min(performance.now() - turned, TURN_MS);

/** After the poll phase, in which sockets are read. Where there is none (at the edge): in the next turn. */
export const afterReading: (work: () => void) => void =
  typeof setImmediate === "function" ? (work) => void setImmediate(work) : (work) => void setTimeout(work, 0);

function tick(): void {
  clock += since();
  turned = performance.now();
  for (const list of all) list.expireDue(clock);
  if (waiting > 0) wind();
  else timer = undefined;
}

function wind(): void {
  timer = setTimeout(tick, TICK_MS) as Timer;
  isHolding = busy > 0;
  if (!isHolding) timer.unref?.();
}

/** Those who wait equally long: the first to come is the first to be due. */
export class Deadlines {
  static readonly #lists = new Map<number, Deadlines>();
  readonly #ms: number;
  #first: Waiting | undefined;
  #last: Waiting | undefined;

  private constructor(ms: number) {
    this.#ms = ms;
  }

  /** `false`: waits for ever. */
  static of(timeoutMs: number | false): Deadlines {
    const ms = timeoutMs === false ? Number.POSITIVE_INFINITY : timeoutMs;
    let list = Deadlines.#lists.get(ms);
    if (!list) Deadlines.#lists.set(ms, (list = new Deadlines(ms)));
    return list;
  }

  add(one: Waiting): void {
    waiting += 1;
    if (!one.isIdle) busy += 1;
    if (!timer) {
      turned = performance.now();
      wind();
    } else if (!isHolding && busy > 0) {
      isHolding = true;
      timer.ref?.();
    }
    one.due = clock + since() + this.#ms;
    one.list = this;
    one.previous = this.#last;
    if (this.#last) this.#last.following = one;
    else {
      this.#first = one;
      all.add(this);
    }
    this.#last = one;
  }

  remove(one: Waiting): void {
    if (one.list !== this) return;
    one.list = undefined;
    if (one.previous) one.previous.following = one.following;
    else this.#first = one.following;
    if (one.following) one.following.previous = one.previous;
    else this.#last = one.previous;
    one.previous = one.following = undefined;
    waiting -= 1;
    if (!one.isIdle) busy -= 1;
    if (!this.#first) all.delete(this);
  }

  expireDue(now: number): void {
    if (!this.#first || this.#first.due > now) return;
    afterReading(() => {
      while (this.#first && this.#first.due <= now) {
        const one = this.#first;
        this.remove(one);
        one.expire();
      }
    });
  }
}
