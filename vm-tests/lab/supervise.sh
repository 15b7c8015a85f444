#!/bin/bash
# One lab host: runs systemd-nspawn again whenever the host reboots (exit 133), and ends when it is powered off.
# Arguments: NAME NETNS ROOT PIDFILE LOG
set -u
name=$1 netns=$2 root=$3 pidfile=$4
exec </dev/null >>"$5" 2>&1
echo $$ > "$pidfile"
while :; do
  # Each boot from a fresh shell in a cgroup of the host's own: hosts that share one end each other's units.
  bash -c '
    for d in /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
      [ -d "$d" ] || continue
      mkdir -p "$d/$1" && echo $$ > "$d/$1/cgroup.procs"
    done
    if [ ! -d /sys/fs/cgroup/unified ] && [ -f /sys/fs/cgroup/cgroup.procs ]; then
      mkdir -p "/sys/fs/cgroup/$1" && echo $$ > "/sys/fs/cgroup/$1/cgroup.procs"
    fi
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec systemd-nspawn -q --register=no --keep-unit -D "$3" \
      --network-namespace-path="/run/netns/$2" --capability=CAP_NET_ADMIN -M "$1" -b
  ' boot "$name" "$netns" "$root" &
  wait $!
  [ $? -eq 133 ] || break
done
rm -f "$pidfile"
