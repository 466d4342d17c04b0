//! The whole table of state and event, and what must hold for every sequence.
use std::fmt::Write;

use expect_test::expect;
use proptest::prelude::*;

use super::*;

const S: fn(u64) -> Duration = Duration::from_secs;

fn machine(state: State) -> Lifecycle {
    Lifecycle { state, max_completion: Some(S(60)), grace: S(3) }
}

#[test]
fn every_state_and_event() {
    let why = KillReason::Requested;
    let states = [
        State::Starting { hard: None },
        State::Starting { hard: Some(S(19)) },
        State::Starting { hard: Some(S(25)) },
        State::Running { until: None },
        State::Running { until: Some(S(10)) },
        State::Ending { why, hard: S(10) },
        State::Ending { why, hard: S(100) },
        State::Killing { why, again: S(10) },
        State::Ended { why: None, forced: false },
    ];
    let events =
        [Event::Ran, Event::Kill { grace: S(2) }, Event::Kill { grace: S(0) }, Event::Tick, Event::Gone];
    let mut table = String::new();
    for state in states {
        writeln!(table, "{state:?}").unwrap();
        for event in events {
            let (mut machine, mut out) = (machine(state), Vec::new());
            machine.step(S(20), event, &mut out);
            let after = if machine.state == state { "-".to_owned() } else { format!("{:?}", machine.state) };
            writeln!(table, "  {event:?} -> {after} {out:?}").unwrap();
        }
    }
    expect![[r#"
        Starting { hard: None }
          Ran -> Running { until: Some(80s) } []
          Kill { grace: 2s } -> Starting { hard: Some(22s) } []
          Kill { grace: 0ns } -> Starting { hard: Some(20s) } []
          Tick -> - []
          Gone -> Ended { why: None, forced: false } [Finish]
        Starting { hard: Some(19s) }
          Ran -> Killing { why: Requested, again: 21s } [Announce { why: Requested, grace: 0ns }, KillAll]
          Kill { grace: 2s } -> - []
          Kill { grace: 0ns } -> - []
          Tick -> Killing { why: Requested, again: 21s } [Announce { why: Requested, grace: 0ns }, KillAll]
          Gone -> Ended { why: Some(Requested), forced: false } [Finish]
        Starting { hard: Some(25s) }
          Ran -> Ending { why: Requested, hard: 25s } [Announce { why: Requested, grace: 5s }, Terminate]
          Kill { grace: 2s } -> Starting { hard: Some(22s) } []
          Kill { grace: 0ns } -> Starting { hard: Some(20s) } []
          Tick -> - []
          Gone -> Ended { why: Some(Requested), forced: false } [Finish]
        Running { until: None }
          Ran -> - []
          Kill { grace: 2s } -> Ending { why: Requested, hard: 22s } [Announce { why: Requested, grace: 2s }, Terminate]
          Kill { grace: 0ns } -> Killing { why: Requested, again: 21s } [Announce { why: Requested, grace: 0ns }, KillAll]
          Tick -> - []
          Gone -> Ended { why: None, forced: false } [Finish]
        Running { until: Some(10s) }
          Ran -> - []
          Kill { grace: 2s } -> Ending { why: Requested, hard: 22s } [Announce { why: Requested, grace: 2s }, Terminate]
          Kill { grace: 0ns } -> Killing { why: Requested, again: 21s } [Announce { why: Requested, grace: 0ns }, KillAll]
          Tick -> Ending { why: CompletionTime, hard: 23s } [Announce { why: CompletionTime, grace: 3s }, Terminate]
          Gone -> Ended { why: None, forced: false } [Finish]
        Ending { why: Requested, hard: 10s }
          Ran -> - []
          Kill { grace: 2s } -> - []
          Kill { grace: 0ns } -> Killing { why: Requested, again: 21s } [KillAll]
          Tick -> Killing { why: Requested, again: 21s } [KillAll]
          Gone -> Ended { why: Some(Requested), forced: false } [Finish]
        Ending { why: Requested, hard: 100s }
          Ran -> - []
          Kill { grace: 2s } -> Ending { why: Requested, hard: 22s } []
          Kill { grace: 0ns } -> Killing { why: Requested, again: 21s } [KillAll]
          Tick -> - []
          Gone -> Ended { why: Some(Requested), forced: false } [Finish]
        Killing { why: Requested, again: 10s }
          Ran -> - []
          Kill { grace: 2s } -> - []
          Kill { grace: 0ns } -> - []
          Tick -> Killing { why: Requested, again: 21s } [KillAll]
          Gone -> Ended { why: Some(Requested), forced: true } [Finish]
        Ended { why: None, forced: false }
          Ran -> - []
          Kill { grace: 2s } -> - []
          Kill { grace: 0ns } -> - []
          Tick -> - []
          Gone -> - []
    "#]].assert_eq(&table);
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Ran),
        (0u64..5).prop_map(|grace| Event::Kill { grace: S(grace) }),
        Just(Event::Tick),
        Just(Event::Gone),
    ]
}

proptest! {
    /// A container that is to die is sent SIGKILL within its grace period, whatever else comes, and
    /// `Finish` comes exactly once, with `Gone`.
    #[test]
    fn a_kill_always_ends(events in prop::collection::vec((event(), 0u64..3), 1..40)) {
        let mut machine = Lifecycle::new(Some(S(20)), S(3));
        let (mut now, mut out, mut deadline) = (S(0), Vec::new(), None::<Duration>);
        let mut gone = 0;
        for (event, pause) in events {
            now += S(pause);
            let before = out.len();
            machine.step(now, event, &mut out);
            machine.step(now, Event::Tick, &mut out);
            gone += usize::from(out[before..].contains(&Effect::Finish));
            if let State::Ending { hard, .. } = machine.state {
                prop_assert!(hard > now && deadline.is_none_or(|d| hard <= d));
                deadline = Some(hard);
            }
            if let (Some(deadline), State::Ending { .. } | State::Running { .. }) = (deadline, machine.state) {
                prop_assert!(now < deadline);
            }
            if !matches!(machine.state, State::Ended { .. } | State::Starting { hard: None } | State::Running { until: None }) {
                prop_assert!(machine.wake_at().is_some());
            }
        }
        prop_assert!(gone <= 1);
        prop_assert_eq!(gone == 1, matches!(machine.state, State::Ended { .. }));
    }
}
