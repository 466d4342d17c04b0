//! Contends for leadership, leads while it has it, and contends anew when it lost it: all state of a leader is dropped
//! with its tenure.

use std::sync::Arc;
use std::time::Duration;

use coordination::{Leadership, RecordsError, Tenure};
use model::MasterId;
use tokio::sync::{oneshot, watch};

use super::driver::{Driver, Left};
use super::handle::{Ends, Handle};
use super::registrar;
use super::registry_ensemble::Ensemble;
use super::registry_store::{File, InMemory, RegistryStore, StoreError};
use super::{random, settings, uuid};
use crate::about::About;
use crate::config::{Config, Registry};
use crate::logic::{Contents, State};
use crate::{Coordination, MasterError};

/// Before a master that gave its leadership up contends again, so that another one gets the chance.
const PAUSE: Duration = Duration::from_secs(2);

/// What a leader is made of.
pub struct Parts {
    /// Everything it was told.
    pub config: Config,
    /// The contest.
    pub coordination: Arc<dyn Coordination>,
    /// What it tells about itself.
    pub about: Arc<About>,
    /// The registry that was opened at the start, where that is not the ensemble's.
    pub store: Option<Box<dyn RegistryStore>>,
    /// The way into the loop.
    pub handle: Handle,
    /// Tells whether it leads and has read its registry.
    pub leading: watch::Sender<bool>,
}

/// Opens a registry that is this host's own; none where the ensemble keeps it.
pub async fn open_store(registry: &Registry) -> Result<Option<Box<dyn RegistryStore>>, MasterError> {
    let directory = match registry.clone() {
        Registry::InMemory => return Ok(Some(Box::new(InMemory::default()))),
        Registry::Ensemble => return Ok(None),
        Registry::File(directory) => directory,
    };
    let opened = tokio::task::spawn_blocking(move || File::open(&directory)).await;
    let file: Result<File, StoreError> = opened.map_err(|_| MasterError::Ended("registry"))?;
    Ok(Some(Box::new(file?)))
}

/// Contends and leads until told to stop, or until it can't go on.
pub async fn lead(
    mut parts: Parts,
    mut ends: Ends,
    mut stop: oneshot::Receiver<()>,
) -> Result<(), MasterError> {
    let mut leadership = parts.coordination.contend(parts.about.contender());
    let mut led = false;
    let result = loop {
        let Some(tenure) = elected(&mut leadership, &mut ends, &mut stop).await? else { break Ok(()) };
        let id = if std::mem::replace(&mut led, true) { Some(MasterId::new(uuid()?)) } else { None };
        let (left, back) = tenure_of(&mut parts, (&tenure, id), &mut leadership, ends, &mut stop).await;
        ends = back;
        let why = match left {
            Left::Stopped => break Ok(()),
            Left::Failed(error) => break Err(error),
            Left::Lost(why) => why,
        };
        let gave_up = tenure.lease.holds();
        tracing::warn!(why, "this master stopped leading; its state is dropped, and it contends anew");
        if gave_up {
            drop(tenure);
            parts.coordination.withdraw().await;
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = &mut stop => break Ok(()),
            }
            leadership = parts.coordination.contend(parts.about.contender());
        }
    };
    parts.coordination.withdraw().await;
    result
}

/// Waits for a tenure; what comes in meanwhile finds nobody at home. None when told to stop.
async fn elected(
    leadership: &mut watch::Receiver<Leadership>,
    ends: &mut Ends,
    stop: &mut oneshot::Receiver<()>,
) -> Result<Option<Tenure>, MasterError> {
    let holds = |now: &Leadership| now.tenure().is_some_and(|tenure| tenure.lease.holds());
    loop {
        tokio::select! {
            biased;
            won = leadership.wait_for(holds) => {
                let won = won.map_err(|_| MasterError::Ended("contest for leadership"))?;
                return Ok(won.tenure().cloned());
            }
            _ = &mut *stop => return Ok(None),
            // Dropping it tells whoever waits.
            Some(input) = ends.inputs.recv() => drop(input),
            Some(_) = ends.lost_streams.recv() => {}
        }
    }
}

/// One tenure, from the reading of the registry to its end. What a leader names begins with its id, and one that leads
/// again has forgotten which names it gave: then it has another `id` than its process.
async fn tenure_of(
    parts: &mut Parts,
    (tenure, id): (&Tenure, Option<MasterId>),
    leadership: &mut watch::Receiver<Leadership>,
    ends: Ends,
    stop: &mut oneshot::Receiver<()>,
) -> (Left, Ends) {
    let clock = parts.handle.clock();
    let loaded = tokio::select! {
        loaded = load(parts, tenure) => loaded,
        _ = &mut *stop => return (Left::Stopped, ends),
    };
    let (store, contents) = match loaded {
        Ok(loaded) => loaded,
        Err(error) if tenure.session.is_some() && is_passing(&error) => {
            return (Left::Lost(said(&error)), ends);
        }
        Err(error) => return (Left::Failed(error), ends),
    };
    let seed = match random() {
        Ok(seed) => seed,
        Err(error) => return (Left::Failed(error), ends),
    };
    let epoch = contents.epoch;
    parts.handle.set_epoch(epoch);
    tracing::info!(epoch, agents = contents.admitted.len(), "leading");
    let mut settings = settings(&parts.config, &parts.about, epoch);
    settings.master = id.unwrap_or(settings.master);
    let state = State::new(settings, seed, clock.now());
    let registrar = registrar::Start {
        store,
        limit: parts.config.registry_store_timeout,
        clock,
        vitals: parts.handle.vitals().clone(),
    };
    let mut driver = Driver::new(state, epoch, parts.handle.clone(), ends, registrar, tenure.clone());
    driver.elected(contents);
    parts.leading.send_replace(true);
    let left = driver.run(leadership, stop).await;
    parts.leading.send_replace(false);
    parts.handle.set_epoch(0);
    let lost = matches!(left, Left::Lost(_));
    (left, driver.finish(lost).await)
}

/// Takes the registry over.
async fn load(parts: &mut Parts, tenure: &Tenure) -> Result<(Box<dyn RegistryStore>, Contents), MasterError> {
    let store = match (parts.store.take(), &tenure.session) {
        (Some(store), _) => store,
        (None, Some(session)) if parts.config.registry == Registry::Ensemble => {
            Box::new(Ensemble::new(session.clone()))
        }
        (None, _) => {
            let opened = open_store(&parts.config.registry).await?;
            opened.ok_or(MasterError::Ended("contest without an ensemble"))?
        }
    };
    let clock = parts.handle.clock();
    // An agent never obeys a lower epoch than it has seen: a registry that was wiped, or never kept, must not begin
    // again at one. Milliseconds of wall time grow with every start.
    let least = u64::try_from(clock.now().micros() / 1000).unwrap_or(0);
    let began = std::time::Instant::now();
    let (store, contents) = registrar::lead(store, least, parts.config.registry_fetch_timeout).await?;
    parts.handle.vitals().fetched(clock.now(), began.elapsed(), store.size());
    Ok((store, contents))
}

/// Whether a later leadership, or another master's, may succeed where this one failed.
fn is_passing(error: &MasterError) -> bool {
    match error {
        MasterError::Slow { .. } => true,
        MasterError::Registry(StoreError::Ensemble(error)) => {
            matches!(error, RecordsError::Fenced(_) | RecordsError::Ensemble { .. })
        }
        _ => false,
    }
}

fn said(error: &MasterError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
