#!/bin/sh
# Searches for the largest micro-batch side by side; `batch_finders.sh --help` says what is counted.
set -eu

name=batch_finders what="the other tools"
. "$(dirname "$0")/common.sh"

prepare "$@"
ours=$(executable batch_search bench --bench batch_search --no-run)
binary=$(executable diapason build --release --bin diapason)
# Ultralytics keeps its settings there, and asks nobody.
export YOLO_CONFIG_DIR="$venv" YOLO_OFFLINE=true
exec "$venv/bin/python" "$driver" --ours "$ours" --binary "$binary" "$@"
