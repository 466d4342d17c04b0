//! The leader's records: nobody else writes them, and nothing of them is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use coordination::{Change, LeaderContender as _, Records, RecordsError, Session, Tenure};
use integration::{Ensemble, needs};
use zookeeper_client::{Acls, Client, CreateMode};

use crate::kit::{Candidate, SESSION, soon, url, url_as};

fn put(key: impl Into<String>, value: &str) -> Change {
    Change::Put { key: key.into(), value: value.as_bytes().to_vec() }
}

fn remove(key: &str) -> Change {
    Change::Remove { key: key.to_owned() }
}

fn of(tenure: &Tenure) -> Records {
    Records::new(tenure.session.clone().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_there_for_the_next_leader() {
    needs!("java");
    let ensemble = Ensemble::start(3);
    let url = url(&ensemble, "/mesos");
    let mut first = Candidate::start(url.clone(), 1);
    let mut records = of(&first.leads().await);
    let taken = records.take_over(1000).await.unwrap();
    assert_eq!((taken.epoch, taken.records.len()), (1000, 0));
    records.commit(&[put("a/b c", "1"), put("b", "1"), put("b", "2"), remove("never")]).await.unwrap();
    records.commit(&[remove("b"), put("c", ""), remove("c"), put("c", "3"), put("..", "4")]).await.unwrap();
    let expected: Vec<(String, Vec<u8>)> = [("..", "4"), ("a/b c", "1"), ("c", "3")]
        .map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()))
        .into();
    let mut look = Records::new(Session::open(&url, SESSION).await.unwrap());
    let seen = look.look().await.unwrap().unwrap();
    assert_eq!((seen.epoch, &seen.records), (1000, &expected));

    let mut second = Candidate::start(url, 2);
    first.zookeeper.withdraw().await;
    let mut later = of(&second.leads().await);
    let taken = later.take_over(5).await.unwrap();
    assert_eq!((taken.epoch, taken.records), (1001, expected));
    // The one before is locked out, and stays so.
    let fenced = records.commit(&[put("a/b c", "evil")]).await.unwrap_err();
    assert!(matches!(fenced, RecordsError::Fenced(_)), "{fenced:?}");
    assert!(records.commit(&[]).await.is_ok());
    assert!(matches!(records.commit(&[remove("c")]).await.unwrap_err(), RecordsError::Fenced(_)));
    later.commit(&[remove("c")]).await.unwrap();
    assert_eq!(look.look().await.unwrap().unwrap().records.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_locks_out_a_leader_that_does_not_know_of_it_yet() {
    needs!("java");
    let ensemble = Ensemble::start(1);
    let mut master = Candidate::start(url(&ensemble, "/mesos"), 1);
    let tenure = master.leads().await;
    let (mut older, mut newer) = (of(&tenure), of(&tenure));
    older.take_over(0).await.unwrap();
    older.commit(&[put("a", "older")]).await.unwrap();
    // Nothing but the epoch tells the two apart: same session, same candidate.
    assert_eq!(newer.take_over(0).await.unwrap().epoch, 2);
    assert!(matches!(older.commit(&[put("a", "evil")]).await.unwrap_err(), RecordsError::Fenced(_)));
    newer.commit(&[put("a", "newer")]).await.unwrap();
    assert_eq!(newer.look().await.unwrap().unwrap().records, [("a".to_owned(), b"newer".to_vec())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tens_of_thousands_of_records_and_large_ones() {
    needs!("java");
    let ensemble = Ensemble::start(1);
    let url = url(&ensemble, "/mesos");
    let mut master = Candidate::start(url.clone(), 1);
    let tenure = master.leads().await;
    let mut records = of(&tenure);
    records.take_over(0).await.unwrap();
    let agent = "x".repeat(700);
    let key = |n: usize| format!("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0-S{n}");
    let all: Vec<Change> = (0..20_000).map(|n| put(key(n), &agent)).collect();
    records.commit(&all).await.unwrap();
    let large = "y".repeat(500 << 10);
    records.commit(&[put("l1", &large), put("l2", &large), put("l3", "small")]).await.unwrap();
    let too_large = records.commit(&[put("l4", &"y".repeat(513 << 10))]).await.unwrap_err();
    assert!(matches!(&too_large, RecordsError::TooLarge { key, .. } if key == "l4"), "{too_large:?}");
    let taken = of(&tenure).take_over(0).await.unwrap();
    assert_eq!(taken.records.len(), 20_003);
    let found: BTreeMap<String, Vec<u8>> = taken.records.into_iter().collect();
    assert!((0..20_000).all(|n| found[&key(n)].len() == 700));
    assert_eq!(found["l2"].len(), 500 << 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_whose_answers_are_lost_are_done_once_or_not_at_all() {
    needs!("java");
    let mut ensemble = Ensemble::start(3);
    let url = url(&ensemble, "/mesos");
    let mut master = Candidate::start(url.clone(), 1);
    let mut records = of(&master.leads().await);
    records.take_over(0).await.unwrap();
    // A counter that each write must raise by one: a write that is done twice or taken for done shows.
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let (progress, mut count) = tokio::sync::watch::channel(0u64);
    let writer = tokio::spawn(async move {
        let mut done = 0u64;
        while stopped.try_recv().is_err() {
            let next = done + 1;
            let changes = [put("counter", &next.to_string()), put(format!("w{next}"), "x")];
            match records.commit(&changes).await {
                Ok(()) => done = next,
                // The session did not outlive the ensemble's trouble.
                Err(RecordsError::Fenced(_)) => {
                    let mut again = of(&master.leads().await);
                    let Ok(taken) = again.take_over(0).await else { continue };
                    let found: BTreeMap<String, Vec<u8>> = taken.records.into_iter().collect();
                    let counter: u64 =
                        found.get("counter").map_or(0, |text| String::from_utf8_lossy(text).parse().unwrap());
                    assert!(counter == done || counter == next, "{counter} after {done}");
                    assert_eq!(
                        found.contains_key(&format!("w{next}")),
                        counter == next,
                        "a write torn in two"
                    );
                    done = counter;
                    records = again;
                }
                Err(error) => panic!("{error:?}"),
            }
            let _ = progress.send(done);
        }
        done
    });
    for round in 0..4 {
        let before = *count.borrow();
        soon("writes go on", count.wait_for(|now| *now > before + 20)).await.unwrap();
        let server = if round % 2 == 0 { ensemble.leader() } else { (ensemble.leader() + 1) % 3 };
        ensemble.kill(server);
        let before = *count.borrow();
        soon("writes go on without a server", count.wait_for(|now| *now > before + 20)).await.unwrap();
        ensemble.resume(server);
        ensemble.wait();
    }
    let _ = stop.send(());
    let done = soon("the writer ends", writer).await.unwrap();
    let mut look = Records::new(Session::open(&url, SESSION).await.unwrap());
    let found: BTreeMap<_, _> = look.look().await.unwrap().unwrap().records.into_iter().collect();
    assert_eq!(found["counter"], done.to_string().into_bytes());
    assert!((1..=done).all(|n| found.contains_key(&format!("w{n}"))), "an answered write is gone");
    assert_eq!(found.len() as u64, done + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_registry_or_a_newer_one_is_refused_and_left_alone() {
    needs!("java");
    let ensemble = Ensemble::start(1);
    let mut master = Candidate::start(url(&ensemble, "/mesos"), 1);
    let tenure = master.leads().await;
    let client = Client::connect(&ensemble.connect_string()).await.unwrap();
    let open = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let root = of(&tenure).root();
    client.create(&root, b"something else", &open).await.unwrap();
    let error = of(&tenure).take_over(0).await.unwrap_err();
    assert!(matches!(&error, RecordsError::Damaged { path } if *path == root), "{error:?}");
    client.set_data(&root, br#"{"format":2,"more":true}"#, None).await.unwrap();
    let error = of(&tenure).take_over(0).await.unwrap_err();
    assert!(matches!(error, RecordsError::Newer { found: 2, .. }), "{error:?}");
    assert_eq!(client.get_data(&root).await.unwrap().0, br#"{"format":2,"more":true}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_have_the_logins_rights() {
    needs!("java");
    let ensemble = Ensemble::start(1);
    let mut master = Candidate::start(url_as(&ensemble, "me:secret", "/mesos"), 1);
    let mut records = of(&master.leads().await);
    records.take_over(0).await.unwrap();
    records.commit(&[put("a", "1")]).await.unwrap();
    let stranger = Session::open(&url(&ensemble, "/mesos"), Duration::from_secs(5)).await.unwrap();
    let mut stranger = Records::new(stranger);
    assert_eq!(stranger.look().await.unwrap().unwrap().records.len(), 1);
    let refused = stranger.take_over(0).await.unwrap_err();
    assert!(matches!(refused, RecordsError::Ensemble { .. }), "{refused:?}");
    records.commit(&[put("a", "2")]).await.unwrap();
}
