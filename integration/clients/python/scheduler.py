"""Drives pymesos' scheduler: scheduler.py MASTER TASKS.

TASKS is JSON, {"name": "line for a shell", ...}; all of them go onto the first offer that is big enough. Orders are
lines of JSON on stdin: {"do": "reconcile", "tasks": [ids]}, {"do": "kill", "task": id}, {"do": "stop"}. What is heard
goes to stdout, one JSON object a line.
"""

import json
import logging
import sys
import threading

from pymesos import MesosSchedulerDriver, Scheduler

CPUS, MEM = 0.1, 32.0
PRINTING = threading.Lock()


def say(event, **more):
    with PRINTING:
        print(json.dumps(dict(event=event, **more)), flush=True)


def scalar(name, value):
    return {"name": name, "type": "SCALAR", "scalar": {"value": value}}


def amount(offer, name):
    return sum(r["scalar"]["value"] for r in offer["resources"] if r["name"] == name)


class Launcher(Scheduler):
    def __init__(self, tasks):
        self.waiting = tasks

    def registered(self, driver, framework_id, master_info):
        say("subscribed", framework=framework_id["value"], master=master_info)

    def reregistered(self, driver, master_info):
        say("subscribed again", master=master_info)

    def disconnected(self, driver):
        say("disconnected")

    def resourceOffers(self, driver, offers):
        for offer in offers:
            say("offer", id=offer["id"]["value"], hostname=offer["hostname"])
            many = len(self.waiting)
            fits = amount(offer, "cpus") >= CPUS * many and amount(offer, "mem") >= MEM * many
            if many and fits:
                tasks = [self.task(name, line, offer) for name, line in self.waiting.items()]
                self.waiting = {}
                driver.launchTasks(offer["id"], tasks, {"refuse_seconds": 0.5})
            else:
                driver.declineOffer(offer["id"], {"refuse_seconds": 3600})
                if not self.waiting:
                    driver.suppressOffers()

    def task(self, name, line, offer):
        return {
            "name": name,
            "task_id": {"value": name},
            "agent_id": offer["agent_id"],
            "resources": [scalar("cpus", CPUS), scalar("mem", MEM)],
            "command": {"value": line},
        }

    def offerRescinded(self, driver, offer_id):
        say("rescinded", id=offer_id["value"])

    def statusUpdate(self, driver, update):
        say(
            "update",
            task=update["task_id"]["value"],
            state=update["state"],
            reason=update.get("reason"),
            message=update.get("message"),
            acknowledged="uuid" in update,
        )

    def slaveLost(self, driver, agent_id):
        say("agent lost", agent=agent_id["value"])

    def error(self, driver, message):
        say("error", message=message)


def main():
    logging.basicConfig(level=logging.INFO)
    master, tasks = sys.argv[1], json.loads(sys.argv[2])
    framework = {"user": "root", "name": "pymesos", "failover_timeout": 60.0, "checkpoint": True}
    driver = MesosSchedulerDriver(Launcher(tasks), framework, master)
    driver.start()
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "reconcile":
            driver.reconcileTasks([{"task_id": {"value": task}} for task in order["tasks"]])
        elif order["do"] == "kill":
            driver.killTask({"value": order["task"]})
        elif order["do"] == "revive":
            driver.reviveOffers()
        elif order["do"] == "stop":
            break
        say("done", order=order["do"])
    driver.stop()
    driver.join()
    say("stopped")


if __name__ == "__main__":
    main()
