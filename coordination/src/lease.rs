//! How long a leader may act without hearing from the ensemble again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A moment on a clock that no one sets and that goes on while the machine is suspended: time since boot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Moment(Duration);

impl Moment {
    /// Now, by `CLOCK_BOOTTIME`.
    pub fn now() -> Moment {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Moment(Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0)))
    }

    /// So long after boot.
    pub fn after_boot(time: Duration) -> Moment {
        Moment(time)
    }

    /// How long after `earlier` it is; nothing when it isn't.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    fn nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, time: Duration) -> Moment {
        Moment(self.0.saturating_add(time))
    }
}

/// The right to act as the leader, until it isn't prolonged. Clones are the same lease.
#[derive(Clone, Debug)]
pub struct Lease(Arc<AtomicU64>);

impl Lease {
    /// One that never ends: nobody else could lead.
    pub fn endless() -> Lease {
        Lease(Arc::new(AtomicU64::new(u64::MAX)))
    }

    /// One until that moment.
    pub fn until(end: Moment) -> Lease {
        Lease(Arc::new(AtomicU64::new(end.nanos())))
    }

    /// Whether its holder may act now. To be asked before anything leaves: a process that was stopped for a while
    /// learns by this that it no longer leads.
    pub fn holds(&self) -> bool {
        match self.0.load(Ordering::Acquire) {
            u64::MAX => true,
            end => Moment::now().nanos() < end,
        }
    }

    /// Prolongs it. One that was ended stays so.
    pub fn prolong(&self, end: Moment) {
        let longer = |now: u64| (now != 0).then(|| now.max(end.nanos()));
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, longer);
    }

    /// Ends it, for good.
    pub fn end(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// How long it holds from `now` on if nobody prolongs it.
    pub fn left(&self, now: Moment) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Acquire).saturating_sub(now.nanos()))
    }

    /// Whether both are the same one.
    pub fn is(&self, other: &Lease) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_by_time_or_by_order() {
        let now = Moment::now();
        assert!(Lease::endless().holds());
        assert!(!Lease::until(now).holds());
        let lease = Lease::until(now + Duration::from_secs(60));
        let same = lease.clone();
        assert!(lease.holds() && lease.is(&same) && !lease.is(&Lease::endless()));
        same.prolong(now + Duration::from_secs(90));
        same.prolong(now + Duration::from_secs(30));
        assert_eq!(lease.left(now), Duration::from_secs(90));
        lease.end();
        same.prolong(now + Duration::from_secs(900));
        assert!(!same.holds());
        assert_eq!(same.left(now), Duration::ZERO);
    }
}
