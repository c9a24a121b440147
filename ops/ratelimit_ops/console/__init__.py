"""A console in the browser for servers with the module: what is allowed and denied, and whom; policies, deny lists, keys.

It listens on this machine alone, unless --listen says otherwise; then a browser needs a token. What it changes it changes on
every server that it was given, and says where that was done and where not.
"""

import argparse
import ipaddress
import os
import re
import secrets
import stat
import sys

from ..servers.connection import port_number
from ..servers.nodes import EPILOG, Fleet, add_options
from ..servers.text import printable
from .changing import Changing
from .looking import Looking
from .web import Web

TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")
EPILOG = f"""\
{EPILOG}
token:    in the environment, CONSOLE_TOKEN, or in a file (--token-file), 16 characters or more; else one is made up where
          one is needed, and shown on the terminal. One that was given is never shown: open ADDRESS/?token=...
"""


def say(text):
    print(f"ratelimit console: {text}", file=sys.stderr, flush=True)


def listen_address(text):
    host, _, port = text.rpartition(":")
    try:
        host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
        return str(ipaddress.ip_address({"localhost": "127.0.0.1"}.get(host, host))), port_number(port)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDRESS:PORT") from None


def token_of(path):
    """The token in a file that nobody else may read; a new one, where there is no such file. ValueError says what is wrong."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        with open(path, encoding="utf-8", errors="replace") as given:
            if stat.S_IMODE(os.fstat(given.fileno()).st_mode) & 0o077:
                raise ValueError("others may read it: chmod 600") from None
            return given.read(1000).strip()
    with open(file, "w", encoding="ascii") as made:
        token = secrets.token_urlsafe(24)
        made.write(token + "\n")
    return token


def choose_token(parser, options):
    """(token, whether it was made up for a terminal)"""
    token, origin = os.environ.get("CONSOLE_TOKEN"), "CONSOLE_TOKEN"
    if options.token_file is not None:
        origin = "--token-file"
        try:
            token = token_of(options.token_file)
        except (OSError, ValueError) as error:
            parser.error(f"{origin}: {getattr(error, 'strerror', None) or error}")
    if token is not None:
        if not TOKEN.fullmatch(token):
            parser.error(f"{origin} has 16 to 128 letters, digits, - and _")
        return token, False
    if ipaddress.ip_address(options.listen[0]).is_loopback:
        return None, False
    if not sys.stderr.isatty():
        parser.error("--listen: a token is needed, and there is no terminal to show a new one on: --token-file FILE makes it")
    return secrets.token_urlsafe(24), True


def main(arguments):
    parser = argparse.ArgumentParser(
        prog="ratelimit console",
        usage="ratelimit console [options]",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    add_options(parser)
    parser.add_argument("--read-only", action="store_true", help="show, but change nothing")
    parser.add_argument(
        "--listen",
        type=listen_address,
        default=("127.0.0.1", 9879),
        metavar="ADDRESS:PORT",
        help="where the browser finds it (127.0.0.1:9879). Elsewhere than on this machine put a proxy with TLS in front",
    )
    parser.add_argument("--token-file", metavar="FILE", help="the token that a browser needs; made with mode 0600 if it is not there")
    options = parser.parse_args(arguments)
    fleet = Fleet.of(parser, options, say, timeout=3.0)
    token, is_shown = choose_token(parser, options)
    host, port = options.listen
    looking = Looking(fleet, options.read_only)
    try:
        web = Web((host, port), looking, Changing(fleet, looking, say), token, say)
    except OSError as error:
        sys.exit(f"ratelimit console: cannot listen on {host}:{port}: {error.strerror or error}")
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    say(f"{printable(fleet.title)} at http://{place}/" + (f"?token={token}" if is_shown else "?token=..." if token else ""))
    try:
        web.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        fleet.close()
