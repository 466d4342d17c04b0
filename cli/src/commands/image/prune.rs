//! `tepui image prune`: frees what nothing needs.

use std::io::Write as _;
use std::time::Duration;

use images::{ImageStore, PrunePolicy, PruneReport};
use model::flags::{Flag, Form};
use serde_json::json;

use super::place::{REGISTRY, STORE, WORK_DIR};
use crate::api;
use crate::context::{Trouble, failed};
use crate::flags::{Flags, Table};
use crate::print;

/// Its flags.
pub const TABLE: Table = Table {
    flags: &[
        STORE,
        WORK_DIR,
        REGISTRY,
        Flag::new("all", Form::Bool, Some("false"), "Also every image that nothing uses."),
        Flag::new("unused_for", Form::Duration, None, "Also images that were not used for this long: 7days"),
        Flag::new("dry_run", Form::Bool, Some("false"), "Change nothing, only tell."),
        api::JSON,
    ],
    shared: &[],
    ignored: &[],
};

/// Prunes and tells.
///
/// # Errors
/// Flags that can't be read; a store that can't be changed.
pub async fn run(store: &ImageStore, flags: &Flags) -> Result<(), Trouble> {
    let values = &flags.values;
    let (all, dry_run) = (values.bool("all")?, values.bool("dry_run")?);
    let unused_for = if all { Some(Duration::ZERO) } else { values.duration("unused_for")? };
    let policy = PrunePolicy { unused_for, dry_run, ..PrunePolicy::default() };
    let report = store.prune(policy).await.map_err(failed)?;
    if values.bool("json")? {
        let value = json!({
            "names": report.names,
            "in_use": report.in_use,
            "layers": report.layers,
            "bytes": report.bytes,
            "partial_bytes": report.partial_bytes,
            "dry_run": dry_run,
        });
        return print::json(&value).map_err(failed);
    }
    let mut out = std::io::stdout().lock();
    tell(&report, dry_run).iter().try_for_each(|line| writeln!(out, "{line}")).map_err(failed)
}

fn tell(report: &PruneReport, dry_run: bool) -> Vec<String> {
    let verb = if dry_run { "would remove" } else { "removed" };
    let mut lines: Vec<String> = report.names.iter().map(|name| format!("{verb} {name}")).collect();
    lines.extend(report.in_use.iter().map(|name| format!("kept {name}: it is in use")));
    let bytes = print::bytes(report.bytes + report.partial_bytes);
    lines.push(format!("{verb} {} images and {} layers, {bytes}", report.names.len(), report.layers));
    lines
}
