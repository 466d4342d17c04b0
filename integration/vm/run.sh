#!/usr/bin/env bash
# Boots the virtual machine under software emulation; its console goes to standard output. Ends when it powers off.
# Use: run.sh DIR SECONDS
set -euo pipefail
dir=$1 seconds=$2
exec timeout --kill-after=5 "$seconds" qemu-system-x86_64 -machine q35 -accel tcg,thread=multi,tb-size=512 -cpu max \
    -m 1536 -smp 2 -nographic -no-reboot -nic none \
    -kernel "$dir/kernel/vmlinuz" -initrd "$dir/initrd.img" \
    -drive "file=$dir/root.img,if=virtio,format=raw" -append "console=ttyS0 quiet panic=-1 cgroup_no_v1=all psi=1"
