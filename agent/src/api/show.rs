//! The state as messages: the calls of `/api/v1` that only look.

use http::StatusCode;
use model::secrets::hide_in_command;
use wire::v1;
use wire::v1::agent::Response as Message;
use wire::v1::agent::call::Type;
use wire::v1::agent::response::{self, Type as Answer};

use super::{Refusal, refuse};
use crate::logic::{Stage, Task, View};

/// The calls that show the state.
pub(super) fn of_view(message: &mut Message, kind: Type, view: &View) -> Result<(), Refusal> {
    match kind {
        Type::GetState => {
            message.set_type(Answer::GetState);
            message.get_state = Some(response::GetState {
                get_tasks: Some(tasks(view)),
                get_executors: Some(executors(view)),
                get_frameworks: Some(frameworks(view)),
            });
        }
        Type::GetTasks => {
            message.set_type(Answer::GetTasks);
            message.get_tasks = Some(tasks(view));
        }
        Type::GetExecutors => {
            message.set_type(Answer::GetExecutors);
            message.get_executors = Some(executors(view));
        }
        Type::GetFrameworks => {
            message.set_type(Answer::GetFrameworks);
            message.get_frameworks = Some(frameworks(view));
        }
        Type::GetAgent => {
            message.set_type(Answer::GetAgent);
            let mut info = view.settings.info.clone();
            info.id = view.agent.as_ref().map(Into::into);
            message.get_agent = Some(response::GetAgent { agent_info: Some(info), ..Default::default() });
        }
        Type::GetOperations => {
            message.set_type(Answer::GetOperations);
            // Reservations and volumes by calls are not there yet, so no operation ever is.
            message.get_operations = Some(response::GetOperations::default());
        }
        Type::GetResourceProviders => {
            message.set_type(Answer::GetResourceProviders);
            message.get_resource_providers = Some(response::GetResourceProviders::default());
        }
        other => {
            let what = format!("{} is not implemented", other.as_str_name());
            return Err(refuse(StatusCode::NOT_IMPLEMENTED, &what));
        }
    }
    Ok(())
}

fn tasks(view: &View) -> response::GetTasks {
    let mut all = response::GetTasks::default();
    for task in view.frameworks.values().flat_map(|f| f.tasks.values()) {
        let list = match task.stage {
            Stage::Saving => &mut all.pending_tasks,
            Stage::Launching if task.statuses.is_empty() => &mut all.queued_tasks,
            Stage::Launching | Stage::Running => &mut all.launched_tasks,
            Stage::Ended => &mut all.terminated_tasks,
        };
        list.push(task.to_wire());
    }
    all.completed_tasks = completed(view).map(|task| task.to_wire()).collect();
    all
}

fn completed(view: &View) -> impl Iterator<Item = &Task> {
    let frameworks = view.frameworks.values().chain(&view.completed_frameworks);
    frameworks.flat_map(|f| f.completed.iter().map(|task| &**task))
}

fn executors(view: &View) -> response::GetExecutors {
    let live = view.frameworks.values().flat_map(|f| f.tasks.values());
    let live = live.map(|task| response::get_executors::Executor { executor_info: executor(task) });
    let past =
        completed(view).map(|task| response::get_executors::Executor { executor_info: executor(task) });
    response::GetExecutors { executors: live.collect(), completed_executors: past.collect() }
}

/// Mesos: the executor of a command task has what the task has.
fn executor(task: &Task) -> v1::ExecutorInfo {
    let mut command = task.info.command.clone();
    if let Some(command) = &mut command {
        hide_in_command(command);
    }
    v1::ExecutorInfo {
        executor_id: (&task.run.executor).into(),
        framework_id: Some((&task.run.framework).into()),
        name: Some(crate::executor_name(&task.info)),
        source: Some(task.run.task.as_str().to_owned()),
        command,
        resources: task.info.resources.clone(),
        labels: task.info.labels.clone(),
        discovery: task.info.discovery.clone(),
        ..Default::default()
    }
}

fn frameworks(view: &View) -> response::GetFrameworks {
    let framework = |f: &crate::logic::Framework| response::get_frameworks::Framework {
        framework_info: (*f.info).clone(),
    };
    response::GetFrameworks {
        frameworks: view.frameworks.values().map(framework).collect(),
        completed_frameworks: view.completed_frameworks.iter().map(framework).collect(),
    }
}
