//! Looks whether the configuration's files have changed, and loads them. A bad file leaves the old configuration in force.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use super::Rls;
use crate::{config, reload};

pub struct Loader {
    rls: Arc<Rls>,
    seen: Option<Result<reload::State, String>>,
}

impl Loader {
    pub fn new(rls: Arc<Rls>) -> Self {
        Self { rls, seen: None }
    }

    /// Whether there is a configuration to serve by.
    pub async fn look(&mut self) -> bool {
        let settings = Arc::clone(&self.rls.settings);
        let merge = settings.merge_domains;
        let before = self.seen.clone();
        // Disks may be slow: not on the threads that answer.
        let looked = tokio::task::spawn_blocking(move || {
            let directory = settings.config_directory();
            let now = reload::list(&directory, settings.ignore_dot_files);
            if before.as_ref() == Some(&now) {
                return None;
            }
            let root = directory.parent().unwrap_or(&directory).to_owned();
            let files = now.clone().and_then(|state| reload::read(&state, &root));
            Some((now, files.and_then(|files| config::load(&files, merge))))
        })
        .await;
        if let Ok(Some((now, config))) = looked {
            self.seen = Some(now);
            self.take(config);
        }
        let settings = &self.rls.settings;
        match self.rls.config() {
            Some(config) => !config.is_empty() || !settings.needs_config,
            None => settings.force_start,
        }
    }

    fn take(&self, config: Result<config::Config, String>) {
        let stats = &self.rls.stats;
        match config {
            Ok(config) => {
                stats.config_load_success.add(1);
                stats.config_errors_now.store(0, Relaxed);
                self.rls.set_config(config);
                self.rls.decider.forget();
                tracing::info!("loaded the configuration");
            }
            Err(error) => {
                stats.config_load_error.add(1);
                stats.config_errors_now.store(1, Relaxed);
                let kept = match self.rls.config() {
                    Some(_) => "the last one stays in force",
                    None => "there is none",
                };
                tracing::error!("Error loading new configuration: {error} ({kept})");
            }
        }
    }
}
