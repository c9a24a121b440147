// The limiter in front of HTTP handlers: 429 and the fields of headers.js, on every response.
//
//   limit      a limiter, or one wrapped by deadline.js or blocked.js
//   identify   (request) => the key, or a promise of it
//   name, windowSeconds   for the RateLimit-Policy field

import { rateLimitHeaders } from "./headers.js";

function refusal(verdict) {
  if (verdict.error) return { status: 503, body: { error: "Try again shortly" } }; // closed while Redis is away
  if (verdict.deniedValue !== undefined) return { status: 403, body: { error: "Forbidden" } }; // on a deny list
  return { status: 429, body: { error: "Too many requests" } };
}

/**
 * For handlers from Request to Response: Next.js route handlers, Hono, Deno, Bun, workers.
 *
 * @example  // app/api/search/route.js
 * export const GET = withRateLimit(async (request) => Response.json(await search(request)), { limit, identify });
 */
export function withRateLimit(handler, { limit, identify, ...policy }) {
  return async (request, ...context) => {
    const verdict = await limit(await identify(request));
    const { status, body } = refusal(verdict);
    const answer = verdict.allowed ? await handler(request, ...context) : Response.json(body, { status });
    const response = new Response(answer.body, answer); // what fetch() returned has headers that cannot be set
    for (const [field, value] of Object.entries(rateLimitHeaders(verdict, policy))) response.headers.set(field, value);
    return response;
  };
}

/**
 * For Node's own http, Express and Connect, and as a hook of Fastify.
 *
 * @example
 * const guard = rateLimit({ limit, identify });
 * http.createServer((req, res) => guard(req, res, () => res.end("hello")));
 * express().use(guard);
 * fastify.addHook("onRequest", (request, reply, done) => guard(request.raw, reply.raw, done));
 */
export function rateLimit({ limit, identify, ...policy }) {
  return async (req, res, next) => {
    let verdict;
    try {
      verdict = await limit(await identify(req));
    } catch (error) {
      return next(error);
    }
    for (const [field, value] of Object.entries(rateLimitHeaders(verdict, policy))) res.setHeader(field, value);
    if (verdict.allowed) return next();
    const { status, body } = refusal(verdict);
    res.statusCode = status;
    res.setHeader("Content-Type", "application/json");
    res.end(JSON.stringify(body));
  };
}
