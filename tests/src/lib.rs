//! The logic of the master and of agents together, in one thread, on virtual time and a seeded network.
//!
//! Nothing here opens a socket, needs root or sleeps. `seeds` runs whole clusters through random faults and checks
//! invariants after each step, with one master at a time or with some that contend in an ensemble (`joined`); `scenarios`
//! are single stories as golden text; `large` is one cluster of ten thousands of agents; `election` is masters that
//! contend for leadership in an ensemble.
//!
//! What goes wrong: links and streams break, with what was under way; each end learns of it in its own time; hosts are
//! cut off; messages are late or said twice; calls overtake each other, are lost or repeated; masters, agents and
//! schedulers die and come back; disks and the registry are slow, refuse single writes or all of them for a while; hosts
//! are wiped, leave, are given up or come back with more than they had. Where masters contend they are stopped, killed and
//! cut off, servers are, too, sessions end, writes wait or lose their answers. `faults` counts them by kind.
//!
//! What must hold after each step, and who watches it:
//! - offered + used + free = total on each agent, nothing more than there is, every index agrees with its table: the
//!   master's own audit (`master_node`); what it believes to be used on a host is what runs there, and that fits into the
//!   host, told from the containers alone (`quiet`, `containers`);
//! - nobody hears of an agent, an offer or a lost task before the registry has it, the master shows what the registry
//!   holds, and does nothing more once a write failed: `books`, `registry`;
//! - a task is started once, on one agent, after it is on disk; a container stays until its task's end is: `containers`;
//! - an update is sent after it is on disk, in order, at once when the agent registers, again exactly when its back-off
//!   is over, until it is acknowledged, and never after: `postman`, from outside the logic;
//! - each framework hears one end of each task, by its capabilities: `ends`;
//! - a task whose scheduler wants it goes on, whatever becomes of masters: `containers`; a framework keeps its id, and has
//!   it alone: `scheduler`;
//! - once a master of a higher epoch has acted none of a lower one does, or is obeyed, or writes: `joined`;
//! - each call is answered; time moves on: `scheduler`, `world`.
//!
//! At the end of each seed nothing goes wrong any more, and all must come to rest (`chaos`).

#![forbid(unsafe_code)]

#[cfg(test)]
mod agent_node;
#[cfg(test)]
mod books;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod containers;
#[cfg(test)]
mod detectors;
#[cfg(test)]
mod election;
#[cfg(test)]
mod ends;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod host;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod joined;
#[cfg(test)]
mod large;
#[cfg(test)]
mod master_node;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod mirror;
#[cfg(test)]
mod network;
#[cfg(test)]
mod postman;
#[cfg(test)]
mod quiet;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod scheduler;
#[cfg(test)]
mod script;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod world;
