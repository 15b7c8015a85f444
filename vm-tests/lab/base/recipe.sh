#!/bin/sh
# Runs inside the new tree (systemd-nspawn --pipe): turns a minimal Debian into a lab host. Everything that a boot would
# wait for, and that no test needs, is masked.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends \
  nix-bin nix-setup-systemd openssh-server systemd systemd-sysv dbus dbus-user-session libpam-systemd iproute2 sudo \
  python3-minimal curl ca-certificates procps nftables
apt-get clean
rm -rf /var/lib/apt/lists/*

systemctl mask systemd-networkd-wait-online.service systemd-networkd.service systemd-resolved.service \
  systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
  systemd-tmpfiles-clean.timer getty.target console-getty.service systemd-firstboot.service \
  systemd-update-utmp.service systemd-journal-flush.service modprobe@.service sys-kernel-config.mount \
  sys-kernel-debug.mount dev-hugepages.mount systemd-binfmt.service >/dev/null 2>&1
systemctl set-default multi-user.target >/dev/null 2>&1
systemctl enable ssh.service nix-daemon.socket >/dev/null 2>&1 || systemctl enable ssh.service nix-daemon.service
rm -f /etc/ssh/ssh_host_*

cat > /etc/ssh/sshd_config.d/lab.conf <<'CONF'
PermitRootLogin prohibit-password
PasswordAuthentication no
UseDNS no
HostKey /etc/ssh/ssh_host_ed25519_key
PrintLastLog no
CONF

cat > /etc/nix/nix.conf <<'CONF'
substituters =
experimental-features = nix-command flakes
build-users-group = nixbld
trusted-users = root
CONF

useradd --create-home --uid 1000 --shell /bin/bash deploy
getent group nix-users >/dev/null && usermod -aG nix-users deploy
mkdir -p /var/lib/systemd/linger && touch /var/lib/systemd/linger/deploy
echo 'deploy ALL=(root) NOPASSWD: ALL' > /etc/sudoers.d/deploy
chmod 0440 /etc/sudoers.d/deploy
mkdir -p /root/.ssh /home/deploy/.ssh
chmod 700 /root/.ssh /home/deploy/.ssh
chown deploy:deploy /home/deploy/.ssh
# Non-interactive shells find Nix where they find it on NixOS: on PATH.
: > /etc/machine-id
