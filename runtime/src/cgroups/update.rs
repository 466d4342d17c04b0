//! Changing the limits of a running container.

use super::values::Setting;
use super::{Cgroups, Error, files};
use crate::spec::{Isolation, Limits};

impl Cgroups {
    /// Writes new limits. Memory is only ever raised: a limit below what is in use would kill (Mesos does the same).
    ///
    /// # Errors
    /// What the kernel said about the first file that it refused; the ones before it are written.
    pub fn update(&self, limits: &Limits, isolation: &Isolation) -> Result<(), Error> {
        let mut settings = Vec::new();
        for setting in self.settings(limits, &isolation.controllers) {
            if !self.would_lower(&setting)? {
                settings.push(setting);
            }
        }
        // v1: the sum of memory and swap must be raised before the memory in it.
        settings.sort_by_key(|setting| setting.file != "memory.memsw.limit_in_bytes");
        settings.iter().try_for_each(|setting| self.apply(setting))
    }

    fn would_lower(&self, setting: &Setting) -> Result<bool, Error> {
        const HARD: [&str; 3] = ["memory.max", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"];
        if !HARD.contains(&&*setting.file) {
            return Ok(false);
        }
        let current = files::read_number(&self.place_of(setting)?.join(&*setting.file))?;
        let wanted: Option<u64> = setting.value.parse().ok();
        // No number now is "max" (v2): any limit would lower it, but it is the first one.
        Ok(current.zip(wanted).is_some_and(|(current, wanted)| {
            // v1 shows "no limit" as the largest multiple of the page size.
            current < (i64::MAX as u64) / 2 && wanted < current
        }))
    }
}
