//! An agent that comes back with more, or as less, than it was: `--reconfiguration_policy`.

use integration::task::{scalar, shell, task};
use integration::{Cluster, Options, eventually, needs};
use serde_json::{Value, json};

fn with(cpus: u32, ports: &str) -> String {
    format!("cpus:{cpus};mem:2048;disk:1024;ports:[{ports}]")
}

/// Starts the agent with other resources, which it must not do; what it says.
fn refused(cluster: &mut Cluster, resources: &str) -> String {
    cluster.kill_agent();
    cluster.options().resources = Some(resources.to_owned());
    cluster.launch_agent();
    let status = cluster.agent_process().wait();
    assert_eq!(status.code(), Some(1), "{}", cluster.agent_process().log());
    cluster.agent_process().log()
}

/// What the master tells of its only agent.
fn told(cluster: &Cluster) -> Value {
    let page = cluster.state("/slaves");
    let agents = page["slaves"].as_array().cloned().unwrap_or_default();
    assert_eq!(agents.len(), 1, "{page}");
    agents[0].clone()
}

#[test]
fn an_agent_that_comes_back_with_more_is_offered_with_more() {
    needs!();
    let options = Options { resources: Some(with(2, "31000-31009")), ..Options::default() };
    let mut cluster = Cluster::with(options);
    let id = cluster.agent_id();
    let mut scheduler = cluster.scheduler();
    scheduler.start(|offer| task("stays", offer, shell("exec sleep 1000")));
    scheduler.wait_for("stays", "TASK_RUNNING");

    let log = refused(&mut cluster, &with(6, "31000-31019"));
    assert!(log.contains("--reconfiguration_policy=additive"), "{log}");
    cluster.options().agent.push("--reconfiguration_policy=additive".to_owned());
    let log = refused(&mut cluster, &with(1, "31000-31009"));
    assert!(log.contains("its resources were") && log.contains("and are only"), "{log}");

    cluster.options().resources = Some(with(6, "31000-31019"));
    cluster.start_agent();
    assert_eq!(cluster.agent_id(), id, "it keeps its id");
    let agent = told(&cluster);
    assert_eq!(
        (&agent["resources"]["cpus"], &agent["resources"]["ports"]),
        (&json!(6.0), &json!("[31000-31019]"))
    );
    assert_eq!(agent["used_resources"]["cpus"], 0.1);
    // More than it ever had before is used beside what runs on.
    eventually("all that is free is offered", || {
        (told(&cluster)["offered_resources"]["cpus"] == 5.9).then_some(())
    });
    scheduler.start(|offer| {
        let mut large = task("large", offer, shell("true"));
        large["resources"] = json!([scalar("cpus", 5.0), scalar("mem", 64.0)]);
        large
    });
    assert_eq!(scheduler.end_of("large")["state"], "TASK_FINISHED");
    scheduler.kill("stays");
    assert_eq!(scheduler.end_of("stays")["state"], "TASK_KILLED");
    assert_eq!(scheduler.ends("stays"), 1);
}
