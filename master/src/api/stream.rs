//! A scheduler's subscription as a body: events become records when the connection can take them, not before.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream as _;
use wire::media::{self, Media};
use wire::v1::scheduler::Event;
use wire::v1::scheduler::event::{
    Error, Failure, Offers, Rescind, Subscribed, Type, Update, UpdateOperationStatus,
};

use super::messages;
use crate::about::About;
use crate::logic::SchedulerEvent;
use crate::service::StreamDrain;

/// The events of one subscription.
#[derive(Debug)]
pub struct EventStream {
    events: StreamDrain<SchedulerEvent>,
    media: Media,
    about: Arc<About>,
}

impl EventStream {
    /// Events in a form that the scheduler accepts.
    pub fn new(events: StreamDrain<SchedulerEvent>, media: Media, about: Arc<About>) -> EventStream {
        EventStream { events, media, about }
    }

    /// The next record.
    pub fn poll_record(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let event = Pin::new(&mut self.events).poll_next(cx);
        event.map(|event| event.map(|event| media::encode_record(self.media, &message(event, &self.about))))
    }
}

/// The message form of an event.
fn message(event: SchedulerEvent, about: &About) -> Event {
    let of = |kind: Type| Event { r#type: Some(kind.into()), ..Event::default() };
    match event {
        SchedulerEvent::Subscribed { framework } => {
            let subscribed = Subscribed {
                framework_id: (&framework).into(),
                heartbeat_interval_seconds: Some(about.heartbeat_interval.as_secs_f64()),
                master_info: Some(about.master_info()),
            };
            Event { subscribed: Some(subscribed), ..of(Type::Subscribed) }
        }
        SchedulerEvent::Offers(offers) => {
            let offers = offers.iter().map(messages::offer_out).collect();
            Event { offers: Some(Offers { offers }), ..of(Type::Offers) }
        }
        SchedulerEvent::Rescind(offer) => {
            Event { rescind: Some(Rescind { offer_id: (&offer).into() }), ..of(Type::Rescind) }
        }
        SchedulerEvent::Update(status) => {
            Event { update: Some(Update { status: *status }), ..of(Type::Update) }
        }
        SchedulerEvent::UpdateOperation(status) => {
            let update = UpdateOperationStatus { status: *status };
            Event { update_operation_status: Some(update), ..of(Type::UpdateOperationStatus) }
        }
        SchedulerEvent::Failure { agent, executor } => {
            let (executor, status) = executor.unzip();
            let executor_id = executor.as_ref().map(Into::into);
            let failure = Failure { agent_id: Some((&agent).into()), executor_id, status };
            Event { failure: Some(failure), ..of(Type::Failure) }
        }
        SchedulerEvent::Error(message) => Event { error: Some(Error { message }), ..of(Type::Error) },
        SchedulerEvent::Heartbeat => of(Type::Heartbeat),
    }
}
