# The one thing of bootctl that is asked for here: `bootctl set-oneshot ID`, and with an empty ID to choose nothing. The EFI
# variable is written as systemd does, and kept in a file beside the boot loader, where the firmware finds it.
set -eu
[ "${1:-}" = set-oneshot ] || { echo "bootctl: not in this lab: $*" >&2; exit 1; }
variable=/sys/firmware/efi/efivars/LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f
if [ -z "$2" ]; then
  rm -f $variable /boot/loader/oneshot
else
  printf '%s\n' "$2" >/boot/loader/oneshot.tmp
  mv -T /boot/loader/oneshot.tmp /boot/loader/oneshot
  { printf '\7\0\0\0'; printf '%s' "$2" | sed 's/./&\x00/g'; printf '\0\0'; } >$variable
fi
sync -f /boot
