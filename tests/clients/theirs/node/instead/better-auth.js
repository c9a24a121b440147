// An application of the library with our storage, where its tests make one: over a database in memory, as theirs needs a newer Node.

import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { createAuthClient } from "better-auth/client";
import { ratelimitStorage } from "ratelimit-client/better-auth";
import { options } from "./client.js";

const baseURL = "http://localhost:3000";
const testUser = { email: "test@test.com", password: "test123456", name: "test user" };

export async function getTestInstance({ rateLimit, ...more }) {
  const made = (settings) =>
    betterAuth({
      baseURL,
      secret: "a secret that is long enough for it",
      database,
      emailAndPassword: { enabled: true },
      logger: { disabled: true },
      ...more,
      ...settings,
    });
  const database = memoryAdapter({ user: [], session: [], account: [], verification: [] });
  await made({ rateLimit: { enabled: false } }).api.signUpEmail({ body: testUser });
  const auth = made({ rateLimit: { ...rateLimit, customStorage: ratelimitStorage(options()) } });
  const client = createAuthClient({ baseURL, fetchOptions: { customFetchImpl: async (url, init) => auth.handler(new Request(url, init)) } });
  return { auth, client, testUser };
}
