"""Who is asking: the part of the key that names the caller. The most specific one that is proven wins."""

import hashlib
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def by_user(user_id: int | str) -> str:
    return f"user:{user_id}"


def by_api_key(api_key: str) -> str:
    """The key itself must not lie readable in Redis, its slow log or its dumps."""
    return f"key:{_hash(api_key)}"


def by_ip(address: str) -> str:
    """An IPv6 customer is given a /64 to choose addresses from, so that is what is counted."""
    try:
        ip = ip_address(address)
    except ValueError:
        return f"ip:{address}"
    if isinstance(ip, IPv6Address):
        ip = ip.ipv4_mapped or ip_network((ip, 64), strict=False)
    return f"ip:{ip}"


def by_login(address: str, email: str) -> str:
    """One address guessing one account."""
    return f"login:{by_ip(address)}:{_hash(email.strip().lower())}"


def client_ip(forwarded_for: str | None, peer: str | None, is_trusted: Callable[[str], bool]) -> str:
    """The right-most hop of X-Forwarded-For that no proxy of ours has.

    Each proxy appends the address that it saw, so what stands left of the first stranger is what the stranger wrote.
    ``peer`` is the address of the connection.
    """
    hops = [hop.strip() for hop in [*(forwarded_for or "").split(","), peer or ""] if hop.strip()]
    strangers = (hop for hop in reversed(hops) if not is_trusted(hop))
    return next(strangers, hops[0] if hops else "unknown")
