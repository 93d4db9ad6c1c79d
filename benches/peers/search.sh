#!/bin/sh
# The sampler against other programs' on the same tables; `search.sh --help` says what is counted.
set -eu

name=search what="the other programs"
. "$(dirname "$0")/common.sh"

prepare "$@"
# A program that is given, or none at all where only the others run, needs no build.
for argument in "$@"; do
    case $argument in --ours | --ours=* | --fill | --fill=*) exec "$venv/bin/python" "$driver" "$@" ;; esac
done
ours=$(executable diapason build --release --bin diapason)
exec "$venv/bin/python" "$driver" --ours "$ours" "$@"
