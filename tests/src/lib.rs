//! The logic of the master and of agents together, in one thread, on virtual time and a seeded network.
//!
//! Nothing here opens a socket, needs root or sleeps. `seeds` runs whole clusters through random faults and checks
//! invariants after each step; `scenarios` are single stories as golden text; `scale` is one large cluster.

#![forbid(unsafe_code)]

#[cfg(test)]
mod agent_node;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod host;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod master_node;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod mirror;
#[cfg(test)]
mod network;
#[cfg(test)]
mod scale;
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
