//! The agent's flags: one table with Apache Mesos' names, and the names of Mesos' flags that do nothing here.

use model::flags::{Flag, Form};

mod unused;

pub use unused::IGNORED;
pub(crate) use unused::{REFUSED_SETTINGS, REFUSED_SWITCHES};

/// Flags of `tepui agent`.
pub const FLAGS: &[Flag] = &[
    Flag::new(
        "master",
        Form::Text,
        None,
        "Where the master answers, as host:port, or the ensemble that knows: zk://[user:password@]host1:2181,…/path.",
    ),
    Flag::new(
        "zk_session_timeout",
        Form::Duration,
        Some("10secs"),
        "How long a session with the ensemble outlives a silence.",
    ),
    Flag::new(
        "ip",
        Form::Text,
        Some("127.0.0.1"),
        "Address to listen on. Others than the loopback need authentication or --insecure.",
    ),
    Flag::new("port", Form::Number, Some("5051"), "Port to listen on; 0 takes any free one."),
    Flag::new("advertise_ip", Form::Text, None, "Address that the master is told, if not --ip."),
    Flag::new("advertise_port", Form::Number, None, "Port that the master is told, if not --port."),
    Flag::new("hostname", Form::Text, None, "Name that the master and schedulers are told."),
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
        "Listen beyond the loopback without authentication: whoever reaches the port can read the files of all tasks.",
    ),
    Flag::new("work_dir", Form::Path, None, "Directory of sandboxes, checkpoints and images. Must be given."),
    Flag::new(
        "runtime_dir",
        Form::Path,
        Some("/run/tepui"),
        "Directory of what lasts as long as the host runs: sockets and exit records. Best on a tmpfs.",
    ),
    Flag::new(
        "resources",
        Form::Text,
        None,
        "What the agent offers: name(role):value;... with values such as 4, [80-80, 31000-32000] and {a,b}, or a JSON \
         array. cpus, mem, disk and ports that it does not name are detected.",
    ),
    Flag::new("default_role", Form::Text, Some("*"), "Role of resources that name none."),
    Flag::new(
        "attributes",
        Form::Text,
        None,
        "What distinguishes this agent: name:value;... with values such as r1, 3, [1-5] and {a,b}.",
    ),
    Flag::new("domain", Form::Json, None, "Region and zone of this host, as JSON: {\"fault_domain\":...}."),
    Flag::new(
        "isolation",
        Form::Text,
        Some("cgroups,namespaces"),
        "Comma list: cgroups (every controller of the host), namespaces (pid, ipc, uts, mount, cgroup), namespaces/user, \
         namespaces/net, or Mesos' single names such as cgroups/cpu, cgroups/mem, namespaces/pid, linux/seccomp, disk/du.",
    ),
    Flag::new(
        "isolation_strict",
        Form::Bool,
        Some("false"),
        "Don't start when the host lacks any of --isolation.",
    ),
    Flag::new(
        "user_namespace_ids",
        Form::Text,
        Some("1879048192:65536"),
        "With namespaces/user: the first of the host's user and group ids that stand for 0 and up in all containers, and \
         how many there are. Nothing else on the host may have them.",
    ),
    Flag::new("cgroups_root", Form::Text, Some("mesos"), "Cgroup below which all containers live."),
    Flag::new(
        "cgroups_enable_cfs",
        Form::Bool,
        Some("false"),
        "A task gets no more CPU time than it asked for.",
    ),
    Flag::new(
        "cgroups_cpu_enable_pids_and_tids_count",
        Form::Bool,
        Some("false"),
        "Tell the numbers of processes and threads in a container's statistics.",
    ),
    Flag::new("container_cpuset_cpus", Form::Text, None, "CPUs that containers may run on, such as 0-3,5."),
    Flag::new("container_cpuset_mems", Form::Text, None, "Memory nodes that containers may use, such as 0."),
    Flag::new(
        "container_io_weight",
        Form::Number,
        None,
        "Share of the block devices that each container has, 1 to 10000; what has none has 100.",
    ),
    Flag::new(
        "container_io_max",
        Form::Text,
        None,
        "The most that each container may read and write: DEVICE LIMIT...;... where DEVICE is a whole disk such as \
         /dev/sda or 8:0, and LIMIT one of rbps=10MB, wbps=10MB (a second), riops=100, wiops=100.",
    ),
    Flag::new(
        "container_hugetlb",
        Form::Text,
        None,
        "Most huge pages of each container by their size, such as 2MB=64MB,1GB=0GB. Needs cgroups/hugetlb in --isolation.",
    ),
    Flag::new(
        "docker_registry",
        Form::Text,
        None,
        "Registry of images whose name says none, if not Docker Hub.",
    ),
    Flag::new(
        "docker_config",
        Form::Text,
        None,
        "Registry credentials: a file in the form of Docker's config.json, or its JSON.",
    ),
    Flag::new(
        "docker_store_dir",
        Form::Path,
        None,
        "Directory of the image layers. Default: images in --work_dir.",
    ),
    Flag::new(
        "docker_ignore_runtime",
        Form::Bool,
        Some("false"),
        "Ignore ENV, CMD, ENTRYPOINT and WORKDIR of images.",
    ),
    Flag::new(
        "insecure_registries",
        Form::Text,
        None,
        "Comma list of registries spoken to in plain HTTP; the loopback always is.",
    ),
    Flag::new(
        "registry_mirrors",
        Form::Text,
        None,
        "Stand-ins asked before a registry: registry=mirror,mirror;... such as docker.io=http://m1:5000,m2/prefix.",
    ),
    Flag::new(
        "registry_token_services",
        Form::Text,
        None,
        "Hosts that may get the logins of a registry because they issue its tokens: registry=host,...",
    ),
    Flag::new(
        "local_image_dirs",
        Form::Text,
        None,
        "Comma list of folders below which tasks may name images as oci: and docker-archive:. Default: anywhere.",
    ),
    Flag::new(
        "image_gc_config",
        Form::Json,
        None,
        "Remove unused images when the disk fills: JSON with image_disk_headroom, image_disk_watch_interval and \
         excluded_images.",
    ),
    Flag::new(
        "image_user",
        Form::Bool,
        Some("false"),
        "Run a task whose command names no user as the USER of its image.",
    ),
    Flag::new(
        "sandbox_directory",
        Form::Path,
        Some("/mnt/mesos/sandbox"),
        "Where a container with an image sees its sandbox.",
    ),
    Flag::new(
        "switch_user",
        Form::Bool,
        Some("true"),
        "Run tasks as the user of the command or framework, not as the agent's.",
    ),
    Flag::new(
        "executor_environment_variables",
        Form::Json,
        None,
        "JSON object of environment variables that every task gets.",
    ),
    Flag::new(
        "registration_backoff_factor",
        Form::Duration,
        Some("1secs"),
        "First random back-off of a registration; doubles up to 1mins.",
    ),
    Flag::new(
        "executor_shutdown_grace_period",
        Form::Duration,
        Some("5secs"),
        "Time that tasks have to end when their framework or the agent is shut down.",
    ),
    Flag::new(
        "recover",
        Form::Text,
        Some("reconnect"),
        "reconnect: go on with running tasks; cleanup: end them and exit.",
    ),
    Flag::new(
        "strict",
        Form::Bool,
        Some("true"),
        "Don't start when a checkpoint is damaged; otherwise skip it with a warning.",
    ),
    Flag::new(
        "reconfiguration_policy",
        Form::Text,
        Some("equal"),
        "What may change over a restart that keeps tasks. equal: nothing; additive: more resources and attributes.",
    ),
    Flag::new(
        "container_logger",
        Form::Text,
        Some("sandbox"),
        "sandbox: stdout and stderr grow; logrotate: they are rotated by size (no program logrotate is needed).",
    ),
    Flag::new(
        "max_stdout_size",
        Form::Text,
        Some("10MB"),
        "Size at which the logger logrotate rotates stdout.",
    ),
    Flag::new(
        "max_stderr_size",
        Form::Text,
        Some("10MB"),
        "Size at which the logger logrotate rotates stderr.",
    ),
    Flag::new(
        "logrotate_stdout_options",
        Form::Text,
        None,
        "logrotate's options, of which 'rotate N' has a meaning: that many old files of stdout stay, as stdout.1 and so on; \
         none by default.",
    ),
    Flag::new("logrotate_stderr_options", Form::Text, None, "The same for stderr."),
    Flag::new(
        "environment_variable_prefix",
        Form::Text,
        Some("CONTAINER_LOGGER_"),
        "A task overrides the four above by variables with this before the flag's name in capitals.",
    ),
    Flag::new(
        "enforce_container_disk_quota",
        Form::Bool,
        Some("false"),
        "End a task that uses more disk than it asked for. Turns the isolator disk/du on.",
    ),
    Flag::new(
        "container_disk_watch_interval",
        Form::Duration,
        Some("15secs"),
        "Time between two looks at the disk usage of tasks.",
    ),
    Flag::new(
        "disallow_sharing_agent_pid_namespace",
        Form::Bool,
        Some("true"),
        "Refuse tasks with linux_info.share_pid_namespace, which see and signal the host's processes. Mesos: false.",
    ),
    Flag::new(
        "disallow_sharing_agent_ipc_namespace",
        Form::Bool,
        Some("true"),
        "Refuse tasks with linux_info.ipc_mode SHARE_PARENT, which see the host's shared memory. Mesos: false.",
    ),
    Flag::new(
        "gc_non_executor_container_sandboxes",
        Form::Bool,
        Some("false"),
        "Has no effect yet: nested and standalone containers, whose sandboxes it is about, are not there yet.",
    ),
    Flag::new(
        "external_log_file",
        Form::Path,
        None,
        "File with this process' log that something else writes; shown as /slave/log.",
    ),
    Flag::new("gc_delay", Form::Duration, Some("1weeks"), "Longest life of a finished sandbox."),
    Flag::new(
        "gc_disk_headroom",
        Form::Text,
        Some("0.1"),
        "Share of the disk that is kept free by deleting finished sandboxes early.",
    ),
    Flag::new(
        "disk_watch_interval",
        Form::Duration,
        Some("1mins"),
        "Time between two looks at the disk's usage.",
    ),
    Flag::new(
        "max_completed_executors_per_framework",
        Form::Number,
        Some("150"),
        "Finished tasks kept in memory per framework.",
    ),
    Flag::new(
        "default_container_shm_size",
        Form::Text,
        None,
        "Size of /dev/shm of a container, such as 64MB.",
    ),
    Flag::new(
        "credential",
        Form::Path,
        None,
        "File with the login that the master may ask for: {\"principal\":...,\"secret\":...} or a line of both.",
    ),
    Flag::new(
        "authenticate_http_readwrite",
        Form::Bool,
        Some("false"),
        "Answer requests that may change something only with a login or token; see --http_credentials.",
    )
    .aliases(&["authenticate_http"]),
    Flag::new(
        "authenticate_http_readonly",
        Form::Bool,
        Some("false"),
        "Answer requests that only look only with a login or token; see --http_credentials.",
    ),
    Flag::new(
        "http_credentials",
        Form::Path,
        None,
        "File with the logins that are believed: {\"credentials\":[{\"principal\":...,\"secret\":...}]} or lines of a \
         principal and a secret.",
    ),
    Flag::new(
        "jwt_secret_key",
        Form::Path,
        None,
        "File with the key of the tokens that are believed: JSON Web Tokens of HS256 whose 'sub' is the principal.",
    )
    .aliases(&["executor_secret_key"]),
    Flag::new(
        "firewall_rules",
        Form::Text,
        None,
        "Endpoints that are answered with 403, as JSON or a file: {\"disabled_endpoints\":{\"paths\":[\"/files/browse\"]}}.",
    ),
    // What protects a host and does not exist here yet is refused, not dropped in silence.
    Flag::new(
        "authenticate_http_executors",
        Form::Bool,
        Some("false"),
        "Refused when true: not supported yet.",
    ),
    Flag::new("enforce_container_ports", Form::Bool, Some("false"), "Refused when true: not supported yet."),
    Flag::new("xfs_kill_containers", Form::Bool, Some("false"), "Refused when true: not supported yet."),
    Flag::new("cgroups_limit_swap", Form::Bool, Some("false"), "Refused when true: not supported yet."),
    Flag::new("acls", Form::Text, None, "Refused: authorization is not supported yet."),
    Flag::new("seccomp_config_dir", Form::Text, None, "Refused: the built-in profile is used."),
    Flag::new("seccomp_profile_name", Form::Text, None, "Refused: the built-in profile is used."),
    Flag::new("effective_capabilities", Form::Text, None, "Refused: the default set is used.")
        .aliases(&["allowed_capabilities"]),
    Flag::new("bounding_capabilities", Form::Text, None, "Refused: the default set is used."),
    Flag::new("allowed_devices", Form::Text, None, "Refused: not supported yet."),
    Flag::new("default_container_info", Form::Text, None, "Refused: not supported yet."),
    Flag::new("secret_resolver", Form::Text, None, "Refused: modules can't be loaded."),
    Flag::new("modules", Form::Text, None, "Refused: modules can't be loaded."),
    Flag::new("modules_dir", Form::Text, None, "Refused: modules can't be loaded."),
    Flag::new("hooks", Form::Text, None, "Refused: modules can't be loaded."),
    Flag::new("master_detector", Form::Text, None, "Refused: modules can't be loaded."),
    Flag::new("resource_provider_config_dir", Form::Text, None, "Refused: not supported yet."),
    Flag::new("csi_plugin_config_dir", Form::Text, None, "Refused: not supported yet."),
    Flag::new("network_cni_config_dir", Form::Text, None, "Refused: not supported yet."),
    Flag::new("nvidia_gpu_devices", Form::Text, None, "Refused: not supported yet."),
];
