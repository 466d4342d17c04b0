//! Who leads, and for how long.

use std::time::{Duration, Instant};

use coordination::lease::Moment;
use coordination::{
    EnsembleUrl, Leader, LeaderContender as _, LeaderDetector as _, Session, Whereabouts, ZooKeeper,
};
use integration::{Ensemble, Proxy, needs};
use rustix::process::Signal;
use tokio::sync::watch;
use zookeeper_client::{Acl, Acls, AuthId, Client, CreateMode, Permission};

use crate::kit::{Candidate, SESSION, contend, soon, told, url, url_as};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_leads_until_it_goes_and_everybody_learns_of_it() {
    needs!("java");
    let ensemble = Ensemble::start(3);
    let url = url(&ensemble, "/chroot/mesos");
    // One that begins to watch before any master was there.
    let watcher = ZooKeeper::start(url.clone(), SESSION);
    let mut leader = watcher.leader();
    let mut first = Candidate::start(url.clone(), 1);
    let tenure = first.leads().await;
    assert!(tenure.lease.holds());
    told(&mut leader, Some(1)).await;
    assert_eq!(leader.borrow().as_ref().unwrap().shown().to_string(), "m1:1");
    let mut second = Candidate::start(url.clone(), 2);
    told(&mut second.zookeeper.leader(), Some(1)).await;
    let session = Session::open(&url, SESSION).await.unwrap();
    while session.candidates().await.unwrap().len() < 2 {}
    assert!(!second.is_leading());
    // A clean end hands over at once, not after a session's time.
    let began = Instant::now();
    first.zookeeper.withdraw().await;
    assert!(!tenure.lease.holds());
    second.leads().await;
    told(&mut leader, Some(2)).await;
    assert!(began.elapsed() < SESSION * 10, "{:?}", began.elapsed());
    // It comes back behind the other.
    first.stands_by().await;
    first.leadership = contend(&first.zookeeper, 1);
    while session.candidates().await.unwrap().len() < 2 {}
    // One that just vanishes goes with its session.
    drop(second);
    first.leads().await;
    told(&mut leader, Some(1)).await;
    let found: Whereabouts = ensemble.url("/chroot/mesos").parse().unwrap();
    assert_eq!(found.find(SESSION * 5).await.unwrap().port, 1);
    // A tenure holds its session.
    drop((first, tenure));
    told(&mut leader, None).await;
    let nobody = found.find(Duration::from_millis(500)).await.unwrap_err().to_string();
    assert!(nobody.contains("names no leading master"), "{nobody}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_quorum_ends_the_lease_in_time_and_its_return_brings_a_leader() {
    needs!("java");
    let ensemble = Ensemble::start(3);
    let url = url(&ensemble, "/mesos");
    let mut first = Candidate::start(url.clone(), 1);
    let lease = first.leads().await.lease;
    let mut masters = [first, Candidate::start(url, 2)];
    told(&mut masters[1].zookeeper.leader(), Some(1)).await;
    for server in 0..3 {
        ensemble.signal(server, Signal::STOP);
    }
    // Two thirds of the session, from the last answer on.
    assert!(lease.left(Moment::now()) <= SESSION * 2 / 3);
    masters[0].stands_by().await;
    assert!(!lease.holds());
    for master in &masters {
        told(&mut master.zookeeper.leader(), None).await;
        assert!(!master.is_leading());
    }
    for server in 0..3 {
        ensemble.signal(server, Signal::CONT);
    }
    let [first, second] = &mut masters;
    soon("one of both leads again", async {
        tokio::select! { _ = first.leads() => {}, _ = second.leads() => {} }
    })
    .await;
    assert!(!lease.holds(), "an old lease stays over");
    assert_ne!(first.is_leading(), second.is_leading());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_any_server_is_survived() {
    needs!("java");
    let mut ensemble = Ensemble::start(3);
    let mut master = Candidate::start(url(&ensemble, "/mesos"), 1);
    master.leads().await;
    for server in 0..3 {
        ensemble.kill(server);
        // Whether it kept its leadership depends on how fast the others found each other.
        master.leads().await;
        ensemble.resume(server);
        ensemble.wait();
    }
    told(&mut master.zookeeper.leader(), Some(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_leaves_nobody_in_doubt_who_leads() {
    needs!("java");
    let mut ensemble = Ensemble::start(3);
    let mut master = Candidate::start(url(&ensemble, "/mesos"), 1);
    master.leads().await;
    // Some of them are clients of each server.
    let watchers: Vec<ZooKeeper> =
        (0..6).map(|_| ZooKeeper::start(url(&ensemble, "/mesos"), SESSION * 4)).collect();
    let mut told_to: Vec<_> = watchers.iter().map(|watcher| watcher.leader()).collect();
    for leader in &mut told_to {
        told(leader, Some(1)).await;
    }
    // Their last look is longer ago than a session lasts.
    nobody_hears(&mut told_to, SESSION * 5).await;
    let follower = (ensemble.leader() + 1) % 3;
    ensemble.kill(follower);
    nobody_hears(&mut told_to, SESSION).await;
    // And all of them still hear of changes.
    drop(master);
    for leader in &mut told_to {
        told(leader, None).await;
    }
}

/// For that long nothing is told.
async fn nobody_hears(told_to: &mut [watch::Receiver<Option<Leader>>], span: Duration) {
    let (first, others) = told_to.split_first_mut().unwrap();
    others.iter_mut().for_each(watch::Receiver::mark_unchanged);
    assert!(tokio::time::timeout(span, first.changed()).await.is_err());
    assert!(others.iter().all(|leader| leader.has_changed().is_ok_and(|changed| !changed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_the_ensemble_ends_are_followed_by_new_ones() {
    needs!("java");
    let ensemble = Ensemble::start(1);
    let line = Proxy::to(ensemble.address(0));
    let through: EnsembleUrl = format!("zk://{}/mesos", line.address()).parse().unwrap();
    let watcher = ZooKeeper::start(through.clone(), SESSION);
    let mut leader = watcher.leader();
    let mut first = Candidate::start(through, 1);
    let tenure = first.leads().await;
    told(&mut leader, Some(1)).await;
    let mut second = Candidate::start(url(&ensemble, "/mesos"), 2);
    let session = Session::open(&url(&ensemble, "/mesos"), SESSION).await.unwrap();
    soon("both contend", async { while session.candidates().await.unwrap().len() < 2 {} }).await;
    for _ in 0..2 {
        // Nothing comes through for longer than their sessions last: the ensemble takes the node away.
        line.silence();
        second.leads().await;
        told(&mut leader, None).await;
        first.stands_by().await;
        line.speak();
        // Both are there again within sessions of their own, and see what changes from now on.
        told(&mut leader, Some(2)).await;
        soon("it contends again", async { while session.candidates().await.unwrap().len() < 2 {} }).await;
        second.zookeeper.withdraw().await;
        first.leads().await;
        told(&mut leader, Some(1)).await;
        second.leadership = contend(&second.zookeeper, 2);
        soon("both contend", async { while session.candidates().await.unwrap().len() < 2 {} }).await;
    }
    assert!(!tenure.lease.holds());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_whose_node_is_removed_by_hand_contends_anew() {
    needs!("java");
    let ensemble = Ensemble::start(1);
    let url = url(&ensemble, "/mesos");
    let mut master = Candidate::start(url.clone(), 1);
    let tenure = master.leads().await;
    let session = Session::open(&url, SESSION).await.unwrap();
    let client = Client::connect(&ensemble.connect_string()).await.unwrap();
    for _ in 0..5 {
        let own = session.candidates().await.unwrap().remove(0);
        client.delete(&format!("/mesos/{own}"), None).await.unwrap();
        soon("another node", async {
            while session.candidates().await.unwrap().iter().all(|node| *node == own) {}
        })
        .await;
        master.leads().await;
    }
    assert!(!tenure.lease.holds());
    drop(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_others_masters_are_read() {
    needs!("java");
    let ensemble = Ensemble::start(1);
    let client = Client::connect(&ensemble.connect_string()).await.unwrap();
    let open = Acls::anyone_all();
    client.create("/mesos", b"", &CreateMode::Persistent.with_acls(open)).await.unwrap();
    let watcher = ZooKeeper::start(url(&ensemble, "/mesos"), SESSION);
    let mut leader = watcher.leader();
    client.create("/mesos/log_replicas", b"", &CreateMode::Persistent.with_acls(open)).await.unwrap();
    // Mesos 1.11's own words.
    let mesos = br#"{"address":{"hostname":"m1.example","ip":"10.1.2.3","port":5050},"capabilities":[{"type":"AGENT_UPDATE"},{"type":"AGENT_DRAINING"},{"type":"QUOTA_V2"}],"hostname":"m1.example","id":"e9dd1ab4-3b5c-4d6e-8f70-8192a3b4c5d6","ip":50463498,"pid":"master@10.1.2.3:5050","port":5050,"version":"1.11.0"}"#;
    let sequential = CreateMode::EphemeralSequential.with_acls(open);
    client.create("/mesos/json.info_", mesos, &sequential).await.unwrap();
    told(&mut leader, Some(5050)).await;
    assert_eq!(leader.borrow().as_ref().unwrap().address.to_string(), "10.1.2.3:5050");
    // One of ours stands behind it, and then leads.
    let mut ours = Candidate::start(url(&ensemble, "/mesos"), 7);
    told(&mut ours.zookeeper.leader(), Some(5050)).await;
    assert!(!ours.is_leading());
    drop(client);
    ours.leads().await;
    told(&mut leader, Some(7)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_login_nobody_can_say_that_he_leads() {
    needs!("java");
    let ensemble = Ensemble::start(1);
    let mut master = Candidate::start(url_as(&ensemble, "tepui:p@ss", "/mesos"), 1);
    master.leads().await;
    let client = Client::connect(&ensemble.connect_string()).await.unwrap();
    let sequential = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
    let forged = client.create("/mesos/json.info_", b"{}", &sequential).await.unwrap_err();
    assert_eq!(forged, zookeeper_client::Error::NoAuth);
    let own = Session::open(&url(&ensemble, "/mesos"), SESSION)
        .await
        .unwrap()
        .candidates()
        .await
        .unwrap()
        .remove(0);
    for refused in [
        client.delete(&format!("/mesos/{own}"), None).await.unwrap_err(),
        client.set_data(&format!("/mesos/{own}"), b"{}", None).await.unwrap_err(),
    ] {
        assert_eq!(refused, zookeeper_client::Error::NoAuth);
    }
    // A contender with another login, or none, is never elected; who only looks sees the leader.
    let wrong = Candidate::start(url_as(&ensemble, "tepui:wrong", "/mesos"), 2);
    let none = Candidate::start(url(&ensemble, "/mesos"), 3);
    let watcher = ZooKeeper::start(url(&ensemble, "/mesos"), SESSION);
    told(&mut watcher.leader(), Some(1)).await;
    master.zookeeper.withdraw().await;
    told(&mut watcher.leader(), None).await;
    assert!(!wrong.is_leading() && !none.is_leading());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_follows_the_session_that_the_ensemble_gives_not_the_one_asked_for() {
    needs!("java");
    let ensemble = Ensemble::start(1);
    // ZooKeeper: a session lasts from two to twenty ticks, whatever is asked for.
    for (asked, given) in [(SESSION * 30, SESSION * 5), (SESSION / 20, SESSION / 2)] {
        let zookeeper = ZooKeeper::start(url(&ensemble, "/mesos"), asked);
        let mut master = Candidate { leadership: contend(&zookeeper, 1), zookeeper, port: 1 };
        let lease = master.leads().await.lease;
        assert!(lease.left(Moment::now()) <= given * 2 / 3, "asked for {asked:?}");
        master.zookeeper.withdraw().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leads_is_unknown_once_nothing_could_be_read_for_a_session_and_known_again_after() {
    needs!("java");
    let ensemble = Ensemble::start(1);
    let mut master = Candidate::start(url(&ensemble, "/mesos"), 1);
    master.leads().await;
    let mut leader = master.zookeeper.leader();
    told(&mut leader, Some(1)).await;
    let client = Client::connect(&ensemble.connect_string()).await.unwrap();
    let (acls, _) = client.get_acl("/mesos").await.unwrap();
    // The server answers, but nobody may read.
    let blind = Acl::new(Permission::CREATE | Permission::DELETE | Permission::ADMIN, AuthId::anyone());
    client.set_acl("/mesos", &[blind], None).await.unwrap();
    nobody_hears(std::slice::from_mut(&mut leader), SESSION / 2).await;
    told(&mut leader, None).await;
    assert!(!master.is_leading(), "its lease is shorter than its session");
    client.set_acl("/mesos", &acls, None).await.unwrap();
    told(&mut leader, Some(1)).await;
    master.leads().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_can_withdraw_while_no_server_answers() {
    needs!("java");
    let ensemble = Ensemble::start(1);
    // The removal of its node fails only once this session is over.
    let zookeeper = ZooKeeper::start(url(&ensemble, "/mesos"), SESSION * 5);
    let mut master = Candidate { leadership: contend(&zookeeper, 1), zookeeper, port: 1 };
    let tenure = master.leads().await;
    ensemble.signal(0, Signal::STOP);
    let withdrawn = tokio::time::timeout(SESSION * 4, master.zookeeper.withdraw()).await;
    assert!(withdrawn.is_ok(), "it waits for the removal of its node");
    master.stands_by().await;
    assert!(!tenure.lease.holds());
    ensemble.signal(0, Signal::CONT);
    // It stays away, also when its session goes on or another begins.
    let mut other = Candidate::start(url(&ensemble, "/mesos"), 2);
    other.leads().await;
    assert!(!master.is_leading());
}
