# The host's network: `up`, with a default route (without a gateway: to the first address of the net), or `down`.
set -eu
case $1 in
down) exec /usr/sbin/ip link set host0 down ;;
up)
  /usr/sbin/ip link set host0 up
  gateway=${2:-}
  if [ -z "$gateway" ]; then
    read -r _ _ _ address _ < <(/usr/sbin/ip -4 -o addr show host0)
    address=${address%/*}
    gateway=${address%.*}.1
  fi
  exec /usr/sbin/ip route replace default via "$gateway"
  ;;
esac
echo "network.sh: up or down, not '$1'" >&2
exit 1
