# What a NixOS activation script does that matters here: /etc follows the generation, and /run/current-system moves.
# Called as: TOPLEVEL=… bash activate.sh. Safe to repeat, and to be killed anywhere.
set -u
units=/etc/systemd/system
mkdir -p /run/nixos "$units/multi-user.target.wants"
ln -sfn "$TOPLEVEL/etc" /etc/static.tmp && mv -T /etc/static.tmp /etc/static
for file in /etc/static/systemd/system/*.service; do
  [ -e "$file" ] || continue
  ln -sfn "$file" "$units/${file##*/}"
done
for link in "$units"/*.service "$units"/multi-user.target.wants/*.service; do
  target=$(readlink "$link" 2>/dev/null) || continue
  case $target in
  /etc/static/*) [ -e "$target" ] || rm -f "$link" ;;
  esac
done
while read -r unit; do
  [ -n "$unit" ] && ln -sfn "/etc/static/systemd/system/$unit" "$units/multi-user.target.wants/$unit"
done <"$TOPLEVEL/wanted-units"
for link in "$units"/multi-user.target.wants/*.service; do
  case $(readlink "$link" 2>/dev/null) in
  /etc/static/*) grep -qxF "${link##*/}" "$TOPLEVEL/wanted-units" || rm -f "$link" ;;
  esac
done
ln -sfn "$TOPLEVEL" /run/current-system.tmp && mv -T /run/current-system.tmp /run/current-system
[ ! -e "$TOPLEVEL/faults/activation" ]
