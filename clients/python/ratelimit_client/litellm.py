"""A hook for LiteLLM's proxy: requests, tokens and parallel calls of a key, a user, a team, an end user and a model, all
taken with one command before the model is asked, or none of them.

>>> # limits.py, beside config.yaml, which says: litellm_settings: {callbacks: limits.hook}
>>> hook = RateLimitHook(
...     redis.asyncio.Redis(host="redis"),
...     key=Limits(requests=Window(60, "1m"), tokens=Window(100_000, "1m"), parallel=4),
...     team=Limits(tokens=Window(2_000_000, "1d")),
...     model=Limits(parallel=50),
... )

Tokens are charged as estimated (the prompt, and as many as the call may answer with), and settled with the usage that
LiteLLM reports, at the time of the estimate. A stream that is aborted is charged as far as it came. What is never settled
stays charged as estimated. Slots of ``parallel`` are leases that are renewed while the request runs.
"""

import asyncio
import hashlib
import json
import math
import re
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Literal, TypeVar

import litellm
from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger

from ._ask import send_async, told_async
from ._check import LARGEST, integer, span_ms, text, wrong
from .client import async_link_of
from .errors import LeaseLostError, RateLimitError
from .headers import rate_limit_headers, refusal
from .plan import Algorithm, Bucket, Plan, Reach, Window, cost_words
from .report import OnError, OnHit
from .verdict import AllVerdict, Asked, all_unavailable, all_verdict

KINDS = ("requests", "tokens", "parallel")
MAX_KEYS = 16  # of one command
MAX_IDENTITY_BYTES = 64  # a longer one is hashed
OFFLOADED_CHARS = 8192  # a longer prompt is counted in a thread
RETRY_S = 1.0  # between two tries to give slots back

T = TypeVar("T")
Estimate = Callable[[dict[str, Any], str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of each key, user, team, end user or model. What is None is not limited."""

    requests: Window | Bucket | Sequence[Window] | Sequence[Bucket] | None = None
    tokens: Window | Bucket | Sequence[Window] | Sequence[Bucket] | None = None
    parallel: int | None = None
    algorithm: Algorithm = "sliding"  # of requests and tokens


@dataclass(frozen=True, slots=True)
class _Part:
    """One key of the command."""

    scope: str
    kind: str
    identity: str
    key: str
    cost: int
    clause: tuple[str | int, ...]  # the algorithm and its limits; of a slot at last its id
    policies: tuple[str, ...]

    def words(self, cost: int) -> list[str | int]:
        return [*self.clause, *cost_words(cost), *(word for name in self.policies for word in ("POLICY", name))]

    @property
    def asked(self) -> Asked:
        """A policy may have other windows, so none is told."""
        return Asked(name=f"{self.scope}-{self.kind}", described=(), cost=self.cost)


def _identity(value: object) -> str:
    """As it stands in keys and in the names of policies."""
    written = str(value)
    data = written.encode("utf-8", "surrogatepass")
    return written if 0 < len(data) <= MAX_IDENTITY_BYTES else "sha256-" + hashlib.sha256(data).hexdigest()[:32]


def _who(auth: Any, data: Mapping[str, Any]) -> dict[str, Counter[str]]:
    """Who asks, and how often: ``"a,b"`` asks two models. Calls without a key share one."""
    models = Counter(_identity(one.strip()) for one in str(data["model"]).split(",")) if data.get("model") else Counter()
    found: dict[str, Any] = {
        "key": getattr(auth, "api_key", None) or "none",
        "user": getattr(auth, "user_id", None),
        "team": getattr(auth, "team_id", None),
        "end_user": getattr(auth, "end_user_id", None),
    }
    times = models.total() or 1
    return {**{scope: Counter({_identity(value): times}) for scope, value in found.items() if value}, "model": models}


class _Call:
    """What one request holds, from the moment it was let in."""

    def __init__(
        self,
        hook: "RateLimitHook",
        parts: Sequence[_Part],
        prompt: int,
        verdict: AllVerdict,
        since: float,
        is_of_several: bool = False,
    ):
        self._hook = hook
        self.verdict = verdict
        self._tokens = [part for part in parts if part.kind == "tokens"]
        self._slots = [part for part in parts if part.kind == "parallel"]
        self._prompt = prompt
        # What each of several models used is not told apart.
        self._settles = verdict.error is None and len(self._tokens) > 0 and not is_of_several
        self._charged = self._tokens[0].cost if self._tokens else 0
        self._is_answered = self._is_failed = self.is_over = False
        self._reported: float | None = None
        self._text: list[str] = []
        self._renewing = hook.start(self._renew(since)) if self._slots and verdict.error is None else None

    async def _renew(self, since: float) -> None:
        held = self._slots
        lasts = self._hook.granted_s(self.verdict)
        until, pause_s = since + lasts, lasts / 3
        while held:
            await asyncio.sleep(pause_s)
            since = monotonic()
            answer = await self._hook.send(held)
            if answer.error is not None:
                held = self._lose(held, held) if monotonic() >= until else held
                pause_s = lasts / 9
            elif answer.allowed:
                lasts = self._hook.granted_s(answer)
                until, pause_s = since + lasts, lasts / 3
            else:  # one has ended, and somebody else has it: the others go on
                held = self._lose(held, [held[answer.binding or 0]])
                pause_s = 0

    def _lose(self, held: list[_Part], lost: list[_Part]) -> list[_Part]:
        for slot in lost:
            self._hook.lost(slot)
        return [slot for slot in held if slot not in lost]

    async def release(self) -> None:
        """The slots, as soon as the answer is whole."""
        renewing, self._renewing = self._renewing, None
        if renewing is not None:
            renewing.cancel()  # a renewal that was sent comes before the release: there is one connection
            await self._hook.release(self._slots)

    async def settle(self, used: float | None) -> None:
        """With what was used, as far as is known by now; None leaves it as it is."""
        if used is None or not self._settles:
            return
        self._reported = used
        charged, self._charged = self._charged, math.ceil(used)
        if difference := self._charged - charged:
            force = ["FORCE"] if difference > 0 else []
            await self._hook.send(self._tokens, *force, "AT", self.verdict.charged_at or 0, cost=difference)

    def answered(self, chunk: object = None) -> None:
        self._is_answered = True
        if (used := _used(chunk)) is not None:
            self._reported = used
        for choice in getattr(chunk, "choices", None) or ():
            content = getattr(getattr(choice, "delta", None), "content", None) or getattr(choice, "text", None)
            if isinstance(content, str):
                self._text.append(content)

    def failed(self) -> None:
        self._is_failed = True

    async def end(self) -> None:
        """The answer is over, however it ended."""
        await asyncio.gather(self.settle(self._known()), self.release())

    def abandoned(self, _task: object) -> None:
        """The task of the request is done: whatever has not ended by now never will."""
        self.is_over = True
        self._hook.start(self.end())

    def _known(self) -> float | None:
        """What was used, before LiteLLM tells of it."""
        if self._reported is None and self._text:
            self._reported, self._text = self._prompt + _count("".join(self._text)), []
        return 0 if self._reported is None and self._is_failed and not self._is_answered else self._reported


# Of this request, by LiteLLM's id of the call: guardrails that ask a model themselves run in it, too.
_calls: ContextVar[dict[str | None, _Call]] = ContextVar("ratelimit_client_calls")


def _call_of(data: Mapping[str, Any]) -> _Call | None:
    return _calls.get({}).get(data.get("litellm_call_id"))


def _count(text: str) -> int:
    """By a tokenizer that is there: those of some models would be fetched."""
    return int(litellm.token_counter(model="", text=text))


def _prompt_tokens(data: Mapping[str, Any]) -> int:
    count = 0
    for name in ("prompt", "input", "instructions", "system", "contents", "query", "documents"):
        if value := data.get(name):
            count += _count(value if isinstance(value, str) else json.dumps(value, default=str))
    if messages := data.get("messages"):
        try:
            count += int(
                litellm.token_counter(
                    model="", messages=messages, tools=data.get("tools"), use_default_image_token_count=True
                )
            )
        except Exception:  # content of a form that it does not know
            count += _count(json.dumps(messages, default=str))
    return count


def _answer_tokens(data: Mapping[str, Any], call_type: str, otherwise: int) -> int:
    if any(kind in call_type for kind in ("embedding", "rerank", "moderation", "transcription", "speech")):
        return 0
    asked = (_number(data.get(name)) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"))
    most = max((one for one in asked if one is not None), default=otherwise)
    return most * max(_number(data.get("n")) or 1, 1)


def _number(value: object) -> int | None:
    try:
        return max(0, int(float(value)))  # type: ignore[arg-type]  # a caller may write anything
    except (TypeError, ValueError, OverflowError):
        return None


def _used(response: Any) -> float | None:
    """The tokens that a response reports."""
    usage = response.get("usage") if isinstance(response, Mapping) else getattr(response, "usage", None)
    fields: dict[str, Any] = dict(usage) if isinstance(usage, Mapping) else getattr(usage, "__dict__", {})
    if (total := fields.get("total_tokens")) is None and "output_tokens" in fields:
        total = fields.get("input_tokens", 0) + fields["output_tokens"]
    is_amount = isinstance(total, (int, float)) and not isinstance(total, bool) and 0 <= total < LARGEST
    return total if is_amount else None


class RateLimitHook(CustomLogger):  # type: ignore[misc,unused-ignore]
    """For ``callbacks`` of the proxy. LiteLLM asks hooks of the class itself alone: do not derive from it."""

    def __init__(
        self,
        client: Any,
        *,
        key: Limits | None = None,
        user: Limits | None = None,
        team: Limits | None = None,
        end_user: Limits | None = None,
        model: Limits | None = None,
        prefix: str = "litellm",
        ttl: str = "30s",
        output_tokens: int = 1024,
        estimate: Estimate | None = None,
        timeout_ms: int | None = 1000,
        unavailable: Literal["open", "closed"] | None = None,
        on_error: OnError | None = None,
        on_hit: OnHit | None = None,
    ):
        """
        :param client: of ``redis.asyncio`` or ``valkey.asyncio``
        :param prefix: of keys and policies. Of tokens of the team acme the key is ``{litellm}:team:tokens:acme`` (the braces
            put all keys of the proxy into one slot of a cluster), and of the policies ``litellm:team:tokens:acme`` and
            ``litellm:team:tokens`` the first that the server has replaces the limits given here
        :param ttl: when the slots of a worker that was killed come back
        :param output_tokens: estimated of a call that does not say how many tokens its answer may have. What it used beyond
            that is charged when it ends, also above the limit
        :param estimate: of the request and its type, the tokens to charge before the call
        :param timeout_ms: how long Redis may take to answer
        :param unavailable: what a call is where Redis is away: let through (``open``, the default) or answered with 503
        """
        super().__init__()
        given = {"key": key, "user": user, "team": team, "end_user": end_user, "model": model}
        if not re.fullmatch(r"[^{}]{1,32}", text("prefix", prefix)):
            raise wrong("prefix", "1 to 32 characters other than braces", prefix)
        self._prefix = prefix
        self._ttl = ttl
        self.ttl_s: float = span_ms("ttl", ttl) / 1000
        self._output_tokens = integer("output_tokens", output_tokens, 0)
        if estimate is not None and not callable(estimate):
            raise wrong("estimate", "a function", estimate)
        self._own_estimate = estimate
        self._meters: dict[tuple[str, str], tuple[str | int, ...]] = {}
        for scope, limits in given.items():
            if limits is not None:
                self._add(scope, limits)
        if not self._meters:
            raise wrong(", ".join(given), "Limits for one of them at least", None)
        self._reach = Reach(
            name=prefix, timeout_ms=timeout_ms, unavailable=unavailable, on_error=on_error, on_hit=on_hit, open=True
        )
        self._link = async_link_of(client)
        self._tasks: set[asyncio.Task[Any]] = set()

    def _add(self, scope: str, limits: object) -> None:
        if not isinstance(limits, Limits):
            raise wrong(scope, "Limits", limits)
        for kind, given in (("requests", limits.requests), ("tokens", limits.tokens)):
            if given is not None:
                plan = Plan(
                    algorithm=limits.algorithm,
                    limits=given,
                    prefix=None,
                    name=f"{scope}.{kind}",
                    policy=None,
                    block=None,
                    timeout_ms=None,
                    unavailable=None,
                )
                self._meters[scope, kind] = (plan.algorithm, *plan.limits)
        if limits.parallel is not None:
            self._meters[scope, "parallel"] = ("LEASE", integer(f"{scope}.parallel", limits.parallel, 0), self._ttl)

    # What is asked of Redis.

    def _parts(self, who: Mapping[str, Counter[str]], tokens: int) -> list[_Part]:
        parts = []
        for scope, kind, identity, times in (
            (scope, kind, identity, times) for scope, named in who.items() for identity, times in named.items() for kind in KINDS
        ):
            meter = self._meters.get((scope, kind))
            if meter is None:
                continue
            cost = min((tokens if kind == "tokens" else 1) * times, LARGEST)
            name = f"{scope}:{kind}"
            policies = (f"{self._prefix}:{name}:{identity}", f"{self._prefix}:{name}")
            clause = (*meter, uuid.uuid4().hex) if kind == "parallel" else meter
            parts.append(_Part(scope, kind, identity, f"{{{self._prefix}}}:{name}:{identity}", cost, clause, policies))
        return parts

    async def send(self, parts: Sequence[_Part], *options: str | int, cost: int | None = None) -> AllVerdict:
        words: list[str | int] = ["RL.ALL", len(parts), *(part.key for part in parts)]
        for part in parts:
            words += part.words(part.cost if cost is None else cost)
        read = partial(all_verdict, asked=[part.asked for part in parts], stamp="STAMP" in options, deny=False)
        reach = self._reach
        asking = send_async(self._link, reach, [*words, *options], parts[0].key, read, all_unavailable, reach.open)
        return await (told_async(reach, asking) if "STAMP" in options else asking)  # what is taken is a hit, the rest is not

    async def release(self, slots: Sequence[_Part]) -> None:
        async def again() -> None:
            until = monotonic() + self.ttl_s
            while monotonic() < until:
                await asyncio.sleep(RETRY_S)
                if all(await asyncio.gather(*(self._released(part) for part in slots))):
                    return

        if not all(await asyncio.gather(*(self._released(part) for part in slots))):
            self.start(again())

    async def _released(self, slot: _Part) -> bool:
        try:
            await self._link.ask(["RL.RELEASE", slot.key, slot.clause[-1]], slot.key, self._reach.timeout_s)
        except RateLimitError as error:
            self._reach.on_error(error)
            return False
        return True

    def granted_s(self, answer: AllVerdict) -> float:
        """How long the slots last: a policy may have another ttl. The last lease to end is the newest, or a longer one."""
        resets = (one.reset_after_ms / 1000 for one in answer.keys if one.limits[0].name.endswith("parallel"))
        return min([self.ttl_s, *(one for one in resets if one > 0)])

    def lost(self, slot: _Part) -> None:
        self._reach.on_error(LeaseLostError(f"the slot of {slot.scope} {slot.identity} was lost while its call goes on"))

    def start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # a task that nobody refers to may vanish
        task.add_done_callback(self._tasks.discard)
        return task

    # What LiteLLM calls.

    async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str) -> None:
        who = _who(user_api_key_dict, data)
        prompt, tokens = await self._estimated(data, call_type)
        parts = self._parts(who, tokens)
        if len(parts) > MAX_KEYS:
            raise HTTPException(400, {"error": "too many models in one request"})
        if not parts:
            return
        since = monotonic()
        taking = self.start(self.send(parts, "STAMP"))
        try:
            verdict = await asyncio.shield(taking)
        except asyncio.CancelledError:
            self.start(self._take_back(taking, parts, prompt))
            raise
        if verdict.error is not None and (slots := [part for part in parts if part.kind == "parallel"]):
            self.start(self.release(slots))  # what was not answered may have been granted
        if not verdict.allowed:
            raise _refused(verdict, parts)
        call = _Call(self, parts, prompt, verdict, since, who["model"].total() > 1)
        if (task := asyncio.current_task()) is not None:
            task.add_done_callback(call.abandoned)
        known = {id: one for id, one in _calls.get({}).items() if not one.is_over}
        _calls.set({**known, data.get("litellm_call_id"): call})

    async def _estimated(self, data: dict[str, Any], call_type: str) -> tuple[int, int]:
        """The tokens of the prompt, and all."""
        if self._own_estimate is not None:
            return 0, integer("estimate", self._own_estimate(data, call_type), 0)
        if not any(kind == "tokens" for _, kind in self._meters):
            return 0, 0
        if sum(len(str(data.get(name) or "")) for name in ("messages", "prompt", "input")) > OFFLOADED_CHARS:
            prompt = await asyncio.to_thread(_prompt_tokens, data)
        else:
            prompt = _prompt_tokens(data)
        return prompt, prompt and prompt + _answer_tokens(data, call_type, self._output_tokens)

    async def _take_back(self, taking: "asyncio.Task[AllVerdict]", parts: Sequence[_Part], prompt: int) -> None:
        """Of one who left before the answer came."""
        verdict = await taking
        if verdict.allowed:
            call = _Call(self, parts, prompt, verdict, monotonic())
            call.failed()
            await call.end()

    async def async_post_call_success_hook(self, data: dict[str, Any], user_api_key_dict: Any, response: Any) -> None:
        """The whole answer is there, and not yet sent: who has received it finds the slot free."""
        if (call := _call_of(data)) is not None:
            call.answered(response)
            await call.end()

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: Any, response: AsyncIterable[Any], request_data: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        call = _call_of(request_data)
        async for chunk in response:
            if call is not None:
                call.answered(chunk)
            yield chunk
        if call is not None:
            await call.end()

    async def async_log_success_event(self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Also of a stream that was aborted, with what came of it."""
        call = _call_of(kwargs)
        if call is not None:
            used = _used(response_obj)
            await call.settle(_used({"usage": kwargs.get("standard_logging_object")}) if used is None else used)

    async def async_log_failure_event(self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:
        """One try may have failed and another one not: what that means is known when the request is over."""
        if (call := _call_of(kwargs)) is not None:
            call.failed()

    async def async_post_call_failure_hook(
        self, request_data: dict[str, Any], original_exception: Exception, user_api_key_dict: Any, traceback_str: str | None = None
    ) -> None:
        """It has failed for good, maybe by another hook, before a model was asked."""
        if (call := _call_of(request_data)) is not None:
            call.failed()
            await call.end()

    async def async_post_call_response_headers_hook(
        self,
        data: dict[str, Any],
        user_api_key_dict: Any,
        response: Any,
        request_headers: dict[str, str] | None = None,
        litellm_call_info: dict[str, Any] | None = None,
    ) -> dict[str, str] | None:
        call = _call_of(data)
        return None if call is None else rate_limit_headers(call.verdict)


def _refused(verdict: AllVerdict, parts: Sequence[_Part]) -> HTTPException:
    status, why = refusal(verdict)
    if verdict.binding is not None:
        part, wait_ms = parts[verdict.binding], verdict.retry_after_ms
        when = f"retry in {-(-wait_ms // 1000)} s" if wait_ms >= 0 else "it can never fit"
        used = f"{verdict.limit} allowed, {verdict.remaining} left, {part.cost} asked for"
        why = f"{why}: {part.kind} of {part.scope} {part.identity}: {used}; {when}"
    return HTTPException(status, {"error": why}, rate_limit_headers(verdict))
