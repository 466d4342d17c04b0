//! Settings for tests.

use std::time::Duration;

use model::MasterId;

use super::Settings;

/// Every wait takes a second, and of everything five are kept.
pub fn settings() -> Settings {
    let second = Duration::from_secs(1);
    Settings {
        master: MasterId::from("m"),
        epoch: 1,
        agent_ping_timeout: second,
        max_agent_ping_timeouts: 5,
        agent_reregister_timeout: second,
        allocation_interval: second,
        heartbeat_interval: second,
        offer_timeout: None,
        max_completed_frameworks: 5,
        max_completed_tasks: 5,
        max_unreachable_tasks: 5,
        root_submissions: true,
        domain: None,
        require_agent_domain: false,
        agent_removal_interval: None,
        recovery_agent_removal_limit: 1.0,
        max_watchers: 1000,
        registry_gc_interval: Duration::from_secs(900),
        registry_max_agent_age: Duration::from_secs(14 * 24 * 3600),
        registry_max_agent_count: 102_400,
    }
}
