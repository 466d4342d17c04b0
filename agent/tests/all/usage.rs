//! What containers use, when some of them are slow to tell.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;

use crate::common::{framework, get, task};
use crate::fake::Set;

/// Each container's keeper answers only once those of all have been asked.
#[tokio::test]
async fn containers_are_asked_together() {
    let mut set = Set::new().await;
    let agent = set.agent().await;
    set.master.register().await;
    let names = ["a", "b", "c"];
    for (n, name) in names.iter().enumerate() {
        set.master.run(&framework("F", true), task(name, "sleep 9")).await;
        set.fake.start(n).await;
        for _ in ["TASK_STARTING", "TASK_RUNNING"] {
            set.master.status().await;
        }
    }
    *set.fake.statistics.lock().unwrap() =
        Some(runtime::Statistics { memory_current_bytes: Some(7), ..Default::default() });
    *set.fake.together.lock().unwrap() = Some(Arc::new(Barrier::new(names.len())));
    for page in ["/containers", "/monitor/statistics", "/metrics"] {
        let asked = tokio::time::timeout(Duration::from_secs(20), get(agent.address(), page));
        let answer = asked.await.unwrap_or_else(|_| panic!("{page}: one is asked after the other"));
        if page == "/metrics" {
            assert!(answer.text().contains("mesos_"), "{}", answer.text());
            continue;
        }
        let told = answer.json();
        let told: Vec<_> = told.as_array().unwrap().iter().map(|one| &one["executor_id"]).collect();
        assert_eq!(told, names, "{page}: in the order of the tasks");
    }
}
