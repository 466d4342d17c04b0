//! The registry as the ensemble itself has it on its disks: every write of its head in the ensemble's own order, and the
//! writes that it refused. What masters say of themselves is held against it.

use std::collections::BTreeMap;

use integration::OrFail;
use integration::masters::PATH;
use integration::zookeeper::Transaction;
use serde_json::Value;

use super::logs::{Line, field};

/// The node of the head.
const HEAD: &str = "tepui_registry";
/// Masters' lines about writes that were accepted.
const SAID: [&str; 2] = [" registry taken over ", " registry written "];

/// A write of the head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    zxid: i64,
    session: i64,
    epoch: u64,
    serial: u64,
    writer: String,
}

/// All of it.
#[derive(Debug, Default)]
pub struct History {
    pub writes: Vec<Write>,
    /// Zxid and session of what was refused.
    refused: Vec<(i64, i64)>,
}

impl History {
    #[track_caller]
    pub fn of(transactions: &[Transaction]) -> History {
        let mut history = History::default();
        for done in transactions {
            if done.refused {
                history.refused.push((done.zxid, done.session));
            } else if let Some(head) = done.contents.get(&format!("{PATH}/{HEAD}")) {
                history.writes.push(Write::read(done, head));
            }
        }
        history
    }

    /// The epoch never falls, its writes are numbered without a gap, and all are of one writer.
    #[track_caller]
    pub fn is_fenced(&self) {
        for two in self.writes.windows(2) {
            let (before, after) = (&two[0], &two[1]);
            let goes_on = before.epoch == after.epoch
                && before.writer == after.writer
                && before.serial + 1 == after.serial;
            let taken_over = before.epoch < after.epoch && after.serial == 0;
            assert!(
                goes_on || taken_over,
                "the ensemble has accepted a write of a leader that was succeeded: {after:?} after {before:?}"
            );
        }
    }

    /// Each write that a master's log tells of is in the history as it is told.
    #[track_caller]
    pub fn has_all_that_is_said(&self, masters: &[Vec<Line>]) {
        let done: BTreeMap<i64, (u64, u64)> =
            self.writes.iter().map(|write| (write.zxid, (write.epoch, write.serial))).collect();
        let of_registry = |line: &&Line| SAID.iter().any(|what| line.says(what));
        for line in masters.iter().flatten().filter(of_registry) {
            // The first one made the node, and was not told its place.
            let zxid = i64::try_from(line.number("zxid")).or_fail("a zxid");
            let serial = field(&line.text, "serial").and_then(|text| text.parse().ok()).unwrap_or(0);
            if zxid > 0 {
                let said = Some((line.number("epoch"), serial));
                assert_eq!(done.get(&zxid).copied(), said, "the ensemble has it otherwise: {}", line.text);
            }
        }
    }

    /// How many writes of leaders came to the ensemble after another one had taken over, and were refused.
    pub fn late(&self) -> usize {
        let is_late = |(zxid, session): &&(i64, i64)| {
            let before = self.writes.iter().take_while(|write| write.zxid < *zxid);
            let led = before.clone().any(|write| write.session == *session);
            led && before.last().is_some_and(|last| last.session != *session)
        };
        self.refused.iter().filter(is_late).count()
    }

    /// How many writes there were but for takeovers.
    pub fn changes(&self) -> usize {
        self.writes.iter().filter(|write| write.serial > 0).count()
    }
}

impl Write {
    #[track_caller]
    fn read(done: &Transaction, head: &[u8]) -> Write {
        let head: Value = serde_json::from_slice(head).or_fail("the head of the registry");
        let number = |name: &str| head[name].as_u64().or_fail(name);
        Write {
            zxid: done.zxid,
            session: done.session,
            epoch: number("epoch"),
            serial: number("serial"),
            writer: head["writer"].as_str().or_fail("its writer").to_owned(),
        }
    }
}

#[test]
fn a_write_after_a_takeover_is_found() {
    let write = |zxid, session, epoch, serial| Write {
        zxid,
        session,
        epoch,
        serial,
        writer: format!("of {session}"),
    };
    let of = |writes: &[Write]| History { writes: writes.to_vec(), refused: vec![(4, 1), (2, 2)] };
    let fenced = |writes: &[Write]| std::panic::catch_unwind(|| of(writes).is_fenced()).is_ok();
    let good = [write(1, 1, 5, 0), write(2, 1, 5, 1), write(3, 2, 6, 0), write(5, 2, 6, 1)];
    assert!(fenced(&good));
    assert_eq!((of(&good).late(), of(&good).changes()), (1, 2));
    assert!(!fenced(&[&good[..], &[write(6, 1, 5, 2)]].concat()), "a lower epoch");
    assert!(!fenced(&[&good[..], &[write(6, 1, 6, 2)]].concat()), "another's epoch");
    assert!(!fenced(&[&good[..], &[write(6, 2, 6, 3)]].concat()), "a write that nobody has made");
    let said = |text: &str| vec![vec![Line { at: 0, text: format!("x registry written {text}") }]];
    of(&good).has_all_that_is_said(&said("epoch=6 serial=1 zxid=5"));
    for other in ["epoch=6 serial=1 zxid=6", "epoch=5 serial=2 zxid=5"] {
        assert!(
            std::panic::catch_unwind(|| of(&good).has_all_that_is_said(&said(other))).is_err(),
            "{other}"
        );
    }
}
