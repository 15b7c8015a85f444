# A boot-loader builder as NixOS has them: called with the toplevel that is to be the default, it lists the profile's
# generations, honours a limit, and DELETES what is no longer listed before it writes what is new.
# Called as: bash boot-loader.sh KIND LIMIT DEFAULT. Kinds: systemd-boot, newest, extlinux, none.
set -eu
kind=$1 limit=$2 default=$3
profiles=/nix/var/nix/profiles
if [ -e "$default/faults/boot-loader" ]; then echo "boot loader: failed on purpose" >&2; exit 1; fi
if [ "$kind" = none ]; then
  echo "Warning: do not know how to make this configuration bootable; please enable a boot loader." >&2
  exit 0
fi

generations() { # newest last: NUMBER TOPLEVEL
  for link in "$profiles"/system-*-link; do
    [ -e "$link" ] || continue
    number=${link##*/system-}
    echo "${number%-link} $(readlink -f "$link")"
  done | sort -n | tail -n "$limit"
}

if [ "$kind" = extlinux ]; then
  directory=/boot/extlinux
  mkdir -p "$directory"
  {
    echo "DEFAULT nixos-default"
    echo "LABEL nixos-default"
    echo "  LINUX ../nixos/kernel"
    echo "  APPEND init=$default/init"
    generations | while read -r number toplevel; do
      echo "LABEL nixos-$number-default"
      echo "  APPEND init=$toplevel/init"
    done
  } >"$directory/extlinux.conf.tmp"
  mv "$directory/extlinux.conf.tmp" "$directory/extlinux.conf"
  sync -f /boot
  exit 0
fi

entries=/boot/loader/entries kernels=/boot/EFI/nixos
mkdir -p "$entries" "$kernels"
kernel_of() { path=$(readlink -f "$1/kernel"); echo "${path#/nix/store/}.efi" | tr / -; }
wanted=$(generations | while read -r number toplevel; do echo "nixos-generation-$number.conf"; done)
needed=$(generations | while read -r number toplevel; do kernel_of "$toplevel"; done)
for file in "$entries"/nixos-generation-*.conf; do
  [ -e "$file" ] || continue
  printf '%s\n' "$wanted" | grep -qxF "${file##*/}" || rm -f "$file"
done
for file in "$kernels"/*.efi; do
  [ -e "$file" ] || continue
  printf '%s\n' "$needed" | grep -qxF "${file##*/}" || rm -f "$file"
done
if [ -e "$default/faults/boot-die-between" ]; then kill -9 $$; fi
if [ -e "$default/faults/boot-sleep" ]; then sleep "$(cat "$default/faults/boot-sleep")"; fi

chosen=
listed=$(mktemp)
generations >"$listed"
while read -r number toplevel; do
  kernel=$(kernel_of "$toplevel")
  if [ ! -e "$kernels/$kernel" ]; then
    cp "$(readlink -f "$toplevel/kernel")" "$kernels/$kernel.tmp"
    mv "$kernels/$kernel.tmp" "$kernels/$kernel"
  fi
  {
    echo "title NixOS"
    echo "version Generation $number"
    echo "linux /EFI/nixos/$kernel"
    echo "options init=$toplevel/init $(cat "$toplevel/kernel-params")"
  } >"$entries/nixos-generation-$number.conf.tmp"
  mv "$entries/nixos-generation-$number.conf.tmp" "$entries/nixos-generation-$number.conf"
  if [ "$toplevel" = "$default" ]; then chosen=$number; fi
done <"$listed"

rm -f "$listed"

if [ "$kind" = systemd-boot ] && [ -n "$chosen" ]; then
  { echo "timeout 5"; echo "default nixos-generation-$chosen.conf"; echo "console-mode keep"; } >/boot/loader/loader.conf.tmp
  mv /boot/loader/loader.conf.tmp /boot/loader/loader.conf
elif [ ! -e /boot/loader/loader.conf ] || [ "$kind" = newest ]; then
  echo "timeout 5" >/boot/loader/loader.conf
fi
sync -f /boot
