#!/bin/sh
# What narrower formats cost and save on SmolLM2-135M: `formats.sh MODEL TOKENS [STEPS]`.
#
#   python3 tests/peers/smollm2_folder.py target/smollm2
#   python3 tests/peers/smollm2_curve.py target/smollm2 --write-tokens target/smollm2.u32
#   benches/formats.sh target/smollm2 target/smollm2.u32
#
# Rows d-lora with the frozen base in blocks and d-full with moments in 8 bits (benches/training_step.rs),
# three alternations. Prints a Markdown table: median tokens/s, peak RSS, and the loss of the first step,
# which is that of the base as it is kept, and of the last.
set -eu

model=${1:?"formats.sh MODEL TOKENS [STEPS]"}
tokens=${2:?"formats.sh MODEL TOKENS [STEPS]"}
steps=${3:-6}
executable=$(cd "$(dirname "$0")/.." && cargo bench --bench training_step --no-run --message-format=json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*training_step[^"]*\)".*/\1/p' | tail -n 1)
[ -n "$executable" ] || { echo "formats.sh: cargo built no training_step" >&2; exit 1; }

exec python3 - "$executable" "$model" "$tokens" "$steps" "$(dirname "$0")/../src/executor/local/command.rs" <<'PYTHON'
import collections
import json
import os
import re
import statistics
import subprocess
import sys

executable, model, tokens, steps, local = sys.argv[1:]
# The allocator as trials have it.
environment = os.environ | dict(re.findall(r'\("(MALLOC_\w+)", "(\d+)"\)', open(local).read()))
ROWS = [
    ("d-lora, base as in its file", ["d-lora"]),
    *((f"base in {kind}", ["d-lora", "--quantize-base", kind]) for kind in ("q8_0", "q4_k", "q4_0")),
    ("d-full, moments in f32", ["d-full"]),
    ("moments in 8 bits", ["d-full", "--optimizer", "adamw_8bit"]),
]
reports = collections.defaultdict(list)
for _ in range(3):
    for name, row in ROWS:
        command = [executable, *row, "--model", model, "--tokens", tokens, "--steps", steps]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"formats.sh: {' '.join(command)} ended with {done.returncode}")
        reports[name].append(json.loads(done.stdout.splitlines()[-1]))
print("| | tokens/s | peak RSS, MiB | first loss | last loss |\n|---|---|---|---|---|")
for name, runs in reports.items():
    # The first step allocates.
    speeds = [run["tokens_per_step"] / statistics.median(run["step_seconds"][1:]) for run in runs]
    peak = max(run["peak_rss_bytes"] for run in runs) / 2**20
    losses = runs[0]["losses"]
    print(f"| {name} | {statistics.median(speeds):.0f} | {peak:.0f} | {losses[0]:.4f} | {losses[-1]:.4f} |")
PYTHON
