"""The largest micro-batch whose measured peak stays within a cap.

A line through two measured sizes says where to look; only what was run decides: the size found
was run and fits, the next one was run and does not.
"""

from __future__ import annotations

from typing import Callable, Dict, Optional

Peaks = Dict[int, Optional[int]]
"""Peak bytes by micro-batch; None where the run died of memory."""

PROBES_BY_LINE = 8
"""After so many the line has misled; halving the bracket ends the search in few more."""


def largest_within(cap: int, peak_of: Callable[[int], int | None], known: Peaks) -> tuple[int, Peaks]:
    """The largest size with `peak_of(size) <= cap`, 0 where not even 1 fits, and every peak seen.

    `peak_of` must grow with the size; it is called for sizes within the bracket only, at most
    twice the largest that fits where no line can be drawn yet.
    """
    peaks: Peaks = dict(known)
    probes = 0
    while True:
        fits, fails = bracket(peaks, cap)
        if fails is not None and fails - fits == 1:
            return fits, peaks
        size = next_size(peaks, cap, fits, fails, by_line=probes < PROBES_BY_LINE or fails is None)
        peaks[size] = peak_of(size)
        probes += 1


def bracket(peaks: Peaks, cap: int) -> tuple[int, int | None]:
    """The largest size that fits below every size that does not, and the smallest that does not."""
    fails = min((size for size, peak in peaks.items() if peak is None or peak > cap), default=None)
    below = (size for size in peaks if fails is None or size < fails)
    return max(below, default=0), fails


def next_size(peaks: Peaks, cap: int, fits: int, fails: int | None, by_line: bool) -> int:
    """A size strictly inside the bracket: the line's, or by doubling and halving."""
    guess = size_by_line(peaks, cap) if by_line else None
    if guess is None:
        return max(1, 2 * fits) if fails is None else (fits + fails) // 2
    guess = max(guess, fits + 1)
    return guess if fails is None else min(guess, fails - 1)


def size_by_line(peaks: Peaks, cap: int) -> int | None:
    """Where the line through the two peaks nearest the cap meets it; None without such a line."""
    points = [(size, peak) for size, peak in peaks.items() if peak is not None]
    if len(points) < 2:
        return None
    (x1, y1), (x2, y2) = sorted(points, key=lambda point: abs(point[1] - cap))[:2]
    slope = (y2 - y1) / (x2 - x1)
    if slope <= 0:
        return None
    return max(1, int(x1 + (cap - y1) / slope))
