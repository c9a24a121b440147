// IP addresses as they arrive in the wild: with a port, brackets, a zone, as IPv4 in an IPv6 coat. Never throws.

/** The eight groups of an IPv6 address, or the four numbers of an IPv4 one. */
export type Address = readonly number[];

function ipv4(text: string): Address | undefined {
  if (!/^(?:\d{1,3}\.){3}\d{1,3}$/.test(text)) return undefined;
  const numbers = text.split(".").map(Number);
  const plain = numbers.every((number) => number <= 255) && !/(?:^|\.)0\d/.test(text); // 010 is 8 to some, 10 to others
  return plain ? numbers : undefined;
}

function ipv6(text: string): Address | undefined {
  if (!text.includes(":") || !/^[0-9a-f:.]{2,45}$/i.test(text)) return undefined;
  let canonical: string;
  try {
    canonical = new URL(`http://[${text}]`).hostname.slice(1, -1); // every runtime has this parser, and no other
  } catch {
    return undefined;
  }
  const [head = "", tail] = canonical.split("::");
  const groups = (part: string) => (part === "" ? [] : part.split(":").map((group) => parseInt(group, 16)));
  const before = groups(head);
  if (tail === undefined) return before;
  const after = groups(tail);
  return [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after];
}

export function parseAddress(written: string): Address | undefined {
  let text = written.trim();
  const bracketed = /^\[([^\]]*)\](?::\d{1,5})?$/.exec(text);
  if (bracketed) text = bracketed[1] as string;
  else text = text.replace(/^([\d.]+):\d{1,5}$/, "$1");
  text = text.replace(/%.*$/s, ""); // a zone names an interface of ours, not the caller
  const address = ipv4(text) ?? ipv6(text);
  if (address?.length !== 8) return address;
  const [a, b, c, d, e, f, high = 0, low = 0] = address;
  const mapped = f === 0xffff && [a, b, c, d, e].every((group) => group === 0);
  return mapped ? [high >> 8, high & 255, low >> 8, low & 255] : address;
}

/** The IPv4 address that an IPv6 one is made of by NAT64 and its like (RFC 6052, the well-known prefix; SIIT), or by 6to4. */
export function embeddedIpv4(address: Address): Address | undefined {
  const prefix = address.slice(0, 6).join();
  const isNat64 = prefix === [0x64, 0xff9b, 0, 0, 0, 0].join() || prefix === [0, 0, 0, 0, 0xffff, 0].join();
  const [high = 0, low = 0] = isNat64 ? address.slice(6) : address.slice(1);
  return isNat64 || (address.length === 8 && address[0] === 0x2002) ? [high >> 8, high & 255, low >> 8, low & 255] : undefined;
}

/** Whether the address is in one of the networks: `10.0.0.0/8`, `fd00::/8`, `192.0.2.7`. */
export function networks(ranges: readonly string[]): (address: Address) => boolean {
  const parsed = ranges.map((range) => {
    const [text = "", length] = range.split("/");
    const address = parseAddress(text);
    const width = address?.length === 4 ? 8 : 16;
    const most = address === undefined ? 0 : address.length * width;
    const bits = length === undefined ? most : /^\d{1,3}$/.test(length) ? Number(length) : -1;
    if (address === undefined || bits < 0 || bits > most) throw new TypeError(`proxies: expected an address or a network, got "${range}"`);
    return { address, bits, width };
  });
  return (address) =>
    parsed.some(
      (network) =>
        network.address.length === address.length &&
        network.address.every((part, index) => {
          const compared = Math.min(network.width, Math.max(0, network.bits - index * network.width));
          const rest = network.width - compared;
          return part >> rest === (address[index] as number) >> rest;
        }),
    );
}
