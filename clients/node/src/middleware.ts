// A limiter in front of HTTP handlers: 429 where it is denied, and the fields of headers.ts on every response.

import { members, wrong } from "./check.js";
import { addFields, type AnyVerdict, type Fields } from "./headers.js";

/** What is answered where a hit is not allowed. */
export interface Refusal {
  /** 429: denied. 403: on a deny list. 503: closed while Redis is away. */
  readonly status: 403 | 429 | 503;
  readonly body: { readonly error: string };
}

/** What to answer where it is not allowed. */
export function refusalOf(verdict: AnyVerdict): Refusal {
  if (verdict.error) return { status: 503, body: { error: "Try again shortly" } }; // closed while Redis is away
  if (verdict.deniedValue !== undefined) return { status: 403, body: { error: "Forbidden" } }; // on a deny list
  return { status: 429, body: { error: "Too many requests" } };
}

/** Adds the fields to those of a response of fetch. */
export function setHeaders(headers: Headers, verdict: AnyVerdict): void {
  addFields({ get: (name) => headers.get(name) ?? undefined, set: (name, value) => headers.set(name, value) }, verdict);
}

/** A page of another origin says so in its request. */
function isForeign(request: object): boolean {
  const { headers } = request as { readonly headers?: { readonly origin?: unknown } };
  return headers === undefined || headers.origin !== undefined;
}

/** The whole answer to a request that is not allowed: status, fields, JSON body. */
export const refuse = (verdict: AnyVerdict): Response => {
  const { status, body } = refusalOf(verdict);
  const response = Response.json(body, { status });
  setHeaders(response.headers, verdict);
  return response;
};

/**
 * A body as RFC 9457 has it, with the problem types of the IETF draft on RateLimit fields. For `handler`, which adds the fields.
 *
 * @example withRateLimit(limit, handle, { handler: (verdict) => problemOf(verdict) })
 */
export function problemOf(verdict: AnyVerdict): Response {
  const { status, body } = refusalOf(verdict);
  const type = status === 429 ? "https://iana.org/assignments/http-problem-types#quota-exceeded" : "about:blank";
  return new Response(JSON.stringify({ type, title: body.error, status }), { status, headers: { "Content-Type": "application/problem+json" } });
}

/** A hit, and how to give it back: what `hitOf` makes. */
export interface Counted {
  readonly verdict: AnyVerdict;
  /** Gives back what this hit was charged, at the time that it was; nothing where it was denied. */
  readonly refund: () => Promise<void>;
}

/**
 * For `skipSuccessfulRequests` and `skipFailedRequests`: a hit that can be given back.
 *
 * @example rateLimit((req) => hitOf(login, byIp(address(req))), { skipSuccessfulRequests: true })
 */
export async function hitOf(
  limiter: { hit(key: string, options: { stamp: true; next: true }): Promise<AnyVerdict>; refund(key: string, verdict: AnyVerdict): Promise<void> },
  key: string,
): Promise<Counted> {
  const verdict = await limiter.hit(key, { stamp: true, next: true });
  return { verdict, refund: () => limiter.refund(key, verdict) };
}

type Limit<Req> = (request: Req) => Promise<AnyVerdict | Counted>;

const verdictOf = (answer: AnyVerdict | Counted): AnyVerdict => ("refund" in answer ? answer.verdict : answer);

/** What every middleware has: who is skipped, and what a refusal says. */
export interface MiddlewareOptions<Req> {
  /** Requests that are not limited. CORS preflights (OPTIONS) never are. */
  readonly skip?: (request: Req) => boolean | Promise<boolean>;
  /** A response below 400 does not count, once it is there. Needs `hitOf`. */
  readonly skipSuccessfulRequests?: boolean;
  /** A response of 400 and above does not count, once it is there. Needs `hitOf`. A hit that was denied is not given back. */
  readonly skipFailedRequests?: boolean;
  /** In place of the body `{ "error": "Too many requests" }`: a text, or what becomes JSON. */
  readonly message?: unknown;
}

/** Options in front of a fetch handler. */
export interface FetchOptions<Req> extends MiddlewareOptions<Req> {
  /** Answers in place of the 429, 403 or 503. The fields are added to it. */
  readonly handler?: (verdict: AnyVerdict, request: Req) => Response | Promise<Response>;
}

/** Options in front of Node's http, Express, Connect and Fastify. */
export interface NodeOptions<Req, Res> extends MiddlewareOptions<Req> {
  /** Answers in place of the 429, 403 or 503. The fields are set already, and the status. */
  readonly handler?: (verdict: AnyVerdict, req: Req, res: Res) => unknown;
}

const OPTIONS = ["skip", "skipSuccessfulRequests", "skipFailedRequests", "message", "handler"] as const;

interface Plan<Req> {
  /** CORS preflights are not limited, nor what `skip` says. */
  isSkipped(request: Req): boolean | Promise<boolean>;
  /** Whether this response's hit is given back. */
  isUncounted(status: number): boolean;
  /** How this hit is given back: undefined where it cannot be, which is a mistake where it should. */
  refundOf(answer: AnyVerdict | Counted): (() => Promise<void>) | undefined;
  body(verdict: AnyVerdict): { readonly type: string; readonly text: string };
}

function planOf<Req extends { readonly method?: string | undefined }>(options: MiddlewareOptions<Req>): Plan<Req> {
  members("options of a middleware", options, OPTIONS);
  const { skip, skipSuccessfulRequests = false, skipFailedRequests = false, message } = options;
  for (const [name, hook] of Object.entries({ skip, handler: (options as FetchOptions<Req>).handler })) {
    if (hook !== undefined && typeof hook !== "function") throw wrong(name, "a function", hook);
  }
  return {
    isSkipped: (request) => request.method === "OPTIONS" || (skip !== undefined && skip(request)),
    isUncounted: (status) => (status < 400 ? skipSuccessfulRequests : skipFailedRequests),
    refundOf(answer) {
      if (!skipSuccessfulRequests && !skipFailedRequests) return undefined;
      if ("refund" in answer) return answer.refund;
      throw new TypeError("skipSuccessfulRequests and skipFailedRequests give a hit back: limit with hitOf(limiter, key)");
    },
    body(verdict) {
      const given = message ?? refusalOf(verdict).body;
      return typeof given === "string" ? { type: "text/plain; charset=utf-8", text: given } : { type: "application/json", text: JSON.stringify(given) };
    },
  };
}

/**
 * For handlers from Request to Response: Next.js route handlers, Hono, Deno, Bun, workers. HEAD is limited as GET.
 *
 * @example  // app/api/search/route.ts
 * export const GET = withRateLimit(
 *   (request) => api.hit(byIp(address({ headers: request.headers }))),
 *   async (request) => Response.json(await search(request)),
 * );
 */
export function withRateLimit<R extends Request, Context extends unknown[]>(
  limit: Limit<R>,
  handler: (request: R, ...context: Context) => Response | Promise<Response>,
  options: FetchOptions<R> = {},
): (request: R, ...context: Context) => Promise<Response> {
  const plan = planOf(options);
  return async (request, ...context) => {
    if (await plan.isSkipped(request)) return handler(request, ...context);
    const limited = await limit(request);
    const verdict = verdictOf(limited);
    const refund = plan.refundOf(limited);
    const withFields = (answer: Response): Response => {
      const response = new Response(answer.body, answer); // what fetch() returned has headers that cannot be set
      setHeaders(response.headers, verdict);
      return response;
    };
    if (!verdict.allowed) {
      if (options.handler) return withFields(await options.handler(verdict, request));
      const { type, text } = plan.body(verdict);
      return withFields(new Response(text, { status: refusalOf(verdict).status, headers: { "Content-Type": type } }));
    }
    let answer: Response;
    try {
      answer = await handler(request, ...context);
    } catch (error) {
      if (plan.isUncounted(500)) await refund?.();
      throw error;
    }
    if (plan.isUncounted(answer.status)) await refund?.();
    return withFields(answer);
  };
}

/** Of Node's http, Express, Connect and Fastify only what is needed. */
export interface NodeResponse {
  statusCode: number;
  setHeader(name: string, value: string): unknown;
  getHeader(name: string): unknown;
  end(body: string): unknown;
  /** For skipSuccessfulRequests and skipFailedRequests. */
  once?(event: "finish", listener: () => void): unknown;
}

class NodeFields implements Fields {
  readonly #res: NodeResponse;
  constructor(res: NodeResponse) {
    this.#res = res;
  }
  get(name: string): string | undefined {
    const value = this.#res.getHeader(name);
    return value === undefined ? undefined : String(value);
  }
  set(name: string, value: string): void {
    this.#res.setHeader(name, value);
  }
}

/**
 * For Node's own http, Express and Connect, and as a hook of Fastify. `req.rateLimit` has the verdict. A mistake of the
 * application's (a missing key) goes to `next`; what Redis does never.
 *
 * @example
 * const guard = rateLimit((req) => api.hit(byIp(address({ headers: req.headers, peer: req.socket.remoteAddress }))));
 * http.createServer((req, res) => guard(req, res, () => res.end("hello")));
 * express().use(guard);
 * fastify.addHook("onRequest", (request, reply, done) => guard(request.raw, reply.raw, done));
 */
export function rateLimit<Req extends { readonly method?: string | undefined }, Res extends NodeResponse = NodeResponse>(
  limit: Limit<Req>,
  options: NodeOptions<Req, Res> = {},
): (req: Req, res: Res, next: (error?: Error) => void) => Promise<void> {
  const plan = planOf(options);
  return async (req, res, next) => {
    let verdict: AnyVerdict;
    let refund: (() => Promise<void>) | undefined;
    try {
      const isSkipped = plan.isSkipped(req);
      if (typeof isSkipped === "boolean" ? isSkipped : await isSkipped) return next(); // a turn less where nothing is waited for
      const limited = await limit(req);
      verdict = verdictOf(limited);
      refund = plan.refundOf(limited);
    } catch (error) {
      return next(error instanceof Error ? error : new Error(String(error)));
    }
    (req as { rateLimit?: AnyVerdict }).rateLimit = verdict;
    addFields(new NodeFields(res), verdict, isForeign(req));
    if (verdict.allowed) {
      if (refund) res.once?.("finish", () => void (plan.isUncounted(res.statusCode) && refund()));
      return next();
    }
    res.statusCode = refusalOf(verdict).status;
    if (options.handler) {
      await options.handler(verdict, req, res);
      return;
    }
    const { type, text } = plan.body(verdict);
    res.setHeader("Content-Type", type);
    res.end(text);
  };
}
