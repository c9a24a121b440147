"""Which servers a command is about: the options that name them, and the primaries of a cluster."""

import concurrent.futures
import os
import threading
import time

from .connection import Access, Address, Connection, Refused, Trouble, port_number, tls_context
from .text import printable

PASSWORD = "REDISCLI_AUTH"
MAX_IDLE = 4
EPILOG = f"password: in the environment, {PASSWORD} (as redis-cli reads it)"


class Node:
    """One server, and what to call it. The texts of its Troubles are safe to show."""

    def __init__(self, address, access):
        self.name = str(address)
        self.address = address
        self.connection = Connection(address, access)

    def call(self, *words):
        return self._tell(self.connection.call, *words)

    def pipeline(self, commands):
        replies = self._tell(self.connection.pipeline, commands)
        return [Refused(explain(str(reply))) if isinstance(reply, Refused) else reply for reply in replies]

    def send(self, commands):
        self._tell(self.connection.send, commands)

    def arrived(self, seconds):
        return self._tell(self.connection.arrived, seconds)

    def _tell(self, ask, *words):
        try:
            return ask(*words)
        except Trouble as trouble:
            raise type(trouble)(explain(str(trouble))) from trouble

    def close(self):
        self.connection.close()


def explain(error):
    """An error, made harmless, and what to do about it where that is known."""
    shown = printable(error[:500])
    if "unknown command" in error:
        return "the server has no rate limiting module (" + shown + ")"
    if "too many entries" in error:
        return shown + " (while it is replaced, a list counts twice: raise the bound by CONFIG SET ratelimit.deny-entries)"
    if error.startswith("READONLY"):
        return shown + " (this is a replica: name its primary)"
    if error.startswith(("NOAUTH", "WRONGPASS")):
        return error.split()[0] + f": it wants a password ({PASSWORD} in the environment) and perhaps a user (--user)"
    if "ratelimit.regions does not list" in error:
        return shown + " (CONFIG SET it there)"
    return shown


def add_options(parser, several=True):
    """The options of every command that asks servers."""
    parser.add_argument("-h", dest="host", metavar="HOST", help="the server's host (127.0.0.1)")
    parser.add_argument("-p", dest="port", metavar="PORT", help="its port (PORT in the environment, else 6379)")
    parser.add_argument("-s", dest="socket", metavar="PATH", help="its Unix socket, instead")
    if several:
        parser.add_argument(
            "--server",
            dest="servers",
            action="append",
            default=[],
            metavar="ADDRESS",
            help="instead: HOST:PORT, [IPV6]:PORT or a socket's path; may be repeated, for several servers",
        )
    parser.add_argument("--cluster", action="store_true", help="every primary of the server's cluster")
    parser.add_argument("--user", metavar="NAME", help=f"the user of the password in {PASSWORD}")
    parser.add_argument("--tls", action="store_true", help="speak TLS")
    parser.add_argument("--cacert", metavar="FILE", help="with --tls: whom to trust, instead of the system's authorities")
    parser.add_argument("--cert", metavar="FILE", help="with --tls: the client's certificate")
    parser.add_argument("--key", metavar="FILE", help="with --tls: and its key")
    parser.add_argument("--insecure", action="store_true", help="with --tls: trust anybody")
    parser.add_argument("--help", action="help", help="show this and exit")


class Fleet:
    """The servers that the options name; with --cluster, the primaries that their clusters have at the moment."""

    def __init__(self, addresses, access, cluster, warn=lambda text: None):
        self.addresses, self.access, self.cluster, self.warn = addresses, access, cluster, warn
        self.known = {}
        self.seen = {}  # for each seed, the primaries that its cluster had last
        self.idle = {}  # connections that `ask` may use again, by the server's name
        self.is_closed = False
        self.lock = threading.Lock()  # of `idle`; nobody holds it while a server is asked

    @classmethod
    def of(cls, parser, options, warn=lambda text: None, timeout=5.0):
        """Ends the program where the options make no sense."""
        try:
            addresses = _addresses(options)
            tls = None
            if options.tls:
                tls = tls_context(options.cacert, options.cert, options.key, options.insecure)
        except ValueError as error:
            parser.error(str(error))
        except OSError as error:
            parser.error(f"--tls: {error}")
        if not options.tls and (options.cacert or options.cert or options.key or options.insecure):
            parser.error("--cacert, --cert, --key and --insecure go with --tls")
        if options.cluster and any(address.path is not None for address in addresses):
            parser.error("--cluster needs a host and a port, not a socket")
        access = Access(options.user, os.environ.get(PASSWORD), tls, timeout)
        return cls(addresses, access, options.cluster, warn)

    @property
    def title(self):
        return ", ".join(map(str, self.addresses))

    def nodes(self):
        """Trouble, where a cluster cannot tell its primaries."""
        wanted = self.addresses
        if self.cluster:
            wanted = {str(each): each for seed in self.addresses for each in self._primaries(seed)}.values()
        names = list(map(str, wanted))
        for gone in self.known.keys() - set(names):
            self.known.pop(gone).close()
        for name, address in zip(names, wanted):
            if name not in self.known:
                self.known[name] = Node(address, self.access)
        return [self.known[name] for name in names]

    def ask(self, question, patience=None):
        """[(name, answer)] of each server, asked at once; the answer is what `question` makes of a Node, or its Trouble.

        Each call has connections of its own, so that no caller waits for another. With `patience`, a server that has not
        answered within so many seconds is left to itself: it may carry out what it was asked, or may not.
        """

        def answer(address):
            node = self._borrow(address)
            try:
                return question(node)
            except Trouble as trouble:
                return trouble
            finally:
                self._return(node)

        until = None if patience is None else time.monotonic() + patience
        addresses = self._wanted(patience)
        pool = concurrent.futures.ThreadPoolExecutor(len(addresses))
        try:
            asked = [pool.submit(answer, address) for address in addresses]
            concurrent.futures.wait(asked, None if until is None else max(0.1, until - time.monotonic()))
            late = Trouble(f"no answer within {patience or 0:g} s: it may have been carried out, or not")
            return [(str(address), each.result() if each.done() else late) for address, each in zip(addresses, asked)]
        finally:
            pool.shutdown(wait=False)

    def _wanted(self, patience):
        """The addresses of the servers that are meant. Those of a cluster are its last known ones where it cannot tell in time."""
        if not self.cluster:
            return self.addresses
        known = list({str(each): each for seed in self.addresses for each in self.seen.get(seed, [])}.values())
        pool = concurrent.futures.ThreadPoolExecutor(len(self.addresses))
        try:
            told = [pool.submit(self._primaries, seed) for seed in self.addresses]
            _, late = concurrent.futures.wait(told, None if patience is None or not known else patience / 2)
            if late:
                return known
            return list({str(each): each for one in told for each in one.result()}.values())
        finally:
            pool.shutdown(wait=False)

    def _borrow(self, address):
        with self.lock:
            idle = self.idle.get(str(address))
            return idle.pop() if idle else Node(address, self.access)

    def _return(self, node):
        with self.lock:
            idle = self.idle.setdefault(node.name, [])
            if not self.is_closed and len(idle) < MAX_IDLE:
                idle.append(node)
                return
        node.close()

    def close(self):
        with self.lock:
            self.is_closed = True
            nodes = [*self.known.values(), *(node for idle in self.idle.values() for node in idle)]
        for node in nodes:
            node.close()

    def _primaries(self, seed):
        # A seed that is gone must not hide the others: any node that was a primary a moment ago may tell.
        trouble = None
        for address in [seed, *self.seen.get(seed, [])]:
            node = Node(address, self.access)
            try:
                self.seen[seed] = self._read(node, seed)
                return self.seen[seed]
            except Refused as refused:
                raise Trouble(f"{node.name}: {refused}") from refused
            except Trouble as error:
                trouble = trouble or Trouble(f"{node.name}: {error}")
            finally:
                node.close()
        raise trouble

    def _read(self, node, seed):
        primaries = []
        for address, flags, slots in cluster(node, seed):
            if "fail" in flags:
                # Its slots are nobody's, or a replica has them already and this one comes back as a replica.
                if slots:
                    raise Trouble(f"the primary {address} has failed and nobody has taken over its slots")
                self.warn(f"left out {address}, which has failed and holds no slots")
                continue
            primaries.append(address)
        if not primaries:
            raise Trouble("it knows no primary")
        return primaries


def cluster(node, seed):
    """(address, flags, words about its slots) of every primary that `node` knows in its cluster; one that does not know its
    own host is at the seed's."""
    for line in node.call("CLUSTER", "NODES").splitlines():
        # <id> <ip:port@cport[,hostname...]> <flags> <primary> <ping> <pong> <epoch> <link> <slot>...
        columns = line.split()
        if len(columns) < 8:
            continue
        flags = columns[2].split(",")
        if "master" not in flags or "noaddr" in flags or "handshake" in flags:
            continue
        host, _, port = columns[1].split(",")[0].partition("@")[0].rpartition(":")
        yield Address(host or seed.host, port_number(port)), flags, columns[8:]


def _addresses(options):
    named = getattr(options, "servers", [])
    if named and (options.host or options.port or options.socket):
        raise ValueError("--server goes without -h, -p and -s")
    if options.socket and (options.host or options.port):
        raise ValueError("-s goes without -h and -p")
    if named:
        return [Address.parse(text) for text in dict.fromkeys(named)]
    if options.socket:
        return [Address(path=options.socket)]
    port = options.port or os.environ.get("PORT") or "6379"
    return [Address(options.host or "127.0.0.1", port_number(port))]
