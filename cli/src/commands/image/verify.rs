//! `tepui image verify`: names what is damaged in the store.

use std::io::Write as _;
use std::process::ExitCode;

use images::{ImageStore, Problem, Verification};
use model::flags::{Flag, Form};
use serde_json::json;

use super::place::{REGISTRY, STORE, WORK_DIR};
use crate::api;
use crate::context::{Outcome, failed};
use crate::flags::{Flags, Table};
use crate::print::{self, TextTable};

/// Its flags.
pub const TABLE: Table = Table {
    flags: &[
        STORE,
        WORK_DIR,
        REGISTRY,
        Flag::new(
            "repair",
            Form::Bool,
            Some("false"),
            "Remove what is damaged and not in use, so that the next pull fetches it.",
        ),
        api::JSON,
    ],
    shared: &[],
    ignored: &[],
};

/// Verifies and tells; failure when something is damaged and stays so.
///
/// # Errors
/// A store that can't be read.
pub async fn run(store: &ImageStore, flags: &Flags) -> Outcome {
    let found = store.verify(flags.values.bool("repair")?).await.map_err(failed)?;
    if flags.values.bool("json")? {
        print::json(&document(&found)).map_err(failed)?;
    } else {
        tell(&found).map_err(failed)?;
    }
    let sound = found.problems.iter().all(|problem| problem.repaired == Some(true));
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn document(found: &Verification) -> serde_json::Value {
    let problems = found.problems.iter().map(|problem| {
        json!({
            "what": problem.what,
            "why": problem.why,
            "path": problem.path,
            "images": problem.images,
            "repaired": problem.repaired,
        })
    });
    json!({
        "images": found.names,
        "documents": found.documents,
        "layers": found.layers,
        "bytes": found.bytes,
        "problems": problems.collect::<Vec<_>>(),
    })
}

fn tell(found: &Verification) -> std::io::Result<()> {
    if !found.problems.is_empty() {
        let mut table = TextTable::new(&["DAMAGED", "WHY", "IMAGES", "NOW"]);
        for problem in &found.problems {
            table.row([
                problem.what.clone(),
                problem.why.clone(),
                problem.images.join(", "),
                state(problem).to_owned(),
            ]);
        }
        table.print()?;
    }
    let read = print::bytes(found.bytes);
    writeln!(
        std::io::stdout(),
        "{} images, {} layers ({read}) and {} documents looked at: {} problems",
        found.names,
        found.layers,
        found.documents,
        found.problems.len()
    )
}

fn state(problem: &Problem) -> &'static str {
    match problem.repaired {
        None => "still there; --repair removes it",
        Some(true) => "removed; pull the image again",
        Some(false) => "in use, so it stays",
    }
}
