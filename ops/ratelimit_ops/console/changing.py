"""What the page may change, on every server at once. Each change is logged, with who asked for it and where it was done; and what
the servers tell of others' changes."""

import collections
import re
import time

from ..servers import reading
from ..servers.connection import Refused, Trouble
from ..servers.once import Once
from ..servers.text import printable
from .looking import KEPT_SECONDS, Bad, answers_of, needed

PATIENCE_SECONDS = 2.0  # for all servers together: one that is gone must not keep the others' answers
MAX_REMEMBERED = 100
MAX_OWN = 1000  # connections of our own by which something was changed
TOGETHER_SECONDS = 60  # within which the same change of several servers, by one person, is one


class Changing:
    def __init__(self, fleet, looking, say):
        self.fleet, self.looking, self.say = fleet, looking, say
        self.made = collections.deque(maxlen=MAX_REMEMBERED)
        self.own = collections.deque(maxlen=MAX_OWN)  # (server, the address by which it knows us)
        self.told = Once(lambda _: answers_of(fleet, self.look, PATIENCE_SECONDS), KEPT_SECONDS)

    def changes(self, _query):
        """Who has changed what, newest first: through this console since it started, and by other ways as the servers tell it."""
        answers = self.told.get()
        others = [(answer["server"], change) for answer in answers for change in answer.get("changes", ())]
        untold = [{"server": answer["server"], "why": answer["untold"]} for answer in answers if "untold" in answer]
        rows = [*self.made, *together(others)]
        rows.sort(key=lambda row: -row["at"])
        return {"changes": rows[:MAX_REMEMBERED], "untold": untold}

    def look(self, node):
        """What others have changed there."""
        own = {address for server, address in tuple(self.own) if server == node.name}
        try:
            found = reading.changes(node, MAX_REMEMBERED)
        except Refused as refused:
            is_unknown = "unknown command" in str(refused)
            return {"untold": "its version of the module has no RL.AUDIT" if is_unknown else str(refused)}
        return {"changes": [change for change in found if change.by.rpartition(" at ")[2] not in own]}

    def deny(self, body, who):
        name, value = needed(body, "list"), needed(body, "value")
        done = self.change(who, ["RL.DENY", "ADD", name, value, *ttl_words(body)])
        # Where it stood before, taking it off would not bring that back.
        if all(answer.get("reply") == 1 for answer in done["servers"]):
            done["undo"] = {"path": "/api/allow", "body": {"list": name, "value": value}}
        return done

    def allow(self, body, who):
        return self.change(who, ["RL.DENY", "DEL", needed(body, "list"), needed(body, "value")])

    def set_policy(self, body, who):
        words, name = needed(body, "words").split(), needed(body, "name")
        if len(words) < 3 or not all("0" <= word[0] <= "9" for word in words[1:]):
            raise Bad("limits are numbers and durations, such as: sliding 5 15m")
        before = []

        def action(node, command):
            had, reply = node.pipeline([["RL.POLICY", "GET", name], command])
            if isinstance(reply, Refused):
                raise reply
            before.append(had and reading.policy(had))
            return reply

        done = self.change(who, ["RL.POLICY", "SET", name, *words, *ttl_words(body)], action)
        if all("reply" in answer for answer in done["servers"]):
            if all(had is None for had in before):
                done["undo"] = {"path": "/api/policy/delete", "body": {"name": name}}
            elif all(had and had.lasting == before[0].lasting and not had.temporary for had in before) and before[0].lasting:
                ends = "1ms" if ttl_words(body) else None  # a temporary one ends, and uncovers what stood before
                done["undo"] = {"path": "/api/policy", "body": {"name": name, "words": " ".join(before[0].lasting), "ttl": ends}}
        return done

    def delete_policy(self, body, who):
        return self.change(who, ["RL.POLICY", "DEL", needed(body, "name")])

    def reset(self, body, who):
        key = needed(body, "key")

        def forget(node, _command):
            watched, holds = node.pipeline([["WATCH", key], ["RL.INFO", key]])
            try:
                if isinstance(holds, Refused):  # a key of another type is not ours to delete
                    raise holds
                if isinstance(watched, Refused):
                    raise watched
                if holds is None:
                    return "nothing was used"
                if reading.overview(node).region is not None:  # DEL would forget it here, and other regions bring it back
                    node.call("RL.RESET", key)
                    return "reset"
                deleted = node.pipeline([["MULTI"], ["DEL", key], ["EXEC"]])[-1]
                if isinstance(deleted, Refused):
                    raise deleted
                if deleted is None:
                    raise Trouble("the key changed meanwhile: try again")
                return "reset"
            except Refused as refused:
                if str(refused).startswith("MOVED "):
                    return None
                raise
            finally:
                node.call("UNWATCH")

        done = self.change(who, ["RL.RESET", key], forget)
        done["servers"] = [answer for answer in done["servers"] if answer.get("reply", "") is not None]
        return done

    def change(self, who, words, action=lambda node, words: node.call(*words)):
        """What each server answered, and those that have not yet: whether these have it is not known."""

        def act(node):
            try:
                return {"reply": action(node, words)}
            finally:
                if (address := node.connection.local_address) is not None and (node.name, address) not in self.own:
                    self.own.append((node.name, address))

        answers = answers_of(self.fleet, act, PATIENCE_SECONDS)
        self.looking.forget()
        self.told.forget()
        told = ", ".join(f"{each['server']}: {each.get('error', each.get('reply'))}" for each in answers)
        self.say(f"changed by {who}: {printable(' '.join(words))} ({printable(told)})")
        failed = [answer["server"] for answer in answers if "error" in answer]
        done = [answer["server"] for answer in answers if "error" not in answer]
        subject = f"policy '{words[2]}'" if words[0] == "RL.POLICY" else ""
        row = {"at": time.time(), "who": who, "what": " ".join(words), "subject": subject, "servers": done, "failed": failed}
        self.made.append(row)
        return {"servers": answers}


def together(found):
    """Rows of [(server, Change)]: what one person did on several servers at about the same time is one."""
    rows, latest = [], {}
    for server, change in sorted(found, key=lambda one: one[1].at):
        user, at, address = change.by.partition(" at ")
        who = user + at + address.rpartition(":")[0]  # the port differs from server to server
        key = (who, change.subject, change.done)
        row = latest.get(key)
        if row is None or server in row["servers"] or change.at - row["at"] > TOGETHER_SECONDS:
            what = f"{change.subject} {change.done}"
            row = {"at": change.at, "who": who, "what": what, "subject": change.subject, "servers": [], "failed": []}
            latest[key] = row
            rows.append(row)
        row["servers"].append(server)
    return rows


def ttl_words(body):
    ttl = body.get("ttl")
    if ttl is None:
        return []
    if not isinstance(ttl, str) or not re.fullmatch(r"[0-9]{1,10}(?:ms|[smhdw])", ttl):
        raise Bad("ttl is a duration such as 1h")
    return ["TTL", ttl]
