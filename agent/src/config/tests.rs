//! Flags as operators write them.

use super::*;
use crate::FLAGS;

fn with(pairs: &[(&str, &str)]) -> Result<Config, BadFlag> {
    let mut values = Values::defaults(FLAGS);
    values.set("work_dir", "/var/lib/tepui");
    pairs.iter().for_each(|(name, value)| values.set(name, *value));
    Config::from_flags(&values)
}

#[test]
fn defaults_are_usable() {
    let config = with(&[]).unwrap();
    assert_eq!((config.ip.to_string().as_str(), config.port), ("127.0.0.1", 5051));
    assert_eq!(config.isolation, crate::isolation::parse("cgroups,namespaces").unwrap().runtime);
    assert_eq!(config.sandbox_directory, Path::new("/mnt/mesos/sandbox"));
    assert_eq!(config.shutdown_grace, Duration::from_secs(5));
    assert!(config.strict && config.switch_user && config.resources == Given::default());
    // Mesos allows what the two switches forbid; here an operator has to.
    assert!(!config.shares_pid && !config.shares_ipc);
    assert_eq!(config.reconfiguration, Reconfiguration::Equal);
    assert_eq!(config.logger, Logger { rotation: None, prefix: "CONTAINER_LOGGER_".to_owned() });
    let quota = DiskQuota { measured: false, enforced: false, interval: Duration::from_secs(15) };
    assert_eq!(config.disk_quota, quota);
}

#[test]
fn a_master_is_an_address_or_an_ensemble_whose_password_is_not_shown() {
    assert_eq!(with(&[("master", "m1:5050")]).unwrap().master.unwrap().to_string(), "m1:5050");
    let config = with(&[("master", "zk://me:secret@zk1:2181/mesos")]).unwrap();
    assert_eq!(config.master.as_ref().unwrap().to_string(), "zk://me:…@zk1:2181/mesos");
    assert!(config.flags.contains(&("master".to_owned(), "zk://me:…@zk1:2181/mesos".to_owned())));
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn what_may_be_a_secret_is_not_shown() {
    let config = with(&[
        ("docker_config", r#"{"auths":{"r":{"auth":"aHVzaDpodXNo"}}}"#),
        ("executor_environment_variables", r#"{"TOKEN":"hush"}"#),
    ])
    .unwrap();
    let shown: BTreeMap<String, String> = config.flags.into_iter().collect();
    assert_eq!(
        (shown["docker_config"].as_str(), shown["executor_environment_variables"].as_str()),
        ("…", "…")
    );
    let path = with(&[("docker_config", "/etc/tepui/config.json")]).unwrap();
    assert!(path.flags.contains(&("docker_config".to_owned(), "/etc/tepui/config.json".to_owned())));
}

#[test]
fn refusals_name_the_flag() {
    for (name, value, part) in [
        ("ip", "0.0.0.0", "--insecure"),
        ("master", "zk://u:hush@h:2181", "zk://…: the URL has no path"),
        ("master", "nonsense", "host:port"),
        ("work_dir", "relative", "absolute"),
        ("work_dir", "/a/../b", "absolute"),
        ("isolation", "cgroups,cgroups", "twice"),
        ("resources", "cpus", "no ':'"),
        ("resources", "[{\"name\":1}]", "name"),
        (
            "resources",
            r#"[{"name":"cpus","type":"SCALAR","scalar":{"value":1},"revocable":{}}]"#,
            "'revocable'",
        ),
        ("domain", "{}", "expected {"),
        ("domain", "[]", "expected"),
        ("reconfiguration_policy", "any", "additive"),
        ("container_logger", "org_apache_mesos_JournaldContainerLogger", "logrotate"),
        ("max_stdout_size", "1KB", "at least 4KB"),
        ("logrotate_stderr_options", "rotate all", "number up to"),
        ("container_disk_watch_interval", "0ns", "15secs"),
        ("acls", "{}", "not supported yet"),
        ("authenticate_http_executors", "true", "not supported yet"),
        ("authenticate_http_readwrite", "true", "give --http_credentials"),
        ("firewall_rules", "[]", "disabled_endpoints"),
        ("docker_registry", "/images", "oci:/folder"),
        ("docker_registry", "hdfs://x", "oci:/folder"),
        ("docker_registry", "not a host!", "expected a registry"),
        ("docker_registry", "https://127.0.0.1:1/v2/", "expected a registry"),
        ("docker_registry", "https://", "expected a registry"),
        ("docker_registry", "", "expected a registry"),
        ("gc_disk_headroom", "2", "share"),
        ("executor_environment_variables", "[1]", "JSON object"),
        ("default_container_shm_size", "64", "64MB"),
        ("cgroups_root", "a/../b", "cgroup"),
        ("recover", "x", "cleanup"),
        ("isolation", "cgroups,namespaces/user", "needs the other namespaces"),
        ("user_namespace_ids", "0:65536", "1000 and above"),
        ("user_namespace_ids", "100000", "FIRST:COUNT"),
        ("user_namespace_ids", "4294967290:65536", "FIRST:COUNT"),
        ("container_cpuset_cpus", "all", "0-3,5"),
        ("container_cpuset_mems", "", "0-3,5"),
        ("container_io_weight", "0", "1 to 10000"),
        ("container_io_max", "8:0", "limits after the device"),
        ("container_hugetlb", "2MB=64MB", "cgroups/hugetlb"),
        ("container_hugetlb", "2MB", "2MB=64MB"),
        ("registry_mirrors", "nonsense", "mirror"),
        ("registry_token_services", "r.example.com", "registry=host"),
        ("local_image_dirs", "/a,b", "absolute"),
        ("image_gc_config", "[]", "image_disk_headroom"),
        ("image_gc_config", r#"{"image_disk_headroom":0.1}"#, "image_disk_watch_interval"),
        (
            "image_gc_config",
            r#"{"image_disk_headroom":0.1,"image_disk_watch_interval":{"nanoseconds":1},"excluded_images":[1]}"#,
            "docker.name",
        ),
    ] {
        let message = with(&[(name, value)]).unwrap_err().to_string();
        assert!(message.starts_with(&format!("--{name}=")) && message.contains(part), "{message}");
        assert!(!message.contains("hush"), "{message}");
    }
    let open = ("ip", "0.0.0.0");
    assert!(with(&[open, ("insecure", "true")]).is_ok());
    let [readonly, readwrite] =
        ["authenticate_http_readonly", "authenticate_http_readwrite"].map(|switch| (switch, "true"));
    assert!(with(&[open, ("http_credentials", "/c"), readonly, readwrite]).is_ok());
    assert!(with(&[open, ("http_credentials", "/c"), readwrite]).is_err());
    let certified = [open, ("ssl_enabled", "true"), ("ssl_require_client_cert", "true")];
    assert!(with(&certified).is_ok() && with(&certified[..2]).is_err());
}

#[test]
fn registries_as_urls() {
    let images =
        with(&[("docker_registry", "http://r:5000/"), ("insecure_registries", "a, b")]).unwrap().images;
    assert_eq!(images.registry.as_deref(), Some("r:5000"));
    assert_eq!(images.insecure_registries, ["a", "b", "r:5000"]);
    let images = with(&[("docker_registry", "https://registry-1.docker.io")]).unwrap().images;
    assert_eq!(images.registry.as_deref(), Some("registry-1.docker.io"));
    let images = with(&[("docker_registry", "https://registry-1.docker.io/")]).unwrap().images;
    assert_eq!(images.registry.as_deref(), Some("registry-1.docker.io"));
    assert!(images.insecure_registries.is_empty());
}

#[test]
fn resources_as_text_and_as_json() {
    let text = with(&[("resources", "cpus:2;mem(web):512")]).unwrap().resources;
    assert_eq!(text.names.iter().collect::<Vec<_>>(), ["cpus", "mem"]);
    let json = r#"[{"name":"cpus","type":"SCALAR","scalar":{"value":2}},
        {"name":"mem","type":"SCALAR","scalar":{"value":512},"role":"web"}]"#;
    assert_eq!(with(&[("resources", json)]).unwrap().resources, text);
    let all = with(&[("resources", "cpus:2"), ("default_role", "ops")]).unwrap().resources;
    assert_eq!(all.resources.to_string(), "cpus(ops):2");
}

#[test]
fn no_flag_is_both_known_and_ignored() {
    let mut names: Vec<&str> = FLAGS.iter().flat_map(|f| f.aliases.iter().copied().chain([f.name])).collect();
    names.extend(crate::IGNORED);
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn nothing_of_something_is_not_detected() {
    let given = with(&[("resources", "cpus:0;disk(web):0")]).unwrap().resources;
    assert!(given.resources.is_empty());
    assert_eq!(given.names.iter().collect::<Vec<_>>(), ["cpus", "disk"]);
}

#[test]
fn the_logger_of_mesos_has_two_names_and_four_settings() {
    for name in ["logrotate", "org_apache_mesos_LogrotateContainerLogger"] {
        let flags = [
            ("container_logger", name),
            ("max_stderr_size", "1MB"),
            // What is not supported doesn't keep the agent from starting.
            ("logrotate_stderr_options", "rotate 3\ncompress"),
        ];
        let rotation = with(&flags).unwrap().logger.rotation.unwrap();
        assert_eq!((rotation.stdout.max_bytes, rotation.stdout.keep), (10 << 20, 0));
        assert_eq!((rotation.stderr.max_bytes, rotation.stderr.keep), (1 << 20, 3));
    }
}

#[test]
fn disk_usage_is_watched_when_asked_for() {
    let quota = |flags: &[(&str, &str)]| with(flags).unwrap().disk_quota;
    assert!(quota(&[("isolation", "cgroups,disk/du")]).measured);
    assert!(quota(&[("isolation", "cgroups,posix/disk")]).measured);
    let enforced =
        quota(&[("enforce_container_disk_quota", "true"), ("container_disk_watch_interval", "1secs")]);
    assert_eq!(enforced, DiskQuota { measured: true, enforced: true, interval: Duration::from_secs(1) });
}

#[test]
fn a_domain_is_read() {
    let text = r#"{"fault_domain":{"region":{"name":"r"},"zone":{"name":"z"}}}"#;
    assert_eq!(with(&[("domain", text)]).unwrap().domain.unwrap().fault_domain.unwrap().zone.name, "z");
}

#[test]
fn images_are_collected_as_mesos_is_told_to() {
    let text = r#"{"image_disk_headroom":0.2,"image_disk_watch_interval":{"nanoseconds":3600000000000},
        "excluded_images":[{"type":"DOCKER","docker":{"name":"busybox"}}]}"#;
    let collection = with(&[("image_gc_config", text)]).unwrap().images.collection.unwrap();
    let excluded = vec!["busybox".to_owned()];
    assert_eq!(collection, ImageCollection { headroom: 0.2, interval: Duration::from_secs(3600), excluded });
    assert_eq!(with(&[]).unwrap().images.collection, None);
}

#[test]
fn what_every_container_gets() {
    let config = with(&[
        ("isolation", "cgroups/all,namespaces,namespaces/user"),
        ("user_namespace_ids", "200000:70000"),
        ("container_cpuset_cpus", "0-1"),
        ("container_io_max", "8:0 rbps=1MB; 8:16 wiops=5"),
        ("container_hugetlb", "2MB=64MB,1GB=0GB"),
    ])
    .unwrap();
    assert_eq!(config.user_namespace, Some(runtime::IdRange { base: 200_000, length: 70_000 }));
    let limits = &config.limits;
    assert_eq!((limits.cpuset_cpus.as_deref(), limits.cpuset_mems.as_deref()), (Some("0-1"), None));
    assert_eq!((limits.io_max.len(), limits.hugetlb.len(), limits.pids_max), (2, 2, Some(4096)));
    let asked = asked(&config.limits, &config.flags);
    let flags: Vec<&str> = asked.iter().map(|one| one.flag).collect();
    assert_eq!(flags, ["container_cpuset_cpus", "container_io_max", "container_hugetlb"]);
    assert_eq!(asked[1].value, "8:0 rbps=1MB; 8:16 wiops=5");
    assert!(asked[0].limits.io_max.is_empty() && asked[1].limits.io_max.len() == 2);
    // Without the isolator the ids are read, and have no effect.
    assert_eq!(with(&[]).unwrap().user_namespace, None);
    let why = with(&[("isolation", "cgroups/cpu"), ("container_cpuset_cpus", "0")]).unwrap_err().to_string();
    assert!(why.contains("cgroups/cpuset in --isolation"), "{why}");
}
