#!/usr/bin/env bash
# A real study on a real Slurm of this machine, disturbed in every way that a night can bring.
#
#   tests/slurm/on-slurm.sh [PROGRAM]      default: target/release/diapason
#
# As root; installs slurm-wlm and munge if they are missing. What it shows: two jobs at the same time with a card each,
# a driver killed while jobs run that finds them again (and finds what has ended meanwhile), a job whose process is
# killed, one that is cancelled, one that is put back into the queue, Ctrl-C, job arrays of the same user that are not
# disturbed, and a driver that is itself a task of an array. Ends with a line of figures.
set -euo pipefail
cd "$(dirname "$0")/../.."
program=$(realpath "${1:-target/release/diapason}")

if ! command -v slurmctld munged >/dev/null; then
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends slurm-wlm munge >/dev/null
fi

work=$(mktemp -d)
driver=
finish() {
    [ -z "$driver" ] || kill -KILL "$driver" 2>/dev/null || true
    scancel --me 2>/dev/null || true
    tests/slurm/cluster.sh stop "$work/cluster" || true
    if [ "${failed:-yes}" = no ]; then rm -rf "$work" || true; else tail -n 30 "$work"/driver.log >&2; fi
}
trap finish EXIT
fail() {
    echo "FAILED after ${SECONDS} s: $1" >&2
    squeue --states=all --format='%A %j %T %r' >&2
    exit 1
}

tests/slurm/cluster.sh start "$work/cluster"
export SLURM_CONF=$work/cluster/slurm.conf

# Rungs of several seconds, so that jobs are met alive.
cat >"$work/study.toml" <<STUDY
[study]
name = "on-slurm"
device = "cpu:512MiB"
output = "$work/results"
[model]
source = "$PWD/search-spaces/quickstart/model"
[data]
source = "$PWD/search-spaces/quickstart/devils-dictionary.csv"
prompt = "term"
completion = "definition"
max_length = 96
[space]
micro_batch_size = 8
gradient_accumulation_steps = 1
learning_rate = { low = 1e-4, high = 1e-3, log = true }
[search]
trials = 7
rungs = 2
reduction_factor = 2
validation_examples = 16
max_micro_batch_size = 8
confirm = { candidates = 1 }
[train]
epochs = 1
evaluations = 4
[quantize]
types = []
[executor]
kind = "slurm"
gres = "gpu:1"
slots = 2
poll_seconds = 1
STUDY

drive() {
    "$program" "${1:-run}" "$work/study.toml" --json >"$work/summary.json" 2>>"$work/driver.log" &
    driver=$!
}
# Numbers of the trials' jobs that run, the oldest first.
running() { squeue --noheader --states=running --sort=i --format='%A %j' | awk '/-trial-/ { print $1 }'; }
state() { scontrol show job -o "$1" | grep -o "$2=[^ ]*" | head -n 1 | cut -d= -f2; }
jobs_named() { squeue --noheader --states=all --format='%j' | grep -c -- "^$1\$" || true; }
# The process of a job, as Slurm knows it.
process() { scontrol listpids "$1" 2>/dev/null | awk 'NR > 1 && $3 == "batch" { pid = $1 } END { print pid }'; }
worker() {
    for _ in $(seq 100); do
        local pid
        pid=$(process "$1")
        if [ -n "$pid" ] && grep -qz '^worker$' "/proc/$pid/cmdline" 2>/dev/null; then echo "$pid"; return; fi
        sleep 0.1
    done
}
# Waits until so many trials' jobs run that are not among the others named.
two_running() {
    for _ in $(seq 600); do
        mapfile -t jobs < <(running)
        if [ ${#jobs[@]} -eq 2 ]; then return; fi
        kill -0 "$driver" 2>/dev/null || fail "the driver has ended"
        sleep 0.1
    done
    fail "two trials never ran at the same time"
}
# Waits until a job has another state than these.
over() {
    for _ in $(seq 900); do
        case $(state "$1" JobState) in PENDING | RUNNING | COMPLETING) sleep 0.1 ;; *) return ;; esac
    done
    fail "job $1 does not end"
}
# A trial's job that runs and is not one of those named.
another() {
    for _ in $(seq 900); do
        for job in $(running); do
            case " $* " in *" $job "*) ;; *) if [ -n "$(worker "$job")" ]; then another=$job; return; fi ;; esac
        done
        kill -0 "$driver" 2>/dev/null || fail "the driver has ended"
        sleep 0.1
    done
    fail "no further trial was run"
}

# What else the user has in the queue: an array that has ended, and one that waits.
sbatch --parsable --mem=100M --output=/dev/null --array=0-1 --wrap true >/dev/null
waiting=$(sbatch --parsable --hold --mem=100M --output=/dev/null --array=0-9 --job-name=trial-0-rung-0 --wrap true)
in_array() { squeue --noheader --array --jobs="$waiting" --format=%T | grep -c PENDING; }

drive
two_running
two=("${jobs[@]}")
cards=()
for job in "${two[@]}"; do
    pid=$(worker "$job")
    cards+=("$(tr '\0' '\n' <"/proc/$pid/environ" | sed -n 's/^CUDA_VISIBLE_DEVICES=//p')")
done
[ "${cards[0]}${cards[1]}" = 01 ] || [ "${cards[0]}${cards[1]}" = 10 ] || fail "cards ${cards[*]}"
echo "jobs ${two[*]} run at the same time with CUDA_VISIBLE_DEVICES ${cards[*]} (${SECONDS} s)"

# A driver that is killed: the next one goes on with the same jobs.
kill -KILL "$driver"
wait "$driver" 2>/dev/null || true
sleep 1
for job in "${two[@]}"; do
    case $(state "$job" JobState) in RUNNING | COMPLETED) ;; *) fail "job $job did not outlive its driver" ;; esac
done
drive
sleep 3
kill -KILL "$driver"
wait "$driver" 2>/dev/null || true
# They end while no driver lives, and are not run again.
for job in $(running); do over "$job"; done
drive
another "${two[@]}"
for job in "${two[@]}"; do
    [ "$(state "$job" JobState)" = COMPLETED ] || fail "job $job ended as $(state "$job" JobState)"
    [ "$(jobs_named "$(state "$job" JobName)")" = 1 ] || fail "$(state "$job" JobName) was run again"
done
echo "jobs ${two[*]} outlived two drivers and were not run again (${SECONDS} s)"

# One whose process is killed, one that is cancelled, one that is put back into the queue.
killed=$another
kill -KILL "$(worker "$killed")"
another "${two[@]}" "$killed"
cancelled=$another
scancel "$cancelled"
another "${two[@]}" "$killed" "$cancelled"
requeued=$another
for _ in $(seq 300); do
    grep -q '"event":"step"' "$work/results/slurm/$(state "$requeued" JobName | sed 's/^diapason-[0-9a-f]*-//')/events.jsonl" && break
    sleep 0.1
done
scontrol requeue "$requeued"
# Slurm lets such a job wait for two minutes, from the end of its process on.
for _ in $(seq 100); do [ "$(state "$requeued" Reason)" = BeginTime ] && break; sleep 0.2; done
# A start within the second in which its credential was revoked is refused by the node, and the job fails.
sleep 2
scontrol update "jobid=$requeued" starttime=now
wait "$driver" || fail "the study did not end well"
driver=
[ "$(state "$requeued" JobState) $(state "$requeued" Restarts)" = "COMPLETED 1" ] || fail "job $requeued was not put back"
grep -Eq '"crashed": 2' "$work/summary.json" || fail "$(grep -A 4 '"trials"' "$work/summary.json")"
grep -Eq '"finished": 5' "$work/summary.json" || fail "$(grep -A 4 '"trials"' "$work/summary.json")"
grep -Eq '"tuned": [0-9]' "$work/summary.json" || fail "no test loss"
[ "$(in_array)" = 10 ] || fail "$(in_array) tasks of the array are left"
scancel "$waiting"
[ -z "$(squeue --noheader)" ] || fail "jobs are left"
echo "job $killed killed, $cancelled cancelled, $requeued put back; the study ended with $(grep -o '"tuned": [0-9.]*' "$work/summary.json") (${SECONDS} s)"

# Ctrl-C cancels what runs.
sed -i 's/trials = 7/trials = 9/' "$work/study.toml"
before=$(running)
drive tune
another $before
kill -INT "$driver"
code=0
wait "$driver" || code=$?
driver=
[ "$code" = 130 ] || fail "Ctrl-C ended the driver with $code"
for _ in $(seq 100); do [ -n "$(squeue --noheader)" ] || break; sleep 0.1; done
[ "$(state "$another" JobState)" = CANCELLED ] || fail "job $another goes on after Ctrl-C"

# A driver that is a task of an array: what it was allotted itself is not what it asks for.
sed -e 's/name = "on-slurm"/name = "on-slurm-7"/' -e "s:$work/results:$work/results-7:" -e 's/trials = 9/trials = 2/' \
    -e 's/slots = 2/slots = 1/' "$work/study.toml" >"$work/study-7.toml"
array=$(sbatch --parsable --array=7 --mem=600M --cpus-per-task=1 --gres=gpu:1 --output="$work/driver.log" --open-mode=append \
    --wrap "exec '$program' tune '$work'/study-\$SLURM_ARRAY_TASK_ID.toml --json >'$work/summary-7.json'")
over "${array}_7"
[ "$(state "${array}_7" JobState)" = COMPLETED ] || fail "the driver in the array ended as $(state "${array}_7" JobState)"
grep -Eq '"finished": 2' "$work/summary-7.json" || fail "$(grep -A 4 '"trials"' "$work/summary-7.json")"
echo "task ${array}_7 drove a study of its own (${SECONDS} s)"
failed=no
echo "Ctrl-C cancelled job $another; $(squeue --noheader --states=all | wc -l) jobs in all, ${SECONDS} s"
