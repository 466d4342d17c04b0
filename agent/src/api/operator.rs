//! `/api/v1`: the operator API of the agent.

use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use model::ContainerId;
use serving::{files, logging};
use wire::media::{self, Media};
use wire::v1;
use wire::v1::agent::call::{self, Type};
use wire::v1::agent::response::{self, Type as Answer};
use wire::v1::agent::{Call, Response as Message};

use super::answer::read_body;
use super::{Api, Refusal, Whole, empty, held, need_post, refuse, show, usage, with_type};
use crate::logic::{Event, Stage};

/// The signals that end containers.
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// Answers a call.
pub(super) async fn handle(api: &Api, request: Request<Incoming>) -> Result<Whole, Refusal> {
    // Mesos' order: recovered, method, Content-Type, Accept, and only then the body, which is read as a stream.
    api.need_recovered()?;
    need_post(request.method())?;
    let headers = request.headers().clone();
    let form = media::agent_content_type(&headers).map_err(refused)?;
    let media::Body::Message(form) = form else { return Err(refused(media::unexpected_content_type(false))) };
    // Whether records will do depends on the call.
    media::agent_accept(&headers, true).map_err(refused)?;
    let body = read_body(request).await?;
    let call: Call = media::decode_body(form, &body).map_err(|error| bad(&error.to_string()))?;
    // Mesos: a number that names no call is as good as none.
    let kind = call.r#type.and_then(|kind| Type::try_from(kind).ok());
    let kind = kind.ok_or_else(|| bad("Expecting 'type' to be present"))?;
    let answer = media::agent_accept(&headers, false).map_err(refused)?.media();
    match kind {
        Type::KillContainer => kill_container(api, call.kill_container).await,
        Type::PruneImages => prune_images(api, call.prune_images).await,
        Type::SetLoggingLevel => set_logging_level(call.set_logging_level),
        kind => {
            // The others are small, and some wait for the disk or for keepers.
            let large = [Type::GetState, Type::GetTasks, Type::GetFrameworks, Type::GetExecutors];
            let turn = if large.contains(&kind) { Some(api.turn().await) } else { None };
            Ok(held(encoded(answer, &answer_to(api, kind, call).await?), turn))
        }
    }
}

fn encoded(media: Media, message: &Message) -> Whole {
    with_type(StatusCode::OK, media.content_type(), media::encode_message(media, message))
}

fn refused(refusal: media::Refusal) -> Refusal {
    refuse(refusal.status(), &refusal.to_string())
}

fn bad(why: &str) -> Refusal {
    refuse(StatusCode::BAD_REQUEST, why)
}

/// The part of a call that its type needs.
fn needed<T>(part: Option<T>, name: &str) -> Result<T, Refusal> {
    part.ok_or_else(|| bad(&format!("Expecting '{name}' to be present")))
}

async fn answer_to(api: &Api, kind: Type, call: Call) -> Result<Message, Refusal> {
    let mut message = Message::default();
    match kind {
        Type::GetHealth => {
            message.set_type(Answer::GetHealth);
            message.get_health = Some(response::GetHealth { healthy: true });
        }
        Type::GetVersion => {
            message.set_type(Answer::GetVersion);
            message.get_version = Some(response::GetVersion { version_info: serving::version::info() });
        }
        Type::GetFlags => {
            message.set_type(Answer::GetFlags);
            message.get_flags = Some(response::GetFlags { flags: flags(api) });
        }
        Type::GetMetrics => {
            // The timeout bounds the wait for slow ones in Mesos; there are none here.
            needed(call.get_metrics, "get_metrics")?;
            message.set_type(Answer::GetMetrics);
            message.get_metrics = Some(response::GetMetrics { metrics: api.metrics().await?.messages() });
        }
        Type::GetLoggingLevel => {
            message.set_type(Answer::GetLoggingLevel);
            message.get_logging_level = Some(response::GetLoggingLevel { level: logging::level() });
        }
        Type::ListFiles => {
            let call = needed(call.list_files, "list_files")?;
            message.set_type(Answer::ListFiles);
            let file_infos = api.files(move |attached| files::list_files(&attached, &call.path)).await?;
            message.list_files = Some(response::ListFiles { file_infos });
        }
        Type::ReadFile => {
            let call = needed(call.read_file, "read_file")?;
            message.set_type(Answer::ReadFile);
            message.read_file = Some(read_file(api, call).await?);
        }
        Type::GetContainers => {
            message.set_type(Answer::GetContainers);
            message.get_containers = Some(usage::get_containers(api).await?);
        }
        kind => show::of_view(&mut message, kind, &*api.view().await?)?,
    }
    Ok(message)
}

async fn read_file(api: &Api, call: call::ReadFile) -> Result<response::ReadFile, Refusal> {
    let read = move |attached| files::read_file(&attached, &call.path, call.offset, call.length);
    let chunk = api.files(read).await?;
    Ok(response::ReadFile { size: chunk.size, data: chunk.data.into() })
}

/// Ends the task of a container. Mesos: SIGKILL unless another signal is named; 200 with an empty body, 404 for a
/// container that is not there.
async fn kill_container(api: &Api, call: Option<call::KillContainer>) -> Result<Whole, Refusal> {
    let call = needed(call, "kill_container")?;
    let grace = match call.signal.unwrap_or(SIGKILL) {
        SIGKILL => Some(Duration::ZERO),
        // As a KILL of its scheduler: SIGKILL follows after the task's own grace period.
        SIGTERM => None,
        // Mesos sends any; a keeper of ours knows only how to end its container.
        other => return Err(bad(&format!("Signal {other} can't be sent; {SIGTERM} and {SIGKILL} can"))),
    };
    let container = ContainerId::new(call.container_id.value);
    let view = api.view().await?;
    let mut tasks = view.frameworks.values().flat_map(|f| f.tasks.values());
    if !tasks.any(|task| task.run.container == container && task.stage != Stage::Ended) {
        return Err(refuse(StatusCode::NOT_FOUND, &format!("Container {container:?} cannot be found")));
    }
    if api.sources.reader.tell(Event::KillContainer { container, grace }).await {
        return Ok(empty(StatusCode::OK));
    }
    Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "This agent is ending"))
}

/// Removes images that nobody uses. Mesos: but for those named in the call, or else in `--image_gc_config`; without
/// either everything unused goes.
async fn prune_images(api: &Api, call: Option<call::PruneImages>) -> Result<Whole, Refusal> {
    let images = call.unwrap_or_default().excluded_images.into_iter();
    let excluded = images.filter_map(|image| image.docker).map(|docker| docker.name).collect();
    let pruned = api.sources.containers.prune_images(excluded).await;
    pruned.map(|()| empty(StatusCode::OK)).map_err(|why| refuse(StatusCode::INTERNAL_SERVER_ERROR, &why))
}

fn set_logging_level(call: Option<call::SetLoggingLevel>) -> Result<Whole, Refusal> {
    let call = needed(call, "set_logging_level")?;
    let set = logging::set_by_call(call.level, call.duration.nanoseconds);
    set.map(|()| empty(StatusCode::OK)).map_err(|error| refuse(error.status(), &error.to_string()))
}

fn flags(api: &Api) -> Vec<v1::Flag> {
    let flags = api.about.flags.iter();
    flags.map(|(name, value)| v1::Flag { name: name.clone(), value: Some(value.clone()) }).collect()
}
