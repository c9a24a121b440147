// Who is asking: the part of the key that names the caller. The most specific one that is proven wins: user, API key, IP.

import { createHash } from "node:crypto";
import { isIPv6 } from "node:net";

const hash = (text) => createHash("sha256").update(text).digest("hex").slice(0, 32);

export const byUser = (id) => `user:${id}`;

/** The key itself must not lie readable in Redis, its slow log or its dumps. */
export const byApiKey = (apiKey) => `key:${hash(apiKey)}`;

/** For logins: one address guessing one account. `Alice@Example.com ` and `alice@example.com` are one account. */
export const byLogin = (address, email) => `login:${byIp(address)}:${hash(email.trim().toLowerCase())}`;

/** An IPv6 customer is given a /64 to choose addresses from, so that is what is counted. */
export function byIp(address) {
  const mapped = address.replace(/^::ffff:(?=\d+\.)/i, "");
  if (!isIPv6(mapped)) return `ip:${mapped}`;
  const [head, tail] = new URL(`http://[${mapped}]`).hostname.slice(1, -1).split("::");
  const groups = head ? head.split(":") : [];
  if (tail !== undefined) {
    const after = tail ? tail.split(":") : [];
    groups.push(...Array(8 - groups.length - after.length).fill("0"), ...after);
  }
  return `ip:${groups.slice(0, 4).join(":")}::/64`;
}

/**
 * The right-most address that no proxy of ours has. Each proxy appends the address that it saw, so everything to the
 * left of the first stranger is what the stranger wrote, and can be anything.
 *
 * @param {string | undefined} forwardedFor  the X-Forwarded-For field
 * @param {string | undefined} peer  the address of the connection (`req.socket.remoteAddress`)
 * @param {(address: string) => boolean} isTrusted  whether this is a proxy of ours
 *
 * @example
 * const ours = new net.BlockList();
 * ours.addSubnet("10.0.0.0", 8);
 * clientIp(req.headers["x-forwarded-for"], req.socket.remoteAddress, (ip) => ours.check(ip));
 */
export function clientIp(forwardedFor, peer, isTrusted) {
  const hops = [...(forwardedFor ?? "").split(","), peer ?? ""].map((hop) => hop.trim()).filter(Boolean);
  return hops.findLast((hop) => !isTrusted(hop)) ?? hops[0] ?? "unknown";
}
