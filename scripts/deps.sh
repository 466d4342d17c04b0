#!/usr/bin/env bash
# Installs what is missing on this Debian or Ubuntu machine, and says what and why.
# Use: deps.sh build|demo|test|bench
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"

# package, the file that shows that it is there, why
build='gcc|/usr/bin/cc|compiles the C parts of dependencies
libc6-dev|/usr/include/stdio.h|links programs
pkg-config|/usr/bin/pkg-config|finds libseccomp
libseccomp-dev|/usr/include/seccomp.h|seccomp filters of containers'
demo="$build
busybox-static|/bin/busybox|the programs of test images
docker-registry|/usr/bin/docker-registry|a real registry on the loopback
skopeo|/usr/bin/skopeo|pushes images to it
umoci|/usr/bin/umoci|builds images"
tests="$demo
debootstrap|/usr/sbin/debootstrap|a whole Debian as a test image
qemu-system-x86|/usr/bin/qemu-system-x86_64|a machine with pure cgroup v2
cpio|/usr/bin/cpio|its initramfs
kmod|/sbin/modprobe|its kernel modules
e2fsprogs|/sbin/mke2fs|its disk
iproute2|/sbin/ip|networks of test hosts
nftables|/usr/sbin/nft|cuts their lines
default-jre-headless|/usr/bin/java|runs ZooKeeper
zookeeper|/usr/share/java/zookeeper.jar|a real ensemble for several masters
strace|/usr/bin/strace|lets system calls fail
faketime|/usr/bin/faketime|lets the wall clock jump
python3|/usr/bin/python3|runs a scheduler that others wrote
python3-venv|/usr/share/doc/python3-venv|keeps what it needs apart
nodejs|/usr/bin/node|runs another one
npm|/usr/bin/npm|fetches it
g++|/usr/bin/g++|compiles the engine of the fuzz targets
openssl|/usr/bin/openssl|makes certificates
curl|/usr/bin/curl|examples of the documentation
jq|/usr/bin/jq|examples of the documentation
procps|/usr/bin/pgrep|examples of the documentation"
bench="$demo
default-jre-headless|/usr/bin/java|runs ZooKeeper
zookeeper|/usr/share/java/zookeeper.jar|a real ensemble for several masters
runc|/usr/sbin/runc|compared with
crun|/usr/bin/crun|compared with
hyperfine|/usr/bin/hyperfine|measures"

case "${1:-}" in
build) wanted=$build ;;
demo) wanted=$demo ;;
test) wanted=$tests ;;
bench) wanted=$bench ;;
*) die "use: $0 build|demo|test|bench" ;;
esac

missing=()
while IFS='|' read -r package file why; do
    [ -e "$file" ] && continue
    printf 'missing: %-16s %s\n' "$package" "$why"
    missing+=("$package")
done <<<"$wanted"

if [ "${#missing[@]}" -gt 0 ]; then
    command -v apt-get >/dev/null || die "this is no Debian or Ubuntu; install by hand: ${missing[*]}"
    step "installing ${missing[*]}"
    install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}")
    # The lists of packages may be missing or old.
    as_root "${install[@]}" >/dev/null 2>&1 || {
        as_root apt-get update -qq
        as_root "${install[@]}" >/dev/null
    }
    # Debian starts a registry of its own with the package; ours runs only while it is needed.
    if [[ " ${missing[*]} " == *" docker-registry "* ]] && command -v systemctl >/dev/null; then
        as_root systemctl disable --now docker-registry >/dev/null 2>&1 || true
    fi
fi

command -v cargo >/dev/null || die "cargo is missing; install Rust with rustup: \
curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal, then open a new shell. \
Debian's own rustc is too old"
# The version in rust-toolchain.toml; rustup fetches it when it isn't there.
if ! cargo --version >/dev/null 2>&1; then
    step "installing the Rust of rust-toolchain.toml"
    rustup toolchain install >/dev/null || die "rustup could not install the toolchain of rust-toolchain.toml"
fi

if [ "$1" = test ] && ! cargo nextest --version >/dev/null 2>&1; then
    step "building cargo-nextest, which runs the tests (some minutes, once)"
    cargo install --locked cargo-nextest
fi

if [ "$1" = test ] && [ -n "${CI:-}" ] && ! cargo deny --version >/dev/null 2>&1; then
    step "building cargo-deny, which checks the dependencies (some minutes, once)"
    cargo install --locked cargo-deny
fi

if [ "$1" = test ]; then
    # From PyPI and npm, pinned; where they can't be reached their tests are skipped, and say so.
    "$(dirname "$0")/../integration/clients/install.sh" "$(target_dir)/clients" ||
        echo "the schedulers that others wrote could not be installed" >&2
fi
