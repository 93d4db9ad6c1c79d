#!/usr/bin/env bash
# Foreign trainers against the real packages, on the processor: a tiny random Llama through the whole tuner.
#
#   tests/trainers.sh [transformers|torchrun|metrics ...]        default: all three
#
# transformers   search-spaces/trainers/transformers_trainer.py by `diapason run`; then the same study again, with its
#                driver killed three times: losses must be equal to the last bit
# torchrun       search-spaces/trainers/torchrun_launch.py with two ranks against one; a rank that dies, a rank that
#                is refused memory
# metrics        an ordinary script for Transformers' Trainer, of which only trainer_state.json is read
#
# torch, transformers and accelerate go into a virtual environment below the user's cache folder (about 6 GB from the
# default index; pip's own variables apply), or are taken from that of the Python in DIAPASON_PYTHON.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${DIAPASON_PYTHON:-}
if [ -z "$python" ]; then
    venv=${XDG_CACHE_HOME:-$HOME/.cache}/diapason/trainers
    python=$venv/bin/python
    [ -x "$python" ] || python3 -m venv "$venv"
    "$python" -m pip install --quiet --disable-pip-version-check -r tests/trainers/requirements.txt
fi
cargo build --release --bin diapason
exec "$python" tests/trainers/check.py target/release/diapason "$@"
