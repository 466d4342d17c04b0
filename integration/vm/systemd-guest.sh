#!/bin/busybox sh
# Runs inside the virtual machine with systemd, as a unit: the agent's unit is restarted, upgraded, killed and stopped
# under a running task. Prints one line "RESULT name value" for each finding.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
say() { echo "RESULT $1 $2"; }
within() {
    seconds=$1
    shift
    end=$(($(date +%s) + seconds))
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -ge "$end" ] && return 1
        sleep 0.2
    done
}
get() { busybox wget -q -O - "http://127.0.0.1:$1"; }
answers() { get 5051/health; }
groups() { ls -d /sys/fs/cgroup/mesos/*-*-*-*-* 2>/dev/null; }
# The first task's, once it is known which that is.
steady=""
group() {
    [ -n "$steady" ] || { groups | head -n 1 && return; }
    [ -d "$steady" ] && echo "$steady"
}
# The container's init, the task's shell and the keeper, which must never change; the shell's own children may.
alive() {
    for pid in $(cat "$(group)/leaf/cgroup.procs" /sys/fs/cgroup/mesos/keepers/cgroup.procs 2>/dev/null | sort -n); do
        name=$(cat "/proc/$pid/comm" 2>/dev/null)
        case "$name" in sleep | '') ;; *) printf '%s=%s ' "$name" "$pid" ;; esac
    done
}
agent() { systemctl show --property=MainPID --value tepui-agent; }
registered() { get 5050/slaves | grep -q '"active": *true'; }
renewed() { [ "$(agent)" != "$old" ] && [ "$(agent)" != 0 ] && answers && registered; }
check() {
    within 60 renewed || say "$1_agent" "did not come back: $(systemctl show --property=ActiveState,SubState --value tepui-agent | tr '\n' ' ')"
    [ "$(alive)" = "$before" ] && say "$1" same || say "$1" "was $before, is $(alive)"
}

ip link set lo up 2>/dev/null || busybox ip link set lo up
say systemd "$(systemctl --version | head -n 1)"
say cgroup "$(cat /sys/fs/cgroup/cgroup.controllers)"
systemctl start tepui-master tepui-agent
say started $?
within 60 answers || say agent "does not answer"
within 60 registered || say agent "is not registered"

tepui run --master=127.0.0.1:5050 --quiet --image=oci:/image:latest --user=root --name=steady \
    --resources='cpus:0.5;mem:64' -- sh -c 'echo ready >ready; until [ -e go ]; do sleep 1; done; exit 7' >/tmp/run.out 2>&1 &
runner=$!
# The sandbox in which that file is.
place=""
there() {
    file=$(ls /var/lib/tepui/agent/slaves/*/frameworks/*/executors/*/runs/*/"$1" 2>/dev/null | head -n 1)
    place=${file%/*}
    [ -n "$place" ]
}
within 60 there ready || say task "did not start: $(tail -n 3 /tmp/run.out | tr '\n' ' ')"
sandbox=$place
steady=$(group)
# Without an image and not root: it passes the folders of the host on its way, whatever systemd makes of them at a start.
tepui run --master=127.0.0.1:5050 --quiet --user=65534:65534 --name=plain --resources='cpus:0.2;mem:64' \
    -- sh -c 'n=0; until [ -e "$MESOS_SANDBOX/end" ]; do n=$((n+1)); echo $n >"$MESOS_SANDBOX/beat" || exit 9; sleep 1; done; exit 5' \
    >/tmp/plain.out 2>&1 &
plain=$!
within 60 there beat || say plain "did not start: $(tail -n 3 /tmp/plain.out | tr '\n' ' ')"
home=$place
# Still at it: a later number.
goes_on() {
    was=$(cat "$home/beat")
    later() { now=$(cat "$home/beat"); [ -n "$now" ] && [ "$now" != "$was" ]; }
    within 30 later && say "$1" same || say "$1" "beat $was is the last"
}
# The keeper leaves its caller's unit a moment after the start.
settled() { [ "$(wc -l </sys/fs/cgroup/mesos/keepers/cgroup.procs)" -ge 2 ]; }
within 20 settled || say keeper "stays in the unit"
before=$(alive)
say running "$before"
say unit "$(cat /sys/fs/cgroup/system.slice/tepui-agent.service/cgroup.procs | wc -l)"

old=$(agent)
systemctl restart tepui-agent
check restart
goes_on plain_restart

old=$(agent)
cp /usr/bin/tepui /usr/bin/tepui.new && printf 'upgraded' >>/usr/bin/tepui.new && mv /usr/bin/tepui.new /usr/bin/tepui
systemctl restart tepui-agent
check upgrade
say upgraded "$(readlink "/proc/$(agent)/exe")"

old=$(agent)
kill -9 "$old"
check crash

old=0
systemctl daemon-reload
systemctl daemon-reexec
systemctl restart tepui-master
within 60 registered || say master "was not found again"
check reload
# A start that fails before the agent does anything: systemd has set the modes of its folders by then.
systemctl stop tepui-agent
echo 'OPTIONS=--no_such_flag' >/etc/default/tepui-agent
systemctl start tepui-agent
sleep 2
goes_on plain_failed_start
systemctl stop tepui-agent
rm /etc/default/tepui-agent
old=0
systemctl reset-failed tepui-agent
systemctl start tepui-agent
check failed_start
touch "$home/end"
plain_over() { ! kill -0 $plain; }
within 60 plain_over || kill $plain
wait $plain
say plain_exit_code $?
alone() { [ "$(groups)" = "$steady" ] && [ "$(wc -l </sys/fs/cgroup/mesos/keepers/cgroup.procs)" = 1 ]; }
within 30 alone || say plain "is not gone"
before=$(alive)

systemctl stop tepui-agent
say stopped "$(systemctl is-active tepui-agent)"
sleep 2
[ "$(alive)" = "$before" ] && say stop same || say stop "was $before, is $(alive)"
say limit "$(cat "$(group)/memory.max")"
# Nobody is there to hear of it: the task ends meanwhile, and its end is told by the agent that comes.
touch "$sandbox/go"
ended() { [ -z "$(cat "$(group)/leaf/cgroup.procs" 2>/dev/null)" ]; }
within 30 ended || say end "did not come"
old=0
systemctl start tepui-agent
over() { ! kill -0 $runner; }
within 60 over || kill $runner
wait $runner
say exit_code $?
gone() { [ -z "$(groups)" ]; }
within 30 gone
say groups_left "$(groups | wc -l)"
say failed "$(systemctl list-units --state=failed --no-legend --plain | tr '\n' ' ')none"
echo "--- run"
tail -n 5 /tmp/run.out
echo "--- journal"
journalctl -u tepui-agent -u tepui-master --no-pager -o cat | tail -n 60
sync
systemctl poweroff --force --force
