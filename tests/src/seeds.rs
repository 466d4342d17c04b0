//! Whole clusters through random faults, one per seed, for as long as `SIM_SECONDS` says (default 10).

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::world::World;

/// How long faults go on in one world.
const FAULTS: Duration = Duration::from_secs(1200);

fn live(world: &mut World) -> Result<(), String> {
    world.populate();
    let end = world.now + FAULTS;
    world.run(end)?;
    world.come_to_rest()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs one seed; if it fails, runs it again to tell the story of its end.
fn check(seed: u64) -> u64 {
    let mut world = World::new(seed);
    let Err(why) = live(&mut world) else { return world.steps };
    let mut again = World::new(seed);
    again.tracing = true;
    let second = live(&mut again).expect_err("a seed decides everything");
    assert_eq!(second, why, "seed {seed} failed in two ways: something is not decided by the seed");
    let shown = number("SIM_LINES").and_then(|lines| usize::try_from(lines).ok()).unwrap_or(200);
    let story: Vec<String> = again.trace.split_off(again.trace.len().saturating_sub(shown)).into();
    panic!(
        "{}\n\nseed {seed}: {why}\nto repeat: SIM_SEED={seed} cargo nextest run -p simulation seeds",
        story.join("\n")
    );
}

#[test]
fn seeds() {
    if let Some(seed) = number("SIM_SEED") {
        check(seed);
        return;
    }
    let limit = Duration::from_secs(number("SIM_SECONDS").unwrap_or(10));
    let first = number("SIM_FIRST").unwrap_or(0);
    let (started, next, steps) = (Instant::now(), AtomicU64::new(first), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while started.elapsed() < limit {
                    steps.fetch_add(check(next.fetch_add(1, Relaxed)), Relaxed);
                }
            });
        }
    });
    let count = next.load(Relaxed) - first;
    println!("{count} seeds, {} events in {:?}", steps.load(Relaxed), started.elapsed());
}

#[test]
fn a_seed_decides_everything() {
    let run = || {
        let mut world = World::new(7);
        world.tracing = true;
        let end = live(&mut world);
        (world.steps, end, world.trace)
    };
    assert_eq!(run(), run());
}
