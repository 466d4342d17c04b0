//! When the folders of finished tasks go.
//!
//! Mesos: after `--gc_delay` (1 week), sooner when the disk fills: age = gc_delay * max(0, 1 - headroom - used).

use std::time::Duration;

use model::Timestamp;

use super::effect::Effect;
use super::state::State;

impl State {
    pub(super) fn garbage_age(&self) -> Duration {
        let left = (1.0 - self.settings.gc_disk_headroom - self.disk_used).clamp(0.0, 1.0);
        self.settings.gc_delay.mul_f64(left)
    }

    pub(super) fn garbage_due(&self) -> Option<Timestamp> {
        self.garbage.front().map(|(finished, _)| *finished + self.garbage_age())
    }

    pub(super) fn collect(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        while self.garbage_due().is_some_and(|due| due <= now) {
            let Some((_, run)) = self.garbage.pop_front() else { return };
            out.push(Effect::Collect { run });
        }
    }
}
