//! A scheduler on the v1 HTTP API, in JSON or protobuf.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use wire::media::{self, Media};
use wire::recordio::Decoder;
use wire::v1;
use wire::v1::scheduler::call::{self, Type};
use wire::v1::scheduler::{Call, Event, event};

use super::client::{self, Answer};
use super::soon;

pub const PATH: &str = "/api/v1/scheduler";

/// A subscription and its events.
pub struct Scheduler {
    to: SocketAddr,
    media: Media,
    body: Incoming,
    decoder: Decoder,
    pub stream_id: String,
    pub framework: Option<v1::FrameworkId>,
}

pub fn info(capabilities: &[v1::framework_info::capability::Type]) -> v1::FrameworkInfo {
    let capability = |kind: &v1::framework_info::capability::Type| v1::framework_info::Capability {
        r#type: Some((*kind).into()),
    };
    let multi_role = capabilities.contains(&v1::framework_info::capability::Type::MultiRole);
    v1::FrameworkInfo {
        roles: if multi_role { vec!["*".to_owned()] } else { Vec::new() },
        user: "root".to_owned(),
        name: "test".to_owned(),
        failover_timeout: Some(60.0),
        capabilities: capabilities.iter().map(capability).collect(),
        ..Default::default()
    }
}

pub fn subscribe(info: v1::FrameworkInfo) -> Call {
    let framework_id = info.id.clone();
    let subscribe = call::Subscribe { framework_info: info, ..Default::default() };
    Call {
        r#type: Some(Type::Subscribe.into()),
        framework_id,
        subscribe: Some(subscribe),
        ..Default::default()
    }
}

async fn open(to: SocketAddr, media: Media, call: &Call, stream_id: Option<&str>) -> Response<Incoming> {
    let kind = media.content_type();
    let mut headers = vec![("content-type", kind), ("accept", kind)];
    headers.extend(stream_id.map(|id| ("mesos-stream-id", id)));
    client::open(to, client::request(Method::POST, PATH, &headers, media::encode_message(media, call))).await
}

impl Scheduler {
    /// Sends SUBSCRIBE; what becomes of it are events.
    pub async fn open(to: SocketAddr, media: Media, info: v1::FrameworkInfo) -> Scheduler {
        let response = open(to, media, &subscribe(info), None).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], media.content_type());
        assert!(response.headers().get("content-length").is_none());
        let stream_id = response.headers()["mesos-stream-id"].to_str().unwrap().to_owned();
        assert_eq!(stream_id.len(), 36);
        let body = response.into_body();
        Scheduler { to, media, body, decoder: Decoder::new(64 << 20), stream_id, framework: None }
    }

    /// Subscribes and takes the first event.
    pub async fn subscribed(to: SocketAddr, media: Media, info: v1::FrameworkInfo) -> Scheduler {
        let mut scheduler = Scheduler::open(to, media, info).await;
        let first = scheduler.event().await.expect("a subscription begins with an event");
        let subscribed = first.subscribed.unwrap_or_else(|| panic!("not subscribed: {:?}", first.error));
        assert_eq!(subscribed.heartbeat_interval_seconds, Some(15.0));
        assert_eq!(subscribed.master_info.unwrap().hostname(), "master.test");
        scheduler.framework = Some(subscribed.framework_id);
        scheduler
    }

    /// The next event; none when the stream has ended.
    pub async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some(record) = self.decoder.next().unwrap() {
                return Some(media::decode_body(self.media, &record).unwrap());
            }
            let frame = soon(self.body.frame()).await?;
            // A cut connection is an end, too.
            let Ok(Ok(data)) = frame.map(|frame| frame.into_data()) else { return None };
            self.decoder.push(&data);
        }
    }

    /// The next event of a type; others before it may only be heartbeats.
    pub async fn next(&mut self, kind: event::Type) -> Event {
        let next = async {
            loop {
                let event = self.event().await.unwrap_or_else(|| panic!("the stream ended before {kind:?}"));
                if event.r#type() == kind {
                    return event;
                }
                assert_eq!(event.r#type(), event::Type::Heartbeat, "{event:?} instead of {kind:?}");
            }
        };
        soon(next).await
    }

    /// The status of the next update.
    pub async fn update(&mut self) -> v1::TaskStatus {
        self.next(event::Type::Update).await.update.unwrap().status
    }

    pub async fn offers(&mut self) -> Vec<v1::Offer> {
        self.next(event::Type::Offers).await.offers.unwrap().offers
    }

    /// Sends another call under this subscription.
    pub async fn send(&self, kind: Type, mut call: Call) -> Answer {
        call.r#type = Some(kind.into());
        call.framework_id = self.framework.clone();
        client::finish(open(self.to, self.media, &call, Some(&self.stream_id)).await).await
    }

    /// As [`Scheduler::send`], and it must be taken.
    pub async fn accepted(&self, kind: Type, call: Call) {
        let answer = self.send(kind, call).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        assert!(answer.body.is_empty());
    }

    pub async fn launch(&self, offer: &v1::Offer, task: v1::TaskInfo) {
        self.launch_all(offer, vec![task]).await;
    }

    pub async fn launch_all(&self, offer: &v1::Offer, task_infos: Vec<v1::TaskInfo>) {
        self.accepted(Type::Accept, accept(offer, task_infos)).await;
    }

    pub async fn acknowledge(&self, status: &v1::TaskStatus) {
        let acknowledge = call::Acknowledge {
            agent_id: status.agent_id.clone().unwrap(),
            task_id: status.task_id.clone(),
            uuid: status.uuid.clone().unwrap(),
        };
        self.accepted(Type::Acknowledge, Call { acknowledge: Some(acknowledge), ..Default::default() }).await;
    }
}

/// ACCEPT that launches tasks and keeps the rest for itself.
pub fn accept(offer: &v1::Offer, task_infos: Vec<v1::TaskInfo>) -> Call {
    let launch = v1::offer::operation::Launch { task_infos };
    let operation = v1::offer::Operation {
        r#type: Some(v1::offer::operation::Type::Launch.into()),
        launch: Some(launch),
        ..Default::default()
    };
    let accept = call::Accept {
        offer_ids: vec![offer.id.clone()],
        operations: vec![operation],
        filters: Some(v1::Filters { refuse_seconds: Some(3600.0) }),
    };
    Call { accept: Some(accept), ..Default::default() }
}

/// A command task that takes a part of an offer.
pub fn task(id: &str, offer: &v1::Offer, resources: Vec<v1::Resource>) -> v1::TaskInfo {
    v1::TaskInfo {
        name: format!("name of {id}"),
        task_id: v1::TaskId { value: id.to_owned() },
        agent_id: offer.agent_id.clone(),
        resources,
        command: Some(v1::CommandInfo { value: Some("sleep 1".to_owned()), ..Default::default() }),
        ..Default::default()
    }
}

/// A part of a scalar of an offer.
pub fn part(offer: &v1::Offer, name: &str, amount: f64) -> v1::Resource {
    let mut resource = offer.resources.iter().find(|resource| resource.name == name).unwrap().clone();
    resource.scalar = Some(v1::value::Scalar { value: amount });
    resource
}

pub fn bytes(media: Media, call: &Call) -> Bytes {
    media::encode_message(media, call)
}
