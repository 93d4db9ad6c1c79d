"""Tests of the pure parts; needs neither PyTorch nor a build of ours.

    python3 -m unittest discover -s benches/peers/training
"""

from __future__ import annotations

import json
import re
import subprocess
import unittest
import unittest.mock

import machine
from compare import loss_note
from largest import largest_within
from measure import MALLOC, OutOfMemory, Report, Side, SideError, environment, failure, parse
from rows import AVX2_TWIN, AVX512_TWIN, GIB, MIB, ROWS, Case, cases
from table import Figure, markdown

CASE = Case("a", ROWS["a"])
OURS, PEER = Side("ours", ("x",), True), Side("PyTorch", ("y",), False)


def said(**changes: object) -> str:
    """What a side prints for row a, two steps."""
    line = {"row": "a", "micro_batch": 4, "sequence_length": 128, "tokens_per_step": 512, "step_seconds": [9.0, 1.0],
            "losses": [9.1, 8.0], "idle_rss_bytes": MIB, "peak_rss_bytes": 3 * MIB}
    return json.dumps({**line, **changes})


class Largest(unittest.TestCase):
    def search(self, peak, known=(4,), cap=3 * GIB):
        """The size found and the sizes run for it."""
        ran: list[int] = []

        def peak_of(size: int):
            ran.append(size)
            return peak(size)

        found, _ = largest_within(cap, peak_of, {size: peak(size) for size in known})
        return found, ran

    def test_affine_peaks_take_few_runs(self):
        found, ran = self.search(lambda b: 1000 * MIB + b * 150 * MIB)
        self.assertEqual(found, 13)
        self.assertLessEqual(len(ran), 4)

    def test_the_size_found_and_the_next_were_run(self):
        for slope in (1, 7, 40, 333, 700):
            found, ran = self.search(lambda b: 500 * MIB + b * slope * MIB)
            self.assertLessEqual({found, found + 1} - {4}, set(ran))
            self.assertEqual(found, (3072 - 500) // slope)

    def test_nothing_fits(self):
        self.assertEqual(self.search(lambda b: 3200 * MIB + b * MIB, known=(2,))[0], 0)

    def test_only_one_fits(self):
        self.assertEqual(self.search(lambda b: 2000 * MIB + b * 1000 * MIB, known=(2,))[0], 1)

    def test_a_peak_equal_to_the_cap_fits(self):
        self.assertEqual(self.search(lambda b: b * GIB, known=(1,))[0], 3)

    def test_a_run_that_died_of_memory_does_not_fit(self):
        found, _ = self.search(lambda b: None if b > 5 else b * 100 * MIB)
        self.assertEqual(found, 5)

    def test_a_line_that_misleads_still_ends(self):
        found, ran = self.search(lambda b: 100 * MIB + (b > 200) * 4 * GIB + b * MIB)
        self.assertEqual(found, 200)
        self.assertLess(len(ran), 30)

    def test_sizes_grow_no_faster_than_the_line_or_twice(self):
        _, ran = self.search(lambda b: 100 * MIB + b * 100 * MIB, known=(1,))
        self.assertEqual(ran[0], 2)
        self.assertLessEqual(max(ran), 30)


class Table(unittest.TestCase):
    SPEED = Figure("a", "speed", "tokens/s", "higher", [900.0, 1000.0, 1100.0], [480.0, 500.0, 800.0])

    def test_ratio_is_of_the_medians(self):
        self.assertEqual(self.SPEED.ratio, 2.0)

    def test_json_row_has_the_keys_and_the_spread(self):
        row = self.SPEED.as_json()
        self.assertEqual((row["ours"], row["peer"], row["ratio"], row["n"]), (1000.0, 500.0, 2.0, 3))
        self.assertEqual(row["peer_spread"], [480.0, 800.0])

    def test_better_side_is_bold_whichever_way_is_better(self):
        less = Figure("a", "peak RSS", "MiB", "lower", [700.0], [1500.0])
        more = Figure("a", "peak RSS", "MiB", "lower", [1600.0], [1500.0])
        self.assertIn("**0.47×**", less.cells())
        self.assertIn("1.07×", more.cells())
        self.assertIn("**2.00×**", self.SPEED.cells())

    def test_a_peer_that_fits_nothing_has_no_ratio(self):
        figure = Figure("d-full", "largest micro-batch", "", "higher", [2], [0])
        self.assertIsNone(figure.as_json()["ratio"])
        self.assertIn("**∞**", figure.cells())

    def test_every_line_has_as_many_cells(self):
        lines = markdown([self.SPEED, Figure("b", "x", "", "lower", [1], [2])]).splitlines()
        self.assertEqual({line.count("|") for line in lines}, {7})
        self.assertIn("1,000 (900–1,100)", lines[2])


class Reports(unittest.TestCase):
    def test_warm_up_is_not_counted(self):
        self.assertEqual(parse(CASE, OURS, said(), 4, 2).tokens_per_second, 512.0)

    def test_lines_before_the_json_are_ignored(self):
        self.assertEqual(parse(CASE, OURS, "hello\n" + said() + "\n", 4, 2).peak_rss_bytes, 3 * MIB)

    def test_other_work_than_asked_is_an_error(self):
        for wrong in ({"micro_batch": 8}, {"row": "b"}, {"sequence_length": 64}, {"step_seconds": [1.0]}):
            with self.assertRaisesRegex(SideError, "row a, ours: ran"):
                parse(CASE, OURS, said(**wrong), 4, 2)

    def test_a_missing_or_broken_line_is_an_error(self):
        for text in ("", "no json", '{"row": "a"}', "{broken"):
            with self.assertRaises(SideError):
                parse(CASE, OURS, text, 4, 2)

    def test_a_crash_names_row_side_and_the_end_of_stderr(self):
        done = subprocess.CompletedProcess([], 1, "", "first\n" * 50 + "the reason")
        error = str(failure(CASE, PEER, done))
        self.assertTrue(error.startswith("row a, PyTorch: failed (exit status 1)"))
        self.assertTrue(error.endswith("the reason"))

    def test_death_by_memory_is_told_from_other_deaths(self):
        memory = subprocess.CompletedProcess([], -6, "", "memory allocation of 99 bytes failed")
        other = subprocess.CompletedProcess([], -11, "", "")
        self.assertIsInstance(failure(CASE, OURS, memory), OutOfMemory)
        self.assertNotIsInstance(failure(CASE, OURS, other), OutOfMemory)


class Cases(unittest.TestCase):
    def test_bf16_has_a_twin_for_every_processor_that_can_do_less(self):
        def names(*instructions: str) -> list[str]:
            return [case.name for case in cases(["a", "bf16"], set(instructions))]

        self.assertEqual(names("avx2", "avx512f", "avx512_bf16"), ["a", "bf16", AVX512_TWIN.name, AVX2_TWIN.name])
        self.assertEqual(names("avx2", "avx512f"), ["a", "bf16", AVX2_TWIN.name])
        self.assertEqual(names("avx2"), ["a", "bf16"])

    def test_the_twins_hold_each_side_by_its_own_variables(self):
        for twin, ours, onednn in ((AVX512_TWIN, "avx512", "AVX512_CORE"), (AVX2_TWIN, "avx2", "AVX2")):
            self.assertEqual(environment(twin, OURS)["DIAPASON_CPU"], ours)
            self.assertEqual(environment(twin, PEER)["ONEDNN_MAX_CPU_ISA"], onednn)

    def test_both_sides_have_the_allocator_of_our_trials(self):
        source = (machine.ROOT / "src/executor/local/command.rs").read_text()
        self.assertEqual(dict(re.findall(r'\("(MALLOC_\w+)", "(\d+)"\)', source)), MALLOC)

    def test_default_malloc_leaves_the_allocator_alone_whatever_the_shell_says(self):
        with unittest.mock.patch.dict("os.environ", MALLOC):
            self.assertFalse(set(MALLOC) & set(environment(CASE, PEER, "default")))
            self.assertLessEqual(MALLOC.items(), environment(CASE, OURS).items())


class Losses(unittest.TestCase):
    def note(self, ours: list[float], peer: list[float], same_weights: bool) -> str:
        reports = [[Report(512, [1.0] * len(x), x, 0, 0)] for x in (ours, peer)]
        return loss_note(CASE, reports[0], reports[1], same_weights)

    def test_same_work_is_noted(self):
        self.assertNotIn("not the same task", self.note([9.1, 8.0], [9.15, 8.6], False))

    def test_other_work_is_called_out(self):
        self.assertIn("not the same task", self.note([9.1], [10.8], False))
        self.assertIn("not the same task", self.note([float("nan")], [9.1], False))
        self.assertIn("not the same task", self.note([9.0, 8.0], [9.0, 7.0], True))


if __name__ == "__main__":
    unittest.main()
