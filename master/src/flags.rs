//! The master's flags: one table with Apache Mesos' names, and the names of Mesos' flags that do nothing here.

use model::flags::{Flag, Form};

/// Flags of `tepui master`.
pub const FLAGS: &[Flag] = &[
    Flag::new(
        "ip",
        Form::Text,
        Some("127.0.0.1"),
        "Address to listen on. Others than the loopback need authentication or --insecure.",
    ),
    Flag::new("port", Form::Number, Some("5050"), "Port to listen on; 0 takes any free one."),
    Flag::new("advertise_ip", Form::Text, None, "Address that agents and schedulers are told, if not --ip."),
    Flag::new(
        "advertise_port",
        Form::Number,
        None,
        "Port that agents and schedulers are told, if not --port.",
    ),
    Flag::new("hostname", Form::Text, None, "Name that agents and schedulers are told."),
    Flag::new(
        "hostname_lookup",
        Form::Bool,
        Some("true"),
        "Without --hostname: tell this machine's name if it resolves to the address, else the address.",
    ),
    Flag::new(
        "insecure",
        Form::Bool,
        Some("false"),
        "Listen beyond the loopback without authentication: whoever reaches the port can run programs on every agent.",
    ),
    Flag::new("work_dir", Form::Path, None, "Directory of the registry; needed for --registry=file."),
    Flag::new(
        "registry",
        Form::Text,
        None,
        "Where agents are remembered: file (in --work_dir), zookeeper (in --zk), in_memory, or replicated_log, which means \
         the default: zookeeper with --zk, else file.",
    ),
    Flag::new("registry_fetch_timeout", Form::Duration, Some("1mins"), "Longest time to load the registry."),
    Flag::new(
        "registry_store_timeout",
        Form::Duration,
        Some("20secs"),
        "Longest time for one registry write.",
    ),
    Flag::new(
        "zk",
        Form::Text,
        None,
        "ZooKeeper ensemble in which several masters elect their leader and keep the registry: \
         zk://[user:password@]host1:2181,host2:2181/path.",
    ),
    Flag::new(
        "zk_session_timeout",
        Form::Duration,
        Some("10secs"),
        "How long the ensemble waits for a silent master before another one may lead.",
    ),
    Flag::new("cluster", Form::Text, None, "Name of the cluster, for humans."),
    Flag::new("agent_ping_timeout", Form::Duration, Some("15secs"), "Wait for a pong; 1secs to 15mins.")
        .aliases(&["slave_ping_timeout"]),
    Flag::new(
        "max_agent_ping_timeouts",
        Form::Number,
        Some("5"),
        "Pongs missed until an agent is unreachable.",
    )
    .aliases(&["max_slave_ping_timeouts"]),
    Flag::new(
        "agent_reregister_timeout",
        Form::Duration,
        Some("10mins"),
        "How long an agent may stay away after a failover or a lost link; at least 10mins.",
    )
    .aliases(&["slave_reregister_timeout"]),
    Flag::new(
        "allocation_interval",
        Form::Duration,
        Some("1secs"),
        "Time between two rounds of the allocator.",
    ),
    Flag::new("offer_timeout", Form::Duration, None, "Rescind offers older than this; never when absent."),
    Flag::new("max_completed_frameworks", Form::Number, Some("50"), "Ended frameworks kept in memory."),
    Flag::new(
        "max_completed_tasks_per_framework",
        Form::Number,
        Some("1000"),
        "Ended tasks kept in memory per framework.",
    ),
    Flag::new(
        "max_unreachable_tasks_per_framework",
        Form::Number,
        Some("1000"),
        "Unreachable tasks kept in memory per framework.",
    ),
    Flag::new(
        "agent_removal_rate_limit",
        Form::Text,
        None,
        "How fast agents are marked unreachable: N/duration, such as 1/10mins; not limited when absent.",
    )
    .aliases(&["slave_removal_rate_limit"]),
    Flag::new(
        "recovery_agent_removal_limit",
        Form::Text,
        Some("100%"),
        "The master ends when more than this share of the known agents stays away after a failover.",
    )
    .aliases(&["recovery_slave_removal_limit"]),
    Flag::new(
        "max_operator_event_stream_subscribers",
        Form::Number,
        Some("1000"),
        "Operators that watch events at once; beyond this the oldest is closed.",
    ),
    Flag::new(
        "registry_gc_interval",
        Form::Duration,
        Some("15mins"),
        "Time between two looks for unreachable and gone agents to forget.",
    ),
    Flag::new(
        "registry_max_agent_age",
        Form::Duration,
        Some("2weeks"),
        "Unreachable and gone agents are forgotten at this age.",
    ),
    Flag::new(
        "registry_max_agent_count",
        Form::Number,
        Some("102400"),
        "Unreachable and gone agents beyond this number are forgotten, the oldest first.",
    ),
    Flag::new("publish_per_framework_metrics", Form::Bool, Some("true"), "Tell metrics of each framework."),
    Flag::new(
        "external_log_file",
        Form::Path,
        None,
        "File with this process' log that something else writes; shown as /master/log.",
    ),
    Flag::new("root_submissions", Form::Bool, Some("true"), "Let frameworks run as user root."),
    Flag::new(
        "domain",
        Form::Json,
        None,
        "Region and zone of this host, as JSON: {\"fault_domain\":...}. Agents with a domain need a master with one.",
    ),
    Flag::new("require_agent_domain", Form::Bool, Some("false"), "Refuse agents without a domain."),
    Flag::new(
        "authenticate_http_readwrite",
        Form::Bool,
        Some("false"),
        "Answer requests that may change something only with a login or token; see --credentials.",
    )
    .aliases(&["authenticate_http"]),
    Flag::new(
        "authenticate_http_readonly",
        Form::Bool,
        Some("false"),
        "Answer requests that only look only with a login or token; see --credentials.",
    ),
    Flag::new(
        "authenticate_http_frameworks",
        Form::Bool,
        Some("false"),
        "Answer schedulers only with a login or token; a framework's principal is that of its scheduler.",
    ),
    Flag::new(
        "authenticate_frameworks",
        Form::Bool,
        Some("false"),
        "About drivers of Mesos' v0 API, which this master answers to none; see --authenticate_http_frameworks.",
    )
    .aliases(&["authenticate"]),
    Flag::new(
        "authenticate_agents",
        Form::Bool,
        Some("false"),
        "Take agents only with a login, their --credential; see --credentials.",
    )
    .aliases(&["authenticate_slaves"]),
    Flag::new(
        "credentials",
        Form::Path,
        None,
        "File with the logins that are believed: {\"credentials\":[{\"principal\":...,\"secret\":...}]} or lines of a \
         principal and a secret.",
    ),
    Flag::new(
        "jwt_secret_key",
        Form::Path,
        None,
        "File with the key of the tokens that are believed: JSON Web Tokens of HS256 whose 'sub' is the principal. Mesos: \
         the agent's alone.",
    ),
    Flag::new(
        "firewall_rules",
        Form::Text,
        None,
        "Endpoints that are answered with 403, as JSON or a file: {\"disabled_endpoints\":{\"paths\":[\"/files/browse\"]}}.",
    ),
    // What protects a cluster and does not exist here yet is refused, not dropped in silence.
    Flag::new("registry_strict", Form::Bool, Some("false"), "Refused when true, as in Mesos."),
    Flag::new("acls", Form::Text, None, "Refused: authorization is not supported yet."),
    Flag::new("rate_limits", Form::Text, None, "Refused: not supported yet."),
    Flag::new("whitelist", Form::Text, None, "Refused: not supported yet."),
    Flag::new("roles", Form::Text, None, "Refused: a list of allowed roles is not supported yet."),
    Flag::new("modules", Form::Text, None, "Refused: modules can't be loaded."),
    Flag::new("modules_dir", Form::Text, None, "Refused: modules can't be loaded."),
    Flag::new("hooks", Form::Text, None, "Refused: modules can't be loaded."),
    Flag::new("master_contender", Form::Text, None, "Refused: modules can't be loaded."),
    Flag::new("master_detector", Form::Text, None, "Refused: modules can't be loaded."),
];

/// Flags of Mesos' master that are accepted with a warning and do nothing here.
pub const IGNORED: &[&str] = &[
    "allocator",
    "allocator_agent_recovery_factor",
    "allocator_recovery_timeout",
    "authentication_v0_timeout",
    "authenticators",
    "authorizers",
    "fair_sharing_excluded_resource_names",
    "filter_gpu_resources",
    "framework_sorter",
    "http_authenticators",
    "http_framework_authenticators",
    "ip_discovery_command",
    "log_auto_initialize",
    "max_executors_per_agent",
    "max_executors_per_slave",
    "memory_profiling",
    "min_allocatable_resources",
    "offer_constraints_re2_max_mem",
    "offer_constraints_re2_max_program_size",
    "quorum",
    "role_sorter",
    "user_sorter",
    "webui_dir",
    "weights",
];
