"""Who is asking: the part of the key that names the caller. The most specific one that is proven wins."""

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal

from ._check import text, wrong


def _hash(secret: str, identity_secret: str | None = None) -> str:
    data = secret.encode("utf-8", "surrogatepass")
    if identity_secret is None:
        return hashlib.sha256(data).hexdigest()[:32]
    key = text("identity_secret", identity_secret).encode()
    return hmac.new(key, data, hashlib.sha256).hexdigest()[:32]


def by_user(user_id: int | str) -> str:
    """An id that is not there would make one caller of all who are not logged in: it is refused."""
    return f"user:{user_id}" if type(user_id) is int else f"user:{text('user_id', user_id)}"


def by_api_key(api_key: str) -> str:
    """A hash: the key itself must not lie readable in Redis, its slow log or its dumps."""
    return f"key:{_hash(text('api_key', api_key))}"


def by_account(email: str, *, identity_secret: str | None = None) -> str:
    """A hash. ``Alice@Example.com `` and ``alice@example.com`` are one account.

    :param identity_secret: a key of the application's own. With it the hash is an HMAC: an e-mail address that somebody
        guesses cannot be looked up in a dump of Redis. All processes share it; with another one all callers are new
    """
    visible = "".join(char for char in text("email", email) if unicodedata.category(char) not in ("Cc", "Cf"))
    lower = unicodedata.normalize("NFKC", visible).strip().lower().replace("ς", "σ")
    # Again, as the lower case of what has no precomposed form may have one (J and a caron).
    return f"account:{_hash(unicodedata.normalize('NFKC', lower), identity_secret)}"


def by_login(*, address: str, email: str, identity_secret: str | None = None) -> str:
    """One address guessing one account. Limit the address and the account by themselves too.

    Its arguments have names, for one taken for the other would make one caller of all.

    :param address: as ``client_address`` gives it; ``unknown`` where there is none
    """
    return f"{by_ip(text('address', address))}:{by_account(email, identity_secret=identity_secret)}"


def parse_address(written: str) -> IPv4Address | IPv6Address | None:
    """An address as it arrives in the wild: with a port, brackets, a zone, as IPv4 in an IPv6 coat. Never raises."""
    found = written.strip()
    if bracketed := re.fullmatch(r"\[([^\]]*)\](?::[0-9]{1,5})?", found):
        found = bracketed[1]
    else:
        found = re.sub(r"\A([0-9.]+):[0-9]{1,5}\Z", r"\1", found)
    found = found.partition("%")[0]  # a zone names an interface of ours, not the caller
    if not found.isascii():
        return None
    try:
        address = ip_address(found)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


_NAT64 = (0x64_FF9B << 64, 0xFFFF << 16)  # the upper 96 bits: RFC 6052's well-known prefix, and SIIT's


def _embedded_ipv4(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one is made of by NAT64 and its like, or by 6to4."""
    whole = int(address)
    return IPv4Address(whole & 0xFFFF_FFFF) if whole >> 32 in _NAT64 else address.sixtofour


def by_ip(address: str | None, *, ipv6: int = 64, ipv4: int = 32) -> str:
    """``ip:203.0.113.9``; of an IPv6 address its /64, for a customer is given one to choose addresses from.

    Many are given a /56: ``ipv6=56``. Addresses of NAT64 (64:ff9b::/96) and 6to4 are read as the IPv4 address in them. What is
    no address is ``ip:unknown``: a stranger who writes nonsense is no new caller each time.
    """
    for name, bits, most in (("ipv6", ipv6, 128), ("ipv4", ipv4, 32)):
        if type(bits) is not int or not 1 <= bits <= most:
            raise wrong(name, f"a number of bits, 1 to {most}", bits)
    parsed = None if address is None else parse_address(address)
    if parsed is None:
        return "ip:unknown"
    if isinstance(parsed, IPv6Address):
        parsed = _embedded_ipv4(parsed) or parsed
    if isinstance(parsed, IPv4Address):
        return f"ip:{parsed}" if ipv4 == 32 else f"ip:{ip_network((parsed, ipv4), strict=False)}"
    whole = int(parsed) >> (128 - ipv6) << (128 - ipv6)
    groups = [f"{whole >> 112 - 16 * i & 0xFFFF:x}" for i in range(-(-ipv6 // 16))]
    return f"ip:{':'.join(groups)}{'' if len(groups) == 8 else '::'}/{ipv6}"


@dataclass(frozen=True, slots=True)
class Hops:
    """So many proxies of ours stand in front, always.

    One too many, and a caller invents its address; one too few, and all callers are one.
    """

    count: int


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies' networks. Needs the peer's address."""

    networks: Sequence[str]


@dataclass(frozen=True, slots=True)
class Header:
    """The platform sets this field and removes what the caller wrote there.

    Only where nobody reaches the application but through the platform.
    """

    name: str


# Whom to believe. X-Forwarded-For is written by whoever sends the request, and each proxy appends the address that it
# saw. So this must be said, and there is no default. "peer": no proxy, the address of the connection.
Trust = Literal["peer"] | Hops | Proxies | Header


def client_address(trust: Trust) -> Callable[[Mapping[str, str], str | None], str]:
    """Reads the caller's address from the fields of a request, their names in lower case, and the connection's address.

    ``unknown`` where there is none. Build it once: what is wrong with ``trust`` is raised here, and never by a request.

    >>> address = client_address(Hops(1))
    >>> api.hit(by_ip(address(headers, peer)))
    """
    if trust == "peer":
        return lambda headers, peer: peer or "unknown"
    if isinstance(trust, Header):
        name = text("trust.name", trust.name).lower()
        return lambda headers, peer: headers.get(name, "").strip() or "unknown"
    if isinstance(trust, Hops):
        count = trust.count
        if type(count) is not int or count < 1:
            raise wrong("trust.count", 'the number of proxies in front, or "peer" for none', count)
        # The peer's place counts even where its address is not known.
        return lambda headers, peer: [*_hops(headers), peer or ""][-1 - count :][0] or "unknown"
    if isinstance(trust, Proxies):
        try:
            ours = [ip_network(network, strict=False) for network in trust.networks]
        except ValueError as error:
            raise TypeError(f"trust.networks: expected addresses or networks: {error}") from None

        def is_ours(hop: str) -> bool:
            address = parse_address(hop)
            return address is not None and any(address in network for network in ours)

        def address(headers: Mapping[str, str], peer: str | None) -> str:
            if not peer:
                return "unknown"  # who wrote the field is not known
            chain = [*_hops(headers), peer]
            return next((hop for hop in reversed(chain) if not is_ours(hop)), chain[0])

        return address
    raise wrong("trust", '"peer", Hops, Proxies or Header', trust)


def _hops(headers: Mapping[str, str]) -> list[str]:
    return [hop.strip() for hop in headers.get("x-forwarded-for", "").split(",") if hop.strip()]
