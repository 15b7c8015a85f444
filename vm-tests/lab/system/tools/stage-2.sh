#!/bin/bash
# Stands where the host's systemd stands: boots what the boot loader says, then becomes systemd. Installed by the seed,
# outside every generation, as firmware and boot loader are.
real=/usr/lib/systemd/real/systemd
for word in "$@"; do
  # A daemon-reexec comes by here again: it is not a boot.
  case $word in --deserialize*) exec "$real" "$@" ;; esac
done
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

entry_init() { sed -n 's/^ *\(options\|APPEND\) *init=\([^ ]*\)\/init.*/\2/p' "$1" | head -n 1; }
newest_entry() { ls /boot/loader/entries/nixos-generation-*.conf 2>/dev/null | sort -V | tail -n 1; }

toplevel=
if [ -e /boot/extlinux/extlinux.conf ]; then
  toplevel=$(entry_init /boot/extlinux/extlinux.conf)
elif [ -e /boot/loader/loader.conf ]; then
  default=$(sed -n 's/^default  *//p' /boot/loader/loader.conf)
  if [ -e /boot/loader/oneshot ]; then
    default=$(cat /boot/loader/oneshot)
    rm -f /boot/loader/oneshot
  fi
  entry=/boot/loader/entries/$default
  { [ -n "$default" ] && [ -e "$entry" ]; } || entry=$(newest_entry)
  toplevel=$(entry_init "$entry")
fi
[ -n "$toplevel" ] || toplevel=$(readlink -f /nix/var/nix/profiles/system)

if [ -d "$toplevel" ]; then
  ln -sfn "$toplevel" /run/booted-system
  bash "$toplevel/activate"
  echo "stage-2: booted $toplevel" >/dev/console
else
  echo "stage-2: no system to boot: '$toplevel'" >/dev/console
fi
exec "$real" "$@"
