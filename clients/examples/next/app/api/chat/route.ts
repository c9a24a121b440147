// Tokens of a stream: the estimate is charged before the model is asked, and what was really used when the stream ends,
// fails, or is read no longer.

import { streamText } from "ai";
import { byUser, refuse, setHeaders } from "ratelimit-client";
import { planPolicies, tokens } from "@/lib/limits";
import { MAX_OUTPUT, model } from "@/lib/model";
import { currentUser } from "@/lib/user";

/** A rough count, for what no usage has been reported of yet. */
const roughly = (text: string): number => Math.ceil(text.length / 4);

async function promptOf(request: Request): Promise<string | undefined> {
  const body: unknown = await request.json().catch(() => undefined);
  const prompt = typeof body === "object" && body !== null && "prompt" in body ? body.prompt : undefined;
  return typeof prompt === "string" && prompt.length <= 4000 ? prompt : undefined;
}

export async function POST(request: Request): Promise<Response> {
  const prompt = await promptOf(request);
  if (prompt === undefined) return Response.json({ error: "expected { prompt }, at most 4000 characters" }, { status: 400 });

  const user = await currentUser();
  const estimate = roughly(prompt) + MAX_OUTPUT;
  const reservation = await tokens.reserve(byUser(user.id), estimate, { policy: planPolicies(user.plan) });
  if (!reservation.allowed) return refuse(reservation.verdict);
  reservation.add(roughly(prompt));

  const { textStream } = streamText({
    model,
    prompt,
    maxOutputTokens: MAX_OUTPUT,
    abortSignal: request.signal,
    maxRetries: 0,
    onFinish: ({ totalUsage }) => void reservation.settle(totalUsage.totalTokens), // the model's own count goes first
    onError: ({ error }) => console.error("model:", error instanceof Error ? error.message : error),
  });
  const counted = reservation.stream(textStream, roughly);
  const response = new Response(counted.pipeThrough(new TextEncoderStream()), { headers: { "Content-Type": "text/plain; charset=utf-8" } });
  setHeaders(response.headers, reservation.verdict);
  return response;
}
