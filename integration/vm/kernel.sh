#!/usr/bin/env bash
# Puts Debian's cloud kernel and its modules below DIR/kernel without installing it on the host.
# Use: kernel.sh DIR
set -euo pipefail
dir=$(mkdir -p "$1" && cd "$1" && pwd)
[ -e "$dir/kernel/version" ] && exit 0
package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/ {print $2; exit}')
if [ -z "$package" ]; then
    echo "kernel.sh: apt knows no linux-image-cloud-amd64; run 'apt-get update' first" >&2
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
