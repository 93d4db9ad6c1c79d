#!/bin/sh
# Slurm as far as a driver uses it, by whichever of its commands' names this is called: sbatch, squeue, scancel,
# scontrol. Each job is a folder below $FAKE_SLURM that says where it stands, and a process. A file `away` there is a
# controller that does not answer, `refuse` one that takes no job.
home=$FAKE_SLURM
me=${0##*/}
echo "$me $*" >>"$home/asked"
if [ -e "$home/away" ]; then
    echo "$me: error: Unable to contact slurm controller (connect failure)" >&2
    exit 1
fi

# A file is whole or not there.
say() { echo "$2" >"$1.new" && mv "$1.new" "$1"; }

# Runs the script of a job, and says how it ended unless someone else has said so.
run() {
    job=$1
    say "$job/state" RUNNING
    (
        cd "$(cat "$job/folder")"
        sh "$job/script" >>"$(cat "$job/output")" 2>>"$(cat "$job/error")" </dev/null &
        pid=$!
        say "$job/pid" $pid
        wait $pid
        code=$?
        [ "$(cat "$job/state") $(cat "$job/pid")" = "RUNNING $pid" ] || exit
        case $code in
            0) say "$job/state" COMPLETED ;;
            *) if [ $code -gt 128 ]; then say "$job/code" 0:$((code - 128)); else say "$job/code" $code:0; fi
               say "$job/state" FAILED ;;
        esac
    ) >/dev/null 2>&1 &
}

case $me in
sbatch)
    if [ -e "$home/refuse" ]; then
        echo "sbatch: error: invalid partition specified: nix" >&2
        exit 1
    fi
    id=1
    while ! mkdir "$home/$id" 2>/dev/null; do id=$((id + 1)); done
    job=$home/$id
    for argument; do
        case $argument in
        --job-name=*) say "$job/name" "${argument#*=}" ;;
        --output=*) say "$job/output" "${argument#*=}" ;;
        --error=*) say "$job/error" "${argument#*=}" ;;
        esac
    done
    cp "$argument" "$job/script"
    say "$job/folder" "$PWD"
    say "$job/code" 0:0
    run "$job"
    echo "$id"
    ;;
squeue)
    for job in "$home"/[0-9]*; do
        if [ -e "$job/state" ]; then echo "${job##*/}|$(cat "$job/name")|$(cat "$job/state")|None"; fi
    done
    ;;
scancel)
    for id; do
        case $(cat "$home/$id/state") in PENDING | RUNNING) ;; *) continue ;; esac
        say "$home/$id/code" 0:15
        say "$home/$id/state" CANCELLED
        kill -KILL "$(cat "$home/$id/pid")"
    done
    ;;
scontrol)
    if [ "$1" = requeue ]; then
        say "$home/$2/state" PENDING
        pid=$(cat "$home/$2/pid")
        # Whoever waits for the old process must not take the new one's end for its.
        say "$home/$2/pid" none
        kill -KILL "$pid"
        run "$home/$2"
    elif job=$home/$4 && [ -e "$job/state" ]; then
        echo "JobId=$4 JobName=$(cat "$job/name") JobState=$(cat "$job/state") Reason=None ExitCode=$(cat "$job/code")"
    else
        echo "slurm_load_jobs error: Invalid job id specified" >&2
        exit 1
    fi
    ;;
esac
