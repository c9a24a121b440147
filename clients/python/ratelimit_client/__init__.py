"""Rate limiting by the native Redis commands RL.*."""

from . import presets
from .all import Part, hit_all, hit_all_async, peek_all, peek_all_async
from .blocked import BlockedCache
from .errors import (
    LeaseLostError,
    RateLimitError,
    RefusedError,
    ServerError,
    UnansweredError,
    WrongReplyError,
)
from .headers import EXPOSED, add_fields, rate_limit_headers, refusal
from .identify import Header, Hops, Proxies, Trust, by_account, by_api_key, by_ip, by_login, by_user, client_address
from .lease import AsyncLeaser, Held, Lease, Leaser
from .limiter import AsyncLimiter, Limiter
from .middleware import Counted, Refusal, hit_of, hit_of_async, problem
from .plan import Bucket, Deny, Window
from .report import HitEvent
from .reservation import AsyncReservation, Reservation, Spent
from .verdict import AllVerdict, LimitState, Verdict

__all__ = [
    "EXPOSED",
    "AllVerdict",
    "AsyncLeaser",
    "AsyncLimiter",
    "AsyncReservation",
    "BlockedCache",
    "Bucket",
    "Counted",
    "Deny",
    "Header",
    "Held",
    "HitEvent",
    "Hops",
    "Lease",
    "LeaseLostError",
    "Leaser",
    "LimitState",
    "Limiter",
    "Part",
    "Proxies",
    "RateLimitError",
    "Refusal",
    "RefusedError",
    "Reservation",
    "ServerError",
    "Spent",
    "Trust",
    "UnansweredError",
    "Verdict",
    "Window",
    "WrongReplyError",
    "add_fields",
    "by_account",
    "by_api_key",
    "by_ip",
    "by_login",
    "by_user",
    "client_address",
    "hit_all",
    "hit_all_async",
    "hit_of",
    "hit_of_async",
    "peek_all",
    "peek_all_async",
    "presets",
    "problem",
    "rate_limit_headers",
    "refusal",
]
