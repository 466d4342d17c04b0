//! The golden form of every message, and what a reader must bear.
use std::fmt::Write;

use expect_test::expect;
use proptest::prelude::*;

use super::*;
use crate::ending::{Exit, FailureKind, Stage};

fn text<M: Serialize>(message: &M) -> String {
    String::from_utf8(encode(message).unwrap()[4..].to_vec()).unwrap()
}

/// Version 1. A diff here that is not an addition breaks keepers that already run.
#[test]
fn golden_version_1() {
    let record = ExitRecord {
        status: Exit::Code(7),
        oom_kills: 0,
        killed_by_us: Some(KillReason::Requested),
        forced: false,
        pid: 12,
        started_at_ms: 1,
        finished_at_ms: 2,
        left_behind: vec!["x".into()],
    };
    let failure = Failure::new(Stage::Exec, FailureKind::ProgramNotFound, "no such program");
    let commands = [
        Command::Kill { grace_ms: None, why: None },
        Command::Kill { grace_ms: Some(500), why: None },
        Command::Statistics {},
    ];
    let reports = [
        Report::Hello { version: 1, keeper_pid: 3 },
        Report::Started { pid: 12, at_ms: 5 },
        Report::Failed(failure),
        Report::Killing { reason: KillReason::CompletionTime, grace_ms: 3000 },
        Report::Exited(record),
        Report::Statistics { at_ms: 9, usage: Statistics { pids_current: Some(2), ..Statistics::default() } },
    ];
    let mut all = String::new();
    for command in &commands {
        writeln!(all, "> {}", text(command)).unwrap();
    }
    for report in &reports {
        writeln!(all, "< {}", text(report)).unwrap();
    }
    expect![[r#"
        > {"kill":{"grace_ms":null}}
        > {"kill":{"grace_ms":500}}
        > {"statistics":{}}
        < {"hello":{"version":1,"keeper_pid":3}}
        < {"started":{"pid":12,"at_ms":5}}
        < {"failed":{"stage":"exec","kind":"program_not_found","message":"no such program"}}
        < {"killing":{"reason":"completion_time","grace_ms":3000}}
        < {"exited":{"status":{"code":7},"oom_kills":0,"killed_by_us":"requested","forced":false,"pid":12,"started_at_ms":1,"finished_at_ms":2,"left_behind":["x"]}}
        < {"statistics":{"at_ms":9,"usage":{"cpu_user_us":null,"cpu_system_us":null,"cpu_periods":null,"cpu_throttled_periods":null,"cpu_throttled_us":null,"memory_current_bytes":null,"memory_and_swap_bytes":null,"memory_limit_bytes":null,"memory_low_bytes":null,"memory_anon_bytes":null,"memory_file_bytes":null,"memory_mapped_bytes":null,"memory_kernel_bytes":null,"memory_sock_bytes":null,"memory_unevictable_bytes":null,"swap_bytes":null,"pressure_low":null,"pressure_medium":null,"pressure_critical":null,"pids_current":2,"pids_limit":null,"processes":null,"threads":null,"oom_kills":null,"io":null,"psi_cpu":null,"psi_memory":null,"psi_io":null}}}
    "#]]
    .assert_eq(&all);
}

#[test]
fn a_newer_message_and_newer_fields_are_borne() {
    let mut decoder = Decoder::default();
    for body in [r#"{"checkpoint":{"to":"x"}}"#, r#"{"kill":{"grace_ms":5,"why":"upgrade"}}"#] {
        decoder.feed(&u32::try_from(body.len()).unwrap().to_be_bytes());
        decoder.feed(body.as_bytes());
    }
    assert_eq!(decoder.next::<Command>().unwrap(), Some(Command::Unknown(Newer)));
    assert_eq!(decoder.next::<Command>().unwrap(), Some(Command::Kill { grace_ms: Some(5), why: None }));
    assert_eq!(decoder.next::<Command>().unwrap(), None);
}

#[test]
fn a_frame_above_the_limit_is_refused_before_it_is_kept() {
    let mut decoder = Decoder::default();
    decoder.feed(&u32::MAX.to_be_bytes());
    assert!(matches!(decoder.next::<Command>(), Err(ProtocolError::TooLong(_))));
}

proptest! {
    #[test]
    fn any_cutting_of_the_bytes_gives_the_same_messages(cuts in prop::collection::vec(1usize..9, 1..60)) {
        let sent: Vec<Report> =
            (0..4).map(|pid| Report::Started { pid, at_ms: u64::from(pid) * 1000 }).collect();
        let bytes: Vec<u8> = sent.iter().flat_map(|r| encode(r).unwrap()).collect();
        let (mut decoder, mut got, mut at) = (Decoder::default(), Vec::new(), 0);
        for cut in cuts.iter().cycle() {
            let end = (at + cut).min(bytes.len());
            decoder.feed(&bytes[at..end]);
            while let Some(report) = decoder.next::<Report>().unwrap() {
                got.push(report);
            }
            at = end;
            if at == bytes.len() { break }
        }
        prop_assert_eq!(got, sent);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = Decoder::default();
        decoder.feed(&bytes);
        while let Ok(Some(_)) = decoder.next::<Command>() {}
    }
}
