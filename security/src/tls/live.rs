//! A configuration that follows its files: looked at every few seconds and on SIGHUP; what can't be used changes
//! nothing.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::pem::{self, Looks};
use super::{TlsError, TlsSettings, chain};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(2);

/// Makes a configuration of the files.
type Build<T> = fn(&TlsSettings) -> Result<Arc<T>, TlsError>;

/// What is in force, and the files that it was made of.
#[derive(Debug)]
pub(super) struct Live<T> {
    settings: TlsSettings,
    build: Build<T>,
    now: RwLock<Arc<T>>,
    looks: Mutex<Looks>,
}

impl<T: Send + Sync + 'static> Live<T> {
    /// Reads the files for the first time.
    pub(super) fn load(settings: TlsSettings, build: Build<T>) -> Result<Live<T>, TlsError> {
        // Before they are read: what changes meanwhile is read once more.
        let looks = Mutex::new(pem::looks(&settings));
        let now = RwLock::new(build(&settings)?);
        Ok(Live { settings, build, now, looks })
    }

    pub(super) fn settings(&self) -> &TlsSettings {
        &self.settings
    }

    /// What is in force now.
    pub(super) fn now(&self) -> Arc<T> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files when they are others than before, or when told to.
    fn look(&self, whatever: bool) {
        let looks = pem::looks(&self.settings);
        {
            let mut before = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
            if *before == looks && !whatever {
                return;
            }
            *before = looks;
        }
        match (self.build)(&self.settings) {
            Ok(new) => {
                *self.now.write().unwrap_or_else(PoisonError::into_inner) = new;
                tracing::info!("certificates were read again; connections from now on have the new ones");
            }
            Err(error) => {
                let error = chain(&error);
                tracing::error!(error, "certificates can't be used; those of before stay in force");
            }
        }
    }

    /// Follows the files for ever.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut hangup = signal(SignalKind::hangup()).ok();
        loop {
            let told = tokio::select! {
                () = tokio::time::sleep(LOOK) => false,
                Some(()) = async { hangup.as_mut()?.recv().await } => true,
            };
            let same = self.clone();
            // It panics no more than reading at the start did.
            let _ = tokio::task::spawn_blocking(move || same.look(told)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::file::BadFile;

    fn content(settings: &TlsSettings) -> Result<Arc<String>, TlsError> {
        let path = settings.cert.clone().unwrap_or_default();
        match fs::read_to_string(&path) {
            Ok(text) if text.starts_with("good") => Ok(Arc::new(text)),
            Ok(_) => Err(TlsError::Missing("bad")),
            Err(source) => Err(BadFile::unread("ssl_cert_file", &path, source).into()),
        }
    }

    #[test]
    fn what_can_not_be_used_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cert");
        let settings = TlsSettings { cert: Some(file.clone()), ..TlsSettings::default() };
        assert!(Live::load(settings.clone(), content).is_err());
        fs::write(&file, "good 1").unwrap();
        let live = Live::load(settings, content).unwrap();
        // As tools that renew certificates do it: another file with the same name, even of the same length.
        let replace = |text: &str| {
            fs::write(dir.path().join("new"), text).unwrap();
            fs::rename(dir.path().join("new"), &file).unwrap();
            live.look(false);
            live.now().to_string()
        };
        assert_eq!(replace("good 2"), "good 2");
        assert_eq!(replace("bad"), "good 2");
        fs::remove_file(&file).unwrap();
        live.look(true);
        assert_eq!(live.now().as_str(), "good 2");
        assert_eq!(replace("good 3"), "good 3");
    }
}
