//! The whole master over real sockets: a scheduler that speaks HTTP, an agent that speaks the link.
//!
//! Which fact is pinned where. Facts are lines of the tables of Mesos' behaviour (http, behaviour, metrics, flags) that the
//! design is built on; a test is `module::name` here, or a story of the simulation. [`facts`] checks that they exist.
//!
//! | fact | test |
//! |---|---|
//! | http 1: both spellings, `.json`, trailing slash, longest prefix, 404 with an empty body, `/..` | negotiation::paths_and_pages_answer_in_every_spelling |
//! | http 1: pipelined requests are answered in order | process::pipelined_requests_are_answered_in_order |
//! | http 1: gzip of bodies of 1024 bytes and more | process::large_answers_are_compressed_for_those_who_take_it |
//! | http 1: streams and files are not compressed | several::streams_are_never_compressed |
//! | http 1: `?jsonp=NAME`, `text/javascript` | process::codes_of_the_pages_of_every_process |
//! | http 1: 405 with Allow and a text; 501 for UNKNOWN | negotiation::checks_of_the_operator_endpoint_come_in_mesos_order |
//! | http 2: 307 with `//host:port`, 503 without a leader and before recovery, 500 of /redirect; /redirect, /health, /flags, /version everywhere | ends::who_does_not_lead_sends_clients_to_the_leader_and_a_lost_leadership_ends_it |
//! | http 2: /redirect/x is 404 | process::codes_of_the_pages_of_every_process |
//! | http 2: /tasks with limit, offset, order, framework_id, task_id; slave_id, framework_id | pages::tasks_are_filtered_sorted_and_cut_into_pages |
//! | http 2: /teardown takes a form, POST only, 400 for a missing or unknown id | negotiation::teardown_takes_a_form |
//! | http 2: UPDATE_FRAMEWORK 200, other calls of schedulers 202 | watching::an_operator_is_told_the_state_and_then_all_that_happens |
//! | http 4: order of checks of the scheduler endpoint; Accept for SUBSCRIBE and RECONCILE_OPERATIONS only | negotiation::checks_of_the_scheduler_endpoint_come_in_mesos_order |
//! | http 4: order of checks of the operator endpoint | negotiation::checks_of_the_operator_endpoint_come_in_mesos_order |
//! | http 4: JSON preferred, `*/*`, `application/*`, q=0 | negotiation::json_is_preferred_and_protobuf_given_on_request |
//! | http 4: stream ids: 400 missing, 400 other, 403 not subscribed | lives::calls_must_name_the_current_stream |
//! | http 4: heartbeats of schedulers: at once, then each interval, announced | lives::heartbeats_begin_at_once_and_go_on |
//! | http 4: heartbeats of operators: one right after SUBSCRIBED; no stream id; type of the records | watching::an_operator_is_told_the_state_and_then_all_that_happens |
//! | http 4: a refused SUBSCRIBE is 200 with one ERROR | negotiation::a_refused_subscription_is_200_with_one_error_event |
//! | http 4: calls that read answer 200 with their part | pages::calls_that_read_answer_all_of_their_kind |
//! | http 4: GET_METRICS | process::metrics_have_the_keys_of_mesos |
//! | http 4: GET_ and SET_LOGGING_LEVEL, 200 with an empty body | process::the_level_of_the_log_is_set_for_a_while |
//! | http 4: LIST_FILES and READ_FILE: 400, 404 | negotiation::checks_of_the_operator_endpoint_come_in_mesos_order |
//! | http 4: READ_FILE and /files: 500 | process::a_file_that_cannot_be_read_is_500 |
//! | http 4: GET_AGENTS has recovered agents | several::agents_that_are_not_back_yet |
//! | http 4: MARK_AGENT_GONE: 200 again, 404, 503 | story agent_gone |
//! | http 4: TEARDOWN 200 empty, 400 unknown | lives::a_framework_torn_down_ends_everywhere |
//! | http 5: /state, /state-summary, /slaves, /frameworks, /tasks, /roles, field by field | pages::pages_look_as_in_mesos |
//! | http 5: every list of an empty cluster | several::pages_of_an_empty_cluster |
//! | http 5: S of an agent that is away | several::two_agents_of_which_one_is_away |
//! | http 5: F connected, disconnected, completed; /roles of several frameworks, with all above | several::several_frameworks_and_their_roles |
//! | http 5: /roles: sums with the roles below, what a quota has consumed | several::roles_have_what_the_roles_below_have |
//! | http 5: T with labels and networks of its statuses | several::a_status_with_everything |
//! | http 5: /files/browse, read, download, debug; /logging/toggle; /system/stats.json | process::codes_of_the_pages_of_every_process |
//! | http 5: /version | process::the_version_is_that_of_the_api |
//! | metrics: keys of /metrics/snapshot | process::metrics_have_the_keys_of_mesos |
//! | metrics: transitions by state, source and reason | several::a_status_with_everything |
//! | metrics: the size of a registry in a file | several::agents_that_are_not_back_yet |
//! | metrics: two snapshots a second, more wait | process::snapshots_of_metrics_come_at_their_pace |
//! | flags: publish_per_framework_metrics | process::metrics_of_frameworks_can_be_left_out |
//! | flags: max_operator_event_stream_subscribers, the oldest is closed | watching::beyond_the_limit_the_oldest_operator_is_closed |
//! | flags: max_completed_tasks_per_framework | several::completed_tasks_are_kept_as_many_as_told |
//! | flags: offer_timeout | story offer_timeout |
//! | flags: agent_removal_rate_limit | story agent_removal_rate_limit |
//! | flags: recovery_agent_removal_limit | story recovery_agent_removal_limit |
//! | behaviour 2: re-subscription closes the older stream with "Framework failed over" | lives::a_second_subscription_takes_over |
//! | behaviour 2: UPDATE_FRAMEWORK: refused fields, rescinded offers, told only when changed | story update_framework |
//! | behaviour 2: removal ends tasks as KILLED, completed ids can't come back | lives::a_framework_torn_down_ends_everywhere |
//! | behaviour 3: REQUEST does nothing; SHUTDOWN and MESSAGE as far as they reach | story executor_calls |
//! | behaviour 3: ACCEPT with invalid offers: LOST or DROPPED | story invalid_offers |
//! | behaviour 4: RECONCILE_OPERATIONS by agent | story reconcile_operations |
//! | behaviour 5, 6: reasons and states with and without PARTITION_AWARE | story reasons |
//! | behaviour 6: UNREACHABLE and LOST of an unreachable agent, and back | story agent_unreachable |
//! | behaviour 6: GONE of an agent that leaves | story agent_unregisters |
//! | behaviour 6: GONE_BY_OPERATOR | story agent_gone |
//! | behaviour 7: acknowledgements, latest state | story updates_and_latest_state |
//! | behaviour 8: RECONCILE, explicit and implicit | story reconcile |
//! | behaviour 8: RECONCILE while agents are recovered | story reconcile_after_failover |
//! | behaviour 8: KILL on a disconnected agent is remembered | story kill_while_agent_is_away |
//! | behaviour 9: agents below 1.0.0 are refused | story version_too_old |
//! | behaviour 9, http 5: domains of master and agents | several::regions_and_zones_are_told |
//! | behaviour 2, 9: agents of other regions, with and without REGION_AWARE; refused ones | story agent_domains |
//! | behaviour 13: agents that come back with more or less | story agent_comes_back_with_another_total |
//! | behaviour 13, http 5: what of them is shown | several::an_agent_with_another_total_is_shown_with_it |
//! | behaviour 9: unregistering while another write is under way | story unregister_while_written |
//! | behaviour 22: the event stream in order | story operators_watch |

mod agent;
mod client;
mod crowds;
mod ends;
mod facts;
mod hostile;
mod lives;
mod negotiation;
mod pages;
mod process;
mod scheduler;
mod secrets;
mod several;
mod watcher;
mod watching;

use std::time::Duration;

use model::flags::Values;

use crate::config::{Config, Registry};
use crate::flags::FLAGS;
use crate::{Master, Running};

/// Nothing here takes longer, on any machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for something that must come.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("this must happen soon")
}

/// A configuration with a free port and no file, and short pauses.
fn config() -> Config {
    let mut values = Values::defaults(FLAGS);
    for (name, value) in
        [("port", "0"), ("registry", "in_memory"), ("cluster", "test"), ("hostname", "master.test")]
    {
        values.set(name, value);
    }
    let config = Config::from_flags(&values).expect("these flags are right");
    Config { allocation_interval: Duration::from_millis(50), ..config }
}

async fn start(config: Config) -> Running {
    let running = Master::start(config).await.expect("nothing is in the way");
    assert!(soon(running.leads()).await);
    running
}

fn with_file(directory: &std::path::Path) -> Config {
    Config { registry: Registry::File(directory.to_owned()), ..config() }
}
