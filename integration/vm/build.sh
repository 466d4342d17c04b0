#!/usr/bin/env bash
# Builds the virtual machine's initramfs and root disk. Nothing is mounted and nothing installed on the host.
# Use: build.sh DIR TEPUI GUEST_SCRIPT OCI_LAYOUT [PROGRAM PLACE]...   (more programs, and where they are in the machine)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mkdir -p "$1" && cd "$1" && pwd)
tepui=$2 guest=$3 layout=$4
shift 4
"$here/initrd.sh" "$dir" /bin/sh /guest.sh

# The root disk: busybox's commands, the binary under test with its libraries, an image, the guest's script.
root="$dir/root"
rm -rf "$root" && mkdir -p "$root"/{bin,sbin,proc,sys,dev,run,tmp,var/lib,var/tmp,etc,lib,lib64,usr/bin}
cp /bin/busybox "$root/bin/busybox"
for name in $(/bin/busybox --list); do [ "$name" = busybox ] || ln -sf busybox "$root/bin/$name"; done
# Debug information is most of a program, and the emulated disk is slow.
put() {
    mkdir -p "$root$(dirname "$2")" && strip -o "$root$2" "$1"
    ldd "$1" | awk '/=> \// {print $3} /^[[:space:]]*\/lib/ {print $1}' | while read -r library; do
        mkdir -p "$root$(dirname "$library")" && cp -L "$library" "$root$library"
    done
}
put "$tepui" /usr/bin/tepui
while [ $# -ge 2 ]; do
    put "$1" "$2"
    shift 2
done
cp "$guest" "$root/guest.sh"
printf '%s\n' "${RUNTIME_TESTS:-}" | sed '/^$/d' >"$root/runtime-tests.list"
cp -r "$layout" "$root/image"
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
printf '127.0.0.1 localhost vm\n' >"$root/etc/hosts"
printf 'vm\n' >"$root/etc/hostname"
rm -f "$dir/root.img"
mke2fs -q -t ext4 -d "$root" "$dir/root.img" 768M
rm -rf "$root"
