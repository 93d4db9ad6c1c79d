"""Tests of the pure parts and of the driver of ours; needs none of the other programs and no build of ours.

    python3 -m unittest discover -s benches/peers/search
"""

from __future__ import annotations

import json
import math
import random
import sys
import tempfile
import unittest
from pathlib import Path

import curves
import emulator
import figures
import tables
from compare import ABLATIONS, REPORTING, TUNING, figure, row_table
from ours import Mode, Ours, SuggestError, context_of, opening
from peers import Asha, Random, rungs_of
from simulate import Job, incumbents, regret_at, regret_curve, simulate
from sweeps import TASKS, cells
from tables import MOST_REGRET, Facts, GridTable, Observation, Parameter, anchors_of

LEVELS = (0.25, 0.5, 1.0)


def run_of(*values: float | None, stopped: float | None = None) -> list[Observation]:
    """A run with these values; None diverges, at `stopped` where that is given."""
    return [Observation(level, value, stopped if value is None and stopped else level) for level, value in zip(LEVELS, values)]


def table_of(runs: dict, direction: str = "minimize", **times) -> GridTable:
    """A table over one ladder, learning_rate."""
    ladder = Parameter.ladder("learning_rate", [cell[0] for cell in runs])
    return GridTable(runs, times.get("times", {}), name="recorded/test", kind="recorded", parameters=[ladder],
                     levels=LEVELS, direction=direction, facts=Facts("full", 1e8, 1e6, None), default=next(iter(runs)))


GOOD, BAD, DEAD = (1,), (2,), (4,)
TABLE = table_of({GOOD: [run_of(3.0, 2.0, 1.0)], BAD: [run_of(2.5, 2.4, 2.3)], DEAD: [run_of(5.0, None, stopped=0.375)]})


class Script:
    """A search that asks for what it was given, and notes what it hears."""

    def __init__(self, *jobs: tuple, stop_at: float = 2.0) -> None:
        self.jobs, self.heard, self.ended, self.stop_at = [Job(*job) for job in jobs], [], [], stop_at

    def ask(self):
        return self.jobs.pop(0) if self.jobs else None

    def report(self, job, seen):
        self.heard.append((job.cell, seen.level, seen.value))
        return seen.level < self.stop_at

    def finish(self, job):
        self.ended.append(job.cell)

    def close(self):
        self.closed = True


def times(log) -> list[tuple]:
    return [(seen.time, seen.cell, seen.level) for seen in log]


class Metering(unittest.TestCase):
    def test_going_on_costs_the_difference_only(self):
        log = simulate(Script((GOOD, 0.25), (BAD, 0.25), (GOOD, 1.0)), TABLE, 0, 9.0)
        self.assertEqual(times(log), [(0.25, GOOD, 0.25), (0.5, BAD, 0.25), (0.75, GOOD, 0.5), (1.25, GOOD, 1.0)])

    def test_levels_that_were_paid_for_are_told_again_to_a_run_that_goes_on(self):
        script = Script((GOOD, 0.25), (GOOD, 1.0))
        simulate(script, TABLE, 0, 9.0)
        self.assertEqual([level for _, level, _ in script.heard], [0.25, 0.25, 0.5, 1.0])

    def test_a_run_that_was_there_already_costs_as_much_as_a_new_one(self):
        log = simulate(Script((GOOD, 1.0), (GOOD, 1.0), (GOOD, 0.25)), TABLE, 0, 9.0)
        self.assertEqual(log[-1].time, 2.25)

    def test_a_run_begun_again_sees_the_next_stored_seed(self):
        table = table_of({GOOD: [run_of(3, 2, 1.0), run_of(3, 2, 1.5)], BAD: [run_of(4, 4, 4.0)]})
        log = simulate(Script((GOOD, 1.0), (GOOD, 1.0)), table, 1, 9.0)
        self.assertEqual([seen.value for seen in log if seen.level == 1.0], [1.5, 1.0])
        self.assertEqual(table.truth(GOOD), 1.25)

    def test_a_diverged_run_costs_what_it_had_done_and_frees_the_worker(self):
        log = simulate(Script((DEAD, 1.0), (GOOD, 0.25)), TABLE, 0, 9.0)
        self.assertEqual(times(log), [(0.25, DEAD, 0.25), (0.375, DEAD, 0.5), (0.625, GOOD, 0.25)])
        self.assertIsNone(log[1].value)

    def test_a_search_may_stop_a_run_at_any_level(self):
        script = Script((GOOD, 1.0), (BAD, 1.0), stop_at=0.5)
        log = simulate(script, TABLE, 0, 9.0)
        self.assertEqual(times(log), [(0.25, GOOD, 0.25), (0.5, GOOD, 0.5), (0.75, BAD, 0.25), (1.0, BAD, 0.5)])
        self.assertEqual(script.ended, [GOOD, BAD])

    def test_nothing_is_seen_after_the_horizon(self):
        script = Script((GOOD, 1.0), (BAD, 1.0))
        self.assertEqual(times(simulate(script, TABLE, 0, 0.6)), [(0.25, GOOD, 0.25), (0.5, GOOD, 0.5)])
        self.assertTrue(script.closed)


class Clock(unittest.TestCase):
    def test_workers_go_side_by_side_and_the_first_that_is_free_takes_the_next_run(self):
        log = simulate(Script((GOOD, 1.0), (BAD, 0.25), (BAD, 0.5)), TABLE, 0, 9.0, workers=2)
        self.assertEqual(times(log), [(0.25, GOOD, 0.25), (0.25, BAD, 0.25), (0.5, GOOD, 0.5), (0.5, BAD, 0.5), (1.0, GOOD, 1.0)])

    def test_a_run_that_is_under_way_is_not_taken_up_by_another_worker(self):
        log = simulate(Script((GOOD, 1.0), (GOOD, 1.0)), TABLE, 0, 9.0, workers=2)
        self.assertEqual([time for time, *_ in times(log)], [0.25, 0.25, 0.5, 0.5, 1.0, 1.0])

    def test_the_tables_seconds_stretch_a_run(self):
        table = table_of({GOOD: [run_of(3, 2, 1)], BAD: [run_of(4, 4, 4)], DEAD: [run_of(5, 5, 5)]},
                         times={GOOD: 10.0, BAD: 20.0, DEAD: 20.0})
        log = simulate(Script((GOOD, 1.0), (BAD, 1.0)), table, 0, 9.0, timed=True)
        self.assertEqual([seen.time for seen in log], [0.125, 0.25, 0.5, 0.75, 1.0, 1.5])


class Incumbents(unittest.TestCase):
    def of(self, *jobs, table=TABLE):
        return incumbents(simulate(Script(*jobs), table, 0, 9.0), table)

    def test_the_best_value_at_the_highest_level_seen_wins_over_better_ones_below(self):
        self.assertEqual(self.of((BAD, 0.25), (GOOD, 0.5), (BAD, 0.5)), [(0.25, BAD), (0.75, GOOD)])
        # At the lowest level the other one is better, and does not count any more.
        self.assertEqual(self.of((GOOD, 0.5), (BAD, 0.25)), [(0.25, GOOD)])

    def test_a_diverged_run_is_never_taken_but_for_what_it_said_before(self):
        self.assertEqual(self.of((DEAD, 1.0)), [(0.25, DEAD)])
        self.assertEqual(self.of((DEAD, 1.0), (BAD, 0.25)), [(0.25, DEAD), (0.625, BAD)])

    def test_the_largest_wins_where_more_is_better(self):
        table = table_of({GOOD: [run_of(1, 2, 3.0)], BAD: [run_of(2, 2, 2.0)]}, "maximize")
        self.assertEqual(self.of((BAD, 1.0), (GOOD, 1.0), table=table), [(0.25, BAD), (2.0, GOOD)])


class Regret(unittest.TestCase):
    def test_it_is_0_for_the_best_1_for_the_median_and_2_for_what_diverges_or_is_nothing(self):
        self.assertEqual([TABLE.regret(cell) for cell in (GOOD, BAD, DEAD, None)], [0.0, 1.0, 2.0, 2.0])

    def test_it_is_cut_at_2_and_never_negative(self):
        table = table_of({(1,): [run_of(0, 0, 1.0)], (2,): [run_of(0, 0, 2.0)], (3,): [run_of(0, 0, 90.0)]})
        self.assertEqual([table.regret(cell) for cell in table.runs], [0.0, 1.0, MOST_REGRET])

    def test_a_median_that_diverges_is_replaced_by_the_worst_that_does_not(self):
        self.assertEqual(anchors_of([1.0, None, None]), (1.0, 1.0))
        self.assertEqual(anchors_of([1.0, 2.0, None]), (1.0, 2.0))

    def test_before_anything_was_seen_it_is_the_most(self):
        curve = regret_curve(simulate(Script((BAD, 1.0), (GOOD, 1.0)), TABLE, 0, 9.0), TABLE)
        self.assertEqual(curve, [(0.25, 1.0), (2.0, 0.0)])
        self.assertEqual([regret_at(curve, time) for time in (0.0, 0.25, 1.9, 2.0, 50.0)], [2.0, 1.0, 1.0, 0.0, 0.0])


class Figures(unittest.TestCase):
    FLAT = {"a": [[(0.0, 0.4)], [(0.0, 0.2)]], "b": [[(0.0, 0.9)]]}

    def test_the_mean_is_over_seeds_and_then_over_tables(self):
        self.assertAlmostEqual(figures.mean_at(self.FLAT, 5), (0.3 + 0.9) / 2)
        self.assertAlmostEqual(figures.error_at({"a": self.FLAT["a"]}, 5), 0.1)
        self.assertEqual(figures.quantile([0.0, 1.0, 2.0], 0.25), 0.5)

    def test_the_budget_to_a_regret_is_where_it_stays_below(self):
        back = {"a": [[(1.0, 0.5), (2.0, 0.1), (3.0, 0.6), (4.0, 0.2)]]}
        self.assertEqual(figures.budget_to(back, 0.5, 20.0), 4.0)
        self.assertEqual(figures.budget_to(back, 0.6, 20.0), 1.0)
        self.assertIsNone(figures.budget_to(back, 0.1, 20.0))

    def test_the_worst_ratio_is_to_the_best_peer_of_each_budget(self):
        ours = {"a": [[(1.0, 0.3), (9.0, 0.1)]]}
        peers = {"x": {"a": [[(1.0, 0.2)]]}, "y": {"a": [[(1.0, 0.9), (18.0, 0.05)]]}}
        worst = figures.worst_ratio(ours, peers)
        self.assertEqual((worst.budget, worst.peer), (20, "y"))
        self.assertAlmostEqual(worst.ratio, 0.101 / 0.051)
        self.assertAlmostEqual(figures.worst_ratio(ours, peers, floor=0.05).ratio, 1.5)
        perfect = {"a": [[(1.0, 0.0)]]}
        self.assertEqual(figures.worst_ratio(perfect, {"x": perfect}).ratio, 1.0)
        self.assertAlmostEqual(figures.worst_ratio(ours, {"x": perfect}).ratio, 301.0)

    def test_workers_that_get_everywhere_in_a_quarter_of_the_time_are_four_times_as_fast(self):
        one = {"a": [[(at / 2, 1.0 / at) for at in range(1, 60)]]}
        several = {"a": [[(at / 8, 1.0 / at) for at in range(1, 41)]]}
        self.assertAlmostEqual(figures.speed_up(one, several, 5.0, 1.25), 4.0, places=1)
        self.assertAlmostEqual(figures.speed_up(one, one, 5.0, 1.25), 1.0, delta=0.1)

    def test_workers_that_have_reached_the_goal_and_stand_still_are_not_slow(self):
        one = {"a": [[(at / 2, max(1.0 / at, 0.1)) for at in range(1, 60)]]}
        several = {"a": [[(at / 8, max(1.0 / at, 0.1)) for at in range(1, 41)]]}
        self.assertAlmostEqual(figures.speed_up(one, several, 5.0, 0.5), 4.0, places=1)

    def test_a_row_has_a_ratio_only_where_there_are_two_numbers(self):
        self.assertEqual(figure("r", "m", "", 1.0, 2.0, "lower", 3)["ratio"], 0.5)
        self.assertIsNone(figure("r", "m", "", None, 2.0, "lower", 3)["ratio"])
        shown = row_table([figure("r", "m", "ms", None, None, "lower", 3)]).splitlines()
        self.assertEqual({line.count("|") for line in shown}, {8})


class Ladders(unittest.TestCase):
    def test_a_ladder_is_logarithmic_where_it_spans_more_than_a_factor_of_eight(self):
        rate = Parameter.ladder("learning_rate", [1e-5, 1e-4, 1e-3])
        self.assertTrue(rate.log and not rate.integer)
        self.assertEqual([rate.nearest(value) for value in (2e-5, 4e-5, 1.0)], [1e-5, 1e-4, 1e-3])
        share = Parameter.ladder("dropout", [0.0, 0.3, 0.6])
        self.assertEqual((share.log, share.nearest(0.4)), (False, 0.3))
        self.assertEqual(Parameter.ladder("op", ["b", "a"]).nearest("b"), "b")

    def test_a_draw_lies_on_the_ladder_or_in_the_range(self):
        generator = random.Random(1)
        batch = Parameter.ladder("effective_batch_size", [4, 8, 16, 64])
        span = Parameter("weight_decay", (), 1e-3, 0.1, log=True)
        for _ in range(100):
            self.assertIn(batch.draw(generator), batch.values)
            self.assertTrue(1e-3 <= span.draw(generator) <= 0.1)


class Emulated(unittest.TestCase):
    task = emulator.TASKS["tuning-4-lora"]

    def test_about_a_quarter_diverges_and_short_runs_rank_as_measured(self):
        alive, task = self.task.alive, self.task
        self.assertAlmostEqual(1 - len(alive) / len(task.sample), emulator.DIVERGING, delta=0.02)
        finals = [task.truth(cell) for cell in alive]
        for level, wanted in emulator.RANKS.items():
            at = emulator.LEVELS.index(level)
            found = emulator.spearman([task.run(cell, 3)[at].value for cell in alive], finals)
            self.assertAlmostEqual(found, wanted, delta=0.04)

    def test_a_run_is_the_same_again_and_another_with_another_seed(self):
        cell = self.task.alive[0]
        self.assertEqual(self.task.run(cell, 1), self.task.run(cell, 1))
        self.assertNotEqual(self.task.run(cell, 1), self.task.run(cell, 2))

    def test_the_best_rate_grows_with_the_batch_and_the_best_batch_with_the_tokens(self):
        low, high = (self.task.height((1e-4, batch, 16)) for batch in (8, 80))
        self.assertAlmostEqual(low - high, emulator.BATCH_EXPONENT, places=6)

        def best(level: float) -> float:
            law = self.task.law
            return law.batch + law.batch_drift * math.log2(level)

        self.assertLess(best(0.0625), best(1.0))

    def test_nothing_is_better_than_the_best_by_more_than_its_search_missed(self):
        best, median = self.task.anchors
        self.assertLess(best, median)
        generator = random.Random(9)
        regrets = [self.task.regret(self.task.draw(generator)) for _ in range(300)]
        self.assertGreater(min(regrets), 0.0)
        self.assertEqual(max(regrets), MOST_REGRET)

    def test_the_optima_lie_around_the_textbook_with_the_published_spread(self):
        found = emulator.offsets(101)
        self.assertAlmostEqual(sum(found), 0.0, places=9)
        self.assertAlmostEqual(math.sqrt(sum(value**2 for value in found) / len(found)), 0.37, delta=0.03)


class Halving(unittest.TestCase):
    def test_rungs_are_a_factor_apart_from_the_top_down(self):
        self.assertEqual(rungs_of(emulator.LEVELS, 4), [0.0625, 0.25, 1.0])
        self.assertEqual(rungs_of(emulator.LEVELS, 2), list(emulator.LEVELS))
        self.assertEqual(rungs_of((1.0,), 4), [1.0])

    def test_asha_promotes_the_best_of_four_and_random_never_stops_early(self):
        runs = {(rate,): [run_of(rate, rate, float(rate))] for rate in range(1, 9)}
        table = table_of(runs)
        asha = simulate(Asha(table, 3, None), table, 3, 10.0)
        tops = [seen.cell for seen in asha if seen.level == 1.0]
        begun = [seen.cell for seen in asha if seen.level == 0.25]
        self.assertLess(len(tops) * 3, len(begun))
        self.assertEqual(tops[0], min(begun[:4]))
        log = simulate(Random(table, 3, GOOD), table, 3, 10.0)
        self.assertEqual((len(log), log[0].cell), (30, GOOD))


class Driver(unittest.TestCase):
    """Of ours, against a stand-in that speaks the protocol."""

    @staticmethod
    def started(*arguments: str, table=TABLE, default=None, mode=Mode()) -> Ours:
        stand_in = [sys.executable, str(Path(__file__).with_name("stand_in.py")), *arguments]
        return Ours(stand_in, table, 1, default, mode)

    def test_a_conversation_gives_a_curve_and_ends_with_the_horizon(self):
        log = simulate(self.started(), TABLE, 1, 6.0)
        self.assertGreater(len(log), 10)
        self.assertTrue(any(seen.level == 1.0 for seen in log))
        self.assertEqual(log, simulate(self.started(), TABLE, 1, 6.0))

    def test_several_workers_share_one_conversation(self):
        log = simulate(self.started(), TABLE, 1, 3.0, workers=4)
        self.assertEqual(sum(seen.time == log[0].time for seen in log), 4)

    def test_the_default_is_the_first_suggestion(self):
        self.assertEqual(simulate(self.started(default=BAD), TABLE, 1, 1.0)[0].cell, BAD)

    def test_an_error_ends_the_benchmark(self):
        with self.assertRaisesRegex(SuggestError, "no such trial"):
            simulate(self.started("--error-at", "5"), TABLE, 1, 6.0)

    def test_a_child_that_says_nothing_ends_the_benchmark(self):
        with self.assertRaisesRegex(SuggestError, "no answer"):
            Ours([sys.executable, "-c", "pass"], TABLE, 1, None, Mode())

    def test_a_finished_search_is_asked_no_more(self):
        log = simulate(self.started("--finish-at", "3"), TABLE, 1, 6.0)
        self.assertEqual(len(log), 1)

    def test_only_new_levels_are_told_and_the_outcome_is_how_the_run_ended(self):
        said = []

        class Talk:
            def say(self, message):
                said.append(message)
                return {"id": 7, "hyperparameters": {"learning_rate": 1}, "until_fidelity": asked.pop(0)} if message["op"] == "ask" else {}

            def close(self):
                pass

        asked, search = [0.25, 1.0, 1.0], Ours.__new__(Ours)
        search.table, search.talk, search.told, search.points, search.finished = TABLE, Talk(), {}, {}, False
        with self.assertRaisesRegex(SuggestError, "where it has been"):
            simulate(search, TABLE, 1, 1.5)
        tells = [(message["points"], message["outcome"]) for message in said if message["op"] == "tell"]
        self.assertEqual(tells, [([[0.25, 3.0]], "running"), ([[0.5, 2.0], [1.0, 1.0]], "completed")])

    def test_the_opening_says_facts_false_facts_or_none(self):
        on, off, wrong = (context_of(TABLE.facts, prior) for prior in ("on", "off", "wrong"))
        self.assertEqual((on["method"], off, wrong["method"]), ("full", {}, "lora"))
        self.assertEqual(wrong["model_parameters"], 1000 * on["model_parameters"])
        self.assertEqual(context_of(None, "on"), {})
        first = opening(TABLE, 5, GOOD, Mode(ablate="cost"))
        self.assertEqual((first["suggest_first"], first["ablate"]), ([{"learning_rate": 1}], ["cost"]))
        self.assertEqual(first["space"]["learning_rate"], {"type": "categorical", "choices": [1, 2, 4]})
        span = opening(TABLE, 5, None, Mode(ladders="range"))["space"]["learning_rate"]
        self.assertEqual((span["type"], span["low"], span["high"]), ("int", 1, 4))


class Kept(unittest.TestCase):
    def test_no_table_is_both_for_tuning_and_for_reporting(self):
        self.assertFalse(set(TUNING) & set(REPORTING))
        named = {f"recorded/{name}" for name in TASKS} | {f"synthetic/{name}" for name in emulator.NAMES}
        named |= {f"public/{family}-{dataset}" for family, datasets in tables.PUBLIC.items() for dataset in datasets}
        self.assertEqual(set(TUNING) | set(REPORTING), named)
        self.assertEqual(len(ABLATIONS), 4)

    def test_every_recorded_table_holds_each_cell_of_its_grid_and_is_small(self):
        files = sorted(Path(tables.HERE, "tables").glob("*.json"))
        self.assertTrue(files)
        for file in files:
            self.assertLess(file.stat().st_size, 60_000, file.name)
            table = tables.read(f"recorded/{file.stem}")
            wanted = {tuple(cell.values()) for cell, seed in cells(TASKS[file.stem]) if seed == 17}
            self.assertEqual(set(table.runs), wanted, file.name)
            best, median = table.anchors
            self.assertLess(best, median)
            self.assertIn(table.default, table.runs)
            for run in (run for runs in table.runs.values() for run in runs):
                self.assertEqual([seen.level for seen in run], list(table.levels[: len(run)]))

    def test_a_kept_curve_is_read_again_and_a_cut_line_is_not(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "x.jsonl"
            file.write_text(json.dumps(["k", [[0.5, 1.0]]]) + '\n["z", [[0.')
            self.assertEqual(curves.read_kept(file), {"k": [(0.5, 1.0)]})
            kitchen = curves.Kitchen(None, Path(folder) / "cache", 1)
            order = curves.Order("random", "synthetic/tuning-1-full", 1, 1.0)
            first = curves.all_of([order], kitchen)
            kept = curves.kept_file(kitchen, order).read_text()
            self.assertEqual(first, curves.all_of([order], kitchen))
            self.assertEqual(kept, curves.kept_file(kitchen, order).read_text())
            self.assertNotEqual(curves.key_of(order), curves.key_of(curves.Order("random", "synthetic/tuning-1-full", 2, 1.0)))


if __name__ == "__main__":
    unittest.main()
