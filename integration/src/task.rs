//! Parts of v1 messages as JSON: frameworks, tasks, commands, containers.

use serde_json::{Value, json};

/// A framework that knows everything there is, survives a minute without its scheduler, and has its tasks checkpointed.
pub fn framework() -> Value {
    let known = ["MULTI_ROLE", "PARTITION_AWARE", "RESERVATION_REFINEMENT", "TASK_KILLING_STATE"];
    json!({
        "user": "root",
        "name": "integration",
        "roles": ["*"],
        "checkpoint": true,
        "failover_timeout": 60.0,
        "capabilities": known.map(|name| json!({"type": name})),
    })
}

/// A line for a shell.
pub fn shell(line: &str) -> Value {
    json!({"shell": true, "value": line})
}

/// A program with its arguments, the first of which is its name.
pub fn program(argv: &[&str]) -> Value {
    json!({"shell": false, "value": argv[0], "arguments": argv})
}

/// A container of an image.
pub fn container(image: &str) -> Value {
    json!({"type": "MESOS", "mesos": {"image": {"type": "DOCKER", "docker": {"name": image}}}})
}

/// An amount of something.
pub fn scalar(name: &str, value: f64) -> Value {
    json!({"name": name, "type": "SCALAR", "scalar": {"value": value}})
}

/// A task on the agent of an offer, with 0.1 CPUs and 64 MB.
pub fn task(id: &str, offer: &Value, command: Value) -> Value {
    json!({
        "name": id,
        "task_id": {"value": id},
        "agent_id": offer["agent_id"],
        "resources": [scalar("cpus", 0.1), scalar("mem", 64.0)],
        "command": command,
    })
}

/// The same in a container of an image.
pub fn task_in(id: &str, offer: &Value, command: Value, image: &str) -> Value {
    let mut task = task(id, offer, command);
    task["container"] = container(image);
    task
}

/// Whether a task in this state has ended.
pub fn is_terminal(state: &str) -> bool {
    const ENDS: [&str; 8] =
        ["FINISHED", "FAILED", "KILLED", "ERROR", "LOST", "DROPPED", "GONE", "GONE_BY_OPERATOR"];
    ENDS.iter().any(|end| state == format!("TASK_{end}"))
}
