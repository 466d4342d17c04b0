//! `POST /api/v1`: the calls of operators.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serving::files::{self, Attached};
use serving::logging;
use wire::media::{self, Media};
use wire::v1;
use wire::v1::maintenance::{ClusterStatus, Schedule};
use wire::v1::master::call::Type;
use wire::v1::master::response::{self, Type as Answer};
use wire::v1::master::{Call, Response as Message};
use wire::v1::quota::QuotaStatus;

use super::events::WatchStream;
use super::index::Index;
use super::legacy::roles;
use super::scheduler::read;
use super::{Api, Body, Refusal, empty, messages, need_post, process, refuse, refused, stopped, with_type};
use crate::about::About;
use crate::logic::{Event, OperatorAction};
use crate::service::Lifeline;
use crate::view::View;

/// Answers a call. The checks stand in Mesos' order: the first that fails decides the code.
pub async fn handle(
    api: &Api,
    request: Request<Incoming>,
    lifeline: Lifeline,
) -> Result<Response<Body>, Refusal> {
    api.need_leader(request.uri())?;
    need_post(request.method())?;
    let headers = request.headers().clone();
    let call = read::<Call>(api, request).await?;
    let kind = checked(&call).map_err(|why| refuse(StatusCode::BAD_REQUEST, &why))?;
    let media = media::accept(&headers).map_err(|why| refuse(why.status(), &why.to_string()))?;
    match kind {
        Type::Teardown | Type::MarkAgentGone => change(api, call).await,
        Type::Subscribe => subscribe(api, media, lifeline).await,
        Type::SetLoggingLevel => set_logging_level(call),
        Type::GetMetrics | Type::ListFiles | Type::ReadFile => {
            Ok(encoded(media, &of_process(api, kind, call).await?))
        }
        kind => match answer(kind) {
            Some(make) => {
                let work = move |about: &About, view: &View| encoded(media, &make(about, view));
                if is_small(kind) { api.glance(work).await } else { api.read_view(work).await }
            }
            None => Err(refuse(StatusCode::NOT_IMPLEMENTED, &missing(kind))),
        },
    }
}

/// Whether the answer is small whatever the tables hold.
fn is_small(kind: Type) -> bool {
    use Type::{GetFlags, GetHealth, GetLoggingLevel, GetMaster, GetVersion};
    matches!(kind, GetFlags | GetHealth | GetLoggingLevel | GetMaster | GetVersion)
}

/// Mesos: a stream of records whose Content-Type is that of the records; there is no stream id.
async fn subscribe(api: &Api, media: Media, lifeline: Lifeline) -> Result<Response<Body>, Refusal> {
    let told = api.handle.watch(lifeline.clone()).await.map_err(stopped)?;
    let mut response = Response::new(Body::Watch(Box::new(WatchStream::new(api, told, media, lifeline))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media.content_type()));
    Ok(response)
}

fn set_logging_level(call: Call) -> Result<Response<Body>, Refusal> {
    let Some(part) = call.set_logging_level else {
        return Err(refuse(StatusCode::BAD_REQUEST, "Expecting 'set_logging_level' to be present"));
    };
    logging::set_by_call(part.level, part.duration.nanoseconds)
        .map_err(|why| process::refused_level(&why))?;
    Ok(empty(StatusCode::OK))
}

/// The calls about the process rather than the cluster.
async fn of_process(api: &Api, kind: Type, call: Call) -> Result<Message, Refusal> {
    match (kind, call.list_files, call.read_file) {
        (Type::ListFiles, Some(part), _) => {
            let list = move |attached: &Attached| files::list_files(attached, &part.path);
            let file_infos = process::with_files(api, list).await?;
            Ok(Message { list_files: Some(response::ListFiles { file_infos }), ..of(Answer::ListFiles) })
        }
        (Type::ReadFile, _, Some(part)) => {
            let read =
                move |attached: &Attached| files::read_file(attached, &part.path, part.offset, part.length);
            let chunk = process::with_files(api, read).await?;
            let read_file = Some(response::ReadFile { size: chunk.size, data: chunk.data.into() });
            Ok(Message { read_file, ..of(Answer::ReadFile) })
        }
        _ => {
            let metrics = process::snapshot(api).await?.messages();
            Ok(Message { get_metrics: Some(response::GetMetrics { metrics }), ..of(Answer::GetMetrics) })
        }
    }
}

fn encoded(media: Media, message: &Message) -> Response<Body> {
    with_type(StatusCode::OK, media.content_type(), media::encode_message(media, message))
}

/// Checks a call; the errors are texts for 400. Mesos: the type, and the part that the type says is there.
fn checked(call: &Call) -> Result<Type, String> {
    // Mesos: a number that names no type is dropped when the call is read.
    let kind = call.r#type.and_then(|kind| Type::try_from(kind).ok());
    let kind = kind.ok_or_else(|| "Expecting 'type' to be present".to_owned())?;
    let (there, field) = match kind {
        Type::GetMetrics => (call.get_metrics.is_some(), "get_metrics"),
        Type::SetLoggingLevel => (call.set_logging_level.is_some(), "set_logging_level"),
        Type::ListFiles => (call.list_files.is_some(), "list_files"),
        Type::ReadFile => (call.read_file.is_some(), "read_file"),
        Type::UpdateWeights => (call.update_weights.is_some(), "update_weights"),
        Type::ReserveResources => (call.reserve_resources.is_some(), "reserve_resources"),
        Type::UnreserveResources => (call.unreserve_resources.is_some(), "unreserve_resources"),
        Type::CreateVolumes => (call.create_volumes.is_some(), "create_volumes"),
        Type::DestroyVolumes => (call.destroy_volumes.is_some(), "destroy_volumes"),
        Type::GrowVolume => (call.grow_volume.is_some(), "grow_volume"),
        Type::ShrinkVolume => (call.shrink_volume.is_some(), "shrink_volume"),
        Type::UpdateMaintenanceSchedule => {
            (call.update_maintenance_schedule.is_some(), "update_maintenance_schedule")
        }
        Type::StartMaintenance => (call.start_maintenance.is_some(), "start_maintenance"),
        Type::StopMaintenance => (call.stop_maintenance.is_some(), "stop_maintenance"),
        Type::DrainAgent => (call.drain_agent.is_some(), "drain_agent"),
        Type::DeactivateAgent => (call.deactivate_agent.is_some(), "deactivate_agent"),
        Type::ReactivateAgent => (call.reactivate_agent.is_some(), "reactivate_agent"),
        Type::UpdateQuota => (call.update_quota.is_some(), "update_quota"),
        Type::SetQuota => (call.set_quota.is_some(), "set_quota"),
        Type::RemoveQuota => (call.remove_quota.is_some(), "remove_quota"),
        Type::Teardown => (call.teardown.is_some(), "teardown"),
        Type::MarkAgentGone => (call.mark_agent_gone.is_some(), "mark_agent_gone"),
        _ => (true, ""),
    };
    if there { Ok(kind) } else { Err(format!("Expecting '{field}' to be present")) }
}

fn missing(kind: Type) -> String {
    match kind {
        // Mesos: 501.
        Type::Unknown => "Calls of type UNKNOWN can't be handled".to_owned(),
        kind => format!("{} is not supported by this version of the master", kind.as_str_name()),
    }
}

/// Mesos: 200 with an empty body when it is done, which for MARK_AGENT_GONE is when the registry has it.
async fn change(api: &Api, call: Call) -> Result<Response<Body>, Refusal> {
    let action = match (call.teardown, call.mark_agent_gone) {
        (Some(teardown), _) => OperatorAction::Teardown { framework: (&teardown.framework_id).into() },
        (None, Some(gone)) => OperatorAction::MarkAgentGone { agent: (&gone.agent_id).into() },
        (None, None) => return Err(refuse(StatusCode::BAD_REQUEST, "Expecting what to change")),
    };
    operate(api, action).await
}

/// Lets the state decide on a change by an operator.
pub async fn operate(api: &Api, action: OperatorAction) -> Result<Response<Body>, Refusal> {
    let answer = api.handle.call(|call| Event::Operator { call, action }).await;
    answer.map_err(stopped)?.map_err(|why| refused(&why))?;
    Ok(empty(StatusCode::OK))
}

type Make = fn(&About, &View) -> Message;

/// How a call that only reads is answered.
fn answer(kind: Type) -> Option<Make> {
    Some(match kind {
        Type::GetHealth => |_, _| Message {
            get_health: Some(response::GetHealth { healthy: true }),
            ..of(Answer::GetHealth)
        },
        Type::GetFlags => |about, _| Message { get_flags: Some(flags(about)), ..of(Answer::GetFlags) },
        Type::GetVersion => |_, _| Message {
            get_version: Some(response::GetVersion { version_info: serving::version::info() }),
            ..of(Answer::GetVersion)
        },
        Type::GetLoggingLevel => |_, _| Message {
            get_logging_level: Some(response::GetLoggingLevel { level: logging::level() }),
            ..of(Answer::GetLoggingLevel)
        },
        Type::GetState => |_, view| Message { get_state: Some(state(view)), ..of(Answer::GetState) },
        Type::GetAgents => |_, view| Message { get_agents: Some(agents(view)), ..of(Answer::GetAgents) },
        Type::GetFrameworks => {
            |_, view| Message { get_frameworks: Some(frameworks(view)), ..of(Answer::GetFrameworks) }
        }
        Type::GetTasks => |_, view| Message { get_tasks: Some(tasks(view)), ..of(Answer::GetTasks) },
        // Executors of frameworks, operations, weights, maintenance and quotas: none can exist yet.
        Type::GetExecutors => |_, _| Message {
            get_executors: Some(response::GetExecutors::default()),
            ..of(Answer::GetExecutors)
        },
        Type::GetOperations => |_, _| Message {
            get_operations: Some(response::GetOperations::default()),
            ..of(Answer::GetOperations)
        },
        Type::GetWeights => {
            |_, _| Message { get_weights: Some(response::GetWeights::default()), ..of(Answer::GetWeights) }
        }
        Type::GetMaintenanceStatus => |_, _| Message {
            get_maintenance_status: Some(response::GetMaintenanceStatus { status: ClusterStatus::default() }),
            ..of(Answer::GetMaintenanceStatus)
        },
        Type::GetMaintenanceSchedule => |_, _| Message {
            get_maintenance_schedule: Some(response::GetMaintenanceSchedule {
                schedule: Schedule::default(),
            }),
            ..of(Answer::GetMaintenanceSchedule)
        },
        Type::GetQuota => |_, _| Message {
            get_quota: Some(response::GetQuota { status: QuotaStatus::default() }),
            ..of(Answer::GetQuota)
        },
        Type::GetRoles => |_, view| Message {
            get_roles: Some(response::GetRoles { roles: roles::messages(view) }),
            ..of(Answer::GetRoles)
        },
        Type::GetMaster => {
            |about, view| Message { get_master: Some(master(about, view)), ..of(Answer::GetMaster) }
        }
        _ => return None,
    })
}

fn of(kind: Answer) -> Message {
    Message { r#type: Some(kind.into()), ..Message::default() }
}

fn flags(about: &About) -> response::GetFlags {
    let flag = |(name, value): &(String, String)| v1::Flag { name: name.clone(), value: Some(value.clone()) };
    response::GetFlags { flags: about.flags.iter().map(flag).collect() }
}

/// All of the state, as GET_STATE and the first event of a subscription show it.
pub fn state(view: &View) -> response::GetState {
    response::GetState {
        get_tasks: Some(tasks(view)),
        get_executors: Some(response::GetExecutors::default()),
        get_frameworks: Some(frameworks(view)),
        get_agents: Some(agents(view)),
    }
}

fn agents(view: &View) -> response::GetAgents {
    response::GetAgents {
        agents: view.agents.values().map(|agent| messages::agent(agent)).collect(),
        recovered_agents: view.recovered.values().map(|info| (**info).clone()).collect(),
    }
}

fn frameworks(view: &View) -> response::GetFrameworks {
    let index = Index::of(view);
    let message = |framework| messages::framework(framework, view, &index);
    response::GetFrameworks {
        frameworks: view.frameworks.values().map(|framework| message(framework)).collect(),
        completed_frameworks: view.completed_frameworks.iter().map(|framework| message(framework)).collect(),
        recovered_frameworks: Vec::new(),
    }
}

fn tasks(view: &View) -> response::GetTasks {
    let frameworks = view.frameworks.values().chain(&view.completed_frameworks);
    let completed = frameworks.flat_map(|framework| &framework.completed);
    response::GetTasks {
        tasks: view.tasks.values().map(|task| messages::task(task)).collect(),
        unreachable_tasks: view.unreachable_tasks.values().map(|task| messages::task(task)).collect(),
        completed_tasks: completed.map(|task| messages::task(task)).collect(),
        ..response::GetTasks::default()
    }
}

fn master(about: &About, view: &View) -> response::GetMaster {
    response::GetMaster {
        master_info: Some(about.master_info()),
        start_time: Some(about.started.as_secs_f64()),
        elected_time: Some(view.elected.as_secs_f64()),
    }
}
