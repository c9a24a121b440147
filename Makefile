# Shortcuts: scripts/ is what developers run, ops/ratelimit what operators run.
.DEFAULT_GOAL := help
.PHONY: help setup run demo demo-gateway top console exporter regions test check test-clients test-litellm test-ops test-gateway test-dist matrix cluster soak memcheck mutants build bench bench-peers profile dist release clean

help: ## list what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what building and running need: redis-server, compiler, libclang, Rust
	@scripts/setup

run: ## start a server with the module, show the commands, stay until Ctrl-C (PORT=, REDIS_SERVER=)
	@scripts/run

demo: ## the same show, then end
	@scripts/run --demo

demo-gateway: ## the gateway behind a real nginx, allowed and denied, then end
	@scripts/demo-gateway

top: ## watch who is allowed and who is denied on the server at 127.0.0.1:6379 (ops/ratelimit top --help for others)
	@ops/ratelimit top

regions: ## watch one limit over three regions on this machine: together, one cut off, together again
	@scripts/regions

test: ## the whole gate: format, lints, core, and the module on real servers
	@scripts/test

check: ## the quick answer: format, lints, core (scripts/check: all of its random traces)
	@QUICK=1 scripts/check

test-clients: ## real clients, the packages of clients/, and the Next.js example (part of test)
	@scripts/test-clients

test-litellm: ## LiteLLM's real proxy with the Python package's hook (installs for minutes)
	@scripts/test-litellm

matrix: ## the server tests on every server version
	@scripts/matrix

cluster: ## start a local cluster of 3 primaries and 3 replicas with the module (scripts/cluster stop ends it)
	@scripts/cluster start

soak: ## kill, restart and compare, ROUNDS= times
	@scripts/soak

memcheck: ## tests on servers under valgrind's memcheck
	@scripts/memcheck

mutants: ## see which changes of the core's code no test notices (half an hour; scripts/mutants PATH for a part)
	@scripts/mutants

build: ## build the release module and print its path
	@scripts/build

bench: ## measure instructions, throughput, latency, memory, growth (QUICK=1, SERVER=valkey-9.1 and others)
	@scripts/bench

bench-peers: ## measure beside what people would otherwise use, in each language, at Envoy, on the server (QUICK=1, ONLY=)
	@scripts/bench-peers

profile: ## see where the instructions of a command go
	@scripts/profile

dist: ## make what is given away, for each target, under target/dist: tarballs, Debian packages, checksums
	@scripts/dist

release: ## dist, the packages, provenance, checksums and a signature over them (RELEASE_KEY=)
	@scripts/release

console: ## a console in the browser for the server at 127.0.0.1:6379 (PORT=; ops/ratelimit console --help for others)
	@scripts/setup-ops console
	@ops/ratelimit console

exporter: ## metrics for Prometheus of the server at 127.0.0.1:6379 (ops/ratelimit exporter --help for others)
	@scripts/setup-ops exporter
	@ops/ratelimit exporter

test-ops: ## what operators run, a real Prometheus and a real browser (part of test)
	@scripts/test-ops

test-gateway: ## the gateway: lints, its tests, real Redis and real proxies around it (part of test)
	@scripts/test-gateway

test-dist: ## what dist made, in servers with glibc, musl, of arm64, and in an image
	@scripts/test-dist

clean: ## remove everything that was built
	@rm -rf -- "$${CARGO_TARGET_DIR:-target}"
