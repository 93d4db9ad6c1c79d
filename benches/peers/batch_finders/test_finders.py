"""Tests of the pure parts; needs none of the other tools and no build of ours.

    python3 -m unittest discover -s benches/peers/batch_finders
"""

from __future__ import annotations

import unittest

import compare
from compare import METRICS, OURS, figure, markdown, score
from curves import Case, Curve, draw, read
from finders import START, Search, composer

CURVE = Curve("c", [10, 20, 30, 40], [1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0])


class Curves(unittest.TestCase):
    def test_a_cap_on_a_peak_fits_and_what_was_not_measured_never_does(self):
        self.assertEqual([CURVE.true_maximum(cap) for cap in (10, 29, 30, 99)], [1, 2, 3, 4])
        self.assertFalse(CURVE.fits(5, 10**9))
        self.assertEqual((CURVE.step(4), CURVE.step(8), CURVE.probe(8)), (4.0, 8.0, 8.0))

    def test_the_kept_curves_rise_and_draw_the_same_cases_for_the_same_seed(self):
        curves = read(compare.CURVES)
        self.assertGreaterEqual(len(curves), 6)
        for curve in curves:
            self.assertEqual(curve.peaks, sorted(curve.peaks), curve.name)
        cases = draw(curves, 240, 5)
        self.assertEqual(cases, draw(curves, 240, 5))
        self.assertNotEqual(cases, draw(curves, 240, 6))
        self.assertTrue(all(1 <= case.truth < case.curve.largest for case in cases))


class Scores(unittest.TestCase):
    def of(self, probes, result):
        return score(Case(CURVE, 35), Search(probes, result), 1.0)

    def test_an_exact_answer_that_was_tried(self):
        found = self.of([(1, True), (4, False), (3, True)], 3)
        self.assertEqual((found.probes, found.crashes, found.share, found.unsafe, found.untried), (3, 1, 100.0, False, False))

    def test_a_size_that_does_not_fit_is_worth_nothing_and_one_that_failed_is_untried(self):
        found = self.of([(4, False)], 4)
        self.assertEqual((found.share, found.unsafe, found.untried), (0.0, True, True))
        self.assertTrue(self.of([(1, True)], 2).untried)

    def test_a_figure_is_the_mean_of_both_sides_and_their_ratio(self):
        ours, peer = [self.of([(3, True)], 3)], [self.of([(3, True), (4, False)], 3)]
        row = figure("x", METRICS[0], ours, peer)
        self.assertEqual((row["ours"], row["peer"], row["ratio"], row["better"], row["n"]), (1.0, 2.0, 0.5, "lower", 1))
        self.assertIsNone(figure("x", METRICS[1], ours, ours)["ratio"])
        table = markdown({OURS: ours, "x": peer}).splitlines()
        self.assertEqual(len(table), 4)
        self.assertEqual({line.count("|") for line in table}, {len(METRICS) + 2})


class Halving(unittest.TestCase):
    def test_it_goes_down_to_the_first_half_that_fits(self):
        found = composer(Case(CURVE, 35))
        self.assertEqual(found.probes[0], (START, False))
        self.assertEqual((found.probes[-1], found.result), ((2, True), 2))


if __name__ == "__main__":
    unittest.main()
