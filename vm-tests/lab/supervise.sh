#!/bin/bash
# The power supply of one lab host: runs systemd-nspawn again whenever the host reboots (exit 133), and ends when the
# host is powered off or the file OFF appears. Whoever starts it has locked a file and passes it as stdin: the host is
# on for as long as that lock is held, which no crash can get wrong.
# Arguments: SHORT (namespace, control group) HOSTNAME ROOT ADDRESS GATEWAY OFF

power_on() {
  # What a machine forgets at a reboot, and its network: put back from outside.
  ip netns exec "$short" nft flush ruleset
  ip -n "$short" link set lo up
  ip -n "$short" addr flush dev host0
  ip -n "$short" addr replace "$address/24" dev host0
  ip -n "$short" link set host0 up
  ip -n "$short" route replace default via "$gateway"
  # Each boot from a fresh shell in a control group of the host's own.
  bash -c '
    trees=/sys/fs/cgroup
    [ -d /sys/fs/cgroup/unified ] && trees="/sys/fs/cgroup/unified /sys/fs/cgroup/systemd"
    for tree in $trees; do
      [ -d "$tree" ] || continue
      mkdir -p "$tree/$1" && echo $$ >"$tree/$1/cgroup.procs" || exit 1
    done
    [ ! -e "$4" ] || exit 0
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec systemd-nspawn -q --register=no --keep-unit -D "$3" -M "$1" \
      --hostname="$2" --network-namespace-path="/run/netns/$1" --capability=CAP_NET_ADMIN --resolv-conf=off \
      --timezone=off --link-journal=no -b
  ' boot "$short" "$hostname" "$root" "$off" </dev/null
}

main() {
  local short=$1 hostname=$2 root=$3 address=$4 gateway=$5 off=$6
  until [ -e "$off" ]; do
    power_on
    [ $? -eq 133 ] || break
  done
  exit 0
}

main "$@"
