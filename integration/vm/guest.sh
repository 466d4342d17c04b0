#!/bin/sh
# Runs inside the virtual machine: a cluster on pure cgroup v2. Prints one line "RESULT name value" for each finding.
export PATH=/usr/bin:/bin:/sbin HOME=/tmp
hostname vm
ip link set lo up
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --make-rshared /
say() { echo "RESULT $1 $2"; }
# How long it took until here, for whoever looks why it takes long.
mark() { echo "--- $1 after $(cut -d. -f1 /proc/uptime) s"; }
say controllers "$(cat /sys/fs/cgroup/cgroup.controllers)"

# Waits up to $1 seconds for a command to succeed.
within() {
    seconds=$1
    shift
    end=$(($(date +%s) + seconds))
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -ge "$end" ] && return 1
        usleep 100000
    done
}
group() { ls -d /sys/fs/cgroup/mesos/*-*-*-*-* 2>/dev/null | head -n 1; }
processes() { ls -d /proc/[0-9]* | wc -l; }
gone() { [ -z "$(group)" ]; }
run() { tepui run --master=127.0.0.1:5050 --quiet --image=oci:/image:latest --user=root "$@"; }

tepui master --ip=127.0.0.1 --work_dir=/var/lib/master >/var/lib/master.log 2>&1 &
start_agent() {
    tepui agent --ip=127.0.0.1 --master=127.0.0.1:5050 --work_dir=/var/lib/agent --runtime_dir=/run/tepui \
        --resources='cpus:2;mem:1200' --isolation=cgroups/all,namespaces --isolation_strict "$@" >>/var/lib/agent.log 2>&1 &
    agent=$!
    within 30 wget -q -O /dev/null http://127.0.0.1:5051/health || say agent "does not answer"
}
start_agent --container_cpuset_cpus=1 --container_cpuset_mems=0 --container_hugetlb=2MB=4MB \
    --container_io_max='/dev/vda wbps=40MB riops=100000'
# What the host can't give is said before there is a task: v1's name of a controller, a CPU that isn't there.
refused() {
    name=$1
    shift
    message=$(tepui agent --master=127.0.0.1:5050 --port=5099 --work_dir=/var/lib/other --runtime_dir=/run/other \
        --cgroups_root=other "$@" 2>&1)
    say "$name" "$? $(echo "$message" | tail -n 1)"
}
refused blkio --isolation=cgroups/blkio,namespaces
refused cpuset --container_cpuset_cpus=1,77

run -- sh -c 'exit 7'
say exit_code $?
say inside "$(run -- sh -c 'cat /proc/self/cgroup; grep -E "Seccomp:|NoNewPrivs" /proc/self/status' | tr '\n\t' '  ')"
# Memory: the kernel ends it, and the status says why.
message=$(run --resources='cpus:1;mem:32' -- sh -c 'tail /dev/zero' 2>&1)
say memory_code $?
say memory_message "$(echo "$message" | tr '\n' ' ')"

# Devices: with the node there, opening it is denied by the program on the cgroup; the usual ones work. The agent that
# started it was killed, and another one took over.
run -- sh -c 'echo up >ready; while [ ! -e go ]; do usleep 50000; done
    dd if=/dev/null of=/dev/null count=1 2>/dev/null && echo null-ok
    dd if=/dev/disk of=/dev/null count=1 2>&1 | tail -n 1' >/tmp/device.out 2>&1 &
runner=$!
sandbox=""
ready() { sandbox=$(dirname "$(ls /var/lib/agent/slaves/*/frameworks/*/executors/*/runs/*/ready 2>/dev/null | head -n 1)") && [ -e "$sandbox/ready" ]; }
within 30 ready
set_to() { for file in "$@"; do printf '%s=%s ' "$file" "$(tr '\n' ' ' <"$(group)/$file")"; done; }
say limits "$(set_to cpuset.cpus cpuset.mems io.max hugetlb.2MB.max memory.low memory.high memory.max memory.swap.max)"
kill -9 $agent
start_agent
recovered() { wget -q -O - http://127.0.0.1:5050/slaves | grep -q '"active": *true'; }
within 30 recovered || say agent "does not come back"
told() { wget -q -O /tmp/statistics http://127.0.0.1:5051/monitor/statistics && grep -q mem_total_bytes /tmp/statistics; }
within 20 told
say statistics "$(cat /tmp/statistics)"
task=$(cat "$(group)"/leaf/cgroup.procs "$(group)"/cgroup.procs 2>/dev/null | head -n 1)
mknod "/proc/$task/root/dev/disk" b 254 0 && chmod 666 "/proc/$task/root/dev/disk"
touch "$sandbox/go"
wait $runner
say device "$(tr '\n' ' ' </tmp/device.out)"

mark 'what the cluster does'
# The runtime's own tests, those for which the version of cgroups matters.
# On the disk: a tmpfs of this kernel can't map the owners of files.
while read -r name; do
    TMPDIR=/var/tmp CI=true /runtime-tests --exact "$name" --nocapture >/tmp/test.log 2>&1 && outcome=ok || outcome=failed
    grep -q '1 passed' /tmp/test.log || outcome="not run or failed: $(tail -n 30 /tmp/test.log | tr '\n' ' ')"
    say "runtime::$name" "$outcome"
done </runtime-tests.list

before=$(processes)

mark 'the tests of the runtime'
# A fork bomb runs into the pids limit and ends, whole, when it is killed.
run --name=bomb --resources='cpus:2;mem:900' --kill_grace=1secs -- sh -c 'f() { f | f & }; f; while :; do usleep 1000000; done' >/tmp/bomb.out 2>&1 &
runner=$!
limited() { g=$(group) && [ -n "$g" ] && grep -q 'max [1-9]' "$g/pids.events"; }
within 150 limited
say pids "$(cat "$(group)/pids.max") $(tr '\n' ' ' <"$(group)/pids.events")"
tepui task kill --master=127.0.0.1:5050 bomb
wait $runner
say bomb_code $?
within 30 gone
say groups_left "$(ls -d /sys/fs/cgroup/mesos/*-*-*-*-* 2>/dev/null | wc -l)"
calm() { [ "$(processes)" -le "$((before + 4))" ]; }
within 30 calm && say processes calm || say processes "before $before, now $(processes)"
say mounts "$(grep -c overlay /proc/self/mountinfo)"

mark 'all'
echo "--- master.log"
tail -n 20 /var/lib/master.log
echo "--- agent.log"
tail -n 60 /var/lib/agent.log
poweroff -f
