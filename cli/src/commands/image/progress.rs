//! How a pull shows on the terminal: a bar for each layer, or plain lines where nobody watches.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use images::{Digest, LayerEvent, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::print;

/// Enough of a digest to tell layers apart.
fn short(digest: &Digest) -> String {
    digest.hex().chars().take(12).collect()
}

/// Before the layers are known.
fn waits(why: &str, pause: Duration) -> String {
    format!("{why}: asking again in {:.1} s", pause.as_secs_f64())
}

fn retry(pause: Duration) -> String {
    format!("interrupted, going on in {:.1} s", pause.as_secs_f64())
}

/// A bar for each layer.
#[derive(Default)]
pub struct Bars {
    all: MultiProgress,
    layers: Mutex<BTreeMap<String, ProgressBar>>,
}

impl Bars {
    fn bar(&self, layer: String) -> ProgressBar {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = layers.entry(layer).or_insert_with_key(|layer| {
            let style = ProgressStyle::with_template("{prefix} [{bar:30}] {bytes}/{total_bytes} {msg}");
            let bar = ProgressBar::new(0).with_prefix(layer.clone());
            self.all.add(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
        });
        bar.clone()
    }
}

impl Progress for Bars {
    fn layer(&self, digest: &Digest, event: LayerEvent) {
        let bar = self.bar(short(digest));
        match event {
            LayerEvent::Planned { total } => bar.set_length(total),
            LayerEvent::Cached => bar.finish_with_message("already here"),
            LayerEvent::Fetching { done, total } => {
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message("");
            }
            LayerEvent::Waiting { pause } => bar.set_message(retry(pause)),
            LayerEvent::Unpacking => bar.set_message("unpacking"),
            LayerEvent::Done => {
                bar.set_position(bar.length().unwrap_or(0));
                bar.finish_with_message("done");
            }
        }
    }

    fn waiting(&self, why: &str, pause: Duration) {
        // Above the bars, if there are any; nothing is lost with a terminal that can't be written to.
        let _ = self.all.println(waits(why, pause));
    }
}

/// One line when a layer is planned and one when it is there.
#[derive(Default)]
pub struct Lines {
    sizes: Mutex<BTreeMap<String, u64>>,
}

impl Progress for Lines {
    fn layer(&self, digest: &Digest, event: LayerEvent) {
        let layer = short(digest);
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            LayerEvent::Planned { total } => {
                sizes.insert(layer, total);
            }
            LayerEvent::Cached => eprintln!("layer {layer}: already here"),
            LayerEvent::Done => {
                let size =
                    sizes.get(&layer).map_or_else(String::new, |size| format!(", {}", print::bytes(*size)));
                eprintln!("layer {layer}: done{size}");
            }
            LayerEvent::Waiting { pause } => eprintln!("layer {layer}: {}", retry(pause)),
            LayerEvent::Fetching { .. } | LayerEvent::Unpacking => {}
        }
    }

    fn waiting(&self, why: &str, pause: Duration) {
        eprintln!("{}", waits(why, pause));
    }
}
