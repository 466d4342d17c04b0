//! `/api/v1`: the operator API of the agent.

use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use model::ContainerId;
use wire::media::{self, Media};
use wire::v1;
use wire::v1::agent::call::Type;
use wire::v1::agent::response::{self, Type as Answer};
use wire::v1::agent::{Call, Response as Message};

use super::{Api, Body, Refusal, empty, files, need_post, read_body, refuse, with_type};
use crate::VERSION;
use crate::logic::{Event, Stage, Task, View};

/// The signals that end containers.
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// Answers a call.
pub(super) async fn handle(api: &Api, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    // Mesos' order: method, headers, body, Accept.
    need_post(request.method())?;
    let headers = request.headers().clone();
    let form = media::agent_content_type(&headers).map_err(refused)?;
    let media::Body::Message(form) = form else { return Err(refused(media::unexpected_content_type(false))) };
    let body = read_body(request).await?;
    let call: Call = media::decode_body(form, &body)
        .map_err(|error| refuse(StatusCode::BAD_REQUEST, &error.to_string()))?;
    let answer = media::agent_accept(&headers, false).map_err(refused)?.media();
    if call.r#type() == Type::KillContainer {
        return kill_container(api, call.kill_container).await;
    }
    let message = answer_to(api, call).await?;
    Ok(encoded(answer, &message))
}

fn encoded(media: Media, message: &Message) -> Response<Body> {
    with_type(StatusCode::OK, media.content_type(), media::encode_message(media, message))
}

fn refused(refusal: media::Refusal) -> Refusal {
    refuse(refusal.status(), &refusal.to_string())
}

async fn answer_to(api: &Api, call: Call) -> Result<Message, Refusal> {
    let Some(kind) = call.r#type else {
        return Err(refuse(StatusCode::BAD_REQUEST, "Expecting 'type' to be present"));
    };
    let kind = Type::try_from(kind).unwrap_or(Type::Unknown);
    let mut message = Message::default();
    match kind {
        Type::GetHealth => {
            message.set_type(Answer::GetHealth);
            message.get_health = Some(response::GetHealth { healthy: true });
        }
        Type::GetVersion => {
            message.set_type(Answer::GetVersion);
            let version_info = v1::VersionInfo { version: VERSION.to_owned(), ..Default::default() };
            message.get_version = Some(response::GetVersion { version_info });
        }
        Type::GetFlags => {
            message.set_type(Answer::GetFlags);
            message.get_flags = Some(response::GetFlags { flags: flags(api) });
        }
        Type::ListFiles => {
            message.set_type(Answer::ListFiles);
            message.list_files = Some(list_files(api, call.list_files).await?);
        }
        Type::ReadFile => {
            message.set_type(Answer::ReadFile);
            message.read_file = Some(read_file(api, call.read_file).await?);
        }
        kind => of_view(&mut message, kind, &*api.view().await?)?,
    }
    Ok(message)
}

/// Ends the task of a container. Mesos: SIGKILL unless another signal is named; 200 with an empty body, 404 for a
/// container that is not there.
async fn kill_container(
    api: &Api,
    call: Option<v1::agent::call::KillContainer>,
) -> Result<Response<Body>, Refusal> {
    let bad = |why: &str| refuse(StatusCode::BAD_REQUEST, why);
    let call = call.ok_or_else(|| bad("Expecting 'kill_container' to be present"))?;
    let grace = match call.signal.unwrap_or(SIGKILL) {
        SIGKILL => Some(Duration::ZERO),
        // As a KILL of its scheduler: SIGKILL follows after the task's own grace period.
        SIGTERM => None,
        other => return Err(bad(&format!("Signal {other} can't be sent; {SIGTERM} and {SIGKILL} can"))),
    };
    let container = ContainerId::new(call.container_id.value);
    let view = api.view().await?;
    let mut tasks = view.frameworks.values().flat_map(|f| f.tasks.values());
    if !tasks.any(|task| task.run.container == container && task.stage != Stage::Ended) {
        return Err(refuse(StatusCode::NOT_FOUND, &format!("Container {container:?} cannot be found")));
    }
    if api.reader.tell(Event::KillContainer { container, grace }).await {
        return Ok(empty(StatusCode::OK));
    }
    Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "This agent is ending"))
}

/// The calls that show the state.
fn of_view(message: &mut Message, kind: Type, view: &View) -> Result<(), Refusal> {
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
        Type::GetContainers => {
            message.set_type(Answer::GetContainers);
            message.get_containers = Some(containers(view));
        }
        other => {
            let what = format!("{} is not implemented", other.as_str_name());
            return Err(refuse(StatusCode::NOT_IMPLEMENTED, &what));
        }
    }
    Ok(())
}

fn flags(api: &Api) -> Vec<v1::Flag> {
    let flags = api.about.flags.iter();
    flags.map(|(name, value)| v1::Flag { name: name.clone(), value: Some(value.clone()) }).collect()
}

async fn list_files(
    api: &Api,
    call: Option<v1::agent::call::ListFiles>,
) -> Result<response::ListFiles, Refusal> {
    let call = call.ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "Expecting 'list_files' to be present"))?;
    let entries = files::list(api, &call.path).await?;
    let names = api.blocking(files::Names::read).await?;
    let file_infos = entries.into_iter().map(|entry| {
        let stat = &entry.stat;
        v1::FileInfo {
            nlink: i32::try_from(stat.st_nlink).ok(),
            size: u64::try_from(stat.st_size).ok(),
            mtime: Some(v1::TimeInfo { nanoseconds: stat.st_mtime.saturating_mul(1_000_000_000) }),
            mode: Some(stat.st_mode),
            uid: Some(names.user(stat.st_uid)),
            gid: Some(names.group(stat.st_gid)),
            path: entry.path,
        }
    });
    Ok(response::ListFiles { file_infos: file_infos.collect() })
}

async fn read_file(
    api: &Api,
    call: Option<v1::agent::call::ReadFile>,
) -> Result<response::ReadFile, Refusal> {
    let call = call.ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "Expecting 'read_file' to be present"))?;
    let chunk = files::chunk(api, Some(&call.path), Some(call.offset), call.length).await?;
    Ok(response::ReadFile { size: chunk.size, data: chunk.data.into() })
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

fn executor(task: &Task) -> v1::ExecutorInfo {
    v1::ExecutorInfo {
        executor_id: (&task.run.executor).into(),
        framework_id: Some((&task.run.framework).into()),
        name: Some(crate::executor_name(&task.info)),
        source: Some(task.run.task.as_str().to_owned()),
        command: task.info.command.clone(),
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

fn containers(view: &View) -> response::GetContainers {
    let tasks = view.frameworks.values().flat_map(|f| f.tasks.values());
    let running = tasks.filter(|task| task.stage == Stage::Running);
    let containers = running.map(|task| response::get_containers::Container {
        framework_id: Some((&task.run.framework).into()),
        executor_id: Some((&task.run.executor).into()),
        executor_name: Some(crate::executor_name(&task.info)),
        container_id: (&task.run.container).into(),
        container_status: task.statuses.last().and_then(|s| s.container_status.clone()),
        resource_statistics: None,
    });
    response::GetContainers { containers: containers.collect() }
}
