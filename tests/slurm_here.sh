#!/usr/bin/env bash
# A real SLURM of two pretended nodes on this machine, for the tests that want one (root, no systemd, no cgroups).
#   slurm_here.sh install        Debian's packages, where root and apt are there; fails quietly elsewhere
#   slurm_here.sh up FOLDER      all state lies in FOLDER; then: export SLURM_CONF=FOLDER/slurm.conf
#   slurm_here.sh down FOLDER    ends the processes of FOLDER, and no others
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
port=${SLURM_HERE_PORT:-27817}

alive() { [ -s "$1" ] && grep -qs '^State:[[:space:]]*[RSDI]' "/proc/$(cat "$1" 2>/dev/null)/status"; }  # a zombie is not

daemons() { printf '%s\n' slurmd.n1 slurmd.n2 slurmctld munged; }

down() {
  for name in $(daemons); do
    pid=$folder/$name.pid
    if alive "$pid"; then
      kill "$(cat "$pid")"
      for _ in $(seq 100); do alive "$pid" || break; sleep 0.1; done
    fi
    rm -f "$pid"
  done
}

install() {
  for tool in slurmctld slurmd sbatch munged; do command -v $tool >/dev/null || missing=1; done
  [ -n "${missing:-}" ] || exit 0
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "no SLURM here: that takes root and apt"; exit 1; }
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge; } \
    >/dev/null 2>&1 || { echo "no SLURM here: its packages could not be installed"; exit 1; }
}

write_configuration() {
  cat >"$folder/slurm.conf" <<CONF
ClusterName=here
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=6
CredType=cred/munge
SlurmctldPort=$port
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
MinJobAge=${SLURM_HERE_MIN_JOB_AGE:-300}
KillWait=5
SlurmdParameters=config_overrides
NodeName=n[1-2] NodeHostName=$(hostname -s) NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + 2))] CPUs=4 RealMemory=8000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 DefMemPerCPU=1000
PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=9 PreemptMode=OFF DefMemPerCPU=1000
CONF
}

up() {
  mkdir -p "$folder"/state "$folder"/spool/n1 "$folder"/spool/n2
  chmod 755 "$folder"
  if ! alive "$folder/munged.pid"; then
    [ -s "$folder/munge.key" ] || head -c 1024 /dev/urandom >"$folder/munge.key"
    chmod 400 "$folder/munge.key"
    munged --force --socket="$folder/munge.socket" --key-file="$folder/munge.key" --seed-file="$folder/munge.seed" \
      --log-file="$folder/munged.log" --pid-file="$folder/munged.pid" 2>"$folder/munged.err"
  fi
  write_configuration
  alive "$folder/slurmctld.pid" || slurmctld -i
  for node in n1 n2; do alive "$folder/slurmd.$node.pid" || slurmd -N $node; done
  for _ in $(seq 100); do
    [ "$(sinfo -h -p main -N -o %T 2>/dev/null | grep -cE '^(idle|mixed|allocated)$')" = 2 ] && exit 0
    sleep 0.1
  done
  echo "SLURM did not come up; see the logs in $folder" >&2
  exit 1
}

folder=${2:-}
export SLURM_CONF=$folder/slurm.conf
case "${1:-}" in
  install) install ;;
  up) up ;;
  down) down ;;
  *) sed -n '2,5p' "$0"; exit 2 ;;
esac
