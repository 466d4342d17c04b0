//! Whole clusters through random faults, one per seed: as many as `SIM_SEEDS` says, or for as long as `SIM_SECONDS` says
//! (default 10), or until the first of both is reached. `SIM_FIRST` is the first seed, `SIM_THREADS` how many at once.
//! There are two kinds of worlds: with one master at a time, and with three that contend in an ensemble.
//! `SIM_AUDIT` is how many events lie between two audits of the master (default 1): where very many seeds run, what one
//! audit misses another finds, and these are half of the work.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::faults::{Fault, Faults};
use crate::world::World;

/// How long faults go on in one world, in seconds: between so long and so many times as long, by its seed. Most worlds
/// are short: what is wrong in the long ones mostly shows in the short ones, and coming to rest is where much of it shows.
const FAULTS: f64 = 80.0;
const LONGEST: f64 = 15.0;

/// How long faults go on, as likely to be between one and two minutes as between ten and twenty.
fn faults(world: &mut World) -> Duration {
    let part = f64::from(u32::try_from(world.pick(1001)).unwrap_or(0)) / 1000.0;
    Duration::from_secs_f64(FAULTS * LONGEST.powf(part))
}

/// Who the masters are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Masters {
    /// One at a time, with a registry that nobody else has.
    Alone,
    /// Three, of which an ensemble knows which one leads.
    Contending,
}

impl Masters {
    fn test(self) -> &'static str {
        match self {
            Masters::Alone => "seeds::seeds",
            Masters::Contending => "seeds::whatever_happens_to_masters_and_ensemble_no_task_is_lost",
        }
    }

    /// In so many seeds each kind of fault happens at least once.
    fn seeds_with_all(self) -> u64 {
        match self {
            Masters::Alone => 30,
            Masters::Contending => 400,
        }
    }

    /// What must have gone wrong in enough seeds.
    fn faults(self) -> Vec<Fault> {
        match self {
            Masters::Alone => Fault::ALL.to_vec(),
            Masters::Contending => Fault::ALL.into_iter().chain(Fault::AMONG_MASTERS).collect(),
        }
    }
}

fn live(masters: Masters, world: &mut World) -> Result<(), String> {
    world.populate();
    if masters == Masters::Contending {
        world.join_ensemble();
    }
    let end = world.now + faults(world);
    world.run(end)?;
    world.come_to_rest()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs one seed; if it fails, runs it again to tell the story of its end.
fn check(masters: Masters, seed: u64) -> Result<World, String> {
    let world = || {
        let mut world = World::new(seed);
        world.audit_every = number("SIM_AUDIT").unwrap_or(1).max(1);
        world
    };
    let mut first = world();
    let Err(why) = live(masters, &mut first) else { return Ok(first) };
    let mut again = world();
    again.tracing = true;
    let second = live(masters, &mut again).err();
    if second.as_ref() != Some(&why) {
        return Err(format!(
            "seed {seed}: {why}\nbut a second run says {second:?}: not all is decided by the seed"
        ));
    }
    let shown = number("SIM_LINES").and_then(|lines| usize::try_from(lines).ok()).unwrap_or(200);
    let story: Vec<String> = again.trace.split_off(again.trace.len().saturating_sub(shown)).into();
    Err(format!(
        "{}\n\nseed {seed}: {why}\nto repeat (SIM_LINES=5000 tells more, SIM_AUDIT=1 finds it at once): \
         SIM_SEED={seed} cargo nextest run -p simulation {}",
        story.join("\n"),
        masters.test()
    ))
}

/// Between two lines that say how far a long run is.
const PROGRESS: Duration = Duration::from_secs(30);

/// What a run has done so far, shared by its threads.
struct Run {
    started: Instant,
    first: u64,
    next: u64,
    /// Seeds to run, if that ends it.
    wanted: Option<u64>,
    /// Time to run, if that ends it.
    limit: Option<Duration>,
    told: Instant,
    done: u64,
    /// See [`World::counts`].
    sums: [u64; 4],
    faults: Faults,
    failure: Option<String>,
}

impl Run {
    fn asked_for() -> Run {
        let (wanted, seconds) = (number("SIM_SEEDS"), number("SIM_SECONDS"));
        let first = number("SIM_FIRST").unwrap_or(0);
        let seconds = seconds.or(if wanted.is_none() { Some(10) } else { None });
        Run {
            started: Instant::now(),
            first,
            next: first,
            wanted,
            limit: seconds.map(Duration::from_secs),
            told: Instant::now(),
            done: 0,
            sums: [0; 4],
            faults: Faults::default(),
            failure: None,
        }
    }

    /// The next seed, unless it is enough.
    fn take(&mut self) -> Option<u64> {
        let enough = self.wanted.is_some_and(|wanted| self.next - self.first >= wanted)
            || self.limit.is_some_and(|limit| self.started.elapsed() >= limit);
        if enough || self.failure.is_some() {
            return None;
        }
        self.next += 1;
        Some(self.next - 1)
    }

    fn finished(&mut self, outcome: Result<World, String>) {
        match outcome {
            Ok(world) => {
                self.done += 1;
                self.sums.iter_mut().zip(world.counts()).for_each(|(sum, count)| *sum += count);
                self.faults.merge(&world.all_faults());
            }
            Err(story) => drop(self.failure.get_or_insert(story)),
        }
        if self.told.elapsed() >= PROGRESS {
            self.told = Instant::now();
            println!("{}", self.progress());
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn progress(&self) -> String {
        let took = self.started.elapsed();
        let of = self.wanted.map(|wanted| format!(" of {wanted}")).unwrap_or_default();
        let rate = self.done as f64 / took.as_secs_f64().max(0.001);
        format!("{}{of} seeds from {} on in {took:.1?}, {rate:.1} a second", self.done, self.first)
    }

    fn judge(self, masters: Masters) {
        if let Some(story) = self.failure {
            panic!("{story}");
        }
        let [steps, tasks, repeated, compared] = self.sums;
        println!("{}", self.progress());
        println!(
            "{steps} events, {tasks} tasks, {repeated} updates sent again, {compared} hosts compared with what the \
             master believed\nwent wrong: {}",
            self.faults
        );
        // A simulation in which nothing goes wrong proves nothing.
        assert!(tasks > 0 && repeated > 0 && compared > 0, "too little happened");
        let missing: Vec<Fault> =
            masters.faults().into_iter().filter(|fault| self.faults.of(*fault) == 0).collect();
        assert!(self.done < masters.seeds_with_all() || missing.is_empty(), "never happened: {missing:?}");
    }
}

#[test]
fn seeds() {
    run(Masters::Alone);
}

#[test]
fn whatever_happens_to_masters_and_ensemble_no_task_is_lost() {
    run(Masters::Contending);
}

fn run(masters: Masters) {
    if let Some(seed) = number("SIM_SEED") {
        if let Err(story) = check(masters, seed) {
            panic!("{story}");
        }
        return;
    }
    let threads = number("SIM_THREADS").and_then(|threads| usize::try_from(threads).ok());
    let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let run = Mutex::new(Run::asked_for());
    let lock = || -> MutexGuard<'_, Run> { run.lock().expect("nobody panics while holding it") };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some(seed) = lock().take() else { return };
                    let outcome = check(masters, seed);
                    lock().finished(outcome);
                }
            });
        }
    });
    run.into_inner().expect("nobody panics while holding it").judge(masters);
}

#[test]
fn a_seed_decides_everything() {
    for masters in [Masters::Alone, Masters::Contending] {
        let run = || {
            let mut world = World::new(7);
            world.tracing = true;
            let end = live(masters, &mut world);
            (world.counts(), world.faults, end, world.trace)
        };
        assert!(run() == run(), "{}", masters.test());
    }
}
