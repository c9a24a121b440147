// A limiter in front of HTTP handlers: 429 where it is denied, and the fields of headers.ts on every response.

import { EXPOSED, rateLimitHeaders } from "./headers.js";
import type { AllVerdict, Verdict } from "./verdict.js";

export interface Refusal {
  readonly status: 403 | 429 | 503;
  readonly body: { readonly error: string };
}

/** What to answer where it is not allowed. */
export function refusalOf(verdict: Verdict | AllVerdict): Refusal {
  if (verdict.error) return { status: 503, body: { error: "Try again shortly" } }; // closed while Redis is away
  if (verdict.deniedValue !== undefined) return { status: 403, body: { error: "Forbidden" } }; // on a deny list
  return { status: 429, body: { error: "Too many requests" } };
}

/** Adds the fields to those of a response of fetch. */
export function setHeaders(headers: Headers, verdict: Verdict | AllVerdict): void {
  for (const [name, value] of Object.entries(rateLimitHeaders(verdict))) headers.set(name, value);
  headers.append("Access-Control-Expose-Headers", EXPOSED);
}

export const refuse = (verdict: Verdict | AllVerdict): Response => {
  const { status, body } = refusalOf(verdict);
  const response = Response.json(body, { status });
  setHeaders(response.headers, verdict);
  return response;
};

/**
 * For handlers from Request to Response: Next.js route handlers, Hono, Deno, Bun, workers.
 *
 * @example  // app/api/search/route.ts
 * export const GET = withRateLimit(
 *   (request) => api.hit(byIp(address({ headers: request.headers }))),
 *   async (request) => Response.json(await search(request)),
 * );
 */
export function withRateLimit<R extends Request, Context extends unknown[]>(
  limit: (request: R) => Promise<Verdict | AllVerdict>,
  handler: (request: R, ...context: Context) => Response | Promise<Response>,
): (request: R, ...context: Context) => Promise<Response> {
  return async (request, ...context) => {
    const verdict = await limit(request);
    if (!verdict.allowed) return refuse(verdict);
    const answer = await handler(request, ...context);
    const response = new Response(answer.body, answer); // what fetch() returned has headers that cannot be set
    setHeaders(response.headers, verdict);
    return response;
  };
}

/** Of Node's http, Express, Connect and Fastify only what is needed. */
export interface NodeResponse {
  statusCode: number;
  setHeader(name: string, value: string): unknown;
  getHeader(name: string): unknown;
  end(body: string): unknown;
}

/**
 * For Node's own http, Express and Connect, and as a hook of Fastify. An error of the limiter goes to `next`.
 *
 * @example
 * const guard = rateLimit((req) => api.hit(byIp(address({ headers: req.headers, peer: req.socket.remoteAddress }))));
 * http.createServer((req, res) => guard(req, res, () => res.end("hello")));
 * express().use(guard);
 * fastify.addHook("onRequest", (request, reply, done) => guard(request.raw, reply.raw, done));
 */
export function rateLimit<Req>(
  limit: (req: Req) => Promise<Verdict | AllVerdict>,
): (req: Req, res: NodeResponse, next: (error?: Error) => void) => Promise<void> {
  return async (req, res, next) => {
    let verdict: Verdict | AllVerdict;
    try {
      verdict = await limit(req);
    } catch (error) {
      next(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    for (const [name, value] of Object.entries(rateLimitHeaders(verdict))) res.setHeader(name, value);
    const exposed = res.getHeader("Access-Control-Expose-Headers");
    res.setHeader("Access-Control-Expose-Headers", exposed === undefined ? EXPOSED : `${String(exposed)}, ${EXPOSED}`);
    if (verdict.allowed) {
      next();
      return;
    }
    const { status, body } = refusalOf(verdict);
    res.statusCode = status;
    res.setHeader("Content-Type", "application/json");
    res.end(JSON.stringify(body));
  };
}
