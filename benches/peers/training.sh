#!/bin/sh
# Training with diapason against PyTorch, side by side; `training.sh --help` says what it measures.
set -eu

name=training what=PyTorch
. "$(dirname "$0")/common.sh"

prepare "$@"
ours=$(executable training_step bench --bench training_step --no-run)
exec "$venv/bin/python" "$driver" --ours "$ours" "$@"
