# A Redis or Valkey image with the module in it, made of what scripts/dist made:
#
#   docker build --build-arg BASE=redis:7.2 -t redis-ratelimit -f Dockerfile target/dist
#
# BASE is any image with redis-server or valkey-server (7.0 or newer), Debian-based or Alpine-based; the module for its C library
# and machine is taken from the tarballs in target/dist. Everything else stays as the base has it: what is given to
# `docker run` goes to the server.
ARG BASE=redis:7.2
FROM ${BASE}
COPY ratelimit-*.tar.gz /tmp/ratelimit/
RUN set -eu; \
    libc=gnu; for loader in /lib/ld-musl-*; do if [ -e "$loader" ]; then libc=musl; fi; done; \
    mkdir -p /usr/local/lib/ratelimit; \
    tar -xzf /tmp/ratelimit/ratelimit-*-"$(uname -m)-unknown-linux-$libc.tar.gz" -C /tmp/ratelimit; \
    cp -R /tmp/ratelimit/ratelimit-*/. /usr/local/lib/ratelimit; \
    rm -rf /tmp/ratelimit; \
    server=$(command -v valkey-server || command -v redis-server); \
    entry=$(command -v docker-entrypoint.sh || true); \
    printf '#!/bin/sh\nexec %s %s "$@" --loadmodule /usr/local/lib/ratelimit/libratelimit.so\n' "$entry" "$(basename "$server")" \
        >/usr/local/bin/ratelimit-server; \
    chmod 755 /usr/local/bin/ratelimit-server
ENTRYPOINT ["/usr/local/bin/ratelimit-server"]
CMD []
