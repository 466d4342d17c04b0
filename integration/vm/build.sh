#!/usr/bin/env bash
# Builds the virtual machine's initramfs and root disk. Nothing is mounted and nothing installed on the host.
# Use: build.sh DIR TEPUI GUEST_SCRIPT OCI_LAYOUT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mkdir -p "$1" && cd "$1" && pwd)
tepui=$2 guest=$3 layout=$4
version=$(cat "$dir/kernel/version")

# The initramfs: busybox, the modules that lead to the root disk, a script.
initrd="$dir/initrd"
rm -rf "$initrd" && mkdir -p "$initrd"/{bin,proc,sys,dev,newroot,modules}
cp /bin/busybox "$initrd/bin/busybox"
order=""
for module in virtio_pci virtio_blk ext4 overlay; do
    while read -r verb path _; do
        [ "$verb" = insmod ] || continue
        name=$(basename "$path")
        case " $order " in *" $name "*) ;; *) cp "$path" "$initrd/modules/$name" && order="$order $name" ;; esac
    done < <(modprobe -d "$dir/kernel" -S "$version" --show-depends "$module" 2>/dev/null)
done
cat >"$initrd/init" <<INIT
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
for m in $order; do /bin/busybox insmod /modules/\$m || echo "insmod \$m failed"; done
/bin/busybox mount -t ext4 /dev/vda /newroot || { echo "no root disk"; /bin/busybox poweroff -f; }
/bin/busybox mount --move /proc /newroot/proc
/bin/busybox mount --move /sys /newroot/sys
/bin/busybox mount --move /dev /newroot/dev
exec /bin/busybox switch_root /newroot /bin/sh /guest.sh
INIT
chmod +x "$initrd/init"
(cd "$initrd" && find . | cpio -o -H newc --quiet) >"$dir/initrd.img"

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
rm -rf "$root" "$initrd"
