#!/bin/sh
# Firmware and boot loader: stands where the host's systemd stands, outside every generation, and runs the `init` that
# the boot files name. A dash script: PID 1 passes by here again at each daemon-reexec, and so does each user's manager.
real=/usr/lib/systemd/real/systemd
[ $$ -eq 1 ] || exec "$real" "$@"
case " $* " in *" --deserialize"*) exec "$real" "$@" ;; esac
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
entries=/boot/loader/entries

panic() { echo "firmware: $*; the machine stops" >/dev/console; exit 1; }
init_of() { sed -n 's/^options .*init=\([^ ]*\).*/\1/p; s/^options init=\([^ ]*\).*/\1/p' "$1" | head -n 1; }
# The newest entry that matches a pattern, as boot loaders sort.
newest() {
  for entry in $(cd "$entries" 2>/dev/null && printf '%s\n' *.conf | sort -V -r); do
    # shellcheck disable=SC2254  # a default may be a pattern
    case $entry in $1) echo "$entry"; return ;; esac
  done
}
extlinux_default() {
  default=$(sed -n 's/^DEFAULT  *//p' "$1")
  sed -n "/^LABEL $default\$/,/^ *APPEND/s/^ *APPEND .*init=\([^ ]*\).*/\1/p; /^LABEL $default\$/,/^ *APPEND/s/^ *APPEND init=\([^ ]*\).*/\1/p" "$1" | head -n 1
}

# This machine's EFI variables, where a kernel shows them: a boot loader that is done has forgotten its choice.
mount -t tmpfs -o mode=755 tmpfs /sys/firmware && mkdir -p /sys/firmware/efi/efivars

# A disk that wants a passphrase, which comes from outside: whoever gives it writes it beside the one that is right.
if [ -e /boot/lab-passphrase ]; then
  : >/boot/lab-waits
  until cmp -s /boot/lab-given /boot/lab-passphrase; do sleep 0.2; done
  rm -f /boot/lab-waits /boot/lab-given
fi

if [ -e /boot/extlinux/extlinux.conf ]; then
  init=$(extlinux_default /boot/extlinux/extlinux.conf)
elif [ -e /boot/loader/loader.conf ]; then
  default=$(sed -n 's/^default  *//p' /boot/loader/loader.conf | tail -n 1)
  if [ -e /boot/loader/oneshot ]; then
    default=$(cat /boot/loader/oneshot)
    rm -f /boot/loader/oneshot
    sync -f /boot
  fi
  entry=$(newest "${default:-nixos-*}")
  [ -n "$entry" ] || entry=$(newest "nixos-*")
  [ -n "$entry" ] || panic "no boot entry"
  init=$(init_of "$entries/$entry")
  kernel=$(sed -n 's/^linux  *//p' "$entries/$entry")
  [ -s "/boot$kernel" ] || panic "entry $entry names a kernel that is not there: $kernel"
else
  init=$(cat /etc/lab-external-default 2>/dev/null)
fi
[ -x "${init:-/nonexistent}" ] || panic "stage 2 init script ($init) not found"
exec "$init" "$@"
