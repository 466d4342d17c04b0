//! What is in the store: `list`, `inspect` and `history`, as tables or JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use images::{ImageName, ImageStore, ImageSummary, Inspection, Step};
use serde_json::{Value, json};

use crate::context::{Trouble, failed};
use crate::print::{self, TextTable};

/// Every name.
///
/// # Errors
/// The store can't be read.
pub fn list(store: &ImageStore, as_json: bool) -> Result<(), Trouble> {
    let images = store.list().map_err(failed)?;
    if as_json {
        let rows: Vec<_> = images
            .iter()
            .map(|image| {
                json!({
                    "name": image.name,
                    "digest": image.manifest_digest.to_string(),
                    "layers": image.layers,
                    "size": image.size,
                    "pulled_at": seconds(image.pulled_at),
                    "used_at": seconds(image.used_at),
                    "pinned": image.pinned,
                })
            })
            .collect();
        return print::json(&rows.into()).map_err(failed);
    }
    let mut table = TextTable::new(&["NAME", "DIGEST", "LAYERS", "SIZE", "PULLED", "USED"]);
    for image in &images {
        table.row(row(image));
    }
    table.print().map_err(failed)
}

fn row(image: &ImageSummary) -> [String; 6] {
    let pin = if image.pinned { " (pinned)" } else { "" };
    [
        format!("{}{pin}", image.name),
        short(&image.manifest_digest.to_string()),
        image.layers.to_string(),
        print::bytes(image.size),
        ago(image.pulled_at),
        ago(image.used_at),
    ]
}

fn short(digest: &str) -> String {
    digest.chars().take(19).collect()
}

fn ago(time: SystemTime) -> String {
    let age = SystemTime::now().duration_since(time).unwrap_or_default().as_secs();
    match age {
        0..120 => format!("{age} s ago"),
        120..7200 => format!("{} min ago", age / 60),
        7200..172_800 => format!("{} h ago", age / 3600),
        _ => format!("{} days ago", age / 86400),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// All that is known of one image.
///
/// # Errors
/// It is not there.
pub fn inspect(store: &ImageStore, name: &ImageName, as_json: bool) -> Result<(), Trouble> {
    let found = store.inspect(name).map_err(failed)?;
    if as_json {
        return print::json(&document(&found)).map_err(failed);
    }
    let mut table = TextTable::new(&["IMAGE", &found.name]);
    let config = &found.config;
    let rows = [
        ("digest", found.manifest_digest.to_string()),
        (
            "index",
            if found.top_digest == found.manifest_digest {
                String::new()
            } else {
                found.top_digest.to_string()
            },
        ),
        ("configuration", found.config_digest.to_string()),
        ("media type", found.media_type.clone().unwrap_or_default()),
        ("platform", found.platform.clone()),
        ("created", found.created.clone().unwrap_or_default()),
        ("author", found.author.clone().unwrap_or_default()),
        ("entrypoint", config.entrypoint.join(" ")),
        ("command", config.cmd.join(" ")),
        ("working directory", config.working_dir.clone().unwrap_or_default()),
        ("user", config.user.clone().unwrap_or_default()),
        ("stop signal", config.stop_signal.clone().unwrap_or_default()),
        ("pulled", ago(found.pulled_at)),
        ("used", ago(found.used_at)),
        ("pinned", if found.pinned { "yes".to_owned() } else { String::new() }),
        (
            "private",
            if found.is_private {
                "yes: only for pulls with the same login".to_owned()
            } else {
                String::new()
            },
        ),
    ];
    for (what, value) in rows {
        if !value.is_empty() {
            table.row([what.to_owned(), value]);
        }
    }
    for (name, value) in &config.env {
        table.row(["environment".to_owned(), format!("{name}={value}")]);
    }
    for layer in &found.layers {
        let unpacked =
            layer.unpacked.map_or("not here".to_owned(), |bytes| format!("{} unpacked", print::bytes(bytes)));
        let text = format!("{} {}, {unpacked}", layer.layer.digest, print::bytes(layer.layer.size));
        table.row(["layer".to_owned(), text]);
    }
    for dir in &found.used_by {
        table.row(["used by".to_owned(), dir.display().to_string()]);
    }
    table.print().map_err(failed)
}

fn document(found: &Inspection) -> Value {
    let layers = found.layers.iter().map(|layer| {
        json!({
            "digest": layer.layer.digest.to_string(),
            "diff_id": layer.layer.diff_id.to_string(),
            "size": layer.layer.size,
            "unpacked": layer.unpacked,
        })
    });
    let config = &found.config;
    let env = config.env.iter().map(|(name, value)| format!("{name}={value}"));
    json!({
        "name": found.name,
        "digest": found.manifest_digest.to_string(),
        "top_digest": found.top_digest.to_string(),
        "config_digest": found.config_digest.to_string(),
        "media_type": found.media_type,
        "platform": found.platform,
        "created": found.created,
        "author": found.author,
        "config": {
            "env": env.collect::<Vec<_>>(),
            "entrypoint": config.entrypoint,
            "cmd": config.cmd,
            "working_dir": config.working_dir,
            "user": config.user,
            "stop_signal": config.stop_signal,
        },
        "layers": layers.collect::<Vec<_>>(),
        "pulled_at": seconds(found.pulled_at),
        "used_at": seconds(found.used_at),
        "pinned": found.pinned,
        "private": found.is_private,
        "used_by": found.used_by,
    })
}

/// How an image was made, the newest step first as everywhere.
///
/// # Errors
/// It is not there.
pub fn history(store: &ImageStore, name: &ImageName, as_json: bool) -> Result<(), Trouble> {
    let found = store.inspect(name).map_err(failed)?;
    let steps = steps(&found);
    if as_json {
        let rows: Vec<Value> = steps
            .iter()
            .map(|(step, layer)| {
                json!({
                    "created": step.created,
                    "created_by": step.created_by,
                    "comment": step.comment,
                    "layer": layer.as_ref().map(|layer| &layer.0),
                    "size": layer.as_ref().map_or(0, |layer| layer.1),
                })
            })
            .collect();
        return print::json(&rows.into()).map_err(failed);
    }
    let mut table = TextTable::new(&["LAYER", "CREATED", "SIZE", "CREATED BY", "COMMENT"]);
    for (step, layer) in steps {
        table.row([
            layer.as_ref().map_or_else(|| "-".to_owned(), |layer| short(&layer.0)),
            step.created.unwrap_or_else(|| "-".to_owned()),
            print::bytes(layer.as_ref().map_or(0, |layer| layer.1)),
            step.created_by.unwrap_or_default().chars().take(120).collect(),
            step.comment.unwrap_or_default(),
        ]);
    }
    table.print().map_err(failed)
}

/// A layer's digest and unpacked bytes.
type Made = (String, u64);

/// Each step with the layer that it made. Layers of which the history knows nothing come after those that it tells of.
fn steps(found: &Inspection) -> Vec<(Step, Option<Made>)> {
    let made = |layer: &images::LayerInspection| {
        (layer.layer.digest.to_string(), layer.unpacked.unwrap_or(layer.layer.size))
    };
    let mut layers = found.layers.iter().map(made);
    let mut steps: Vec<(Step, Option<Made>)> = Vec::new();
    for step in &found.history {
        let layer = if step.empty_layer { None } else { layers.next() };
        steps.push((step.clone(), layer));
    }
    steps.extend(layers.map(|layer| (Step::default(), Some(layer))));
    steps.reverse();
    steps
}
