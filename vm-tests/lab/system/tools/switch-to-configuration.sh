# The contract of switch-to-configuration-ng, in its order; ../README.md names what each behaviour follows.
# Called as: TOPLEVEL=… bash switch-to-configuration.sh ACTION. Files in $TOPLEVEL/faults/ make it go wrong as the real
# one does. Killed anywhere, the same command run again goes on: the lists in /run/nixos hold what is still owed.
set -u
trap '' PIPE
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
new=$TOPLEVEL
units=/etc/systemd/system
run=/run/nixos
running_systemd=/run/lab-systemd # which systemd PID 1 is; /proc/1/exe is that on NixOS
# A descriptor 2 that is closed is opened on nothing, as the Rust runtime does; one whose reader is gone is another thing.
# Bash, started without one, has its own script there.
case $(readlink /proc/$$/fd/2) in '' | /nix/store/*) exec 2>/dev/null ;; esac
# shellcheck source=units.sh
. "${BASH_SOURCE[0]%/*}/units.sh"

# A write to a stderr that nobody reads panics the real program in the middle of what it was doing.
say() { printf '%s\n' "$*" >&2 || exit 101; }
# The lock is the program's alone: a child that outlives it must not keep it, hence 9>&- all over.
alone() { "$@" 9>&-; }
journal() { alone logger -t nixos -p user.info -- "$*" 2>/dev/null || true; }
fault() { [ -e "$new/faults/$1" ]; }
fault_value() { cat "$new/faults/$1"; }
# A place where a test may hold the program, or make it die.
point() {
  if fault "pause-$1"; then alone sleep "$(fault_value "pause-$1")"; fi
  if fault "die-$1"; then say "Error: $1: a call over D-Bus got no reply"; exit "$(fault_value "die-$1")"; fi
}

usage() { say "usage: switch-to-configuration [check|switch|boot|test|dry-activate]"; exit 1; }

take_lock() {
  mkdir -p $run && chmod 755 $run
  exec 9>>$run/switch-to-configuration.lock || { say "Could not open lock"; exit 2; }
  flock -n 9 || { say "Could not acquire lock"; exit 11; }
}

inhibitors() { tr -d '{}"' <"$1/switch-inhibitors" | tr , '\n'; echo; }

check_inhibitors() { # only keys that both systems have are compared
  local key value other differ=
  { [ -e "$old/switch-inhibitors" ] && [ -e "$new/switch-inhibitors" ]; } || return 0
  while IFS=: read -r key value; do
    [ -n "$key" ] || continue
    other=$(inhibitors "$old" | sed -n "s/^$key://p")
    if inhibitors "$old" | grep -q "^$key:" && [ "$other" != "$value" ]; then differ+="$key : $other -> $value"$'\n'; fi
  done < <(inhibitors "$new")
  [ -n "$differ" ] || return 0
  say "There are changes to critical components of the system:"$'\n\n'"$differ"
  say "Switching into this system is not recommended."
  say "You probably want to run 'nixos-rebuild boot' and reboot your system instead."
  return 1
}

pre_switch_checks() {
  [ "${NIXOS_NO_CHECK:-}" != 1 ] || return 0
  case $action in boot | dry-activate) ;; *) check_inhibitors || return 1 ;; esac
  ! fault pre-switch-check
}

report_dry() {
  list "would stop the following units:" "${!stop[@]}"
  list "would NOT stop the following changed units:" "${!skip[@]}"
  say "would activate the configuration..."
  [ -z "$reexec" ] || say "would restart systemd"
  list "would reload the following units:" "${!reload[@]}"
  list "would restart the following units:" "${!restart[@]}"
  list "would start the following units:" "${!start[@]}"
}

stop_units() {
  [ ${#stop[@]} -gt 0 ] || return 0
  list "stopping the following units:" "${!stop[@]}"
  if fault stop-unheard; then return; fi
  alone systemctl stop -- "${!stop[@]}" || true
}

activate() {
  say "activating the configuration..."
  # shellcheck disable=SC2064  # the trap of this shell is undone in the child only
  (trap - PIPE; exec "$new/activate" "$new") 9>&- || { say "Failed to run activate script"; code=2; }
  # What the activation script asks to be restarted or reloaded, it writes into these two files.
  local unit
  while read -r unit; do record restart "$unit"; done < <(cat $run/activation-restart-list 2>/dev/null)
  while read -r unit; do record reload "$unit"; done < <(cat $run/activation-reload-list 2>/dev/null)
  rm -f $run/activation-restart-list $run/activation-reload-list
}

reexec_systemd() {
  [ -n "$reexec" ] || return 0
  say "restarting systemd..."
  local tries=0
  alone systemctl daemon-reexec || { say "Error: could not re-execute systemd"; exit 1; }
  until alone timeout 5 systemctl show -p Version >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 900 ] || { say "Error: systemd did not come back within 180 s"; exit 1; }
    sleep 0.2
  done
  cp "$new/systemd-version" $running_systemd
}

reload_systemd() {
  # Forgets earlier failures: whatever is failed at the end has failed since.
  alone systemctl reset-failed || { say "Error: could not reset failed units"; exit 1; }
  alone timeout 180 systemctl daemon-reload || { say "Error: could not reload systemd"; exit 1; }
}

# Users' own managers. Asking logind fails in the field: the real program then ends with the last errno, or with 1,
# and everything that it had stopped stays stopped.
switch_users() {
  local users uid name
  if fault logind; then
    say "Unable to list users with logind: Did not receive a reply"
    exit "$(fault_value logind)"
  fi
  users=$(alone timeout 30 loginctl list-users --no-legend --no-pager 2>&1) || {
    say "Unable to list users with logind: $users"
    exit 1
  }
  while read -r uid name _; do
    [ -S "/run/user/${uid:-none}/systemd/private" ] || continue
    say "reloading user units for $name..."
    alone timeout 30 setpriv --reuid="$uid" --regid="$(id -g "$uid")" --init-groups \
      env XDG_RUNTIME_DIR="/run/user/$uid" systemctl --user daemon-reload </dev/null || code=4
  done <<<"$users"
  if fault user-activation; then say "user activation failed"; code=4; fi
}

reload_units() {
  local unit
  for unit in "${!reload[@]}"; do
    # A unit that is down by now cannot be reloaded: it is started.
    if ! alone systemctl -q is-active "$unit"; then record start "$unit"; forget reload "$unit"; fi
  done
  if [ ${#reload[@]} -gt 0 ]; then
    list "reloading the following units:" "${!reload[@]}"
    alone systemctl reload -- "${!reload[@]}" || code=4
  fi
  rm -f $run/reload-list
}

restart_units() {
  if [ ${#restart[@]} -gt 0 ]; then
    list "restarting the following units:" "${!restart[@]}"
    alone systemctl restart -- "${!restart[@]}" || code=4
  fi
  rm -f $run/restart-list
}

start_units() {
  if [ ${#start[@]} -gt 0 ]; then
    list "starting the following units:" "${!start[@]}"
    # No time limit, here as there: a unit whose start never ends holds the switch for ever.
    alone systemctl start -- "${!start[@]}" || code=4
  fi
  rm -f $run/start-list
}

settle() { # until nothing has moved for 250 ms, for at most 90 s
  local before='' now rounds=0
  if fault settle; then
    local seconds
    seconds=$(fault_value settle)
    alone sleep "$((seconds > 90 ? 90 : seconds))"
    return
  fi
  while [ $rounds -lt 300 ]; do
    now=$(alone systemctl list-units --all --plain --no-legend --no-pager)
    [ "$now" != "$before" ] || return 0
    before=$now rounds=$((rounds + 1))
    sleep 0.25
  done
}

report_failed() { # every failed unit of the host counts, whoever broke it
  local unit sub failed=()
  while read -r unit _ _ sub _; do
    case $sub in
    auto-restart*) [ "$(alone systemctl show -p ExecMainStatus --value -- "$unit")" = 0 ] || failed+=("$unit") ;;
    esac
  done < <(alone systemctl list-units --type=service --all --plain --no-legend --no-pager)
  while read -r unit _; do failed+=("$unit"); done < <(alone systemctl list-units --failed --plain --no-legend --no-pager)
  [ ${#failed[@]} -gt 0 ] || return 0
  list "warning: the following units failed:" "${failed[@]}"
  alone systemctl status --no-pager --full -- "${failed[@]}" >&2 || true
  code=4
}

switch_live() {
  compute_changes
  if [ "$action" = dry-activate ]; then report_dry; exit 0; fi
  journal "switching to system configuration $new"
  point after-lists
  stop_units
  list "NOT restarting the following changed units:" "${!skip[@]}"
  if fault stderr-breaks; then exit 101; fi
  point after-stop
  activate
  point after-activation
  reexec_systemd
  reload_systemd
  switch_users
  point after-reload
  reload_units
  restart_units
  start_units
  point after-start
  settle
  report_failed
  if [ $code = 0 ]; then
    journal "finished switching to system configuration $new"
  else
    journal "switching to system configuration $new failed (status $code)"
  fi
  exit $code
}

main() {
  action=${1:-} code=0
  case $action in check | switch | boot | test | dry-activate) ;; *) usage ;; esac
  [ "$(id -u)" = 0 ] || { say "Error: switch-to-configuration must be run as root"; exit 1; }
  export NIXOS_ACTION=$action
  { [ -f /etc/NIXOS ] || grep -q '^ID="\?nixos' /etc/os-release; } || { say "This is not a NixOS installation!"; exit 1; }
  take_lock
  old=$(readlink -f /run/current-system)
  pre_switch_checks || { say "Pre-switch checks failed"; exit 1; }
  [ "$action" != check ] || exit 0
  case $action in
  switch | boot) alone "$new/boot-loader" "$new" || { say "Failed to install bootloader"; exit 1; } ;;
  esac
  point after-loader
  [ "${NIXOS_NO_SYNC:-}" = 1 ] || alone sync -f /nix/store
  [ "$action" != boot ] || exit 0
  if ! cmp -s "$old/init-interface-version" "$new/init-interface-version"; then
    say "Warning: the new NixOS configuration has an 'init' that is"
    say "incompatible with the current configuration.  The new configuration"
    say "won't take effect until you reboot the system."
    exit 100
  fi
  alone busctl --timeout=25 call org.freedesktop.DBus / org.freedesktop.DBus GetId >/dev/null || {
    say "Error: Failed to connect to the system bus"
    exit 1
  }
  switch_live
}

main "$@"
