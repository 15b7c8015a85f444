# Which units a switch stops, reloads, restarts and starts: sourced by switch-to-configuration.sh.
# Only units that the running generation put below /etc/systemd/system are looked at.
# shellcheck shell=bash
# action, new, units, run and running_systemd are the caller's, who in turn reads the sets; sets are passed by name.
# shellcheck disable=SC2154,SC2034,SC2178,SC2004
declare -A stop=() start=() restart=() reload=() skip=() hidden=() active=()
reexec=

# Keys that may differ without any effect on what runs.
UNTOLD='X-Reload-Triggers|Description|Documentation|OnFailure|OnSuccess|OnFailureJobMode|IgnoreOnIsolate|StopWhenUnneeded|RefuseManualStart|RefuseManualStop|AllowIsolate|CollectMode|SourcePath'

list() { # TITLE UNIT…: one line, sorted, without the units that only clutter it
  local title=$1 shown=() unit text
  shift
  for unit in "$@"; do [ -n "${hidden[$unit]-}" ] || shown+=("$unit"); done
  [ ${#shown[@]} -gt 0 ] || return 0
  text=$(printf '%s\n' "${shown[@]}" | sort -u | tr '\n' ' ')
  text=${text% }
  say "$title ${text// /, }"
}

record() { # LIST UNIT: owed from here on, also after a crash
  local -n set=$1
  [ -z "${set[$2]-}" ] || return 0
  set[$2]=1
  [ "$action" = dry-activate ] || printf '%s\n' "$2" >>"$run/$1-list"
}

forget() { # LIST UNIT
  local -n set=$1
  unset "set[$2]"
  [ -e "$run/$1-list" ] || return 0
  grep -vxF -- "$2" "$run/$1-list" >"$run/$1-list.tmp"
  mv "$run/$1-list.tmp" "$run/$1-list"
}

recall() { # what an interrupted run still owed
  local name line
  for name in start restart reload; do
    local -n owed=$name
    while read -r line; do [ -z "$line" ] || owed[$line]=1; done < <(cat "$run/$name-list" 2>/dev/null)
    unset -n owed
  done
}

says() { # FILE KEY DEFAULT: a boolean of a unit file
  local value
  value=$(sed -n "s/^$2=//p" "$1" | tail -n 1)
  case ${value:-$3} in true | yes | on | 1) return 0 ;; *) return 1 ;; esac
}

told() { sed -E -e '/^\[Install\]/,$d' -e "/^($UNTOLD)=/d" -e '/^[#;]/d' -e '/^$/d' "$1"; }
triggers() { sed -n 's/^X-Reload-Triggers=//p' "$1"; }

compare() { # CURRENT NEW: sets REPLY to equal, reload or restart
  REPLY=equal
  cmp -s "$1" "$2" && return
  if [ "$(told "$1")" != "$(told "$2")" ]; then
    REPLY=restart
  elif [ "$(triggers "$1")" != "$(triggers "$2")" ]; then
    REPLY=reload
  fi
}

changed_unit() { # UNIT NEWFILE
  local unit=$1 file=$2 socket=${1%.service}.socket
  case $unit in
  *.path | *.slice | *.target | *.socket) return ;;
  *.mount) record reload "$unit"; return ;;
  esac
  if says "$file" X-ReloadIfChanged false; then
    record reload "$unit"
  elif ! says "$file" X-RestartIfChanged true || says "$file" RefuseManualStop false || says "$file" X-OnlyManualStart false; then
    skip[$unit]=1
  elif ! says "$file" X-StopIfChanged true; then
    record restart "$unit"
  elif [ "${active[$socket]-}" = active ] && [ -e "$new/etc/systemd/system/$socket" ]; then
    # Socket activated: the socket is stopped with it, and brings it back.
    stop[$unit]=1 stop[$socket]=1
    record start "$socket"
  else
    stop[$unit]=1
    record start "$unit"
  fi
}

target_unit() { # UNIT NEWFILE: active targets are started again, and so whatever new they want
  case $1 in suspend.target | hibernate.target | hybrid-sleep.target) return ;; esac
  if ! says "$2" RefuseManualStart false && ! says "$2" X-OnlyManualStart false; then
    record start "$1"
    hidden[$1]=1
  fi
  if says "$2" X-StopOnReconfiguration false; then stop[$1]=1; fi
}

compute_changes() {
  local unit state base current file
  recall
  while read -r unit _ state _; do active[$unit]=$state; done \
    < <(systemctl list-units --all --full --plain --no-legend --no-pager 9>&-)
  [ ${#active[@]} -gt 0 ] || { say "Error: could not list units"; exit 1; }
  for unit in "${!active[@]}"; do
    case ${active[$unit]} in active | activating) ;; *) continue ;; esac
    base=$unit
    if [ ! -e "$units/$unit" ] && [[ $unit == *@*.* ]]; then base=${unit%%@*}@.${unit##*.}; fi
    current=$units/$base file=$new/etc/systemd/system/$base
    case $(readlink "$current") in /etc/static/*) ;; *) continue ;; esac
    if [ ! -e "$file" ]; then
      if [ ! -e "$current" ] || says "$current" X-StopOnRemoval true; then stop[$unit]=1; fi
    elif [[ $unit == *.target ]]; then
      target_unit "$unit" "$file"
    else
      compare "$current" "$file"
      case $REPLY in
      restart) changed_unit "$unit" "$file" ;;
      reload) record reload "$unit" ;;
      esac
    fi
  done
  cmp -s "$running_systemd" "$new/systemd-version" || reexec=1
}
