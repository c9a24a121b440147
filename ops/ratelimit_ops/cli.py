"""The command `ratelimit`: finds the file that a subcommand is in, and runs its `main` with the words that are left."""

import importlib
import os
import select
import signal
import sys

COMMANDS = {
    ("top",): ("top", "watch who is allowed and who is denied, in a terminal"),
    ("console",): ("console", "the same in the browser, with policies, deny lists and keys to change"),
    ("exporter",): ("exporter", "metrics for Prometheus"),
    ("policy", "sync"): ("policy_sync", "make the policies of servers those of a file"),
    ("deny", "sync"): ("deny_sync", "replace a deny list by a file or a URL"),
    ("region", "sync"): ("region_sync", "carry usage from one region's server to the others"),
    ("size",): ("size", "reckon what a number of limiters takes: memory, files, servers"),
    ("join",): ("join", "give a server that joins the policies and deny lists of another"),
    ("remove",): ("remove", "take the module's data out of servers, so that they can run without it"),
}


def usage(commands):
    width = max(len(" ".join(words)) for words in COMMANDS)
    lines = [f"  ratelimit {' '.join(words):<{width}}  {what}" for words, (_, what) in commands.items()]
    return "\n".join(["usage:", *lines, "", "Each explains itself with --help."])


def main(arguments=None):
    """The exit status of the subcommand; 2 where there is none of that name. Ends as other tools do where nobody reads on."""
    try:
        try:
            return run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not is_read_no_more():
            raise  # it was another connection
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)


def is_read_no_more():
    """Whether what this process prints goes into a pipe that has been closed."""
    ends = select.poll()
    for descriptor in (1, 2):
        ends.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in ends.poll(0))


def run(arguments):
    arguments = sys.argv[1:] if arguments is None else arguments
    for words, (module, _) in COMMANDS.items():
        if tuple(arguments[: len(words)]) == words:
            return importlib.import_module(f"{__package__}.{module}").main(arguments[len(words) :])
    group = {words: told for words, told in COMMANDS.items() if words[:-1] and words[0] in arguments[:1]}
    text = usage(group or COMMANDS)
    if arguments in (["--help"], ["help"]) or (group and arguments[1:] == ["--help"]):
        print(text)
        return 0
    print(text, file=sys.stderr)
    return 2
