#!/usr/bin/env bash
# A Slurm of one node on this machine, from Debian's packages and without systemd. Needs root.
# cluster.sh up FOLDER | down FOLDER; afterwards: export SLURM_CONF=FOLDER/slurm.conf
set -euo pipefail
command=$1 folder=$2 host=$(hostname -s)
export SLURM_CONF=$folder/slurm.conf
case $command in
up)
  if ! command -v slurmctld munged >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
  fi
  mkdir -p "$folder"/{state,spool,log} /run/munge
  chown munge: /run/munge
  pgrep -x munged >/dev/null || runuser -u munge -- munged # its key comes with the package
  memory=$(($(awk '/MemTotal/{print $2}' /proc/meminfo) / 1024 * 9 / 10))
  # No cgroups, no accounting database; four CPUs are offered however many there are
  cat >"$SLURM_CONF" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
KillWait=5
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=$memory State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
  slurmctld -i
  slurmd
  for _ in $(seq 60); do
    sinfo --noheader --format=%T 2>/dev/null | grep -q idle && exit 0
    sleep 0.5
  done
  echo "the node did not become idle: see $folder/log" >&2
  exit 1
  ;;
down)
  scancel --user="$(id -un)" || true
  for _ in $(seq 120); do
    [ -z "$(squeue --noheader)" ] && break
    sleep 0.5
  done
  scontrol shutdown || true
  for _ in $(seq 20); do
    [ -e "$folder/slurmctld.pid" ] || [ -e "$folder/slurmd.pid" ] || exit 0
    sleep 0.5
  done
  kill "$(cat "$folder/slurmd.pid")"
  ;;
esac
