// Drives mesos-framework's scheduler: scheduler.js CLIENT MASTER TASKS, with CLIENT the folder that holds node_modules.
// Tasks, orders and what is printed are as in ../python/scheduler.py; the ids of tasks are the client's own.
"use strict";

const path = require("path");
const readline = require("readline");
const framework = require(path.join(process.argv[2], "node_modules", "mesos-framework"));

const mesos = framework.Mesos.getMesos();
const [host, port] = process.argv[3].split(":");
const lines = JSON.parse(process.argv[4]);

const out = process.stdout;
const say = (event, more) => out.write(JSON.stringify(Object.assign({ event }, more)) + "\n");
// The client's log goes to the console; stdout is for events.
console.log = console.info = (...words) => process.stderr.write(words.join(" ") + "\n");

const tasks = {};
for (const [name, line] of Object.entries(lines)) {
    tasks[name] = {
        priority: 1,
        instances: 1,
        commandInfo: new mesos.CommandInfo(null, null, true, line, null, null),
        resources: { cpus: 0.1, mem: 32, ports: 1, disk: 0 },
    };
}

const scheduler = new framework.Scheduler({
    masterUrl: host,
    port,
    frameworkName: "mesos-framework",
    logging: { path: process.cwd(), fileName: "client.log", level: "debug" },
    masterConnectionTimeout: 60,
    restartStates: ["TASK_LOST"],
    tasks,
});

scheduler.on("ready", () => scheduler.subscribe());
scheduler.on("subscribed", (it) => say("subscribed", { framework: it.frameworkId, stream: it.mesosStreamId }));
scheduler.on("offers", (it) => it.offers.forEach((o) => say("offer", { id: o.id.value, hostname: o.hostname })));
scheduler.on("update", ({ status }) =>
    say("update", {
        task: status.task_id.value,
        state: status.state,
        reason: status.reason,
        message: status.message,
        acknowledged: "uuid" in status,
    }));
scheduler.on("error", (error) => say("error", { message: error.message || String(error) }));
for (const sent of ["accept", "decline", "kill", "reconcile", "revive", "teardown", "acknowledge"]) {
    scheduler.on("sent_" + sent, () => say("accepted", { call: sent }));
}

const agentOf = (id) => scheduler.launchedTasks.find((task) => task.taskId === id)?.runtimeInfo.agentId;

readline.createInterface({ input: process.stdin }).on("line", (line) => {
    const order = JSON.parse(line);
    if (order.do === "reconcile" && order.tasks.length === 0) {
        scheduler.reconcile();
    } else if (order.do === "reconcile") {
        order.tasks.forEach((id) => scheduler.reconcile(id, agentOf(id)));
    } else if (order.do === "kill") {
        scheduler.kill(order.task, agentOf(order.task));
    } else if (order.do === "revive") {
        scheduler.revive();
    } else if (order.do === "stop") {
        scheduler.removeAllListeners("error");
        scheduler.on("error", () => {});
        scheduler.on("sent_teardown", () => {
            say("stopped");
            process.exit(0);
        });
        scheduler.teardown();
    }
    say("done", { order: order.do });
});
