//! The agent's metrics by Mesos' keys.
//!
//! Left out are those of parts that are not there: the fetcher, resource providers, CSI, other isolators.

use model::{Milli, Resource, Resources};
use serving::metrics::Snapshot;
use serving::system::System;

use super::About;
use super::legacy::used;
use crate::containerizer::ContainerTally;
use crate::logic::{Stage, Task, View};

/// All of them.
pub(super) fn snapshot(about: &About, view: &View, containers: &ContainerTally) -> Snapshot {
    let mut all = Snapshot::default();
    System::read().add_to(&mut all);
    all.gauge("slave/uptime_secs", about.since.elapsed().as_secs_f64());
    if let Some(took) = *about.recovery.borrow() {
        all.gauge("slave/recovery_time_secs", took.as_secs_f64());
    }
    all.count("slave/registered", usize::from(view.registered));
    all.count("slave/frameworks_active", view.frameworks.len());
    all.gauge("slave/executor_directory_max_allowed_age_secs", view.garbage_age.as_secs_f64());
    tasks(&mut all, view);
    counters(&mut all, view);
    resources(&mut all, &view.settings.total, &used(view));
    all.counter("containerizer/mesos/container_destroy_errors", containers.destroy_errors);
    all.counter("containerizer/mesos/provisioner/remove_container_errors", containers.rootfs_errors);
    all.timer("containerizer/mesos/provisioner/docker_store/image_pull_ms", &containers.pulls);
    all
}

fn tasks(all: &mut Snapshot, view: &View) {
    let live = || view.frameworks.values().flat_map(|f| f.tasks.values()).map(|task| &**task);
    for (key, state) in [
        ("slave/tasks_staging", "TASK_STAGING"),
        ("slave/tasks_starting", "TASK_STARTING"),
        ("slave/tasks_running", "TASK_RUNNING"),
        ("slave/tasks_killing", "TASK_KILLING"),
    ] {
        all.count(key, live().filter(|task| task.state.name() == state).count());
    }
    let executors = |wanted: fn(&Task) -> bool| live().filter(|task| wanted(task)).count();
    let running = |task: &Task| task.stage == Stage::Running && task.kill.is_none();
    let registering = |task: &Task| matches!(task.stage, Stage::Saving | Stage::Launching);
    let terminating = |task: &Task| task.stage == Stage::Running && task.kill.is_some();
    all.count("slave/executors_registering", executors(registering));
    all.count("slave/executors_running", executors(running));
    all.count("slave/executors_terminating", executors(terminating));
    let images = |task: &Task| task.stage == Stage::Running && task.info.container.is_some();
    all.count("containerizer/mesos/filesystem/containers_new_rootfs", executors(images));
}

fn counters(all: &mut Snapshot, view: &View) {
    let counts = &view.counts;
    for (key, count) in [
        ("slave/tasks_finished", counts.finished),
        ("slave/tasks_failed", counts.failed),
        ("slave/tasks_killed", counts.killed),
        ("slave/tasks_lost", counts.lost),
        ("slave/tasks_gone", counts.gone),
        ("slave/valid_status_updates", counts.updates),
        // Every update is of the agent's own making, and messages to executors don't reach it.
        ("slave/invalid_status_updates", 0),
        ("slave/valid_framework_messages", 0),
        ("slave/invalid_framework_messages", 0),
        ("slave/executors_terminated", counts.executors_terminated),
        ("slave/executors_preempted", 0),
        ("slave/container_launch_errors", counts.launch_errors),
        ("slave/recovery_errors", counts.recovery_errors),
        ("gc/path_removals_succeeded", counts.removals),
        ("gc/path_removals_failed", counts.failed_removals),
    ] {
        all.counter(key, count);
    }
    all.count("gc/path_removals_pending", view.garbage);
}

/// Total, used, and used as a part of the total. Mesos: 0 of 0 is 0.
fn resources(all: &mut Snapshot, total: &Resources, used: &Resources) {
    for (revocable, suffix) in [(false, ""), (true, "_revocable")] {
        let kind = |resource: &Resource| resource.kind.revocable == revocable;
        let (total, used) = (total.filter(kind), used.filter(kind));
        for name in ["cpus", "gpus", "mem", "disk"] {
            let (total, used) = (total.scalar(name), used.scalar(name));
            all.gauge(format!("slave/{name}{suffix}_total"), total.as_f64());
            all.gauge(format!("slave/{name}{suffix}_used"), used.as_f64());
            let part = if total > Milli::ZERO { used.as_f64() / total.as_f64() } else { 0.0 };
            all.gauge(format!("slave/{name}{suffix}_percent"), part);
        }
    }
}
