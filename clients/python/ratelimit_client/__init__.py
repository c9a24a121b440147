"""Rate limiting by the native Redis commands RL.*."""

from . import presets
from ._prefetch import Prefetch
from .admin import Admin, AsyncAdmin, KeyInfo, LeaseLimit, Policy, Statistics, TotalStatistics
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
from .login import AsyncLogin, Login
from .middleware import Counted, Refusal, hit_of, hit_of_async, problem
from .plan import Bucket, Deny, Window
from .report import HitEvent
from .reservation import AsyncReservation, Reservation, Spent
from .verdict import AllVerdict, LimitState, Verdict

__all__ = [
    "EXPOSED",
    "Admin",
    "AllVerdict",
    "AsyncAdmin",
    "AsyncLeaser",
    "AsyncLimiter",
    "AsyncLogin",
    "AsyncReservation",
    "BlockedCache",
    "Bucket",
    "Counted",
    "Deny",
    "Header",
    "Held",
    "HitEvent",
    "Hops",
    "KeyInfo",
    "Lease",
    "LeaseLimit",
    "LeaseLostError",
    "Leaser",
    "LimitState",
    "Limiter",
    "Login",
    "Part",
    "Policy",
    "Prefetch",
    "Proxies",
    "RateLimitError",
    "Refusal",
    "RefusedError",
    "Reservation",
    "ServerError",
    "Spent",
    "Statistics",
    "TotalStatistics",
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
