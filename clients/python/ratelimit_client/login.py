"""A login has two callers: the address that it comes from, and the account that it is for. Both are charged with one command,
and both get back what a right password was charged."""

from typing import Any, Generic

from ._check import text, wrong
from .all import L, Part, hit_all, hit_all_async
from .identify import by_account, by_ip
from .limiter import AsyncLimiter, Limiter
from .middleware import Counted
from .verdict import AllVerdict


class _Login(Generic[L]):
    _kind: type[Any]

    def __init__(self, *, per_address: L, per_account: L, identity_secret: str | None = None):
        """
        :param per_address: who tries many accounts. On a cluster both prefixes have one hash tag: ``{login}:address``,
            ``{login}:account``
        :param per_account: who tries one account from many addresses. Wider than ``per_address``: whoever knows an e-mail
            address can use it up
        :param identity_secret: as ``by_account`` takes it
        """
        for name, limiter in (("per_address", per_address), ("per_account", per_account)):
            if not isinstance(limiter, self._kind):
                raise wrong(name, f"a limiter of the kind {self._kind.__name__}", limiter)
        self._per_address: L = per_address
        self._per_account: L = per_account
        self._secret = identity_secret

    def _parts(self, address: str, email: str, cost: int) -> list[Part[L]]:
        account = by_account(email, identity_secret=self._secret)
        return [Part(self._per_address, by_ip(text("address", address)), cost), Part(self._per_account, account, cost)]


def _charged_at(verdict: AllVerdict) -> int | None:
    """None where it was denied, or Redis was away: nothing was charged, and nothing is given back."""
    return verdict.charged_at or None


class Login(_Login[Limiter]):
    """
    >>> login = Login(per_address=per_address, per_account=per_account)
    >>> attempt = login.hit(address=address(headers, peer), email=form["email"])
    """

    _kind = Limiter

    def hit(self, *, address: str, email: str) -> Counted:
        """Counts a try of both, or of neither. ``give_back`` is called once the password was right.

        :param address: as ``client_address`` gives it
        """
        verdict = hit_all(self._parts(address, email, 1), stamp=True, next=True)

        def give_back() -> None:
            if at := _charged_at(verdict):
                hit_all(self._parts(address, email, -1), at=at, next=False)

        return Counted(verdict, give_back)


class AsyncLogin(_Login[AsyncLimiter]):
    """As ``Login``; ``give_back`` is awaited."""

    _kind = AsyncLimiter

    async def hit(self, *, address: str, email: str) -> Counted:
        verdict = await hit_all_async(self._parts(address, email, 1), stamp=True, next=True)

        async def give_back() -> None:
            if at := _charged_at(verdict):
                await hit_all_async(self._parts(address, email, -1), at=at, next=False)

        return Counted(verdict, give_back)
