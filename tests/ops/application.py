"""An application whose limiters tell Prometheus what becomes of their hits: application SERVER-PORT DEAD-PORT METRICS-PORT"""

import sys
import time

import redis
from prometheus_client import Counter, Histogram, start_http_server
from ratelimit_client import Limiter, Window

HITS = Counter("ratelimit_hits", "Hits, and what became of them.", ["limiter", "outcome", "reason"])
SECONDS = Histogram("ratelimit_hit_seconds", "How long a check takes.", ["limiter"])


def tell(hit):
    HITS.labels(hit.limiter, hit.outcome, hit.reason or "").inc()
    SECONDS.labels(hit.limiter).observe(hit.duration_s)


def main(port, dead_port, metrics_port):
    start_http_server(metrics_port, "127.0.0.1")
    limiters = [
        Limiter(redis.Redis(port=each), algorithm="fixed", limits=Window(1_000_000, "1h"), prefix=name, on_hit=tell, on_error=print)
        for name, each in (("login", port), ("away", dead_port))
    ]
    while True:
        for limiter in limiters:
            limiter.hit("alice")
        time.sleep(0.05)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
