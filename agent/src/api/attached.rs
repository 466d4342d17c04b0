//! The virtual paths of sandboxes and of the log.

use std::path::Path;

use serving::files::Attached;

use crate::logic::{Task, View};
use crate::names::encode;
use crate::service::Paths;

/// Every virtual path and what it means. Mesos: three for each run, and the log under `/slave/log`.
pub(super) fn attached(view: &View, paths: &Paths, log: Option<&Path>) -> Attached {
    let mut all = Attached::new();
    all.extend(
        log.map(|file| ("/slave/log".to_owned(), file.canonicalize().unwrap_or_else(|_| file.to_owned()))),
    );
    // Oldest first, so that `latest` is in the end the newest; running ones come last of all.
    let completed = view.completed_frameworks.iter().chain(view.frameworks.values());
    let completed = completed.flat_map(|f| f.completed.iter());
    let live = view.frameworks.values().flat_map(|f| f.tasks.values());
    for task in completed.chain(live) {
        attach(&mut all, task, paths);
    }
    all
}

fn attach(all: &mut Attached, task: &Task, paths: &Paths) {
    let run = &task.run;
    let sandbox = paths.sandbox(run);
    let Some(runs) = sandbox.parent() else { return };
    let latest = runs.join("latest");
    for path in [&sandbox, &latest] {
        all.insert(path.to_string_lossy().into_owned(), sandbox.clone());
    }
    let (framework, executor) = (run.framework.as_str(), run.executor.as_str());
    all.insert(format!("/frameworks/{framework}/executors/{executor}/runs/latest"), sandbox.clone());
    let (framework, executor) = (encode(framework), encode(executor));
    all.insert(format!("/frameworks/{framework}/executors/{executor}/runs/latest"), sandbox);
}
