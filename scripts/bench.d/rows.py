"""What is measured: one Row a command. To measure another, add a row.

Arguments are written as redis-benchmark takes them: it puts a number of 12 digits where __rand_int__ stands, so that a
key has 14 bytes. A row that the server cannot run (no module, a clause it does not know) is skipped, with its answer
as the reason.
"""

import hashlib
import pathlib
from dataclasses import dataclass

LUA = {path.stem: path.read_text() for path in pathlib.Path(__file__).with_name("lua").glob("*.lua")}
KEY = "k:__rand_int__"
HOUR_MS = 3_600_000
NOW_MS = "1800001234567"  # the clock of the client that calls the Lua ways: any will do, it is only reckoned with

# A sliding limiter that is hit every STEADY_GAP_MS has 100 entries in a window of 20 s: one leaves, one enters.
STEADY_ENTRIES = 100
STEADY_GAP_MS = 200
STEADY_WINDOW = "20s"


@dataclass(frozen=True)
class Row:
    name: str
    argv: tuple  # the command
    kind: str  # "redis", "native" or "lua": whose work this is; "empty": a command that does nothing
    allowed: int | None = None  # the first integer that every reply must carry; None: a reply without a verdict
    fill: tuple | None = None  # commands that bring one key into its state; None: the command itself, once
    log: str | None = None  # "burst": 100 entries, none leaves. "steady": 100 entries, one leaves as one enters
    setup: tuple = ()  # commands that the server needs once
    bound: float | None = None  # at most this multiple of INCR's instructions
    over: tuple | None = None  # (row, steps, bound): at most that much over that row for each of the steps
    share: tuple | None = None  # (row, times, bound): at most that part of so many commands of that row
    period: int = 1  # a key's hits cost the same again after so many
    then: tuple | None = None  # a command that follows each one, and is counted with it; redis-benchmark cannot send it
    empty: str | None = None  # the row of an empty command with as many words and a reply of the same shape
    ratio_bound: float | None = None  # at least this part of INCR's throughput with -P 64
    writes: bool = True  # also measured with AOF and with a replica

    def state(self):
        """The commands that bring one key into its state. With a log: the one that makes an entry of it."""
        return (self.argv,) if self.fill is None else self.fill


def words(text):
    return tuple(KEY if word == "KEY" else word for word in text.split())


def lua(script, keys, *args):
    sha = hashlib.sha1(LUA[script].encode()).hexdigest()
    return ("EVALSHA", sha, str(len(keys)), *keys, *map(str, args))


POLICY_SET = words("RL.POLICY SET bench FIXED 1000000 1h")
SHADOW_SET = words("RL.POLICY SHADOW tried FIXED 1000000 1h")
SHADOW_NONE = words("RL.POLICY SHADOW none FIXED 0 1h")
# A list of real size: 500,000 addresses and 10,000 ranges, in calls of a thousand.
ADDRESSES = [f"{10 + i // 62500}.{i // 250 % 250}.{i % 250}.7" for i in range(500_000)]
RANGES = [f"{100 + i // 250}.{i % 250}.0.0/{16 + i % 9}" for i in range(10_000)]
DENY_LIST = tuple(("RL.DENY", "ADD", "bench", *values[first:first + 1000])
                  for values in (ADDRESSES, RANGES) for first in range(0, len(values), 1000))

FIXED = words("RL.FIXED KEY 1000000 1h")
FIXED_DENIED = words("RL.FIXED KEY 1 30d")
FIXED_THREE = words("RL.FIXED KEY 1000000 1h 2000000 1d 3000000 30d")
BUCKET = words("RL.BUCKET KEY 1000000 1000 1d")  # one token in 86 s: in use whenever it is hit again
BUCKET_DENIED = words("RL.BUCKET KEY 1 1 30d")
SLIDING = words(f"RL.SLIDING KEY 1000000 {STEADY_WINDOW}")
SLIDING_FULL = words("RL.SLIDING KEY 100 1h")
SLIDING_MERGED = words("RL.SLIDING KEY 1000000 30d")  # a log of 128 entries, of which 5 pairs are merged at once
SEVERAL = [f"k:__rand_int__:{letter}" for letter in "abcde"]


def several(keys, clause, last=None):
    """RL.ALL over so many keys with the same clause; the last one's may be another."""
    clauses = [words(clause)] * (keys - 1) + [words(last or clause)]
    return ("RL.ALL", str(keys), *SEVERAL[:keys], *(word for each in clauses for word in each))


LUA_COUNTERS = (KEY, "p:__rand_int__")
LUA_PREVIOUS = ("SET", "p:__rand_int__", "3", "PX", str(2 * HOUR_MS))

ROWS = (
    Row("PING", ("PING",), "redis", fill=(), writes=False),
    Row("INCR", ("INCR", KEY), "redis"),
    Row("INCR, a counter with a TTL", ("INCR", KEY), "redis", fill=(("SET", KEY, "0", "PX", str(HOUR_MS)),)),
    Row("INCR past 9,999", ("INCR", KEY), "redis", fill=(("SET", KEY, "10000", "PX", str(HOUR_MS)),)),
    Row("SET PX", ("SET", KEY, "1", "PX", str(HOUR_MS)), "redis"),
    Row("RL.EMPTY, 4 words", words("RL.EMPTY KEY 1000000 1h"), "empty", fill=(), writes=False),
    Row("RL.EMPTY, 5 words", words("RL.EMPTY KEY 1000000 1000 1d"), "empty", fill=(), writes=False),
    Row("RL.EMPTY, 6 words", words("RL.EMPTY KEY 1000000 1h POLICY bench"), "empty", fill=(), writes=False),
    Row("RL.EMPTY, as with DENY", words("RL.EMPTY KEY 1000000 1h DENY bench 192.0.2.1"), "empty", fill=(), writes=False),
    Row("RL.EMPTY, as with 3 limits", words("RL.EMPTY KEY 1000000 1h 2000000 1d 3000000 30d"), "empty", fill=(), writes=False),
    Row("RL.EMPTY, as RL.ALL of 3 keys", ("RL.EMPTY", *several(3, "FIXED 1000000 1h")[1:]), "empty", fill=(), writes=False),
    Row("RL.FIXED allowed", FIXED, "native", allowed=1, bound=2.4, ratio_bound=0.55, empty="RL.EMPTY, 4 words"),
    Row("RL.FIXED denied", FIXED_DENIED, "native", allowed=0, bound=1.95, ratio_bound=0.62, empty="RL.EMPTY, 4 words"),
    Row("RL.FIXED allowed, 3 limits", FIXED_THREE, "native", allowed=1, over=("RL.FIXED allowed", 2, 0.5),
        empty="RL.EMPTY, as with 3 limits"),
    Row("RL.FIXED denied, 3 limits", words("RL.FIXED KEY 1000000 1h 1000000 1d 1 30d"), "native", allowed=0,
        over=("RL.FIXED denied", 2, 0.5), empty="RL.EMPTY, as with 3 limits"),
    Row("RL.BUCKET allowed", BUCKET, "native", allowed=1, bound=2.4, empty="RL.EMPTY, 5 words"),
    Row("RL.BUCKET denied", BUCKET_DENIED, "native", allowed=0, bound=1.95, empty="RL.EMPTY, 5 words"),
    Row("RL.BUCKET allowed, 3 limits", words("RL.BUCKET KEY 1000000 1000 1d 2000000 1000 2d 3000000 1000 3d"),
        "native", allowed=1, over=("RL.BUCKET allowed", 2, 0.5)),
    Row("RL.BUCKET denied, 3 limits", words("RL.BUCKET KEY 1000000 1 1d 1000000 1 2d 1 1 30d"), "native", allowed=0,
        over=("RL.BUCKET denied", 2, 0.5)),
    Row("RL.SLIDING allowed", SLIDING, "native", allowed=1, log="steady", bound=2.7, empty="RL.EMPTY, 4 words"),
    Row("RL.SLIDING allowed, log full", SLIDING_MERGED, "native", allowed=1, fill=(SLIDING_MERGED,) * 130, period=5, bound=4.0),
    Row("RL.SLIDING denied (5 entries)", words("RL.SLIDING KEY 5 30d"), "native", allowed=0,
        fill=(words("RL.SLIDING KEY 5 30d"),) * 5, bound=1.95, empty="RL.EMPTY, 4 words"),
    Row("RL.SLIDING denied (100 entries)", SLIDING_FULL, "native", allowed=0, log="burst", bound=1.95,
        empty="RL.EMPTY, 4 words"),
    Row("RL.SLIDING allowed, 3 limits", words("RL.SLIDING KEY 1000000 20s 1000000 10s 1000000 5s"), "native",
        allowed=1, log="steady", over=("RL.SLIDING allowed", 2, 0.5), empty="RL.EMPTY, as with 3 limits"),
    Row("RL.SLIDING denied, 3 limits", words("RL.SLIDING KEY 5 30d 1000 10d 2000 20d"), "native", allowed=0,
        fill=(words("RL.SLIDING KEY 5 30d 1000 10d 2000 20d"),) * 5, over=("RL.SLIDING denied (5 entries)", 2, 0.5),
        empty="RL.EMPTY, as with 3 limits"),
    Row("RL.PEEK FIXED", ("RL.PEEK", *words("FIXED KEY 1000000 30d")), "native", allowed=1,
        fill=(words("RL.FIXED KEY 1000000 30d"),), bound=2.0, empty="RL.EMPTY, 5 words", writes=False),
    Row("RL.PEEK BUCKET", ("RL.PEEK", *words("BUCKET KEY 1000000 1000 1d")), "native", allowed=1,
        fill=((*BUCKET, "COST", "1000"),), bound=2.0, empty="RL.EMPTY, 6 words", writes=False),
    Row("RL.PEEK SLIDING (100 entries)", ("RL.PEEK", "SLIDING", *SLIDING_FULL[1:]), "native", allowed=0,
        fill=(SLIDING_FULL,), log="burst", bound=2.0, empty="RL.EMPTY, 5 words", writes=False),
    Row("RL.FIXED allowed, POLICY", words("RL.FIXED KEY 5 1h POLICY bench"), "native", allowed=1,
        setup=(POLICY_SET,), empty="RL.EMPTY, 6 words"),
    Row("RL.FIXED allowed, a policy in front", words("RL.FIXED KEY 5 1h POLICY bench POLICY everybody"), "native", allowed=1,
        setup=(POLICY_SET,)),
    Row("RL.FIXED allowed, a shadow allows", words("RL.FIXED KEY 1000000 1h POLICY tried"), "native", allowed=1,
        setup=(SHADOW_SET,), empty="RL.EMPTY, 6 words"),
    Row("RL.FIXED allowed, a shadow denies", words("RL.FIXED KEY 1000000 1h POLICY none"), "native", allowed=1,
        setup=(SHADOW_NONE,), empty="RL.EMPTY, 6 words"),
    Row("RL.FIXED allowed, a name's statistics", words("RL.FIXED KEY 1000000 1h POLICY nameless"), "native", allowed=1,
        empty="RL.EMPTY, 6 words"),
    Row("RL.FIXED allowed, DENY one address", words("RL.FIXED KEY 1000000 1h DENY bench 192.0.2.1"), "native",
        allowed=1, setup=DENY_LIST, over=("RL.FIXED allowed", 1, 0.3), empty="RL.EMPTY, as with DENY"),
    Row("RL.FIXED allowed, MIN", words("RL.FIXED KEY 1000000 1h COST 5 MIN 1"), "native", allowed=1),
    Row("RL.FIXED allowed, 1d@Europe/Berlin", words("RL.FIXED KEY 1000000 1d@Europe/Berlin"), "native", allowed=1,
        over=("RL.FIXED allowed", 1, 0.3)),
    Row("RL.FIXED allowed, 1d@05:00,Europe/Berlin", words("RL.FIXED KEY 1000000 1d@05:00,Europe/Berlin"), "native", allowed=1,
        over=("RL.FIXED allowed", 1, 0.3)),
    Row("RL.FIXED allowed, 5h@first", words("RL.FIXED KEY 1000000 5h@first"), "native", allowed=1,
        over=("RL.FIXED allowed", 1, 0.3)),
    Row("RL.FIXED allowed, NEXT", words("RL.FIXED KEY 1000000 1h NEXT"), "native", allowed=1),
    # (Each hit has an id of its own, so all of them are on one key; as are those that they are compared with.)
    Row("RL.FIXED allowed, one key", words("RL.FIXED once 1000000 1h"), "native", allowed=1),
    Row("RL.FIXED allowed, ID, of 64", words("RL.FIXED once 1000000 1h ID req-__rand_int__"), "native", allowed=1,
        over=("RL.FIXED allowed, one key", 1, 0.5)),
    Row("RL.FIXED repeated, ID", words("RL.FIXED KEY 1000000 1h ID req-1"), "native", allowed=1,
        fill=(words("RL.FIXED KEY 1000000 1h ID req-1"),), over=("RL.FIXED allowed", 1, 0.5)),
    Row("RL.FIXED allowed, BLOCK", words("RL.FIXED KEY 1000000 1h BLOCK 1h"), "native", allowed=1),
    Row("RL.FIXED denied by a block", words("RL.FIXED KEY 1 30d BLOCK 30d"), "native", allowed=0,
        fill=(words("RL.FIXED KEY 1 30d BLOCK 30d"),) * 2),
    Row("RL.FIXED denied by RL.BLOCK", words("RL.FIXED KEY 1000000 30d"), "native", allowed=0,
        fill=(words("RL.BLOCK KEY 30d"),)),
    Row("RL.BLOCK", words("RL.BLOCK KEY 30d"), "native"),
    Row("RL.BUCKET allowed, STAMP", (*BUCKET, "STAMP"), "native", allowed=1),
    Row("RL.BUCKET reserved, waits", words("RL.BUCKET KEY 1 1000 1s RESERVE 30d"), "native", allowed=1,
        fill=(words("RL.BUCKET KEY 1 1000 1s RESERVE 30d"),) * 2),
    Row("RL.SLIDING settled by AT", words("RL.SLIDING KEY 1000000 30d COST -1 AT 1700000000000"), "native", allowed=1,
        fill=(words("RL.SLIDING KEY 1000000 30d"),) * 5),
    Row("RL.LEASE renewed, of 1,000", words("RL.LEASE jobs 2000 1h req-__rand_int__"), "native", allowed=1, bound=3.0),
    Row("RL.LEASE and RL.RELEASE, beside 1,000", words("RL.LEASE jobs 2000 1h new-__rand_int__"), "native", allowed=1,
        then=words("RL.RELEASE jobs new-__rand_int__"), fill=(words("RL.LEASE jobs 2000 1h req-__rand_int__"),), bound=6.0),
    Row("RL.ALL 1 key, allowed", several(1, "FIXED 1000000 1h"), "native", allowed=1),
    Row("RL.ALL 2 keys, allowed", several(2, "FIXED 1000000 1h"), "native", allowed=1, share=("RL.FIXED allowed", 2, 1.0)),
    Row("RL.ALL 3 keys, allowed", several(3, "FIXED 1000000 1h"), "native", allowed=1, share=("RL.FIXED allowed", 3, 0.8)),
    Row("RL.ALL 3 keys, one a SHADOW", several(3, "FIXED 1000000 1h", "FIXED 1000000 1h SHADOW"), "native", allowed=1,
        over=("RL.ALL 3 keys, allowed", 1, 0.3)),
    Row("RL.ALL 5 keys, allowed", several(5, "FIXED 1000000 1h"), "native", allowed=1, share=("RL.FIXED allowed", 5, 0.8)),
    Row("RL.ALL 3 keys, denied", several(3, "FIXED 1000000 30d", "FIXED 1 30d"), "native", allowed=0,
        fill=(several(3, "FIXED 1000000 30d", "FIXED 1 30d"),), share=("RL.FIXED denied", 3, 0.7)),
    Row("RL.ALL 5 keys, denied", several(5, "FIXED 1000000 30d", "FIXED 1 30d"), "native", allowed=0,
        fill=(several(5, "FIXED 1000000 30d", "FIXED 1 30d"),), share=("RL.FIXED denied", 5, 0.7)),
    Row("Lua 3 fixed windows, allowed", lua("several", SEVERAL[:3], 1_000_000, HOUR_MS, 1, NOW_MS), "lua", allowed=1),
    Row("Lua 3 fixed windows, denied", lua("several", SEVERAL[:3], 1, HOUR_MS, 1, NOW_MS), "lua", allowed=0),
    Row("Lua fixed window, allowed", lua("fixed", [KEY], 1_000_000, HOUR_MS, 1, NOW_MS), "lua", allowed=1),
    Row("Lua fixed window, denied", lua("fixed", [KEY], 1, HOUR_MS, 1, NOW_MS), "lua", allowed=0),
    Row("Lua token bucket, allowed", lua("bucket", [KEY], 1_000_000, 1000, 24 * HOUR_MS, 1, NOW_MS), "lua", allowed=1),
    Row("Lua token bucket, denied", lua("bucket", [KEY], 1, 1, 24 * HOUR_MS, 1, NOW_MS), "lua", allowed=0),
    Row("Lua two weighted counters, allowed", lua("weighted", LUA_COUNTERS, 1_000_000, HOUR_MS, 1, NOW_MS), "lua",
        allowed=1, fill=(LUA_PREVIOUS, lua("weighted", LUA_COUNTERS, 1_000_000, HOUR_MS, 1, NOW_MS))),
    Row("Lua two weighted counters, denied", lua("weighted", LUA_COUNTERS, 1, HOUR_MS, 1, NOW_MS), "lua",
        allowed=0, fill=(LUA_PREVIOUS, lua("weighted", LUA_COUNTERS, 1_000_000, HOUR_MS, 1, NOW_MS))),
    Row("Lua sorted-set log, allowed", lua("log", [KEY], 1_000_000, 20_000, "__rand_int__"), "lua", allowed=1, log="steady"),
    Row("Lua sorted-set log, denied", lua("log", [KEY], 100, HOUR_MS, "__rand_int__"), "lua", allowed=0, log="burst"),
)

INCR = next(row for row in ROWS if row.name == "INCR")


def database(row):
    """The number of the database that holds a row's keys."""
    return ROWS.index(row)


def named(text):
    """The rows whose names hold `text`, whatever the case; all of them for an empty text."""
    return tuple(row for row in ROWS if text.lower() in row.name.lower())
