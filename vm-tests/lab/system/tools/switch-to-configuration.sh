# The contract of switch-to-configuration-ng, behaviour by behaviour; the table in ../README.md names what each follows.
# Called as: TOPLEVEL=… bash switch-to-configuration.sh ACTION. Fault files in $TOPLEVEL/faults/ make it go wrong as the
# real one does.
set -u
trap '' PIPE
export LC_ALL=C
action=${1:-}
new=$TOPLEVEL
units=/etc/systemd/system
run=/run/nixos
export NIXOS_ACTION=$action

# A write to a closed stderr panics the real program in the middle of what it was doing.
say() { printf '%s\n' "$*" >&2 || exit 101; }
fault() { [ -e "$new/faults/$1" ]; }
fault_value() { cat "$new/faults/$1"; }

case $action in check | switch | boot | test | dry-activate) ;; *) say "usage: switch-to-configuration check|switch|boot|test|dry-activate"; exit 1 ;; esac
[ "$(id -u)" = 0 ] || { say "must be root"; exit 1; }
[ -e /etc/NIXOS ] || { say "This is not a NixOS installation!"; exit 1; }

mkdir -p "$run"
exec 9>"$run/switch-to-configuration.lock"
flock -n 9 || { say "Could not acquire lock"; exit 11; }

old=$(readlink -f /run/current-system)

# Pre-switch checks; inhibitors are compared by the keys that both systems have.
if [ "$action" != boot ] && [ "$action" != dry-activate ] && [ -z "${NIXOS_NO_CHECK:-}" ]; then
  if [ -e "$old/switch-inhibitors" ] && ! cmp -s "$old/switch-inhibitors" "$new/switch-inhibitors"; then
    say "There are changes to critical components of the system:"
    say "$(cat "$old/switch-inhibitors") -> $(cat "$new/switch-inhibitors")"
    say "run 'nixos-rebuild boot' and reboot"
    exit 1
  fi
  if fault pre-switch-check; then say "pre-switch check failed"; exit 1; fi
fi
[ "$action" = check ] && exit 0

if [ "$action" = switch ] || [ "$action" = boot ]; then
  bash "$new/boot-loader" "$new" || { say "Failed to install bootloader"; exit 1; }
fi
[ -n "${NIXOS_NO_SYNC:-}" ] || sync -f /nix/store
[ "$action" = boot ] && exit 0

if ! cmp -s "$old/init-interface-version" "$new/init-interface-version"; then
  say "Warning: the new NixOS configuration has an 'init' that is incompatible with the current configuration."
  exit 100
fi

code=0
stop=() start=() restart=() reload=()
add_lines() { # FILE ARRAYNAME: what an interrupted run still owed
  [ -e "$1" ] || return 0
  local -n into=$2
  local line
  while read -r line; do [ -n "$line" ] && into+=("$line"); done <"$1"
}
add_lines $run/start-list start
add_lines $run/restart-list restart
add_lines $run/reload-list reload

is_active() { case $(systemctl is-active "$1" 2>/dev/null) in active | activating | reloading) return 0 ;; *) return 1 ;; esac; }

# Only units below /etc/systemd/system are looked at: transient ones are nobody's business here.
for file in "$old"/etc/systemd/system/*.service; do
  [ -e "$file" ] || continue
  unit=${file##*/}
  is_active "$unit" || continue
  if [ ! -e "$new/etc/systemd/system/$unit" ]; then
    stop+=("$unit")
  elif ! cmp -s "$file" "$new/etc/systemd/system/$unit"; then
    if grep -q '^X-ReloadIfChanged=true' "$new/etc/systemd/system/$unit"; then
      reload+=("$unit")
    elif grep -q '^X-StopIfChanged=false' "$new/etc/systemd/system/$unit"; then
      restart+=("$unit")
    else
      stop+=("$unit")
      start+=("$unit")
    fi
  fi
done
while read -r unit; do
  [ -n "$unit" ] || continue
  is_active "$unit" || case " ${start[*]-} " in *" $unit "*) ;; *) start+=("$unit") ;; esac
done <"$new/wanted-units"

if [ "$action" = dry-activate ]; then
  say "would stop the following units: ${stop[*]-}"
  say "would restart the following units: ${restart[*]-}"
  say "would reload the following units: ${reload[*]-}"
  say "would start the following units: ${start[*]-}"
  exit 0
fi

write_list() { # FILE UNIT…
  local file=$1
  shift
  if [ $# -gt 0 ]; then printf '%s\n' "$@" >"$file"; fi
}
write_list $run/start-list ${start[@]+"${start[@]}"}
write_list $run/restart-list ${restart[@]+"${restart[@]}"}
write_list $run/reload-list ${reload[@]+"${reload[@]}"}

if [ ${#stop[@]} -gt 0 ]; then
  say "stopping the following units: ${stop[*]}"
  systemctl stop "${stop[@]}" || true
fi

# Listing users with logind fails now and then, after units were stopped: exit 1, or the errno of the reply.
if fault die-after-stop; then
  say "Unable to list users with logind: Did not receive a reply"
  exit "$(fault_value die-after-stop)"
fi
if fault sleep-before-activation; then sleep "$(fault_value sleep-before-activation)"; fi

say "activating the configuration..."
bash "$new/activate" || { say "activation script failed"; code=2; }

if ! cmp -s "$old/systemd-version" "$new/systemd-version"; then
  say "restarting systemd..."
  systemctl daemon-reexec || exit 1
fi
systemctl reset-failed || true
systemctl daemon-reload || { say "daemon-reload failed"; exit 1; }
if fault user-activation; then say "user activation failed"; code=4; fi

if [ ${#reload[@]} -gt 0 ]; then
  say "reloading the following units: ${reload[*]}"
  systemctl reload "${reload[@]}" || code=4
fi
rm -f $run/reload-list
if [ ${#restart[@]} -gt 0 ]; then
  say "restarting the following units: ${restart[*]}"
  systemctl restart "${restart[@]}" || code=4
fi
rm -f $run/restart-list
if [ ${#start[@]} -gt 0 ]; then
  say "starting the following units: ${start[*]}"
  systemctl start "${start[@]}" || code=4
fi
rm -f $run/start-list

if fault settle; then sleep "$(fault_value settle)"; else sleep 0.25; fi

failed=
while read -r unit _; do failed="$failed $unit"; done < <(systemctl list-units --failed --plain --no-legend --all)
while read -r unit _; do
  [ -n "$unit" ] || continue
  if [ "$(systemctl show -p ExecMainStatus --value "$unit")" != 0 ]; then failed="$failed $unit"; fi
done < <(systemctl list-units --type=service --plain --no-legend --all | grep ' auto-restart ' || true)
if [ -n "$failed" ]; then
  say "warning: the following units failed:$failed"
  code=4
fi
exit $code
