// Shows a person the limit, what is left of it and when it is back. Looking takes nothing.

import Link from "next/link";
import { byUser } from "ratelimit-client";
import { perUser } from "@/lib/limits";
import { currentUser } from "@/lib/user";
import { click } from "./actions";

export default async function Page() {
  const user = await currentUser();
  const { limit, remaining, retryAfterMs, resetAfterMs, allowed, error } = await perUser.peek(byUser(user.id));
  const left = allowed && !error ? remaining + 1 : remaining; // a peek answers what the next one would leave
  const at = (ms: number) => new Date(Date.now() + ms).toISOString();
  return (
    <main>
      <h1>Hello {user.id}</h1>
      {error ? (
        <p id="limit">The limit is not known right now.</p>
      ) : (
        <p id="limit">
          {left} of {limit} clicks left
        </p>
      )}
      {allowed ? null : (
        <p id="back">
          The next one is back at <time dateTime={at(retryAfterMs)}>{at(retryAfterMs).slice(11, 19)} UTC</time>, all of them at{" "}
          <time dateTime={at(resetAfterMs)}>{at(resetAfterMs).slice(11, 19)} UTC</time>.
        </p>
      )}
      <form action={click}>
        <button disabled={!allowed}>Click</button>
      </form>
      <Link href="/login">Log in</Link>
    </main>
  );
}
