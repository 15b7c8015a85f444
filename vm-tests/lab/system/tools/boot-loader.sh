# Boot-loader builders as NixOS has them: called with the toplevel that is to be the default, they list the generations
# of the profile. Called as: bash boot-loader.sh KIND LIMIT FAULTS DEFAULT, with FAULTS a directory of the generation
# whose builder this is. Kinds: systemd-boot, newest (no default line), lanzaboote (a pattern), extlinux, none.
set -euo pipefail
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
kind=$1 limit=$2 faults=$3 default=$(readlink -f "$4")
profiles=/nix/var/nix/profiles

generations() { # oldest first: NUMBER TOPLEVEL, at most as many as the limit says; 0 is no limit
  local link number
  for link in "$profiles"/system-*-link; do
    [ -e "$link" ] || continue
    number=${link##*/system-}
    echo "${number%-link} $(readlink -f "$link")"
  done | sort -n | if [ "$limit" = 0 ]; then cat; else tail -n "$limit"; fi
}

# A file is there whole or not at all: written beside, flushed, renamed. What fails leaves its .tmp for the next clean-up.
put() { # FILE, text on stdin
  cat >"$1.tmp"
  sync "$1.tmp"
  mv -T "$1.tmp" "$1"
}

file_name() { # STOREFILE: hash-name-file, as the builders name what they copy
  local path
  path=$(readlink -f "$1")
  path=${path#/nix/store/}
  echo "${path//\//-}"
}

copy_once() { # STOREFILE TARGET
  [ -e "$2" ] || put "$2" <"$(readlink -f "$1")"
}

interrupted() { # a power cut, a hang or a failure between the clean-up and the writing
  if [ -e "$faults/boot-die-between" ]; then kill -9 $$; fi
  if [ -e "$faults/boot-sleep" ]; then sleep "$(cat "$faults/boot-sleep")"; fi
  if [ -e "$faults/boot-fail-between" ]; then echo "boot loader: failed on purpose, half-way" >&2; exit 1; fi
}

clean_up() { # DIRECTORY WANTED: deletes each file whose name is not a line of WANTED
  local file
  for file in "$1"/*; do
    [ -f "$file" ] || continue
    grep -qxF -- "${file##*/}" <<<"$2" || rm -f -- "$file"
  done
}

systemd_boot() {
  local entries=/boot/loader/entries kernels=/boot/EFI/nixos listed number toplevel wanted='' needed='' part
  mkdir -p $entries $kernels
  listed=$(generations)
  while read -r number toplevel; do
    [ -n "$number" ] || continue
    wanted+="nixos-generation-$number.conf"$'\n'
    for part in kernel initrd; do needed+="$(file_name "$toplevel/$part").efi"$'\n'; done
  done <<<"$listed"
  # Old entries and kernels go first: with a limit of one, that is the entry of the running system.
  clean_up $entries "$wanted"
  clean_up $kernels "$needed"
  interrupted
  while read -r number toplevel; do
    [ -n "$number" ] || continue
    for part in kernel initrd; do copy_once "$toplevel/$part" "$kernels/$(file_name "$toplevel/$part").efi"; done
    put "$entries/nixos-generation-$number.conf" <<END
title NixOS
sort-key nixos
version Generation $number NixOS $(cat "$toplevel/nixos-version"), Linux Kernel, Built on 2026-01-01
linux /EFI/nixos/$(file_name "$toplevel/kernel").efi
initrd /EFI/nixos/$(file_name "$toplevel/initrd").efi
options init=$toplevel/init $(cat "$toplevel/kernel-params")
END
    if [ "$toplevel" = "$default" ]; then loader_conf "$number"; fi
  done <<<"$listed"
}

loader_conf() { # NUMBER
  {
    echo "timeout 5"
    case $kind in
    systemd-boot) echo "default nixos-generation-$1.conf" ;;
    lanzaboote) echo "default nixos-*" ;;
    esac
    echo "console-mode keep"
  } | put /boot/loader/loader.conf
}

extlinux_entry() { # TOPLEVEL TAG
  local toplevel part
  toplevel=$(readlink -f "$1")
  for part in kernel initrd; do
    copy_once "$toplevel/$part" "/boot/nixos/$(file_name "$toplevel/$part")"
    copied+="$(file_name "$toplevel/$part")"$'\n'
  done
  entries+="
LABEL nixos-$2
  MENU LABEL NixOS - $2
  LINUX ../nixos/$(file_name "$toplevel/kernel")
  INITRD ../nixos/$(file_name "$toplevel/initrd")
  APPEND init=$toplevel/init $(cat "$toplevel/kernel-params")
"
}

extlinux() { # this one writes first and cleans up last; its default is always what it is called with
  local copied='' entries='' number toplevel
  mkdir -p /boot/extlinux /boot/nixos
  extlinux_entry "$default" default
  while read -r number toplevel; do
    [ -z "$number" ] || extlinux_entry "$toplevel" "$number-default"
  done < <(generations | sort -n -r)
  interrupted
  put /boot/extlinux/extlinux.conf <<END
# Generated file, all changes will be lost on nixos-rebuild!
DEFAULT nixos-default
MENU TITLE ------------------------------------------------------------
TIMEOUT 50
$entries
END
  clean_up /boot/nixos "$copied"
}

if [ -e "$faults/boot-loader" ]; then
  echo "boot loader: failed on purpose" >&2
  exit 1
fi
case $kind in
none)
  echo "Warning: do not know how to make this configuration bootable; please enable a boot loader." >&2
  exit 0
  ;;
esac
trap 'sync -f /boot' EXIT # also after a failure
case $kind in
systemd-boot | newest | lanzaboote) systemd_boot ;;
extlinux) extlinux ;;
*)
  echo "boot loader: unknown kind '$kind'" >&2
  exit 1
  ;;
esac
