# The second half of a boot, from a generation's `init`: activation, then the record of what was booted, then systemd.
# Called as: TOPLEVEL=… bash stage-2.sh ARGUMENTS…, as PID 1.
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
echo "stage-2: booting $TOPLEVEL" >/dev/console
if [ -e "$TOPLEVEL/faults/boot-panics" ]; then exec systemctl reboot --force --force; fi
if [ -e "$TOPLEVEL/faults/boot-hangs" ]; then exec sleep infinity; fi
"$TOPLEVEL/activate" "$TOPLEVEL"
ln -sfn "$TOPLEVEL" /run/booted-system
cp "$TOPLEVEL/systemd-version" /run/lab-systemd
unset TOPLEVEL
exec /usr/lib/systemd/real/systemd "$@"
