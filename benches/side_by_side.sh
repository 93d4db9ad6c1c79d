#!/bin/sh
# Two trials side by side, a thread each, against one of them alone: `side_by_side.sh [ROW] [STEPS]`
# (rows of benches/training_step.rs; `a`, 12 steps). Prints one JSON object, medians of three
# alternations. Needs two processors that do nothing else.
set -eu

row=${1:-a}
steps=${2:-12}
cd "$(dirname "$0")/.."
executable=$(cargo bench --bench training_step --no-run --message-format=json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*training_step[^"]*\)".*/\1/p' | tail -n 1)
[ -n "$executable" ] || { echo "side_by_side.sh: cargo built no training_step" >&2; exit 1; }

exec python3 - "$executable" "$row" "$steps" <<'PYTHON'
import json
import os
import re
import statistics
import subprocess
import sys

executable, row, steps = sys.argv[1:]
# A thread each, and the allocator as trials have it.
source = open("src/executor/local/command.rs").read()
environment = os.environ | {"RAYON_NUM_THREADS": "1"} | dict(re.findall(r'\("(MALLOC_\w+)", "(\d+)"\)', source))


def tokens_per_second(trials: int) -> float:
    """Throughput of so many trials together."""
    command = [executable, row, "--steps", steps]
    children = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(trials)
    ]
    total = 0.0
    for child in children:
        output, _ = child.communicate()
        if child.returncode:
            sys.exit(f"side_by_side.sh: {' '.join(command)} ended with {child.returncode}")
        report = json.loads(output.splitlines()[-1])
        # The first step allocates.
        total += report["tokens_per_step"] / statistics.median(report["step_seconds"][1:])
    return total


pairs = [(tokens_per_second(1), tokens_per_second(2)) for _ in range(3)]
one, two = (statistics.median(side) for side in zip(*pairs))
ratios = sorted(two / one for one, two in pairs)
print(json.dumps({"row": row, "one": round(one, 1), "two": round(two, 1), "ratio": round(two / one, 3),
                  "ratios": [round(ratio, 3) for ratio in ratios], "unit": "tokens/s"}))
PYTHON
