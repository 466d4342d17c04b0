#!/usr/bin/env bash
# Puts a small Debian with systemd, of the same release as this machine, below DIR/debian.
# Use: debian.sh DIR
set -euo pipefail
dir=$(mkdir -p "$1" && cd "$1" && pwd)
[ -d "$dir/debian" ] && exit 0
# shellcheck source=/dev/null
. /etc/os-release
if [ "${ID:-}" != debian ]; then
    echo "debian.sh: this machine is no Debian, and the binary under test needs the C library that it was built with" >&2
    exit 1
fi
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
echo "fetching Debian $VERSION_CODENAME from $mirror for the virtual machine"
rm -rf "$dir/debian.new" "$dir/debian"
debootstrap --variant=minbase --include=systemd,systemd-sysv,busybox-static,libseccomp2 \
    "$VERSION_CODENAME" "$dir/debian.new" "$mirror" >"$dir/debian.log" 2>&1 || {
    tail -n 20 "$dir/debian.log" >&2
    exit 1
}
rm -rf "$dir/debian.new"/var/cache/apt/archives/*.deb "$dir/debian.new"/var/lib/apt/lists/* \
    "$dir/debian.new"/usr/share/{doc,man,locale}/*
mv "$dir/debian.new" "$dir/debian"
