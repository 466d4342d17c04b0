#!/usr/bin/env bash
# Builds the virtual machine's initramfs: busybox, the modules that lead to the root disk, a script that goes there.
# Use: initrd.sh DIR INIT [ARGUMENT…]   (INIT is what runs as process 1 of the root disk)
set -euo pipefail
dir=$1
shift
version=$(cat "$dir/kernel/version")
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
exec /bin/busybox switch_root /newroot $*
INIT
chmod +x "$initrd/init"
(cd "$initrd" && find . | cpio -o -H newc --quiet) >"$dir/initrd.img"
rm -rf "$initrd"
