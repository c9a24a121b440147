// A client for where only fetch exists. It speaks the REST protocol of the handler beside it, which is @upstash/redis'.

import { text, members, wrong } from "../check.js";
import type { RestClient } from "../client.js";

/** Where `ratelimit-rest` is, and by which token. */
export interface RestClientOptions {
  readonly url: string;
  readonly token: string;
  /** Default: the runtime's own. */
  readonly fetch?: typeof globalThis.fetch;
}

/** A client over the REST protocol of `ratelimit-rest`, for where only fetch exists. */
export function restClient(options: RestClientOptions): RestClient {
  members("restClient", options, ["url", "token", "fetch"]);
  const url = text("url", options.url);
  if (!/^https?:\/\//.test(url)) throw wrong("url", "an address that starts with https://", url);
  const token = text("token", options.token);
  const { fetch = globalThis.fetch } = options;
  return {
    async exec(command) {
      const response = await fetch(url, {
        method: "POST",
        headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
        body: JSON.stringify(command),
        cache: "no-store", // Next.js would keep an answer
      });
      const answer = (await response.json().catch(() => undefined)) as { result?: unknown; error?: string } | undefined;
      if (answer?.error !== undefined) throw new Error(answer.error);
      if (!response.ok || answer === undefined) throw new Error(`${url} answered with status ${response.status}`);
      return answer.result;
    },
  };
}
