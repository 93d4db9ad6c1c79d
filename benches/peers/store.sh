#!/bin/sh
# The study's database next to Optuna's SQLite storage; `store.sh --help` says what is counted.
set -eu

name=store what="Optuna"
. "$(dirname "$0")/common.sh"

prepare "$@"
for argument in "$@"; do
    case $argument in --ours | --ours=*) exec "$venv/bin/python" "$driver" "$@" ;; esac
done
ours=$(executable store_side bench --bench store_side --no-run)
exec "$venv/bin/python" "$driver" --ours "$ours" "$@"
