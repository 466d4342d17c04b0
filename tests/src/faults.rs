//! What went wrong in a world, counted by kind: a simulation in which something never happens proves nothing about it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use model::Timestamp;

/// A message under way for longer than this is late.
const LATE: Duration = Duration::from_secs(1);

/// One kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// A message was under way for more than a second.
    Delayed,
    /// A message never arrived: lost, or on its way when its connection broke.
    Dropped,
    /// A message arrived twice.
    Duplicated,
    /// A call arrived before one that was sent earlier.
    Reordered,
    /// A host was cut off from the master for a while.
    Partitioned,
    /// A link or a stream broke.
    Broken,
    /// An agent's process was killed.
    AgentKilled,
    /// A master's process was killed.
    MasterKilled,
    /// A disk or the registry refused a write.
    WriteRefused,
    /// A disk or the registry became slow.
    StorageSlow,
    /// A host lost its disk and all that ran on it.
    Wiped,
    /// An agent left for good.
    Left,
    /// An operator gave an agent up.
    Gone,
    /// A host had more when its agent came back.
    Grown,
    /// The process of a leading master was killed.
    LeaderKilled,
    /// A leading master was stopped for longer than its session lasts, and continued.
    LeaderStopped,
    /// A leading master was cut off from servers of the ensemble.
    LeaderCutOff,
    /// The ensemble had no majority any more.
    QuorumLost,
    /// A session was ended from outside.
    SessionEnded,
    /// A candidate's node was removed from outside.
    CandidateRemoved,
    /// A write of the registry waited at a server without a majority.
    WriteHeldUp,
    /// A write of the registry was done, and its answer never arrived.
    AnswerLost,
    /// A write of the registry was refused to one that led no more.
    WriteFenced,
    /// A master that led no more had something to say, and did not say it.
    Silenced,
    /// Two masters held themselves for the leading one.
    TwoLeaders,
    /// Agents or schedulers were cut off from masters.
    FrontCut,
    /// Agents or schedulers were cut off from servers of the ensemble.
    DetectorsCut,
    /// Somebody dialled a master that led no more, or not yet.
    DialledInVain,
    /// A master of a lower epoch was refused, by an agent or because of what that has seen.
    EpochRefused,
}

impl Fault {
    /// All kinds that happen everywhere.
    pub const ALL: [Fault; 14] = [
        Fault::Delayed,
        Fault::Dropped,
        Fault::Duplicated,
        Fault::Reordered,
        Fault::Partitioned,
        Fault::Broken,
        Fault::AgentKilled,
        Fault::MasterKilled,
        Fault::WriteRefused,
        Fault::StorageSlow,
        Fault::Wiped,
        Fault::Left,
        Fault::Gone,
        Fault::Grown,
    ];

    /// Those that happen where masters contend in an ensemble.
    pub const AMONG_MASTERS: [Fault; 15] = [
        Fault::LeaderKilled,
        Fault::LeaderStopped,
        Fault::LeaderCutOff,
        Fault::QuorumLost,
        Fault::SessionEnded,
        Fault::CandidateRemoved,
        Fault::WriteHeldUp,
        Fault::AnswerLost,
        Fault::WriteFenced,
        Fault::Silenced,
        Fault::TwoLeaders,
        Fault::FrontCut,
        Fault::DetectorsCut,
        Fault::DialledInVain,
        Fault::EpochRefused,
    ];
}

/// How often each happened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Faults(BTreeMap<Fault, u64>);

impl Faults {
    /// Counts one.
    pub fn add(&mut self, fault: Fault) {
        *self.0.entry(fault).or_default() += 1;
    }

    /// Counts a message that is sent now and arrives at `when`.
    pub fn travels(&mut self, now: Timestamp, when: Timestamp) {
        if when.since(now) > LATE {
            self.add(Fault::Delayed);
        }
    }

    /// How often one happened.
    pub fn of(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or_default()
    }

    /// Adds those of another world.
    pub fn merge(&mut self, other: &Faults) {
        for (fault, count) in &other.0 {
            *self.0.entry(*fault).or_default() += count;
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let among = Fault::AMONG_MASTERS.into_iter().filter(|fault| self.of(*fault) > 0);
        let all: Vec<String> = Fault::ALL
            .into_iter()
            .chain(among)
            .map(|fault| format!("{} {fault:?}", self.of(fault)))
            .collect();
        f.write_str(&all.join(", "))
    }
}
