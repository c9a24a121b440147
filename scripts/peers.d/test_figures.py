"""The arithmetic of the page, and that each row has what makes it: `python3 -m unittest` here."""

import math
import pathlib
import random
import re
import unittest

import contestants
import figures

HERE = pathlib.Path(__file__).parent


class Figures(unittest.TestCase):
    def test_what_was_admitted_within_a_window_is_never_too_much(self):
        within = figures.most_within
        self.assertEqual(within([], 1000), 0)
        self.assertEqual(within([[0, 1], [500, 501], [999, 999.5]], 1000), 3)
        self.assertEqual(within([[0, 1], [500, 501], [999, 1001]], 1000), 2)  # it may have been decided in the next one
        self.assertEqual(within([[0, 1], [1000, 1000]], 1000), 1)
        self.assertEqual(within([[5, 9], [0, 700], [1, 2], [800, 900], [950, 1100]], 1000), 4)

    def test_a_window_of_the_clock_admits_twice_in_the_bursts(self):
        window_ms, limit, used, admitted = 2000, 100, {}, []
        for at, count in figures.bursts(window_ms, limit):
            for one in range(count):
                sent = at + one / 10
                number = sent // window_ms
                used[number] = used.get(number, 0) + 1
                if used[number] <= limit:
                    admitted.append([sent, sent + 0.05])
        self.assertEqual(figures.most_within(admitted, window_ms), 2 * limit - 1)

    def test_a_round_a_hit(self):
        sample = {"hits": 1000, "cpu_s": 0.02, "wall_s": 0.5}
        before, after = {"cpu_s": 1.0, "commands": 10}, {"cpu_s": 1.005, "commands": 3010}
        found = figures.per_hit(sample, before, after)
        self.assertEqual([round(found[name], 6) for name in ("client_us", "rate", "server_us", "commands")], [20, 2000, 5, 3])

    def test_a_round_of_a_service_tells_of_both_processes(self):
        sample = {"hits": 1000, "cpu_s": 0.02, "wall_s": 0.5, "p50_ms": 1, "p99_ms": 3, "memory_mib": 20}
        before, after = {"cpu_s": 1.0, "commands": 10}, {"cpu_s": 1.005, "commands": 3010}
        found = figures.per_hit(sample, before, after)
        self.assertEqual([round(found[name], 6) for name in ("both_us", "p50_ms", "p99_ms", "memory_mib")], [25, 1, 3, 20])

    def test_a_ratio_is_of_the_same_round(self):
        slow = [{"client_us": one} for one in (10, 30, 20)]
        fast = [{"client_us": one} for one in (5, 15, 40)]  # the machine was busy in the third
        found = figures.of_rounds(slow, fast)
        self.assertEqual(found["ratio"], {"low": 1.25, "median": 2, "high": 2})
        self.assertEqual(found["client_us"], {"low": 15, "median": 20, "high": 25})

    def test_what_a_median_is_surely_above(self):
        self.assertEqual(figures.surely_above([3, 1, 2]), 1)  # too few to leave any out
        self.assertEqual(figures.surely_above(range(25)), 7)  # as tables of the sign test: 7 or fewer of 25, 2.2 %; 8, 5.4 %
        chance = random.Random(1)
        draw = lambda: figures.surely_above([chance.expovariate(1) for _ in range(25)])
        self.assertGreater(sum(draw() <= math.log(2) for _ in range(4000)), 0.94 * 4000)

    def test_behind_in_time_is_what_is_so_in_the_same_rounds(self):
        rounds = lambda values: [{"client_us": one} for one in values]
        row = lambda whose, values: {"whose": whose, "name": whose, "algorithm": "sliding", "rounds": rounds(values), **figures.summary_of(rounds(values))}
        busy = [10 * 1.3 ** (n % 7) for n in range(25)]  # the machine was, by turns
        times = lambda own: [round(one["times"], 2) for one in figures.behind([{"name": "g", "left_out": [], "rows": [row("ours", own), row("peer", busy)]}], 100)]
        self.assertEqual(times([one * 1.1 for one in busy]), [1.1])
        self.assertEqual(times([one * 1.04 for one in busy]), [])  # too little
        self.assertEqual(times([one * (1.5 if n % 2 else 0.7) for n, one in enumerate(busy)]), [])  # not sure

    def test_where_ours_is_behind(self):
        def row(whose, name, algorithm="sliding", client_us=None, rate=None, **values):
            timed = {key: value for key, value in (("client_us", client_us), ("rate", rate)) if value}
            return {"whose": whose, "name": name, "algorithm": algorithm, "rounds": [timed] * 3, **figures.summary_of([timed] * 3), **values}

        group = {"name": "g", "left_out": ["bytes"], "rows": [
            row("bare", "b", client_us=1),
            row("ours", "o", client_us=12, rate=100, bytes=900, admitted=100, instructions=104),
            row("peer", "p", client_us=10, rate=90, bytes=100, admitted=90, instructions=100),
            row("peer", "q", client_us=11, rate=130, bytes=100, admitted=60, instructions=None),
        ]}
        found = [(one["what"], one["peer"], round(one["times"], 2)) for one in figures.behind([group], 100)]
        self.assertEqual(found, [("hits a second", "q", 1.3), ("client CPU a hit, us", "p", 1.2)])
        group["rows"][1] |= {"admitted": 120}
        self.assertIn(("admitted of the limit", 1.2), [(one["what"], one["times"]) for one in figures.behind([group], 100)])
        group["rows"][1] |= {"algorithm": "fixed"}
        self.assertNotIn("admitted of the limit", [one["what"] for one in figures.behind([group], 100)])


class Contestants(unittest.TestCase):
    def test_names_are_unique_and_the_first_row_is_whom_others_are_compared_with(self):
        names = [group.name for group in contestants.GROUPS]
        self.assertEqual(len(names), len(set(names)))
        for group in contestants.GROUPS:
            rows = [row.name for row in group.rows]
            self.assertEqual(len(rows), len(set(rows)), group.name)
            self.assertNotIn(contestants.BARE, [row.whose for row in group.rows[1:]], group.name)
            self.assertLess({contestants.OURS}, {row.whose for row in group.rows}, group.name)

    def test_each_group_has_a_worker(self):
        languages = {re.fullmatch(r"(\w+)_peers", name)[1] for name in re.findall(r"^(\w+_peers)\(\)", (HERE.parent / "bench-peers").read_text(), re.M)}
        self.assertLessEqual({group.language for group in contestants.GROUPS}, languages)


if __name__ == "__main__":
    unittest.main()
