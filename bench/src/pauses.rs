//! How long the machine itself holds up a loop that does nothing: what a hypervisor, an interrupt or another process
//! takes from it. No figure of a hold-up says more than this one allows.

use std::thread;
use std::time::{Duration, Instant};

/// How long a loop runs before it gives the processor up: less than a scheduler's turn.
const TURN: Duration = Duration::from_millis(1);
/// Enough for the rest of the machine to go on, and for a loop that goes first not to be stopped as greedy.
const REST: Duration = Duration::from_micros(300);

/// The longest time in which such a loop, one for each of two processors, did not come to read its clock again.
pub fn longest(within: Duration) -> Duration {
    let loops: Vec<_> = (0..2).map(|_| thread::spawn(move || longest_of_one(within))).collect();
    loops.into_iter().filter_map(|one| one.join().ok()).max().unwrap_or_default()
}

fn longest_of_one(within: Duration) -> Duration {
    // As the master's loop, if that is allowed.
    let _ = runtime::go_first();
    let (began, mut longest) = (Instant::now(), Duration::ZERO);
    while began.elapsed() < within {
        let turn = Instant::now();
        let mut last = turn;
        while last.duration_since(turn) < TURN {
            let now = Instant::now();
            longest = longest.max(now.duration_since(last));
            last = now;
        }
        // For no condition.
        #[allow(clippy::disallowed_methods)]
        thread::sleep(REST);
    }
    longest
}
