"""Drives pymesos' operator clients: operator_calls.py MASTER AGENT.

Each line of stdin is an order, {"to": "master" or "agent", "call": a method of the client, "with": [arguments]}, whose
answer goes to stdout as one line of JSON: {"call": …, "answer": …} or {"call": …, "refused": why}. The method `start`
of the master's client subscribes to events, which go there, too: {"event": …}. The end of stdin ends it.
"""

import json
import logging
import sys
import threading

from pymesos import MesosOperatorAgentDriver, MesosOperatorMasterDriver, OperatorMaster

PRINTING = threading.Lock()


def say(**what):
    with PRINTING:
        print(json.dumps(what), flush=True)


class Listener(OperatorMaster):
    def taskAdded(self, task):
        say(event="task added", task=task["task_id"]["value"], state=task["state"])

    def taskUpdated(self, update):
        say(event="task updated", task=update["status"]["task_id"]["value"], state=update["state"])

    def frameworkAdded(self, framework):
        say(event="framework added", name=framework["framework_info"]["name"])

    def frameworkUpdated(self, framework):
        say(event="framework updated", name=framework["framework_info"]["name"])

    def frameworkRemoved(self, framework_info):
        say(event="framework removed", name=framework_info["name"])

    def agentAdded(self, agent):
        say(event="agent added", agent=agent["agent_info"]["id"]["value"])

    def agentRemoved(self, agent_id):
        say(event="agent removed", agent=agent_id)


def main():
    logging.basicConfig(level=logging.INFO)
    drivers = {
        "master": MesosOperatorMasterDriver(sys.argv[1], Listener()),
        "agent": MesosOperatorAgentDriver(sys.argv[2]),
    }
    for line in sys.stdin:
        order = json.loads(line)
        try:
            call = getattr(drivers[order["to"]], order["call"])
            say(call=order["call"], answer=call(*order.get("with", [])))
        except RuntimeError as error:
            say(call=order["call"], refused=str(error))
    drivers["master"].stop()


if __name__ == "__main__":
    main()
