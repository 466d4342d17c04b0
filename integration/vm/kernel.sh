#!/usr/bin/env bash
# Puts Debian's cloud kernel and its modules below DIR/kernel without installing it on the host.
# Use: kernel.sh DIR
set -euo pipefail
dir=$(mkdir -p "$1" && cd "$1" && pwd)
[ -e "$dir/kernel/version" ] && exit 0
newest() {
    { apt-cache depends linux-image-cloud-amd64 2>/dev/null || true; } | awk '/Depends: linux-image-/ {print $2; exit}'
}
package=$(newest)
if [ -z "$package" ]; then
    # A fresh machine has no lists of packages yet.
    apt-get update -qq
    package=$(newest)
fi
if [ -z "$package" ]; then
    echo "kernel.sh: apt knows no linux-image-cloud-amd64; the machine is no Debian on amd64, or its lists are empty" >&2
    exit 1
fi
echo "fetching $package for the virtual machine"
work=$(mktemp -d "$dir/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
# As root apt drops to its own user for downloads, which needs a folder that user can write to.
(cd "$work" && apt-get -o APT::Sandbox::User=root download "$package" >/dev/null)
rm -rf "$dir/kernel.new" "$dir/kernel"
dpkg-deb -x "$work"/*.deb "$dir/kernel.new"
version=$(ls "$dir/kernel.new/lib/modules")
cp "$dir/kernel.new/boot/vmlinuz-$version" "$dir/kernel.new/vmlinuz"
depmod -b "$dir/kernel.new" "$version"
echo "$version" >"$dir/kernel.new/version"
mv "$dir/kernel.new" "$dir/kernel"
