"""Runs the rows beside each other, and writes the page. `peers.py MODULE TARGET OUT`: the module, where scripts/bench-peers
installed the workers and the other servers, and where the page goes.
"""

import json
import os
import pathlib
import random
import signal
import sys
import time

HERE = pathlib.Path(__file__).parent
sys.path.append(str(HERE.parent / "bench.d"))

import distances  # noqa: E402
import figures  # noqa: E402
import page  # noqa: E402
from instructions import Callgrind  # noqa: E402
from machine import facts  # noqa: E402
from crab import Crab  # noqa: E402
from contestants import BARE, GROUPS, Load  # noqa: E402
from server import Server, free_port  # noqa: E402
from workers import Failed, Worker, programs  # noqa: E402

QUICK = os.environ.get("QUICK", "0") not in ("", "0")
ONLY = os.environ.get("ONLY", "").lower()  # groups whose name has this text
ROUNDS = 5 if QUICK else 25  # short and many, so that what disturbs one row's disturbs its neighbours', too
SECONDS = 0.1 if QUICK else 0.25  # of a sample
COUNTED = (100, 400) if QUICK else (300, 1500)  # hits under callgrind, whose difference counts
TRIAL, TRIAL_KEYS = 4000, 200  # 20 hits a key, of a limit that lasts for longer than they take
LIMIT = 100
COUNTABLE = ("ratelimit", "redis-cell")  # callgrind is told by a command of Redis when to count


def say(text):
    print(f"peers: {text}", file=sys.stderr, flush=True)


class Redis:
    """A server with a module, on a port."""

    def __init__(self, make, module, *options):
        self.port = free_port()
        self.server = make(module, "--port", self.port, "--bind", "127.0.0.1", *options)
        self.connection = self.server.connection

    def state(self):
        info = self.connection.info("cpu", "stats")
        cpu_s = float(info["used_cpu_user"]) + float(info["used_cpu_sys"])
        return {"cpu_s": cpu_s, "commands": int(info["total_commands_processed"])}

    def bytes_of_keys(self):
        return sum(self.connection.call("MEMORY", "USAGE", key, "SAMPLES", "0") or 0 for key in self.connection.call("KEYS", "*"))

    def clear(self):
        self.connection.call("FLUSHALL", "SYNC")


class Contest:
    """One group."""

    def __init__(self, group, servers, program):
        self.group, self.servers, self.program = group, servers, program
        self.workers, self.hits, self.rounds, self.found = {}, {}, {}, {}

    def run(self):
        try:
            self.warm()
            order, shuffle = list(self.workers), random.Random(1).shuffle  # so that none always comes behind the same one
            for number in range(ROUNDS):
                shuffle(order)
                for row in order:
                    self.rounds.setdefault(row, []).append(self.sample(row, "denied:" if self.group.load.limit == 1 else f"r{number}:"))
            self.burst()
        finally:
            for worker in self.workers.values():
                worker.close()
        for row in self.workers:
            self.found[row]["instructions"] = self.instructions(row)
        return {"name": self.group.name, "says": self.group.says, "client": self.group.client, "left_out": self.left_out(),
                "rows": [self.figures(row) for row in self.workers]}

    def left_out(self):
        """What says nothing in this group."""
        memory = () if self.group.load.limit > 1 and self.group.load.keys > 1 else ("bytes", "instructions", "server_us")
        return [*memory, *(() if self.group.client else ("client_us", "rate"))]

    def redis(self, row):
        return self.servers[row.server]

    def warm(self):
        """Starts the workers; how many hits a sample takes, and what a key of twenty hits takes."""
        for row in self.group.rows:
            redis = self.redis(row)
            if redis is None:
                continue
            redis.clear()
            worker = self.workers[row] = Worker(self.program, row.worker, redis.port)
            worker.hits(self.group.load, self.group.warm, "denied:")
            redis.clear()
            trial = worker.hits(self.trial(), TRIAL, "trial:")
            self.found[row] = {"bytes": redis.bytes_of_keys() / TRIAL_KEYS or None}
            self.hits[row] = max(200, int(trial["hits"] / trial["wall_s"] * SECONDS))

    def trial(self):
        load = self.group.load
        return Load(load.at_once, min(load.keys, TRIAL_KEYS), min(load.limit, LIMIT))

    def sample(self, row, prefix):
        redis = self.redis(row)
        redis.clear()
        before = redis.state()
        sample = self.workers[row].hits(self.group.load, self.hits[row], prefix)
        if self.group.load.limit > sample["hits"] and sample["allowed"] != sample["hits"]:
            raise Failed(f"{row.name}: {sample['hits'] - sample['allowed']} of {sample['hits']} hits were denied")
        return figures.per_hit(sample, before, redis.state())

    def burst(self):
        """All rows at once: they have their own keys, and the clock is one."""
        limiting = {row: worker for row, worker in self.workers.items() if row.algorithm}
        window_ms = self.group.window_ms
        begin = (int(time.time() * 1000 + 700) // window_ms + 1) * window_ms
        for number, worker in enumerate(limiting.values()):
            worker.ask(op="burst", begin_ms=begin, bursts=figures.bursts(window_ms, LIMIT), limit=LIMIT, window_ms=window_ms, key=f"burst:{number}")
        for row, worker in limiting.items():
            answer = worker.answer()
            self.found[row] |= {"admitted": figures.most_within(answer["admitted"], window_ms), "errors": answer["failed"]}

    def instructions(self, row):
        if not row.algorithm or "instructions" in self.left_out() or row.server not in COUNTABLE:
            return None
        redis = self.servers["counted"](row.server)
        redis.clear()
        worker = Worker(self.program, row.worker, redis.port)
        try:
            counts = []
            for hits in (COUNTED[0], *COUNTED):  # the first ones make connections, and load scripts
                worker.hits(self.trial(), hits, "count:")
                counts.append(redis.server.count())
        finally:
            worker.close()
        return (counts[2] - counts[1]) / (COUNTED[1] - COUNTED[0])

    def figures(self, row):
        first = next((one for one in self.workers if one.whose == BARE), next(iter(self.workers)))
        return {"name": row.name, "whose": row.whose, "algorithm": row.algorithm, "rounds": self.rounds[row],
                **figures.of_rounds(self.rounds[row], self.rounds[first]), **self.found[row]}


def main(module, target, out):
    target = pathlib.Path(target)
    installed = json.loads((target / "installed.json").read_text())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that servers and workers end, too
    modules = {"ratelimit": (module, "--ratelimit.cl-throttle", "yes"), "redis-cell": None if installed["cell"] else (target / "cell/release/libredis_cell.so",)}
    servers, counted = {}, {}

    def counted_server(name):
        if name not in counted:
            counted[name] = Redis(Callgrind, *modules[name])
        return counted[name]

    known, missing, groups = programs(target), [], []
    try:
        servers.update({name: given and Redis(Server, *given) for name, given in modules.items()})
        servers["throttlecrab"] = None if installed["throttlecrab"] else Crab(target / "throttlecrab/bin/throttlecrab-server")
        servers["counted"] = counted_server
        for group in GROUPS:
            if ONLY not in group.name.lower():
                continue
            why = installed.get(group.language, "it is not installed")
            if why:
                missing.append(f"{group.name}: {why}")
                continue
            say(group.name)
            try:
                groups.append(Contest(group, servers, known[group.language]).run())
            except Failed as error:
                missing.append(f"{group.name}: {error}")
                say(error)
        distances_found = []
        if ONLY in distances.TITLE.lower():
            if installed["node"]:
                missing.append(f"{distances.TITLE}: {installed['node']}")
            else:
                say(distances.TITLE)
                distances_found = distances.measured(module, target / "node", 12 if QUICK else 60)
        missing += [f"{name}: {installed[key]}" for key, name in (("cell", "redis-cell"), ("throttlecrab", "throttlecrab")) if installed[key]]
        found = {"facts": facts(servers["ratelimit"].server, QUICK), "limit": LIMIT, "rounds": ROUNDS, "groups": groups, "regions": distances_found,
                 "missing": missing, "behind": figures.behind(groups, LIMIT)}
    finally:
        for redis in (*(one for name, one in servers.items() if name != "counted" and one), *counted.values()):
            redis.server.stop()
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "peers.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "peers.md").write_text(page.markdown(found))
    (out / "peers.svg").write_text(page.svg(found))
    print(page.markdown(found))
    # A row that was to be measured and failed is no figure: it is said, and the run has failed.
    sys.exit(1 if any("hits failed" in one or "worker ended" in one or "denied" in one for one in missing) else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
