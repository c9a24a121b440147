"""What is compared, group by group: one Row a line of the page. To compare another, add a row, and what makes it to the worker."""

from dataclasses import dataclass

BARE, OURS, PEER = "bare", "ours", "peer"


@dataclass(frozen=True)
class Load:
    at_once: int = 50
    keys: int = 1000
    limit: int = 1_000_000  # as good as none


@dataclass(frozen=True)
class Row:
    name: str
    whose: str  # "bare": the command by itself, which the others of the group are compared with. "ours" or "peer"
    worker: str  # what the worker of the group's language calls it
    algorithm: str
    server: str = "ratelimit"  # which module the server has, or whose server it is
    ports: tuple = ()


@dataclass(frozen=True)
class Group:
    name: str
    says: str
    language: str
    rows: tuple
    load: Load = Load()
    client: str = "client CPU"  # whose CPU the worker tells; "": nobody's of interest
    warm: int = 200  # hits before anything is measured; more where a compiler first has to see what is hot
    window_ms: int = 2000  # of what is admitted when hits crowd around the end of one


SLIDING, FIXED, COUNTER, BUCKET = "sliding, exact", "fixed", "sliding, an estimate", "bucket"


def over(client):
    return (
        Row("bare `RL.SLIDING`", BARE, f"{client} bare", SLIDING),
        Row("ratelimit-client", OURS, f"{client} package", SLIDING),
        Row("ratelimit-client/rate-limiter-flexible", OURS, f"{client} flexible's words", SLIDING),
        Row("rate-limiter-flexible", PEER, f"{client} rate-limiter-flexible", FIXED),
        Row("ratelimit-client/express-rate-limit", OURS, f"{client} express store", SLIDING),
        Row("rate-limit-redis", PEER, f"{client} rate-limit-redis", FIXED),
    )


GROUPS = (
    Group("Node, ioredis", "Fifty callers, 1,000 keys, nobody is denied.", "node", over("ioredis")),
    Group("Node, node-redis", "The same.", "node", over("node-redis")),
    Group("Express", "One `GET` a hit, over fifty connections; CPU of the process that serves.", "node", (
        Row("no limiter", BARE, "express bare", ""),
        Row("ratelimit-client", OURS, "express package", SLIDING),
        Row("express-rate-limit, ratelimit-client's store", OURS, "express express-rate-limit, our store", SLIDING),
        Row("express-rate-limit, rate-limit-redis", PEER, "express express-rate-limit", FIXED),
        Row("rate-limiter-flexible", PEER, "express rate-limiter-flexible", FIXED),
    ), client="server CPU of Node", warm=20_000),
    Group("Fastify", "The same.", "node", (
        Row("no limiter", BARE, "fastify bare", ""),
        Row("ratelimit-client", OURS, "fastify package", SLIDING),
        Row("@fastify/rate-limit, ratelimit-client's store", OURS, "fastify its own, our store", SLIDING),
        Row("@fastify/rate-limit", PEER, "fastify its own", FIXED),
    ), client="server CPU of Node", warm=20_000),
    Group("REST", "Through `ratelimit-rest`, by a client that has `fetch` alone.", "node", (
        Row("ratelimit-client", OURS, "rest package", SLIDING),
        Row("@upstash/ratelimit, slidingWindow", PEER, "rest upstash sliding", COUNTER),
        Row("@upstash/ratelimit, fixedWindow", PEER, "rest upstash fixed", FIXED),
    )),
    Group("Denied, from memory", "Fifty callers of ten keys, whose limit of 1 is used up: hits are denied without asking.", "node", (
        Row("ratelimit-client, `blockedCache`", OURS, "ioredis remembered", SLIDING),
        Row("rate-limiter-flexible, `inMemoryBlockOnConsumed`", PEER, "ioredis rate-limiter-flexible's block", FIXED),
        Row("@upstash/ratelimit, `ephemeralCache`", PEER, "rest upstash remembered", COUNTER),
    ), load=Load(keys=10, limit=1)),
    Group("One hot key, Node", "Two hundred callers of one key, over ioredis.", "node", (
        Row("bare `RL.SLIDING`", BARE, "ioredis bare", SLIDING),
        Row("ratelimit-client, `coalesce`", OURS, "ioredis coalesced", SLIDING),
        Row("rate-limiter-flexible", PEER, "ioredis rate-limiter-flexible", FIXED),
    ), load=Load(at_once=200, keys=1)),
    Group("Python", "One caller after the other, redis-py.", "python", (
        Row("bare `RL.SLIDING`", BARE, "bare", SLIDING),
        Row("ratelimit-client", OURS, "package", SLIDING),
        Row("limits, moving window, ratelimit://", OURS, "limits moving window, our storage", SLIDING),
        Row("limits, moving window", PEER, "limits moving window", SLIDING),
        Row("limits, sliding counter", PEER, "limits sliding counter", COUNTER),
        Row("limits, fixed window", PEER, "limits fixed window", FIXED),
        Row("pyrate-limiter", PEER, "pyrate-limiter", SLIDING),
    ), load=Load(at_once=1)),
    Group("Python, asyncio", "Fifty callers, redis-py.", "python", (
        Row("bare `RL.SLIDING`", BARE, "asyncio bare", SLIDING),
        Row("ratelimit-client", OURS, "asyncio package", SLIDING),
        Row("limits, moving window, ratelimit://", OURS, "asyncio limits moving window, our storage", SLIDING),
        Row("limits, moving window", PEER, "asyncio limits moving window", SLIDING),
        Row("limits, sliding counter", PEER, "asyncio limits sliding counter", COUNTER),
        Row("limits, fixed window", PEER, "asyncio limits fixed window", FIXED),
    )),
    Group("Go", "Fifty callers, go-redis.", "go", (
        Row("bare `RL.SLIDING`", BARE, "bare", SLIDING),
        Row("ratelimit", OURS, "package", SLIDING),
        Row("redis_rate", PEER, "redis_rate", BUCKET),
        Row("throttled", PEER, "throttled", BUCKET),
        Row("ulule/limiter", PEER, "ulule", FIXED),
    )),
    Group("One hot key, asyncio", "A hundred callers of one key: redis-py's pool has no more connections.", "python", (
        Row("bare `RL.SLIDING`", BARE, "asyncio bare", SLIDING),
        Row("ratelimit-client, `coalesce`", OURS, "asyncio coalesced", SLIDING),
        Row("limits, fixed window", PEER, "asyncio limits fixed window", FIXED),
    ), load=Load(at_once=100, keys=1)),
    Group("One hot key, Go", "Two hundred callers of one key, over go-redis.", "go", (
        Row("bare `RL.SLIDING`", BARE, "bare", SLIDING),
        Row("ratelimit, `Coalesce`", OURS, "coalesced", SLIDING),
        Row("redis_rate", PEER, "redis_rate", BUCKET),
    ), load=Load(at_once=200, keys=1)),
    Group("Java, Lettuce", "Fifty threads, one connection.", "java", (
        Row("bare `RL.SLIDING`", BARE, "lettuce bare", SLIDING),
        Row("ratelimit-client", OURS, "lettuce package", SLIDING),
        Row("bucket4j", PEER, "lettuce bucket4j", BUCKET),
    ), warm=20_000),
    Group("Java, Jedis", "Fifty threads, fifty connections.", "java", (
        Row("bare `RL.SLIDING`", BARE, "jedis bare", SLIDING),
        Row("ratelimit-client", OURS, "jedis package", SLIDING),
    ), warm=20_000),
    Group("Spring Cloud Gateway", "Fifty requests' checks under way: `RateLimiter.isAllowed` of a route, as the gateway's filter calls it.", "spring", (
        Row("bare `RL.SLIDING`, Lettuce", BARE, "bare", SLIDING),
        Row("ratelimit-spring, sliding", OURS, "package, sliding", SLIDING),
        Row("ratelimit-spring, a route's `redis-rate-limiter.*`", OURS, "package, its arguments", BUCKET),
        Row("its RedisRateLimiter", PEER, "its own", BUCKET),
    ), warm=20_000),
    *(Group(name, f"Sixty-four calls by gRPC under way, {says}; CPU and memory of the gateway.", "gateway", (
        Row("ratelimit-gateway, fixed", OURS, f"ratelimit-gateway {count} fixed", FIXED),
        Row("ratelimit-gateway, sliding", OURS, f"ratelimit-gateway {count} sliding", SLIDING),
        Row("envoyproxy/ratelimit", PEER, f"envoyproxy-ratelimit {count}", FIXED),
    ), load=Load(at_once=64), window_ms=1000, client="the gateway's") for name, says, count in (
        ("Envoy's rate limit service", "one descriptor each", 1), ("Envoy's rate limit service, three descriptors", "three descriptors each", 3))),
    Group("Server alone", "One connection, one command after the other: what the server does for a hit.", "python", (
        Row("`RL.FIXED`", OURS, "server RL.FIXED", FIXED),
        Row("`RL.SLIDING`", OURS, "server RL.SLIDING", SLIDING),
        Row("`RL.BUCKET`", OURS, "server RL.BUCKET", BUCKET),
        Row("`CL.THROTTLE`", OURS, "server CL.THROTTLE", BUCKET),
        Row("redis-cell 0.2.2", PEER, "server CL.THROTTLE", BUCKET, server="redis-cell"),
        Row("throttlecrab's own server", PEER, "server THROTTLE", BUCKET, server="throttlecrab"),
        Row("`INCR` and `EXPIRE NX`", PEER, "server INCR", FIXED),
        Row("Lua, fixed window", PEER, "server Lua fixed", FIXED),
        Row("Lua, token bucket", PEER, "server Lua bucket", BUCKET),
        Row("Lua, two weighted counters", PEER, "server Lua weighted", COUNTER),
    ), load=Load(at_once=1), client=""),
)
