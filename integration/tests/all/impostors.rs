//! Agents that may come in but say that they are another one (threats M5).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use integration::certificates::{Authority, Certificate};
use integration::client::get;
use integration::{Cluster, Options, OrFail, eventually, needs};

fn secret(cluster: &Cluster, name: &str, content: &str) -> String {
    let path = cluster.path(name);
    fs::write(&path, content).or_fail(path.display());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).or_fail(path.display());
    path.display().to_string()
}

/// Starts the agent with these flags and waits until the master has refused it for this reason.
#[track_caller]
fn is_refused(cluster: &mut Cluster, flags: Vec<String>, why: &str) {
    cluster.options().agent = flags;
    let log = cluster.path("agent.log");
    let said = || fs::read_to_string(&log).unwrap_or_default().matches(why).count();
    let before = said();
    cluster.launch_agent();
    eventually(format!("the agent hears {why:?}"), || (said() > before).then_some(()));
    // A new master answers only once it has heard of all of its agents.
    let slaves = get(cluster.master(), "/slaves");
    if slaves.status != 503 {
        let agents = slaves.expect(200).json()["slaves"].as_array().cloned().or_fail("a list");
        assert!(agents.iter().all(|agent| agent["active"] != true), "{agents:?}");
    }
    cluster.kill_agent();
}

/// The agent's id, once it has it on its disk.
#[track_caller]
fn settled(cluster: &Cluster) -> String {
    let id = cluster.agent_id();
    let latest = cluster.work_dir().join("meta/slaves/latest");
    eventually("the agent writes its id down", || fs::read_link(&latest).ok().filter(|to| to.ends_with(&id)));
    id
}

#[track_caller]
fn comes_back(cluster: &mut Cluster, flags: Vec<String>, id: &str) {
    cluster.options().agent = flags;
    cluster.launch_agent();
    assert_eq!(settled(cluster), id);
    cluster.kill_agent();
}

#[test]
fn an_agent_is_its_principals_also_for_the_next_master() {
    needs!();
    let mut cluster = Cluster::empty(Options::default());
    let logins = secret(&cluster, "logins", "agents hush-1\nweb hush-2\n");
    cluster.options().master = vec![format!("--credentials={logins}")];
    let [agents, web] = [("agents", "hush-1"), ("web", "hush-2")].map(|(name, key)| {
        vec![format!("--credential={}", secret(&cluster, name, &format!("{name} {key}")))]
    });
    cluster.start_master();
    cluster.options().agent = agents.clone();
    cluster.launch_agent();
    let id = settled(&cluster);
    cluster.kill_agent();
    is_refused(&mut cluster, web.clone(), "registered by principal 'agents', this link is 'web'");
    cluster.kill_master();
    cluster.start_master();
    is_refused(&mut cluster, web.clone(), "registered by principal 'agents', this link is 'web'");
    is_refused(&mut cluster, Vec::new(), "registered by principal 'agents', this link has no login");
    comes_back(&mut cluster, agents, &id);
    // One that knows no id may not take its address either.
    let meta = cluster.work_dir().join("meta");
    fs::rename(&meta, cluster.path("meta-of-another")).or_fail(meta.display());
    is_refused(&mut cluster, web, "has this address");
}

#[test]
fn an_agent_is_whoever_has_its_certificate_or_one_like_it() {
    needs!("openssl");
    let mut cluster = Cluster::empty(Options::default());
    let authority = Authority::new(&cluster.path("tls"), "authority");
    let (master, agent) = (cluster.master().ip(), cluster.agent().ip());
    let issue = |name: &str, hosts: &str| authority.issue(name, &format!("IP:{agent},DNS:localhost{hosts}"));
    let flags = |certificate: &Certificate| {
        [certificate.flags(&authority), vec!["--ssl_support_downgrade".to_owned()]].concat()
    };
    cluster.options().master = flags(&authority.issue("master", &format!("IP:{master}")));
    cluster.options().agent = flags(&issue("first", ",DNS:a.example"));
    cluster.start_master();
    cluster.launch_agent();
    let id = settled(&cluster);
    cluster.kill_agent();
    let other = issue("other", ",DNS:b.example");
    is_refused(&mut cluster, flags(&other), "a certificate for a.example, this link has one for b.example");
    // Both have names that say nothing of who it is, the same address among them.
    is_refused(
        &mut cluster,
        flags(&issue("bare", "")),
        "a certificate for a.example, this link has one for subject:",
    );
    comes_back(&mut cluster, flags(&issue("renewed", ",DNS:c.example,DNS:A.example")), &id);
    comes_back(&mut cluster, flags(&issue("moved", ",DNS:c.example")), &id);
    is_refused(&mut cluster, flags(&issue("late", ",DNS:a.example")), "this link has one for a.example");
}
