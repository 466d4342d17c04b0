//! The documentation is true: its commands run and show what the pages say, its flags, links, files and messages exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use integration::cluster::binary;
use integration::docs::{Page, repository, run};
use integration::job::bound;
use integration::{OrFail, needs};

/// A test for each page that has terminals.
macro_rules! pages {
    ($($name:ident: $page:literal,)*) => {
        $(
            #[test]
            fn $name() {
                needs!("docker-registry", "skopeo", "umoci", "ip", "curl", "jq", "openssl");
                run($page);
            }
        )*
        /// Pages that are run.
        const PAGES: &[&str] = &[$($page),*];
    };
}

pages! {
    readme: "README.md",
    quick_start: "docs/quick-start.md",
    running_tasks: "docs/running-tasks.md",
    images: "docs/images.md",
    isolation: "docs/isolation.md",
    cluster: "docs/cluster.md",
    security: "docs/security.md",
    high_availability: "docs/high-availability.md",
    scheduler_api: "docs/scheduler-api.md",
    moving_from_mesos: "docs/moving-from-mesos.md",
    troubleshooting: "docs/troubleshooting.md",
}

/// What `make` and readers find besides the pages.
const OTHERS: &[&str] = &["ARCHITECTURE.md", "BENCHMARKS.md", "CHANGELOG.md"];

/// Commands that take flags.
const COMMANDS: &[&str] = &[
    "master",
    "agent",
    "dev",
    "run",
    "task list",
    "task logs",
    "task kill",
    "agents list",
    "frameworks list",
    "image pull",
    "image list",
    "image remove",
    "image prune",
    "image verify",
    "registry export",
    "registry import",
];

fn documents() -> Vec<Page> {
    PAGES.iter().chain(OTHERS).map(|name| Page::read(&repository().join(name))).collect()
}

/// What stands in backquotes in a page's own text, with the numbers of its lines.
fn quoted(page: &Page) -> Vec<(usize, &str)> {
    let mut open = false;
    let mut found = Vec::new();
    for (number, line) in (1..).zip(page.text.lines()) {
        if line.starts_with("```") {
            open = !open;
        } else if !open {
            found.extend(line.split('`').skip(1).step_by(2).map(|code| (number, code)));
        }
    }
    found
}

fn fail_if_any(what: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}

#[test]
fn every_page_is_run() {
    let mut found = vec!["README.md".to_owned()];
    for entry in fs::read_dir(repository().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        // Made and checked by tests/parity.rs.
        if !name.starts_with("parity.") {
            found.push(format!("docs/{name}"));
        }
    }
    found.sort();
    let mut run = PAGES.to_vec();
    run.sort_unstable();
    assert_eq!(found, run);
}

#[test]
fn what_can_not_run_is_little_and_has_a_reason() {
    let pages = documents();
    let blocks = pages.iter().flat_map(|page| page.blocks.iter().map(move |block| (page, block)));
    let left_out: Vec<_> = blocks.filter(|(_, block)| !block.runs()).collect();
    for (page, block) in &left_out {
        assert!(block.reason.is_some(), "{}:{} has no reason", page.name, block.line);
    }
    assert!(left_out.len() <= 3, "{} blocks can't run", left_out.len());
    let steps: usize = pages.iter().flat_map(|page| &page.blocks).map(|block| block.steps.len()).sum();
    assert!(steps > 100, "only {steps} commands were found");
}

/// Whether a command has a flag, shown in its help or accepted with a warning.
fn has(known: &mut BTreeMap<(String, String), bool>, command: &str, flag: &str) -> bool {
    if ["help", "version"].contains(&flag) {
        return true;
    }
    let key = (command.to_owned(), flag.to_owned());
    *known.entry(key).or_insert_with(|| {
        let value = if flag.starts_with("no") { "" } else { "=1" };
        let mut tepui = bound(binary());
        // What is wrong on the command line is said before help is given.
        tepui.args(command.split(' ')).arg(format!("--{flag}{value}")).arg("--help");
        let output = tepui.output().or_fail("starting tepui");
        output.status.success()
    })
}

/// The names of flags in a text.
fn flags_in(text: &str) -> Vec<String> {
    let words = text.split(|c: char| c.is_whitespace() || "|/,(".contains(c));
    let named = words.filter_map(|word| word.strip_prefix("--"));
    let name =
        |word: &str| word.chars().take_while(|c| c.is_ascii_alphanumeric() || "_-".contains(*c)).collect();
    named.map(name).filter(|name: &String| !name.is_empty()).collect()
}

/// The commands of ours in a line of a shell: name and what follows it, up to the task's own words.
fn calls_in(line: &str) -> Vec<(String, String)> {
    let mut calls = Vec::new();
    for part in line.split(['|', ';', '&', '(']) {
        let words: Vec<&str> = part.split_whitespace().collect();
        let Some(at) = words.iter().position(|word| *word == "tepui") else { continue };
        let words: Vec<&str> = words[at + 1..].iter().copied().take_while(|word| *word != "--").collect();
        let rest = words.join(" ");
        let command = COMMANDS.iter().find(|name| rest == **name || rest.starts_with(&format!("{name} ")));
        calls.extend(command.map(|name| ((*name).to_owned(), rest[name.len()..].to_owned())));
    }
    calls
}

#[test]
fn flags_in_the_documents_exist() {
    let (mut known, mut wrong, mut seen) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
    for page in documents() {
        let steps = page.blocks.iter().flat_map(|block| &block.steps);
        let typed = steps.map(|step| (step.line, step.command.as_str()));
        for (number, code) in typed.chain(quoted(&page)) {
            for (command, rest) in calls_in(code) {
                for flag in flags_in(&rest).into_iter().filter(|flag| !has(&mut known, &command, flag)) {
                    wrong.push(format!("{}:{number}: tepui {command} has no --{flag}", page.name));
                }
            }
        }
        let named = quoted(&page).into_iter().filter(|(_, code)| code.starts_with("--"));
        let variables = page.text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let variables = variables.filter_map(|word| word.strip_prefix("TEPUI_")).map(str::to_lowercase);
        for flag in named.flat_map(|(_, code)| flags_in(code)).chain(variables) {
            if !COMMANDS.iter().any(|command| has(&mut known, command, &flag)) {
                wrong.push(format!("{}: there is no --{flag}", page.name));
            }
            seen.insert(flag);
        }
    }
    fail_if_any("flags that don't exist", &wrong);
    assert!(seen.len() > 40, "only {} flags were found", seen.len());
}

#[test]
fn what_is_named_in_the_documents_is_there() {
    let root = repository();
    let makefile = fs::read_to_string(root.join("Makefile")).unwrap();
    let mut wrong = Vec::new();
    for page in documents() {
        for (number, code) in quoted(&page) {
            if let Some(target) = code.strip_prefix("make ").and_then(|rest| rest.split(' ').next())
                && !makefile.contains(&format!("\n{target}:"))
            {
                wrong.push(format!("{}:{number}: the Makefile has no target {target}", page.name));
            }
            let first = code.split('/').next().unwrap_or_default();
            let path = code.split(' ').next().unwrap_or_default();
            let ours =
                code.contains('/') && !["", ".", "target"].contains(&first) && root.join(first).is_dir();
            if ours && !root.join(path).exists() {
                wrong.push(format!("{}:{number}: there is no {path}", page.name));
            }
        }
        for (target, heading) in links(&page) {
            let folder = if root.join(&page.name).exists() { root.clone() } else { root.join("docs") };
            let path = if target.is_empty() { folder.join(&page.name) } else { folder.join(&target) };
            let text =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            if !text.lines().any(|line| line.starts_with('#') && anchor(line) == heading) {
                wrong.push(format!("{}: {target} has no heading #{heading}", page.name));
            }
        }
    }
    fail_if_any("what is not there", &wrong);
}

/// Links to headings: file and heading.
fn links(page: &Page) -> Vec<(String, String)> {
    let targets = page.text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let ours = targets.filter(|target| !target.contains("://"));
    ours.filter_map(|target| target.split_once('#')).map(|(f, h)| (f.to_owned(), h.to_owned())).collect()
}

/// How GitHub calls a heading in links.
fn anchor(line: &str) -> String {
    let text = line.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// All source code of the product, with texts over several lines put together.
fn sources() -> String {
    let root = repository();
    let mut todo: Vec<_> =
        ["cli", "master", "agent", "images", "runtime", "model", "coordination", "security", "frameworks"]
            .map(|name| root.join(name))
            .into();
    let mut text = String::new();
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).or_fail(folder.display()) {
            let path = entry.or_fail(folder.display()).path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&fs::read_to_string(&path).or_fail(path.display()));
            }
        }
    }
    let pieces = text.split("\\\n").enumerate();
    pieces.map(|(i, piece)| if i == 0 { piece } else { piece.trim_start() }).collect()
}

#[test]
fn messages_in_the_documents_are_the_products() {
    let sources = sources();
    let mut wrong = Vec::new();
    let mut count = 0;
    for page in documents() {
        let blocks =
            page.text.split("\n```text messages\n").skip(1).filter_map(|rest| rest.split("\n```").next());
        for line in blocks.flat_map(str::lines) {
            count += 1;
            for part in line.split("...").map(str::trim).filter(|part| part.len() > 3) {
                if !sources.contains(part) {
                    wrong.push(format!("{}: nothing says {part:?}", page.name));
                }
            }
        }
    }
    fail_if_any("messages that nothing prints", &wrong);
    assert!(count >= 10, "only {count} messages were found");
}
