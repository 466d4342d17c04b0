//! Flags from each place, and which place wins.

use std::collections::BTreeMap;

use super::*;

const FLAGS: &[Flag] = &[
    Flag::new("work_dir", Form::Path, None, "Where state lives."),
    Flag::new("port", Form::Number, Some("5051"), "Port."),
    Flag::new("strict", Form::Bool, Some("true"), "Strict."),
    Flag::new("resources", Form::Text, None, "Resources."),
    Flag::new("domain", Form::Json, None, "Domain."),
    Flag::new("agent_ping_timeout", Form::Duration, None, "Ping.").aliases(&["slave_ping_timeout"]),
];
const TABLE: Table = Table {
    flags: FLAGS,
    shared: &[security::tls::flags::TLS],
    ignored: &[&["quorum"], &["launcher_dir", "quorum"]],
};

/// Arguments, environment and folder of one case.
#[derive(Default)]
struct Case {
    arguments: Vec<&'static str>,
    environment: BTreeMap<&'static str, &'static str>,
    folder: Option<PathBuf>,
}

impl Case {
    fn arguments(arguments: &[&'static str]) -> Case {
        Case { arguments: arguments.to_vec(), ..Case::default() }
    }

    fn resolve(&self) -> Result<Flags, BadUsage> {
        let command = TABLE.onto(Command::new("agent").no_binary_name(true));
        let matches = command.try_get_matches_from(normalise(self.arguments.iter().map(OsString::from)))?;
        let variable = |name: &str| self.environment.get(name).map(OsString::from);
        let folders: Vec<_> = self.folder.iter().cloned().collect();
        TABLE.resolve(&matches, &Places { variable: &variable, folders: &folders, files: &[] })
    }

    fn text(&self, name: &str) -> Option<String> {
        self.resolve().unwrap().values.text(name).map(str::to_owned)
    }
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

#[test]
fn spellings_of_the_command_line() {
    let check = |arguments: &[&'static str], name: &str, expect: Option<&str>| {
        assert_eq!(Case::arguments(arguments).text(name).as_deref(), expect, "{arguments:?}");
    };
    check(&["--work_dir=/a"], "work_dir", Some("/a"));
    check(&["--work-dir=/a"], "work_dir", Some("/a"));
    check(&["--work-dir", "/a"], "work_dir", Some("/a"));
    check(&[], "work_dir", None);
    check(&[], "port", Some("5051"));
    check(&["--strict"], "strict", Some("true"));
    check(&["--strict=false"], "strict", Some("false"));
    check(&["--no-strict"], "strict", Some("false"));
    check(&["--no_strict"], "strict", Some("false"));
    check(&["--slave_ping_timeout=1secs"], "agent_ping_timeout", Some("1secs"));
    check(&["--slave-ping-timeout", "1secs"], "agent_ping_timeout", Some("1secs"));
}

#[test]
fn an_older_name_is_remembered_wherever_it_was_given() {
    let shown = |case: Case| {
        let flags = case.resolve().unwrap();
        let shown = flags.values.iter().find(|(name, _)| name.ends_with("ping_timeout"));
        shown.map(|(name, value)| format!("{name}={value}"))
    };
    let older = Some("slave_ping_timeout=1secs".to_owned());
    assert_eq!(shown(Case::arguments(&["--slave_ping_timeout=1secs"])), older);
    let environment = BTreeMap::from([("MESOS_SLAVE_PING_TIMEOUT", "1secs")]);
    assert_eq!(shown(Case { environment: environment.clone(), ..Case::default() }), older);
    let folder = folder(&[("slave_ping_timeout", "1secs")]);
    assert_eq!(shown(Case { folder: Some(folder.path().to_owned()), ..Case::default() }), older);
    let now = Some("agent_ping_timeout=2secs".to_owned());
    assert_eq!(shown(Case { environment, ..Case::arguments(&["--agent_ping_timeout=2secs"]) }), now);
    assert_eq!(shown(Case::default()), None);
    let both = Case::arguments(&["--agent_ping_timeout=1secs", "--slave_ping_timeout=1secs"]).resolve();
    let both = both.unwrap_err().to_string();
    assert!(both.contains("cannot be used with"), "{both}");
}

#[test]
fn variables_of_tls_are_those_of_mesos() {
    let environment = BTreeMap::from([
        ("LIBPROCESS_SSL_ENABLED", "1"),
        ("LIBPROCESS_SSL_CERT_FILE", "/cert"),
        ("TEPUI_SSL_KEY_FILE", "/key"),
        ("LIBPROCESS_SSL_KEY_FILE", "/other"),
        ("LIBPROCESS_SSL_VERIFY_CERT", "true"),
        ("LIBPROCESS_PORT", "7"),
    ]);
    let case = Case { environment, ..Case::default() };
    assert_eq!(case.text("ssl_enabled").as_deref(), Some("1"));
    assert_eq!(case.text("ssl_cert_file").as_deref(), Some("/cert"));
    assert_eq!(case.text("ssl_key_file").as_deref(), Some("/key"));
    assert_eq!(case.text("ssl_verify_server_cert").as_deref(), Some("true"));
    assert_eq!(case.text("port").as_deref(), Some("5051"));
}

#[test]
fn an_unknown_flag_names_the_nearest() {
    let error = Case::arguments(&["--wrok_dir=/a"]).resolve().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("'--wrok_dir'") && text.contains("'--work_dir'"), "{text}");
    let both = Case::arguments(&["--strict", "--no-strict"]).resolve().unwrap_err().to_string();
    assert!(both.contains("cannot be used with"), "{both}");
}

#[test]
fn flags_without_meaning_get_one_note_each() {
    let mut case = Case::arguments(&["--quorum=2", "--launcher-dir", "/x"]);
    case.environment = BTreeMap::from([("MESOS_QUORUM", "2")]);
    let notes = case.resolve().unwrap().notes;
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(matches!(&notes[0], Note::Ignored(why) if why.contains("--launcher_dir")), "{notes:?}");
}

#[test]
fn the_order_is_command_line_environment_folder_default() {
    let folder = folder(&[("port", "4\n"), ("resources", "cpus:1"), ("work_dir", "/folder")]);
    let mut case = Case { folder: Some(folder.path().to_owned()), ..Case::default() };
    assert_eq!(case.text("port").as_deref(), Some("4"));
    case.environment.insert("MESOS_PORT", "3");
    assert_eq!(case.text("port").as_deref(), Some("3"));
    case.environment.insert("TEPUI_PORT", "2");
    assert_eq!(case.text("port").as_deref(), Some("2"));
    case.arguments = vec!["--port=1"];
    assert_eq!(case.text("port").as_deref(), Some("1"));
    assert_eq!(case.text("resources").as_deref(), Some("cpus:1"));
    let flags = case.resolve().unwrap();
    assert!(matches!(&flags.notes[..], [Note::Read(files)] if files.len() == 3), "{:?}", flags.notes);
}

#[test]
fn folders_hold_switches_and_older_names() {
    let folder =
        folder(&[("?no-strict", ""), ("slave_ping_timeout", "2secs"), ("quorum", "1"), (".hidden", "x")]);
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    let case = Case { folder: Some(folder.path().to_owned()), ..Case::default() };
    assert_eq!(case.text("strict").as_deref(), Some("false"));
    assert_eq!(case.text("agent_ping_timeout").as_deref(), Some("2secs"));
    let notes = case.resolve().unwrap().notes;
    assert_eq!(notes.iter().filter(|note| matches!(note, Note::Ignored(_))).count(), 3, "{notes:?}");
}

#[test]
fn a_folder_that_can_not_be_used_is_named() {
    let wrong = folder(&[("prot", "1")]);
    let case = Case { folder: Some(wrong.path().to_owned()), ..Case::default() };
    let text = case.resolve().unwrap_err().to_string();
    assert!(text.ends_with("prot: there is no flag 'prot'; did you mean 'port'?"), "{text}");
    let switch = folder(&[("?strict", "yes")]);
    let case = Case { folder: Some(switch.path().to_owned()), ..Case::default() };
    assert!(case.resolve().unwrap_err().to_string().contains("must be empty"));
    let missing = Case::arguments(&["--config_dir=/nonexistent/folder"]).resolve().unwrap_err();
    assert!(missing.to_string().starts_with("--config_dir=/nonexistent/folder: can't be read"), "{missing}");
    let default = Case { folder: Some("/nonexistent/folder".into()), ..Case::default() };
    assert!(default.resolve().is_ok());
}

#[test]
fn a_value_can_stand_in_a_file() {
    let folder = folder(&[("r", "cpus:3\n")]);
    let url = format!("file://{}", folder.path().join("r").display());
    let mut case = Case::default();
    let variables: &'static str = Box::leak(url.clone().into_boxed_str());
    case.environment = BTreeMap::from([("MESOS_RESOURCES", variables), ("MESOS_WORK_DIR", variables)]);
    assert_eq!(case.text("resources").as_deref(), Some("cpus:3"));
    assert_eq!(case.text("work_dir"), Some(url["file://".len()..].to_owned()));
    let missing = Case::arguments(&["--resources=file:///nonexistent"]).resolve().unwrap_err().to_string();
    assert!(missing.starts_with("--resources=file:///nonexistent: can't be read"), "{missing}");
}

/// Mesos: flags of JSON take a path as well, those of other texts only with `file://`.
#[test]
fn json_can_stand_in_a_file_named_by_its_path() {
    let folder = folder(&[("d", "{\"a\":1}\n")]);
    let path: &'static str = Box::leak(folder.path().join("d").display().to_string().into_boxed_str());
    let url: &'static str = Box::leak(format!("file://{path}").into_boxed_str());
    for (given, read) in [(path, r#"{"a":1}"#), (url, r#"{"a":1}"#), (r#"{"b":2}"#, r#"{"b":2}"#)] {
        let case = Case { environment: BTreeMap::from([("MESOS_DOMAIN", given)]), ..Case::default() };
        assert_eq!(case.text("domain").as_deref(), Some(read), "{given}");
    }
    assert_eq!(
        Case::arguments(&["--resources=/nonexistent"]).text("resources").as_deref(),
        Some("/nonexistent")
    );
    let missing = Case::arguments(&["--domain=/nonexistent"]).resolve().unwrap_err().to_string();
    assert!(missing.starts_with("--domain=/nonexistent: can't be read"), "{missing}");
}
