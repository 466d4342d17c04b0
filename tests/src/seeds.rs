//! Whole clusters through random faults, one per seed, for as long as `SIM_SECONDS` says (default 10).

use std::sync::Mutex;
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
fn check(seed: u64) -> Result<World, String> {
    let mut world = World::new(seed);
    let Err(why) = live(&mut world) else { return Ok(world) };
    let mut again = World::new(seed);
    again.tracing = true;
    let second = live(&mut again).err();
    if second.as_ref() != Some(&why) {
        return Err(format!(
            "seed {seed}: {why}\nbut a second run says {second:?}: not all is decided by the seed"
        ));
    }
    let shown = number("SIM_LINES").and_then(|lines| usize::try_from(lines).ok()).unwrap_or(200);
    let story: Vec<String> = again.trace.split_off(again.trace.len().saturating_sub(shown)).into();
    Err(format!(
        "{}\n\nseed {seed}: {why}\nto repeat (SIM_LINES=5000 tells more): \
         SIM_SEED={seed} cargo nextest run -p simulation seeds::seeds",
        story.join("\n")
    ))
}

#[test]
fn seeds() {
    if let Some(seed) = number("SIM_SEED") {
        if let Err(story) = check(seed) {
            panic!("{story}");
        }
        return;
    }
    let limit = Duration::from_secs(number("SIM_SECONDS").unwrap_or(10));
    let first = number("SIM_FIRST").unwrap_or(0);
    let threads = number("SIM_THREADS").and_then(|threads| usize::try_from(threads).ok());
    let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let (started, next, sums) = (Instant::now(), AtomicU64::new(first), [const { AtomicU64::new(0) }; 4]);
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while started.elapsed() < limit && failure.lock().expect("nobody panics").is_none() {
                    match check(next.fetch_add(1, Relaxed)) {
                        Ok(world) => {
                            for (sum, count) in sums.iter().zip(world.counts()) {
                                sum.fetch_add(count, Relaxed);
                            }
                        }
                        Err(story) => drop(failure.lock().expect("nobody panics").get_or_insert(story)),
                    }
                }
            });
        }
    });
    if let Some(story) = failure.into_inner().expect("nobody panics") {
        panic!("{story}");
    }
    let [steps, tasks, repeated, refused] = sums.map(AtomicU64::into_inner);
    println!(
        "{} seeds, {steps} events, {tasks} tasks, {repeated} updates sent again, {refused} writes refused in {:?}",
        next.load(Relaxed) - first,
        started.elapsed()
    );
    // A simulation in which nothing goes wrong proves nothing.
    assert!(tasks > 0 && repeated > 0 && refused > 0, "too little happened");
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
