#!/usr/bin/env bash
# A Slurm cluster of one machine with two made-up cards, for a test.
#
#   tests/slurm/cluster.sh start DIR      then: export SLURM_CONF=DIR/slurm.conf
#   tests/slurm/cluster.sh stop DIR
#
# Needs root, and the Debian packages slurm-wlm and munge. Ports and folders are its own, so that a Slurm that is
# there already is not disturbed; of munge, which all share, a running one is used.
set -euo pipefail
action=$1
dir=$2

# The daemons write until they have ended: who goes on before would meet their ports and their files.
if [ "$action" = stop ]; then
    for daemon in slurmd slurmctld; do
        [ -s "$dir/$daemon.pid" ] || continue
        pid=$(cat "$dir/$daemon.pid")
        kill "$pid" 2>/dev/null || continue
        for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        if kill -KILL "$pid" 2>/dev/null; then echo "$daemon had to be killed" >&2; fi
    done
    exit
fi

mkdir -p "$dir"/{state,spool}
dir=$(cd "$dir" && pwd)
host=$(hostname -s)
# Slurm only counts the cards and hands out their numbers: a node of the null device is as good as a card.
for card in 0 1; do [ -e "$dir/card$card" ] || mknod "$dir/card$card" c 1 3; done

if ! munge -n >/dev/null 2>&1; then
    mkdir -p /run/munge
    chown munge: /run/munge
    runuser -u munge -- munged
fi

echo "NodeName=$host Name=gpu File=$dir/card[0-1]" >"$dir/gres.conf"
cat >"$dir/slurm.conf" <<CONF
ClusterName=diapason
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmctldPort=26817
SlurmdPort=26818
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
# No cgroups and no database: a container has the one, and few clusters let a test have the other.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=1,bf_interval=2
KillWait=2
# Jobs that have ended can be looked at for an hour.
MinJobAge=3600
ReturnToService=2
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=3000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$dir/slurm.conf
slurmctld
slurmd
for _ in $(seq 100); do
    case $(sinfo --noheader --format=%T 2>/dev/null) in idle) exit ;; esac
    sleep 0.2
done
echo "the node did not come up; see $dir/slurmctld.log and $dir/slurmd.log" >&2
exit 1
