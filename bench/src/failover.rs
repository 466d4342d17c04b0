//! Several masters: what it costs the next one to take the agents back, how fast the ensemble keeps its registry, and
//! how long schedulers are without offers.

mod election;
mod ensemble;
mod lines;
mod registry;
mod take_back;

use anyhow::Result;

use crate::figures::Figures;

pub fn run(figures: &mut Figures) -> Result<()> {
    // Not after the half of it.
    ensemble::check_installed()?;
    take_back::run(figures)?;
    registry::run(figures)?;
    election::run(figures)
}
