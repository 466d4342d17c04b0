//! What waits for one operator that watches. Events are shared: however many watch, each is kept and encoded once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use prost::Message as _;
use wire::media::{self, Media};
use wire::v1::master::Event;

use super::lending::Lent;
use super::outbox::{Growth, Weight};
use crate::logic::OperatorEvent;
use crate::view::View;

/// About what a view takes that is kept for one event: lists of chunks, and the chunks that changed since.
const VIEW: usize = 32 << 10;

/// One thing to tell.
#[derive(Clone, Debug)]
pub enum Told {
    /// The state when the subscription began.
    State(Arc<Lent>),
    /// What happened since.
    Event(Arc<Record>),
    /// Still here.
    Heartbeat,
}

/// An event and, once somebody needed them, its forms. How much they take is known only then: the message of a framework
/// has all of its offers in it, with the attributes of their agents, which the loop has no time to weigh.
#[derive(Debug)]
pub struct Record {
    event: OperatorEvent,
    weight: AtomicUsize,
    growth: Growth,
    forms: Mutex<Forms>,
}

#[derive(Debug, Default)]
struct Forms {
    /// The tables right after the event, where its message shows sums over them and was not yet made.
    view: Option<Arc<Lent>>,
    json: Option<Bytes>,
    protobuf: Option<Bytes>,
}

impl Record {
    /// A record that nobody has needed yet. The view is needed where the message shows sums over the tables.
    pub fn new(event: OperatorEvent, view: Option<Arc<Lent>>, growth: Growth) -> Record {
        let weight = 256 + weight(&event) + view.as_ref().map_or(0, |_| VIEW);
        let forms = Forms { view, ..Forms::default() };
        Record { event, weight: AtomicUsize::new(weight), growth, forms: Mutex::new(forms) }
    }

    /// The record in a form, of the message that `make` gives for the first who needs it.
    pub fn encoded(&self, media: Media, make: impl FnOnce(&OperatorEvent, Option<&View>) -> Event) -> Bytes {
        // A panic elsewhere leaves the forms whole: every change of them is one statement.
        let mut forms = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(form) = forms.of(media) {
            return form.clone();
        }
        let view = forms.view.as_deref().map(|lent| &**lent);
        let message = forms.message().unwrap_or_else(|| make(&self.event, view));
        let form = forms.of(media).insert(media::encode_record(media, &message)).clone();
        let mut more = form.len();
        // The tables are much and change; the message can be had from this form as well.
        if media == Media::Json && forms.view.is_some() {
            more += forms.protobuf.insert(media::encode_record(Media::Protobuf, &message)).len();
        }
        self.weight.fetch_add(more, Ordering::Relaxed);
        if forms.view.take().is_some() {
            self.weight.fetch_sub(VIEW, Ordering::Relaxed);
        }
        self.growth.add(more);
        form
    }
}

impl Forms {
    fn of(&mut self, media: Media) -> &mut Option<Bytes> {
        match media {
            Media::Json => &mut self.json,
            Media::Protobuf => &mut self.protobuf,
        }
    }

    /// The message, once it was made.
    fn message(&self) -> Option<Event> {
        let record = self.protobuf.as_ref()?;
        let length = record.iter().position(|byte| *byte == b'\n')?;
        media::decode_body(Media::Protobuf, &record[length + 1..]).ok()
    }
}

fn weight(event: &OperatorEvent) -> usize {
    match event {
        OperatorEvent::Subscribed | OperatorEvent::Heartbeat | OperatorEvent::AgentRemoved(_) => 0,
        OperatorEvent::TaskAdded(task) => task.info.encoded_len(),
        OperatorEvent::TaskUpdated { status, .. } => status.encoded_len(),
        OperatorEvent::AgentAdded(agent) => agent.facts.info.encoded_len() * 2,
        OperatorEvent::FrameworkAdded(framework)
        | OperatorEvent::FrameworkUpdated(framework)
        | OperatorEvent::FrameworkRemoved(framework) => framework.info.encoded_len(),
    }
}

impl Weight for Told {
    fn weight(&self) -> usize {
        match self {
            // Rows are shared with other views; those that changed since are not.
            Told::State(_) => 64 << 10,
            Told::Event(record) => record.weight.load(Ordering::Relaxed),
            Told::Heartbeat => 64,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use model::{FrameworkId, Timestamp};
    use wire::v1::master::event::{FrameworkAdded, Type};

    use super::super::lending::Lending;
    use super::*;
    use crate::logic::Framework;

    fn framework() -> Framework {
        Framework {
            id: FrameworkId::from("F"),
            info: Arc::default(),
            roles: Vec::new(),
            suppressed: Vec::new(),
            stream: None,
            stream_token: None,
            active: true,
            recovered: false,
            registered: Timestamp::default(),
            reregistered: None,
            unregistered: None,
            generation: 0,
            completed: VecDeque::new(),
        }
    }

    fn added(name: &str) -> Event {
        let mut added = FrameworkAdded::default();
        added.framework.framework_info.name = name.to_owned();
        Event { r#type: Some(Type::FrameworkAdded.into()), framework_added: Some(added), ..Event::default() }
    }

    #[test]
    fn the_tables_are_kept_until_the_message_is_made_and_then_its_forms_count() {
        let name = "n".repeat(100_000);
        for first in [Media::Json, Media::Protobuf] {
            let view = Lending::new().lend(View::default());
            let event = OperatorEvent::FrameworkAdded(framework().into());
            let record = Record::new(event, Some(view.clone()), Growth::default());
            let before = record.weight.load(Ordering::Relaxed);
            assert!((VIEW..2 * VIEW).contains(&before), "{before}");
            record.encoded(first, |_, view| {
                assert!(view.is_some());
                added(&name)
            });
            assert_eq!(Arc::strong_count(&view), 1, "{first:?}");
            for media in [Media::Json, Media::Protobuf, first] {
                let form = record.encoded(media, |_, _| panic!("the message was made"));
                assert_eq!(form, media::encode_record(media, &added(&name)));
            }
            let (after, grown) = (record.weight.load(Ordering::Relaxed), record.growth.ever());
            assert_eq!(after + VIEW, before + grown, "{first:?}");
            assert!((200_000..201_000).contains(&grown), "{grown}");
        }
    }
}
