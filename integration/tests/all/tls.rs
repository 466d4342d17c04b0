//! TLS on all ways: who is believed, who is not, what is renewed while it is used, and what peers that play foul get.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use integration::certificates::{Authority, Certificate, Valid, trusting};
use integration::client::{Request, get};
use integration::eventually::PATIENCE;
use integration::vitals::memory;
use integration::{Cluster, Masters, Options, OrFail, eventually, needs};
use rustix::process::Signal;

/// What master and agent of a cluster have.
struct Certificates {
    authority: Authority,
    master: Certificate,
    agent: Certificate,
}

impl Certificates {
    fn of(cluster: &Cluster) -> Certificates {
        let authority = Authority::new(&cluster.path("tls"), "authority");
        let [master, agent] = [("master", cluster.master()), ("agent", cluster.agent())]
            .map(|(name, at)| authority.issue(name, &alone(at)));
        Certificates { authority, master, agent }
    }

    /// A cluster that is not started yet.
    fn cluster() -> (Cluster, Certificates) {
        let mut cluster = Cluster::empty(Options::default());
        let certificates = Certificates::of(&cluster);
        let options = cluster.options();
        options.master = certificates.master.flags(&certificates.authority);
        options.agent = certificates.agent.flags(&certificates.authority);
        (cluster, certificates)
    }

    /// One that also hears plain text, which the tests' own client speaks.
    fn downgraded() -> (Cluster, Certificates) {
        let (mut cluster, certificates) = Certificates::cluster();
        let options = cluster.options();
        options.master.push("--ssl_support_downgrade".to_owned());
        options.agent.push("--ssl_support_downgrade".to_owned());
        (cluster, certificates)
    }
}

fn alone(at: SocketAddr) -> String {
    format!("IP:{}", at.ip())
}

/// What curl says: its exit code, what it printed and why not.
struct Curled {
    code: i32,
    body: String,
    error: String,
}

fn curl(authority: &Authority, with: Option<&Certificate>, url: &str, more: &[&str]) -> Curled {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20", "--cacert"]).arg(authority.file());
    if let Some(certificate) = with {
        command.arg("--cert").arg(&certificate.cert).arg("--key").arg(&certificate.key);
    }
    let output = command.args(more).arg(url).output().or_fail("starting curl");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().or_fail("curl's code");
    Curled { code, body: text(&output.stdout), error: text(&output.stderr) }
}

/// The subject of the certificate that a server shows.
fn shown_by(at: SocketAddr) -> String {
    let script = "openssl s_client -connect $0 </dev/null 2>/dev/null | openssl x509 -noout -subject";
    let output = Command::new("bash").args(["-c", script, &at.to_string()]).output().or_fail("bash");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[track_caller]
fn says(log: impl Fn() -> String, what: &str) {
    eventually(format!("the log says {what:?}"), || log().contains(what).then_some(()));
}

#[test]
fn everything_is_encrypted_and_agents_are_certified() {
    needs!("openssl", "curl");
    let (mut cluster, certificates) = Certificates::cluster();
    let authority = &certificates.authority;
    let url = format!("https://{}/slaves", cluster.master());
    cluster.launch_master();
    cluster.launch_agent();
    eventually("the agent is registered", || {
        let answer = curl(authority, None, &url, &[]);
        (answer.code == 0 && answer.body.contains(r#""active":true"#)).then_some(())
    });
    let log = cluster.path("master.log");
    assert!(!std::fs::read_to_string(&log).or_fail(log.display()).contains("WARN"), "nothing is strange");
    // A scheduler needs no certificate; its output comes from the agent, over TLS, too.
    let mut words = vec!["run".to_owned()];
    words.extend(trusting(authority));
    words.extend(["--quiet", "--", "echo", "hello"].map(str::to_owned));
    assert_eq!(cluster.ask(&words).wait().expect(0).stdout, "hello\n");
    let answer = curl(authority, None, &url, &["--http2", "--write-out", "%{http_version}"]);
    assert!(answer.body.ends_with("}2"), "{}", answer.body);
    // Old versions of the protocol are not spoken.
    let old = curl(authority, None, &url, &["--tls-max", "1.1", "--ciphers", "DEFAULT:@SECLEVEL=0"]);
    assert_ne!(old.code, 0, "{}", old.body);
    assert_eq!(curl(authority, None, &url, &["--tls-max", "1.2"]).code, 0);

    for plain in [cluster.master(), cluster.agent()] {
        assert!(Request::new("GET", "/health").send(plain).is_err(), "plain text is refused");
    }
    let told = cluster.ask(&["agents", "list"]).wait().expect(1).stderr;
    assert!(told.contains("does not answer"), "{told}");
    let stranger = Authority::new(&cluster.path("tls"), "stranger");
    let mut words = vec!["agents".to_owned(), "list".to_owned()];
    words.extend(trusting(&stranger));
    let told = cluster.ask(&words).wait().expect(1).stderr;
    assert!(told.contains("invalid peer certificate: UnknownIssuer"), "{told}");
    // The link without a certificate, as an agent would open it: UNAUTHENTICATED.
    let link = format!("https://{}/tepui.link.v1.AgentLink/Attach", cluster.master());
    let grpc = ["--http2", "--include", "--header", "content-type: application/grpc", "--data", ""];
    let refused = curl(authority, None, &link, &grpc);
    assert!(refused.body.contains("grpc-status: 16"), "{}{}", refused.body, refused.error);
    let taken = curl(authority, Some(&certificates.agent), &link, &grpc);
    assert!(!taken.body.contains("grpc-status: 16"), "{}", taken.body);
}

#[test]
fn agents_that_are_not_certified_stay_out() {
    needs!("openssl", "faketime");
    let (mut cluster, certificates) = Certificates::downgraded();
    let authority = &certificates.authority;
    cluster.start_master();
    let stranger = Authority::new(&cluster.path("tls"), "stranger");
    let at = alone(cluster.agent());
    let foreign = stranger.issue("foreign", &at).flags(authority);
    let expired = authority.sign("expired", &at, Valid::NoMore).flags(authority);
    let plain = Vec::new();
    for (flags, agent_says) in [
        (foreign, "UnknownCA"),
        (expired, "CertificateExpired"),
        // Mesos: who asks for downgrades hears plain text. Not from agents.
        (plain, "only agents with a certificate"),
    ] {
        cluster.options().agent = flags;
        cluster.launch_agent();
        let log = cluster.path("agent.log");
        says(|| std::fs::read_to_string(&log).unwrap_or_default(), agent_says);
        has_no_agents(&cluster);
        cluster.kill_agent();
    }
    cluster.options().agent = certificates.agent.flags(authority);
    cluster.launch_agent();
    cluster.agent_id();
}

/// A master that has just been started says so once it leads.
fn has_no_agents(cluster: &Cluster) {
    let slaves = eventually::within(PATIENCE, "the master leads", || {
        Some(get(cluster.master(), "/slaves")).filter(|answer| answer.status == 200)
    });
    assert_eq!(slaves.json()["slaves"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_master_that_can_not_prove_who_it_is_gets_no_agents() {
    needs!("openssl", "faketime");
    let (mut cluster, certificates) = Certificates::downgraded();
    let authority = &certificates.authority;
    let stranger = Authority::new(&cluster.path("tls"), "stranger");
    let at = alone(cluster.master());
    cluster.launch_agent();
    for (shown, agent_says) in [
        (stranger.issue("foreign", &at), "UnknownIssuer"),
        (authority.sign("expired", &at, Valid::NoMore), "certificate expired"),
        (authority.issue("elsewhere", "IP:10.9.8.7,DNS:localhost"), "certificate not valid for name"),
    ] {
        cluster.options().master = shown.flags(authority);
        cluster.options().master.push("--ssl_support_downgrade".to_owned());
        cluster.start_master();
        let log = cluster.path("agent.log");
        says(|| std::fs::read_to_string(&log).unwrap_or_default(), agent_says);
        has_no_agents(&cluster);
        cluster.kill_master();
    }
}

#[test]
fn nobody_comes_without_a_certificate_when_all_need_one() {
    needs!("openssl", "curl", "faketime");
    let (mut cluster, certificates) = Certificates::cluster();
    let authority = &certificates.authority;
    // A folder with the authority, and with what is none.
    let folder = cluster.path("authorities");
    std::fs::create_dir(&folder).or_fail(folder.display());
    std::fs::copy(authority.file(), folder.join("ours.pem")).or_fail("copying the authority");
    std::fs::write(folder.join("README"), "who signs").or_fail("writing a file");
    let flags = &mut cluster.options().master;
    flags.retain(|flag| !flag.starts_with("--ssl_ca_file"));
    flags.push(format!("--ssl_ca_dir={}", folder.display()));
    flags.push("--ssl_require_client_cert".to_owned());
    cluster.launch_master();
    let url = format!("https://{}/health", cluster.master());
    let own = authority.issue("operator", "DNS:operator");
    eventually("the master answers", || (curl(authority, Some(&own), &url, &[]).code == 0).then_some(()));
    let stranger = Authority::new(&cluster.path("tls"), "stranger");
    let foreign = stranger.issue("foreign", "DNS:operator");
    let expired = authority.sign("expired", "DNS:operator", Valid::NoMore);
    for with in [None, Some(&foreign), Some(&expired)] {
        let answer = curl(authority, with, &url, &[]);
        assert_ne!(answer.code, 0, "{with:?}");
        assert_eq!(answer.body, "", "{with:?}");
    }
    let mut words = vec!["agents".to_owned(), "list".to_owned()];
    words.extend(own.flags(authority));
    cluster.ask(&words).wait().expect(0);
}

#[test]
fn what_is_renewed_counts_at_once_and_links_live_on() {
    needs!("openssl");
    let (mut cluster, certificates) = Certificates::downgraded();
    let authority = &certificates.authority;
    cluster.start_master();
    cluster.start_agent();
    let agent = cluster.agent_id();
    assert_eq!(shown_by(cluster.master()), "subject=CN = master");
    let [second, third] = ["second", "third"].map(|name| authority.issue(name, &alone(cluster.master())));
    certificates.master.become_like(&second);
    eventually("the new certificate is shown", || {
        (shown_by(cluster.master()) == "subject=CN = second").then_some(())
    });
    let refusals =
        || log_of(&cluster, "master").matches("certificates can't be used; those of before").count();
    let before = refusals();
    // A key that doesn't belong to it: the pair of before goes on.
    std::fs::copy(&third.key, &certificates.master.key).or_fail("copying a key");
    eventually("that is said", || (refusals() > before).then_some(()));
    assert_eq!(shown_by(cluster.master()), "subject=CN = second");
    std::fs::copy(&third.cert, &certificates.master.cert).or_fail("copying a certificate");
    eventually("the third is shown", || (shown_by(cluster.master()) == "subject=CN = third").then_some(()));
    // The agent's own, when it is told to look.
    certificates.agent.become_like(&authority.issue("later", &alone(cluster.agent())));
    cluster.agent_process().signal(Signal::HUP);
    eventually("the agent shows its new one", || {
        (shown_by(cluster.agent()) == "subject=CN = later").then_some(())
    });
    assert_eq!(cluster.agent_id(), agent);
    let log = log_of(&cluster, "agent");
    assert_eq!(log.matches("connected to the master").count(), 1, "one link all the time");
    assert!(!log.contains("the link to the master ended"), "{log}");
    assert!(cluster.agent_process().runs());
}

fn log_of(cluster: &Cluster, name: &str) -> String {
    std::fs::read_to_string(cluster.path(&format!("{name}.log"))).unwrap_or_default()
}

/// The first bytes of a ClientHello that never gets complete.
const HALF: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 7, 7, 7];

#[test]
fn handshakes_that_lead_nowhere_cost_little_and_are_cut() {
    needs!("openssl", "curl");
    let (mut cluster, certificates) = Certificates::cluster();
    let authority = &certificates.authority;
    cluster.launch_master();
    let (at, url) = (cluster.master(), format!("https://{}/health", cluster.master()));
    let answers = || curl(authority, None, &url, &[]).code == 0;
    eventually("the master answers", || answers().then_some(()));
    let pid = cluster.master_process().pid();
    let before = memory(pid);
    let open = |bytes: &[u8]| {
        let mut socket = TcpStream::connect_timeout(&at, PATIENCE).or_fail("connecting");
        // It may be cut before all is said.
        let _ = socket.write_all(bytes);
        socket
    };
    let mut held: Vec<TcpStream> = (0..1500).map(|_| open(HALF)).collect();
    held.extend((0..300).map(|_| open(b"")));
    assert!(answers(), "others are served meanwhile");
    let grown = memory(pid).saturating_sub(before);
    assert!(grown < 48, "{grown} MB for 1800 halves of a handshake");
    // What is no TLS at all ends at once, with an alert or without.
    for noise in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 3, 0xff, 0xff, 1, 2, 3], &[0x16; 300], &[0x80; 70_000]]
    {
        let mut socket = open(noise);
        socket.set_read_timeout(Some(PATIENCE)).or_fail("a limit");
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = socket.read_to_end(&mut rest);
        assert!(rest.len() < 100 && !rest.starts_with(b"HTTP"), "{rest:?}");
    }
    for socket in &mut held {
        socket.set_read_timeout(Some(Duration::from_secs(30))).or_fail("a limit");
        let got = socket.read(&mut [0; 64]);
        let cut = match &got {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        assert!(cut, "one that says no more is cut: {got:?}");
    }
    assert!(answers());
}

#[test]
fn what_can_not_work_stops_the_start_and_says_why() {
    needs!("openssl");
    let cluster = Cluster::empty(Options::default());
    let certificates = Certificates::of(&cluster);
    let (authority, own) = (&certificates.authority, &certificates.master);
    let other = Certificate { cert: own.cert.clone(), key: certificates.agent.key.clone() };
    let nothing = Certificate { cert: cluster.path("nothing"), key: own.key.clone() };
    let key_twice = Certificate { cert: own.key.clone(), key: own.key.clone() };
    let mut master = vec![
        (other.flags(authority), "--ssl_key_file="),
        (nothing.flags(authority), "--ssl_cert_file="),
        (key_twice.flags(authority), "there is no certificate in it"),
        (trusting(authority), "--ssl_enabled needs --ssl_cert_file and --ssl_key_file"),
    ];
    let mut without = own.flags(authority);
    without.remove(1);
    without.push("--ssl_require_client_cert".to_owned());
    master.push((without, "--ssl_require_client_cert needs --ssl_ca_file"));
    for (flags, part) in master {
        let mut words = vec!["master".to_owned(), "--port=0".to_owned(), "--registry=in_memory".to_owned()];
        words.extend(flags);
        let told = cluster.tepui(&words).wait().expect(1).stderr;
        assert!(told.contains(part), "{part}: {told}");
    }
    let told = cluster.tepui(&["agents", "list", "--ssl_enabled"]).wait().expect(1).stderr;
    assert!(told.contains("needs --ssl_ca_file"), "{told}");
    // Everybody is certified: no need for --insecure beyond the loopback.
    let mut words =
        vec!["master".to_owned(), "--ip=192.0.2.77".to_owned(), "--registry=in_memory".to_owned()];
    words.extend(own.flags(authority));
    let told = cluster.tepui(&words).wait().expect(2).stderr;
    assert!(told.contains("turn authentication on"), "{told}");
    words.push("--ssl_require_client_cert".to_owned());
    let told = cluster.tepui(&words).wait().expect(1).stderr;
    assert!(told.contains("can't listen on 192.0.2.77"), "{told}");
}

#[test]
fn several_masters_lead_agents_and_schedulers_over_tls() {
    needs!("openssl", "java");
    let place = Cluster::empty(Options::default());
    let authority = Authority::new(&place.path("tls"), "authority");
    // All of this process' addresses are one.
    let own = authority.issue("all", &format!("IP:{},DNS:localhost", place.master().ip()));
    let mut flags = own.flags(&authority);
    flags.push("--ssl_support_downgrade".to_owned());
    let texts: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut masters = Masters::start(3, &texts);
    let leader = masters.leader();
    let agent = masters.agent(Options { agent: flags.clone(), ..Options::default() });
    let id = agent.agent_id();
    let mut words = vec!["run".to_owned()];
    words.extend(trusting(&authority));
    words.extend(["--quiet", "--", "echo", "led"].map(str::to_owned));
    assert_eq!(agent.ask(&words).wait().expect(0).stdout, "led\n");
    // One that doesn't lead sends its clients to the leader, over TLS.
    let other = (leader + 1) % 3;
    let url = format!("https://{}/slaves", masters.address(other));
    let answer = curl(&authority, None, &url, &["--location"]);
    assert!(answer.body.contains(&id), "{}{}", answer.body, answer.error);
    masters.kill(leader);
    let successor = masters.successor(leader);
    eventually("the agent is registered with the next", || {
        let reply = get(masters.address(successor), "/slaves");
        (reply.status == 200 && reply.text().contains(&id)).then_some(())
    });
    assert_eq!(agent.ask(&words).wait().expect(0).stdout, "led\n");
}
