# What the comparisons with other programs share; sourced by them, not run.
#
# A script sets `name` (its own, without .sh) and `what` (what it installs) first. The other programs go into a
# virtual environment of their own, below ${DIAPASON_PEERS:-the user's cache folder}, at the versions of
# NAME/requirements.txt (about 6 GB from the default index; pip's own variables such as PIP_INDEX_URL apply). It
# is made once.

here=$(cd "$(dirname "$0")" && pwd)
peers=${DIAPASON_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/diapason/peers}
venv=$peers/$name
driver=$here/$name/compare.py

die() {
    echo "$name.sh: $1" >&2
    echo "  hint: $2" >&2
    exit 1
}

# Whether the environment holds exactly the pinned versions; a local suffix (+cpu) is no difference.
pinned_versions_are_there() {
    [ -x "$venv/bin/python" ] && "$venv/bin/python" - "$here/$name/requirements.txt" <<'PYTHON'
import sys
from importlib import metadata

for line in open(sys.argv[1]):
    name, _, wanted = line.strip().partition("==")
    try:
        if metadata.version(name).split("+")[0] != wanted:
            sys.exit(1)
    except metadata.PackageNotFoundError:
        sys.exit(1)
PYTHON
}

make_environment() {
    echo "$name.sh: installing $what into $venv" >&2
    mkdir -p "$peers" || die "cannot make $peers" "set DIAPASON_PEERS to a folder you can write to"
    python3 -m venv "$venv" >&2 || die "python3 could not make a virtual environment in $venv" \
        "its venv and pip modules are needed (Debian: apt-get install python3-venv)"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        -r "$here/$name/requirements.txt" >&2 || die "pip could not install the pinned versions" \
        "it needs a network and 6 GB; then start this again, it goes on from there"
    pinned_versions_are_there || die "$venv does not hold the pinned versions after installing" \
        "remove the folder and start this again"
}

# Builds by cargo's arguments after the first and prints the path of the executable named $1.
executable() {
    target=$1
    shift
    path=$( (cd "$here/../.." && cargo "$@" --message-format=json-render-diagnostics) | python3 -c '
import json, sys

found = [m.get("executable") for m in map(json.loads, filter(str.strip, sys.stdin))
         if m.get("reason") == "compiler-artifact" and m["target"]["name"] == sys.argv[1]]
print(next((path for path in reversed(found) if path), ""))' "$target")
    [ -n "$path" ] || die "cargo built no executable named $target" "see cargo's messages above"
    echo "$path"
}

# Answers `--help`, refuses what can't be compared, and makes the environment; takes the script's arguments.
prepare() {
    command -v python3 >/dev/null || die "there is no python3" "install Python 3.10 or newer"
    for argument in "$@"; do
        case $argument in -h | --help) exec python3 "$driver" --help ;; esac
    done
    python3 "$driver" --check "$@"
    command -v cargo >/dev/null || die "there is no cargo" "install Rust: https://rustup.rs"
    pinned_versions_are_there || make_environment
}
