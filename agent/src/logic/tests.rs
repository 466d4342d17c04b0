//! Stories of an agent, told as events and the effects that follow.

mod limits;
mod recovery;
mod registration;
mod tasks;
mod updates;
mod world;
