#!/usr/bin/env bash
# A whole cluster on this machine for a minute: builds, starts a registry, a master and an agent, runs containers from
# an image pulled over HTTP, shows what they see, and takes everything away again.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/common.sh
. scripts/common.sh

if [ "${1:-}" != cluster ]; then
    step "what this machine lacks"
    scripts/deps.sh demo
    step "building (a few minutes the first time)"
    cargo build --locked --bin tepui
    # Containers need root; building doesn't.
    as_root env STARTED="$STARTED" CARGO_TARGET_DIR="$(target_dir)" "$0" cluster
    exit
fi

tepui=$(target_dir)/debug/tepui
dir=$(mktemp -d /var/tmp/tepui-demo.XXXXXX)
registry_port=$(free_port 5000)
master_port=$(free_port 5050)
agent_port=$(free_port $((master_port + 1)))
registry_pid='' dev_pid=''

finish() {
    local code=$?
    step "ending everything"
    # SIGINT is Ctrl-C: tasks, agent and master end, in this order.
    if [ -n "$dev_pid" ] && kill -INT "$dev_pid" 2>/dev/null; then wait "$dev_pid" || true; fi
    if [ -n "$registry_pid" ] && kill "$registry_pid" 2>/dev/null; then wait "$registry_pid" 2>/dev/null || true; fi
    if [ "$code" -ne 0 ]; then
        echo "the demo failed; the last lines of the cluster's log:" >&2
        tail -n 30 "$dir/dev.log" >&2 || true
    fi
    local left
    left=$(grep -c "$dir" /proc/self/mountinfo || true)
    rm -rf "$dir"
    echo "left behind: $left mounts, $(find /sys/fs/cgroup -maxdepth 2 -name "tepui-dev-$agent_port" | wc -l) cgroups"
    if [ "$code" -eq 0 ]; then how_to_go_on; fi
    exit "$code"
}

how_to_go_on() {
    cat <<END

It took $(($(date +%s) - STARTED)) s. To go on by hand (as root):
  $tepui dev &
  $tepui run -- sh -c 'echo hello; exit 7'; echo \$?
  $tepui run --image alpine -- cat /etc/os-release       # any image of a registry that this machine can reach
  $tepui agents list; $tepui task list --all
  curl -s http://127.0.0.1:5050/state                    # Mesos' HTTP API
README.md tells the rest; 'make test' runs every test.
END
}

# Waits until a command succeeds, at most 30 seconds.
until_works() {
    local deadline=$(($(date +%s) + 30))
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt "$deadline" ] || die "in vain for 30 s: $*"
        # Only between two looks at a condition with a deadline.
        sleep 0.2
    done
}

answers() {
    exec 3<>"/dev/tcp/127.0.0.1/$1"
}

has_agent() {
    "$tepui" agents list --master="127.0.0.1:$master_port" | grep -q active
}

make_image() {
    local layout=$1 tree=$dir/tree
    mkdir -p "$tree"
    cp /bin/busybox "$tree/busybox"
    for name in $(/bin/busybox --list); do
        [ "$name" = busybox ] || ln -s busybox "$tree/$name"
    done
    umoci init --layout "$layout"
    umoci new --image "$layout:latest"
    umoci insert --image "$layout:latest" "$tree" /bin
    umoci config --image "$layout:latest" --config.env PATH=/bin --config.cmd sh
}

# What the kernel holds the container to: cgroup v2, or the v1 controllers of a hybrid host.
limits() {
    local file
    find /sys/fs/cgroup -path "*/tepui-dev-$agent_port/*-*/*" \
        \( -name memory.max -o -name memory.limit_in_bytes -o -name cpu.max -o -name cpu.cfs_quota_us -o -name pids.max \) |
        sort -u | while read -r file; do
            echo "  ${file#/sys/fs/cgroup/} = $(cat "$file")"
        done
}

run_in_container() {
    "$tepui" run --master="127.0.0.1:$master_port" --image "127.0.0.1:$registry_port/busybox" "$@"
}

trap finish EXIT
trap 'exit 130' INT TERM

step "a registry on 127.0.0.1:$registry_port, and busybox in it"
cat >"$dir/registry.yml" <<END
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $dir/registry}}
http: {addr: "127.0.0.1:$registry_port"}
END
docker-registry serve "$dir/registry.yml" >"$dir/registry.log" 2>&1 &
registry_pid=$!
make_image "$dir/layout"
until_works answers "$registry_port"
skopeo --insecure-policy copy --quiet --dest-tls-verify=false \
    "oci:$dir/layout:latest" "docker://127.0.0.1:$registry_port/busybox"
# Whatever is pulled from now on comes over HTTP.
rm -rf "$dir/layout" "$dir/tree"

step "a master on 127.0.0.1:$master_port and an agent on 127.0.0.1:$agent_port"
"$tepui" dev --port="$master_port" --agent_port="$agent_port" --work_dir="$dir/state" >"$dir/dev.out" 2>"$dir/dev.log" &
dev_pid=$!
until_works has_agent
grep WARN "$dir/dev.log" | sed 's/^.*start: /note: /' || true
"$tepui" agents list --master="127.0.0.1:$master_port"

step "a container, from an image pulled over HTTP"
on_host=$(for n in pid ipc uts mnt cgroup; do readlink "/proc/self/ns/$n"; done | tr '\n' ' ')
# The script runs inside the container: nothing of it is for this shell to expand.
# shellcheck disable=SC2016
run_in_container --env "ON_HOST=$on_host" --cpus=0.5 --limits="cpus:1;mem:64" --mem=32 -- sh -c '
    echo "hello from $(hostname), task $MESOS_TASK_ID"
    echo "namespaces on the host:      $ON_HOST"
    echo "namespaces in the container: $(for n in pid ipc uts mnt cgroup; do readlink /proc/self/ns/$n; done | tr "\n" " ")"
    echo "processes that it sees:      $(ls -d /proc/[0-9]* | wc -l)"
    echo "privileges:                  $(grep -E "^(Seccomp|NoNewPrivs|CapEff):" /proc/self/status | tr -s "\t\n" "  ")"
    echo "can it mount?                $(mount -t tmpfs tmpfs /tmp 2>&1 || true)"
    echo "its sandbox:                 $(ls $MESOS_SANDBOX | tr "\n" " ")"
    while [ ! -e $MESOS_SANDBOX/limits-read ]; do usleep 100000; done' &
run_pid=$!
until_works grep -qr 'its sandbox' "$dir/state/agent/slaves" --include=stdout
limits=$(limits)
touch "$(dirname "$(grep -lr 'its sandbox' "$dir/state/agent/slaves" --include=stdout | head -n 1)")/limits-read"
wait "$run_pid"
echo "its limits on the host:"
echo "$limits"

step "an exit code comes back: sh -c 'exit 7'"
code=0
run_in_container -- sh -c 'exit 7' || code=$?
echo "tepui run exited with $code"
[ "$code" -eq 7 ] || die "expected 7"

step "a task that takes more memory than it may"
code=0
run_in_container --mem=32 -- sh -c 'head -c 200000000 /dev/zero | tail -n 1 >/dev/null' || code=$?
echo "tepui run exited with $code"

step "what the cluster remembers"
"$tepui" task list --all --master="127.0.0.1:$master_port"
