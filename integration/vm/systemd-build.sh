#!/usr/bin/env bash
# Builds the initramfs and root disk of a virtual machine with systemd. Nothing is mounted or installed on the host.
# Use: systemd-build.sh DIR TEPUI GUEST_SCRIPT OCI_LAYOUT UNITS   (DIR holds kernel/ and debian/)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$(cd "$1" && pwd)
tepui=$2 guest=$3 layout=$4 units=$5
"$here/initrd.sh" "$dir" /lib/systemd/systemd

root="$dir/systemd-root"
rm -rf "$root"
cp -a "$dir/debian/." "$root"
# Debug information is most of the binary, and the emulated disk is slow.
strip -o "$root/usr/bin/tepui" "$tepui"
cp "$units"/tepui-master.service "$units"/tepui-agent.service "$root/etc/systemd/system/"
mkdir -p "$root/etc/tepui/agent" "$root/etc/tepui/master"
echo 127.0.0.1 >"$root/etc/tepui/agent/ip"
echo 127.0.0.1:5050 >"$root/etc/tepui/agent/master"
echo 'cpus:2;mem:1000' >"$root/etc/tepui/agent/resources"
echo 127.0.0.1 >"$root/etc/tepui/master/ip"
cp "$guest" "$root/guest.sh" && chmod +x "$root/guest.sh"
cp -r "$layout" "$root/image"
echo vm >"$root/etc/hostname"
printf '127.0.0.1 localhost vm\n' >"$root/etc/hosts"
printf '/dev/vda / ext4 defaults 0 0\n' >"$root/etc/fstab"
echo uninitialized >"$root/etc/machine-id"
cat >"$root/etc/systemd/system/tepui-test.service" <<'UNIT'
[Unit]
Description=what is tested in this machine
After=basic.target
[Service]
Type=oneshot
ExecStart=/guest.sh
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
TimeoutStartSec=infinity
UNIT
cat >"$root/etc/systemd/system/tepui-test.target" <<'UNIT'
[Unit]
Requires=basic.target tepui-test.service
After=basic.target
AllowIsolate=yes
UNIT
ln -sf tepui-test.target "$root/etc/systemd/system/default.target"
# What no test needs, and what takes long under emulation.
for unit in systemd-udev-trigger.service systemd-udevd.service systemd-udev-settle.service systemd-timesyncd.service \
    systemd-networkd.service systemd-resolved.service e2scrub_reap.service e2scrub_all.timer fstrim.timer \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer systemd-hwdb-update.service \
    systemd-binfmt.service systemd-firstboot.service systemd-journal-catalog-update.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
rm -f "$dir/root.img"
mke2fs -q -t ext4 -d "$root" "$dir/root.img" 1200M
rm -rf "$root"
