//! `POST /api/v1/scheduler`: the calls of schedulers.

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use wire::media;
use wire::v1::FrameworkInfo;
use wire::v1::scheduler::Call;
use wire::v1::scheduler::call::Type;

use super::calls::{self, Meaning, Subscription};
use super::stream::EventStream;
use super::{Api, Body, Refusal, body, empty, need_post, refuse, refused, stopped};
use crate::logic::{Event, Refused, SchedulerAction};
use crate::service::{Lifeline, uuid};

/// Names the subscription that a call belongs to.
const STREAM_ID: HeaderName = HeaderName::from_static("mesos-stream-id");

/// Answers a call. The checks stand in Mesos' order: the first that fails decides the code.
pub async fn handle(
    api: &Api,
    request: Request<Incoming>,
    principal: Option<String>,
    lifeline: Lifeline,
) -> Result<Response<Body>, Refusal> {
    api.need_leader(request.uri())?;
    need_post(request.method())?;
    let headers = request.headers().clone();
    let call = read::<Call>(api, request).await?;
    match calls::meaning(call).map_err(|why| refuse(StatusCode::BAD_REQUEST, &why))? {
        Meaning::Subscribe(mut subscription) => {
            agree(principal, &mut subscription.info)?;
            subscribe(api, &headers, lifeline, *subscription).await
        }
        Meaning::Act { framework, mut action } => {
            if let SchedulerAction::UpdateFramework { info, .. } = &mut action {
                agree(principal.clone(), info)?;
            }
            // Mesos looks at Accept for SUBSCRIBE and for this call, though its answer has no body.
            if matches!(action, SchedulerAction::ReconcileOperations { .. }) {
                media::accept(&headers).map_err(|why| refuse(why.status(), &why.to_string()))?;
            }
            // Mesos: 200 when the framework is described anew, 202 for all other calls.
            let done = match action {
                SchedulerAction::UpdateFramework { .. } => StatusCode::OK,
                _ => StatusCode::ACCEPTED,
            };
            let means_nothing = matches!(action, SchedulerAction::Ignored(Type::Unknown));
            let stream_token = stream_id(&headers);
            let event = |call| Event::Scheduler { call, framework, principal, stream_token, action };
            let answer = api.handle.call(event).await;
            answer.map_err(stopped)?.map_err(|why| refused(&why))?;
            if means_nothing {
                let what = "Calls of type UNKNOWN can't be handled";
                return Err(refuse(StatusCode::NOT_IMPLEMENTED, what));
            }
            Ok(empty(done))
        }
        Meaning::Missing(what) => Err(refuse(StatusCode::NOT_IMPLEMENTED, what)),
    }
}

/// Mesos: a framework has the principal of its scheduler, or says none.
fn agree(principal: Option<String>, info: &mut FrameworkInfo) -> Result<(), Refusal> {
    match (principal, &info.principal) {
        (Some(asks), Some(says)) if asks != *says => {
            Err(refused(&Refused::OtherPrincipal { asks, says: says.clone() }))
        }
        (Some(asks), None) => {
            info.principal = Some(asks);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Reads a v1 body: Content-Type there (400) and known (415), then the body well-formed (400).
pub async fn read<T: wire::Json>(api: &Api, request: Request<Incoming>) -> Result<T, Refusal> {
    let media =
        media::content_type(request.headers()).map_err(|why| refuse(why.status(), &why.to_string()))?;
    let bytes = body::read(&api.large_bodies, request).await?;
    media::decode_body(media, &bytes).map_err(|why| refuse(StatusCode::BAD_REQUEST, &why.to_string()))
}

fn stream_id(headers: &HeaderMap) -> Option<String> {
    headers.get(STREAM_ID).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

async fn subscribe(
    api: &Api,
    headers: &HeaderMap,
    lifeline: Lifeline,
    subscription: Subscription,
) -> Result<Response<Body>, Refusal> {
    // Mesos looks at Accept for SUBSCRIBE only, before the stream id.
    let media = media::accept(headers).map_err(|why| refuse(why.status(), &why.to_string()))?;
    if headers.contains_key(STREAM_ID) {
        let message = "Subscribe calls should not include the 'Mesos-Stream-Id' header";
        return Err(refuse(StatusCode::BAD_REQUEST, message));
    }
    let token = uuid().map_err(|why| refuse(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()))?;
    let header = HeaderValue::try_from(&token).expect("a UUID is a header value");
    let Subscription { info, suppressed_roles } = subscription;
    let stream_token = token.into();
    let events = api
        .handle
        .stream(lifeline, |stream| Event::Subscribe { stream, stream_token, info, suppressed_roles })
        .await
        .map_err(stopped)?;
    let stream = EventStream::new(events, media, api.about.clone());
    let mut response = Response::new(Body::Events(Box::new(stream)));
    // Not recordio, though the body is: so Mesos says.
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media.content_type()));
    response.headers_mut().insert(STREAM_ID, header);
    Ok(response)
}
