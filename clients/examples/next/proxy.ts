// Before everything else: a limit per address.

import { NextResponse, type NextRequest } from "next/server";
import { byIp, refuse } from "ratelimit-client";
import { addressOf, perAddress } from "./lib/limits";

export async function proxy(request: NextRequest): Promise<Response> {
  const verdict = await perAddress.hit(byIp(addressOf({ headers: request.headers })));
  // The fields of what is let through are the handler's own: its limit is the narrower one.
  return verdict.allowed ? NextResponse.next() : refuse(verdict);
}

export const config = { matcher: "/((?!_next/|favicon.ico).*)" };
