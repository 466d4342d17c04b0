//! The session's story line by line: what comes in, what goes out.

use std::fmt::Write as _;
use std::time::Duration;

use expect_test::{Expect, expect};
use wire::v1::FrameworkId as WireId;

use super::*;

/// A session with a transcript of everything that went in and came out.
struct Story {
    session: Session,
    now: Timestamp,
    text: String,
}

impl Story {
    fn new() -> Story {
        let info = FrameworkInfo { user: "root".to_owned(), name: "f".to_owned(), ..Default::default() };
        Story { session: Session::new(Options::new(info, 1)), now: Timestamp::ZERO, text: String::new() }
    }

    fn after(&mut self, pause: Duration) {
        self.now = self.now + pause;
    }

    fn step(&mut self, name: &str, event: Event) -> &mut Story {
        let mut out = Vec::new();
        self.session.step(self.now, event, &mut out);
        writeln!(self.text, "{:.1} {name}", self.now.as_secs_f64()).unwrap();
        for effect in out {
            let line = match effect {
                Effect::Connect { connection, leader, subscribe } => format!(
                    "connect {connection} to {leader} as {}",
                    subscribe.framework_id.map_or("new".to_owned(), |id| id.value)
                ),
                Effect::Send { leader, stream_id, call } => format!(
                    "send {} as {} to {leader} on {stream_id}",
                    call.r#type().as_str_name(),
                    call.framework_id.map_or_else(String::new, |id| id.value)
                ),
                Effect::Notify(Notice::Event(message)) => format!("hear {}", message.r#type().as_str_name()),
                Effect::Notify(Notice::NotSent(call)) => format!("not sent {}", call.r#type().as_str_name()),
                Effect::Wake(at) => format!("wake in {:.1}", at.since(self.now).as_secs_f64()),
                other => format!("{other:?}"),
            };
            writeln!(self.text, "    {line}").unwrap();
        }
        self
    }

    fn leader(&mut self, port: u16) -> &mut Story {
        let leader = LeaderAddress { host: "m".to_owned(), port };
        self.step("leader", Event::Leader(Some(leader)))
    }

    fn subscribed(&mut self, connection: u64, port: u16) -> &mut Story {
        let leader = LeaderAddress { host: "m".to_owned(), port };
        self.step("opened", Event::Opened { connection, leader, stream_id: format!("stream{connection}") });
        let message = Message {
            r#type: Some(event::Type::Subscribed.into()),
            subscribed: Some(event::Subscribed {
                framework_id: WireId { value: "F1".to_owned() },
                heartbeat_interval_seconds: Some(15.0),
                master_info: None,
            }),
            ..Message::default()
        };
        self.received("SUBSCRIBED", connection, message)
    }

    fn received(&mut self, name: &str, connection: u64, message: Message) -> &mut Story {
        self.step(name, Event::Received { connection, message: Box::new(message) })
    }

    fn closed(&mut self, connection: u64, for_good: bool) -> &mut Story {
        self.step("closed", Event::Closed { connection, why: "gone".to_owned(), for_good })
    }

    fn call(&mut self, kind: call::Type) -> &mut Story {
        let call = Box::new(Call { r#type: Some(kind.into()), ..Call::default() });
        self.step("call", Event::Call(call))
    }

    fn tells(&self, expected: Expect) {
        expected.assert_eq(&self.text);
    }
}

fn plain(kind: event::Type) -> Message {
    Message { r#type: Some(kind.into()), ..Message::default() }
}

#[test]
fn subscribes_calls_and_hears() {
    let mut story = Story::new();
    story.leader(1).call(call::Type::Revive).subscribed(1, 1);
    story.received("HEARTBEAT", 1, plain(event::Type::Heartbeat));
    story.received("OFFERS", 1, plain(event::Type::Offers)).call(call::Type::Accept);
    story.tells(expect![[r#"
        0.0 leader
            connect 1 to m:1 as new
            wake in 30.0
        0.0 call
            not sent REVIVE
        0.0 opened
        0.0 SUBSCRIBED
            wake in 75.0
            Notify(Subscribed { framework_id: F1, again: false })
        0.0 HEARTBEAT
            wake in 75.0
        0.0 OFFERS
            wake in 75.0
            hear OFFERS
        0.0 call
            send ACCEPT as F1 to m:1 on stream1
    "#]]);
}

#[test]
fn a_lost_stream_is_taken_up_under_the_same_id_with_growing_pauses() {
    let mut story = Story::new();
    story.leader(1).subscribed(1, 1).closed(1, false);
    for connection in 2..5 {
        story.after(Duration::from_secs(20));
        story.step("timer", Event::Timer).closed(connection, false);
    }
    story.after(Duration::from_secs(20));
    story.step("timer", Event::Timer).subscribed(5, 1);
    story.tells(expect![[r#"
        0.0 leader
            connect 1 to m:1 as new
            wake in 30.0
        0.0 opened
        0.0 SUBSCRIBED
            wake in 75.0
            Notify(Subscribed { framework_id: F1, again: false })
        0.0 closed
            Notify(Disconnected { why: "gone" })
            wake in 0.4
        20.0 timer
            connect 2 to m:1 as F1
            wake in 30.0
        20.0 closed
            Notify(Unreachable { leader: Some(LeaderAddress { host: "m", port: 1 }), why: "gone" })
            wake in 0.9
        40.0 timer
            connect 3 to m:1 as F1
            wake in 30.0
        40.0 closed
            Notify(Unreachable { leader: Some(LeaderAddress { host: "m", port: 1 }), why: "gone" })
            wake in 2.0
        60.0 timer
            connect 4 to m:1 as F1
            wake in 30.0
        60.0 closed
            Notify(Unreachable { leader: Some(LeaderAddress { host: "m", port: 1 }), why: "gone" })
            wake in 2.9
        80.0 timer
            connect 5 to m:1 as F1
            wake in 30.0
        80.0 opened
        80.0 SUBSCRIBED
            wake in 75.0
            Notify(Subscribed { framework_id: F1, again: true })
    "#]]);
}

#[test]
fn silence_ends_a_connection_and_news_of_it_no_longer_count() {
    let mut story = Story::new();
    story.leader(1).subscribed(1, 1);
    story.after(Duration::from_secs(74));
    story.step("timer", Event::Timer);
    story.after(Duration::from_secs(1));
    story.step("timer", Event::Timer).closed(1, false);
    story.received("OFFERS", 1, plain(event::Type::Offers));
    story.tells(expect![[r#"
        0.0 leader
            connect 1 to m:1 as new
            wake in 30.0
        0.0 opened
        0.0 SUBSCRIBED
            wake in 75.0
            Notify(Subscribed { framework_id: F1, again: false })
        74.0 timer
            wake in 1.0
        75.0 timer
            Close { connection: 1 }
            Notify(Disconnected { why: "no heartbeat from the master" })
            wake in 0.4
        75.0 closed
        75.0 OFFERS
    "#]]);
}

#[test]
fn another_leader_takes_over() {
    let mut story = Story::new();
    story.leader(1).subscribed(1, 1).leader(2).subscribed(2, 2).call(call::Type::Decline);
    story.step("no leader", Event::Leader(None)).call(call::Type::Decline).leader(1);
    story.tells(expect![[r#"
        0.0 leader
            connect 1 to m:1 as new
            wake in 30.0
        0.0 opened
        0.0 SUBSCRIBED
            wake in 75.0
            Notify(Subscribed { framework_id: F1, again: false })
        0.0 leader
            Close { connection: 1 }
            Notify(Disconnected { why: "another master leads" })
            connect 2 to m:2 as F1
            wake in 30.0
        0.0 opened
        0.0 SUBSCRIBED
            wake in 75.0
            Notify(Subscribed { framework_id: F1, again: true })
        0.0 call
            send DECLINE as F1 to m:2 on stream2
        0.0 no leader
            Close { connection: 2 }
            Notify(Disconnected { why: "another master leads" })
        0.0 call
            not sent DECLINE
        0.0 leader
            connect 3 to m:1 as F1
            wake in 30.0
    "#]]);
}

#[test]
fn an_error_or_a_final_refusal_ends_the_session() {
    let mut story = Story::new();
    let mut error = plain(event::Type::Error);
    error.error = Some(event::Error { message: "Framework has been removed".to_owned() });
    story.leader(1).subscribed(1, 1).received("ERROR", 1, error).leader(2).call(call::Type::Kill);
    story.step("timer", Event::Timer);
    let mut refused = Story::new();
    refused.leader(1).closed(1, true);
    story.text.push_str(&refused.text);
    story.tells(expect![[r#"
        0.0 leader
            connect 1 to m:1 as new
            wake in 30.0
        0.0 opened
        0.0 SUBSCRIBED
            wake in 75.0
            Notify(Subscribed { framework_id: F1, again: false })
        0.0 ERROR
            wake in 75.0
            Close { connection: 1 }
            Notify(Failed { why: "Framework has been removed" })
        0.0 leader
        0.0 call
            not sent KILL
        0.0 timer
        0.0 leader
            connect 1 to m:1 as new
            wake in 30.0
        0.0 closed
            Close { connection: 1 }
            Notify(Failed { why: "gone" })
    "#]]);
}
