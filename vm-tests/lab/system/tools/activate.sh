# What a NixOS activation script does that matters here: /etc follows the generation, and /run/current-system moves, the
# latter also when an earlier part failed. Called as: TOPLEVEL=… bash activate.sh. Safe to repeat, and to be killed anywhere.
set -u
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
status=0
units=/etc/systemd/system
mkdir -p /run/nixos /nix/var/nix/gcroots
replace() { # TARGET LINK: in one step
  ln -sfn "$1" "$2.tmp" && mv -T "$2.tmp" "$2"
}

replace "$TOPLEVEL/etc" /etc/static || status=1
declare -A have=()
while read -r path target; do
  case $target in /etc/static/*) ;; *) continue ;; esac
  have[$path]=$target
  [ -L "$target" ] || [ -e "$target" ] || rm -f "$units/$path"
done < <(find "$units" -type l -printf '%P %l\n')
while read -r path; do
  target=/etc/static/systemd/system/$path
  [ "${have[$path]-}" != "$target" ] || continue
  mkdir -p "$units/$(dirname "$path")"
  replace "$target" "$units/$path" || status=1
done < <(find /etc/static/systemd/system/ -not -type d -printf '%P\n')

for root in current-system booted-system; do
  [ -L "/nix/var/nix/gcroots/$root" ] || replace "/run/$root" "/nix/var/nix/gcroots/$root" || status=1
done
if [ -e "$TOPLEVEL/faults/activation-restarts" ]; then
  cat "$TOPLEVEL/faults/activation-restarts" >>/run/nixos/activation-restart-list
fi
if [ -e "$TOPLEVEL/faults/activation" ]; then
  echo "Activation script snippet 'fixture' failed (1)" >&2
  status=1
fi
if [ -e "$TOPLEVEL/faults/activation-sleep" ]; then sleep "$(cat "$TOPLEVEL/faults/activation-sleep")"; fi

replace "$TOPLEVEL" /run/current-system || status=1
exit $status
