#!/usr/bin/env bash
# Builds the virtual machine's initramfs and root disk. Nothing is mounted and nothing installed on the host.
# Use: build.sh DIR TEPUI GUEST_SCRIPT OCI_LAYOUT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mkdir -p "$1" && cd "$1" && pwd)
tepui=$2 guest=$3 layout=$4
"$here/initrd.sh" "$dir" /bin/sh /guest.sh

# The root disk: busybox's commands, the binary under test with its libraries, an image, the guest's script.
root="$dir/root"
rm -rf "$root" && mkdir -p "$root"/{bin,sbin,proc,sys,dev,run,tmp,var/lib,etc,lib,lib64,usr/bin}
cp /bin/busybox "$root/bin/busybox"
for name in $(/bin/busybox --list); do [ "$name" = busybox ] || ln -sf busybox "$root/bin/$name"; done
cp "$tepui" "$root/usr/bin/tepui"
ldd "$tepui" | awk '/=> \// {print $3} /^[[:space:]]*\/lib/ {print $1}' | while read -r library; do
    mkdir -p "$root$(dirname "$library")" && cp -L "$library" "$root$library"
done
cp "$guest" "$root/guest.sh"
cp -r "$layout" "$root/image"
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
printf '127.0.0.1 localhost vm\n' >"$root/etc/hosts"
printf 'vm\n' >"$root/etc/hostname"
rm -f "$dir/root.img"
mke2fs -q -t ext4 -d "$root" "$dir/root.img" 768M
rm -rf "$root"
