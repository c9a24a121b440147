// Who is asking: the part of the key that names the caller. The most specific one that is proven wins: user, API key, IP.

import { members, text, wrong } from "./check.js";
import { embeddedIpv4, networks, parseAddress, type Address } from "./address.js";

/** How an e-mail address is hashed. */
export interface IdentityOptions {
  /**
   * A key of the application's own. With it the hash is an HMAC: an address that somebody guesses cannot be looked up
   * in a dump of Redis. All processes share it; with another one all callers are new.
   */
  readonly identitySecret?: string;
}

async function hash(secret: string, { identitySecret }: IdentityOptions = {}): Promise<string> {
  const bytes = (text: string) => new TextEncoder().encode(text);
  let digest: ArrayBuffer;
  if (identitySecret === undefined) digest = await crypto.subtle.digest("SHA-256", bytes(secret));
  else {
    const algorithm = { name: "HMAC", hash: "SHA-256" };
    const key = await crypto.subtle.importKey("raw", bytes(text("identitySecret", identitySecret)), algorithm, false, ["sign"]);
    digest = await crypto.subtle.sign("HMAC", key, bytes(secret));
  }
  return Array.from(new Uint8Array(digest, 0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** `user:42`. An id that is not there would make one caller of all who are not logged in: it is refused. */
export function byUser(id: string | number | bigint): string {
  if (typeof id === "bigint" || (typeof id === "number" && Number.isSafeInteger(id))) return `user:${id}`;
  return `user:${text("id", id)}`;
}

/** `key:` and a hash: an API key must not lie readable in Redis, its slow log or its dumps. */
export const byApiKey = async (apiKey: string): Promise<string> => `key:${await hash(text("apiKey", apiKey))}`;

/**
 * As a person means an e-mail address: no control and no zero-width characters, NFKC, no spaces around it, lower case, a final
 * sigma as any other. NFKC again, as the lower case of what has no precomposed form may have one (J and a caron).
 */
const normalized = (email: string): string =>
  text("email", email).replace(/[\p{Cc}\p{Cf}]/gu, "").normalize("NFKC").trim().toLowerCase().replaceAll("ς", "σ").normalize("NFKC");

/** `account:` and a hash. `Alice@Example.com ` and `alice@example.com` are one account. */
export const byAccount = async (email: string, options?: IdentityOptions): Promise<string> => `account:${await hash(normalized(email), options)}`;

/** Who logs in, and from where. */
export interface LoginIdentity extends IdentityOptions {
  /** As `clientAddress` gives it; `unknown` where there is none. */
  readonly address: string;
  readonly email: string;
}

/**
 * For logins: one address guessing one account. Its arguments have names, for one taken for the other would make one
 * caller of all. Limit the address and the account by themselves too.
 */
export async function byLogin(login: LoginIdentity): Promise<string> {
  const { address, email, ...options } = members("byLogin", login, ["address", "email", "identitySecret"]) as unknown as LoginIdentity;
  return `${byIp(text("address", address))}:${await byAccount(email, options)}`;
}

/** How much of an address is one caller, in bits. */
export interface IpOptions {
  /** How many bits of an IPv6 address make one caller. Default 64: what a customer is given, at the least. */
  readonly ipv6?: number;
  /** The same of an IPv4 address. Default 32. */
  readonly ipv4?: number;
}

/**
 * `ip:203.0.113.9`; of an IPv6 address its /64, for a customer is given one to choose addresses from. Many are given a
 * /56: `{ ipv6: 56 }`. Addresses of NAT64 (64:ff9b::/96) and 6to4 are read as the IPv4 address in them. What is no address is
 * `ip:unknown`: a stranger who writes nonsense is no new caller each time.
 */
export function byIp(address: string | undefined, options: IpOptions = {}): string {
  const { ipv6 = 64, ipv4 = 32 } = members("options of byIp", options, ["ipv6", "ipv4"]) as IpOptions;
  bitsOf("ipv6", ipv6, 128);
  bitsOf("ipv4", ipv4, 32);
  const written = address === undefined ? undefined : parseAddress(address);
  if (written === undefined) return "ip:unknown";
  const parsed = embeddedIpv4(written) ?? written;
  const [width, bits] = parsed.length === 4 ? [8, ipv4] : [16, ipv6];
  const kept = parsed.map((part, index) => {
    const rest = width - Math.min(width, Math.max(0, bits - index * width));
    return (part >> rest) << rest;
  });
  if (width === 8) return `ip:${kept.join(".")}${bits === 32 ? "" : `/${bits}`}`;
  const groups = kept.slice(0, Math.ceil(bits / 16)).map((group) => group.toString(16));
  return `ip:${groups.join(":")}${groups.length === 8 ? "" : "::"}/${bits}`;
}

function bitsOf(name: string, value: number, most: number): void {
  if (!Number.isSafeInteger(value) || value < 1 || value > most) throw wrong(name, `a number of bits, 1 to ${most}`, value);
}

/**
 * Whom to believe. X-Forwarded-For is written by whoever sends the request, and each proxy appends the address that it
 * saw. So this must be said, and there is no default:
 *
 * - `{ hops: n }`: n proxies of ours stand in front, always. One too many, and a caller invents its address; one too
 *   few, and all callers are one.
 * - `{ proxies: [...] }`: the proxies' networks. Needs the peer's address.
 * - `{ header: "cf-connecting-ip" }`: the platform sets this field and removes what the caller wrote there. Only where
 *   nobody reaches the application but through the platform.
 * - `"peer"`: no proxy. The address of the connection.
 */
export type Trust =
  | "peer"
  | { readonly hops: number }
  | { readonly proxies: readonly string[] }
  | { readonly header: string };

/** What an address is read from: a request of Node, or one with headers of fetch. */
export interface From {
  /** The fields of the request: of fetch, or of Node's http. */
  readonly headers: Headers | Readonly<Record<string, string | readonly string[] | undefined>>;
  /** The address of the connection: `req.socket.remoteAddress`. Next.js and most fetch handlers have none. */
  readonly peer?: string | undefined;
}

const field = (headers: From["headers"], name: string): string => {
  const value = headers instanceof Headers ? headers.get(name) : headers[name.toLowerCase()];
  return typeof value === "string" ? value : (value ?? []).join(",");
};

/**
 * Reads the caller's address from a request; `unknown` where there is none. Build it once: what is wrong with `trust`
 * is thrown here, and never by a request.
 *
 * @example
 * const address = clientAddress({ hops: 1 });
 * await api.hit(byIp(address({ headers: request.headers })));
 */
export function clientAddress(trust: Trust): (from: From) => string {
  if (trust === "peer") return ({ peer }) => peer ?? "unknown";
  if (typeof trust !== "object" || trust === null) throw wrong("trust", '"peer", { hops }, { proxies } or { header }', trust);
  if ("header" in trust) {
    const name = text("trust.header", trust.header);
    return ({ headers }) => field(headers, name).trim() || "unknown";
  }
  const hopsOf = ({ headers, peer }: From): string[] =>
    [...field(headers, "x-forwarded-for").split(","), peer ?? ""].map((hop) => hop.trim());
  if ("hops" in trust) {
    const { hops } = trust;
    if (!Number.isSafeInteger(hops) || hops < 1) throw wrong("trust.hops", 'the number of proxies in front, or "peer" for none', hops);
    // The peer's place counts even where its address is not known.
    return (from) => {
      const chain = hopsOf(from).filter((hop, index, all) => hop !== "" || index === all.length - 1);
      return chain[Math.max(0, chain.length - 1 - hops)] || "unknown";
    };
  }
  const { proxies } = trust;
  if (!Array.isArray(proxies)) throw wrong("trust.proxies", "an array of networks", proxies);
  const ours = networks(proxies);
  return (from) => {
    const chain = hopsOf(from).filter(Boolean);
    if (!from.peer) return "unknown"; // who wrote the field is not known
    const isOurs = (hop: string) => {
      const address = parseAddress(hop);
      return address !== undefined && ours(address);
    };
    return chain.findLast((hop) => !isOurs(hop)) ?? chain[0] ?? "unknown";
  };
}
