//! The benchmarks behind `make bench`: each figure stands beside a peer's from the same run, as a ratio.
//!
//! `bench [container] [launch] [throughput] [pull] [scale] [failover]` runs those named, or all. A bound that doesn't hold ends it with status 1.
//! The binaries under test are taken from the folder of this one (a release build).

#![forbid(unsafe_code)]

mod cluster;
mod container;
mod failover;
mod figures;
mod launch;
mod pauses;
mod pull;
mod reads;
mod scale;
mod throughput;

use anyhow::{Result, ensure};
use figures::Figures;

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let all = ["container", "launch", "throughput", "pull", "scale", "failover"];
    for name in &wanted {
        ensure!(all.contains(&name.as_str()), "no benchmark '{name}'; there are: {}", all.join(", "));
    }
    let asked = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    let mut figures = Figures::default();
    if asked("container") {
        container::run(&mut figures)?;
    }
    if asked("launch") {
        launch::run(&mut figures)?;
    }
    if asked("throughput") {
        throughput::run(&mut figures)?;
    }
    if asked("pull") {
        pull::run(&mut figures)?;
    }
    if asked("scale") {
        scale::run(&mut figures)?;
    }
    if asked("failover") {
        failover::run(&mut figures)?;
    }
    figures.finish()
}
