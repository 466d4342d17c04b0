//! What operators type: resources, attributes, flags with their JSON.

use model::flags::{Flag, Values};
use model::{Milli, Resources, Role, attributes as model_attributes, resources as model_resources};
use wire::{json, v1};

/// Resources as text, or as a JSON array; two of them after another when there is a NUL byte.
pub(crate) fn resources(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.splitn(2, '\0').map(read);
    let (Some(Some(first)), second) = (parts.next(), parts.next().flatten().unwrap_or_default()) else {
        return;
    };
    same_again(&first);
    let mut sum = first.clone();
    sum.add(&second);
    assert!(sum.contains(&first) && sum.contains(&second), "{first} and {second} make {sum}");
    assert!(sum.try_subtract(&second), "{second} is in {sum}");
    // Ranges and sets are joined, so what both had is gone as well.
    assert!(first.contains(&sum), "{sum} is left of {first}");
    assert_eq!(
        sum.quantities().get("cpus"),
        first.quantities().get("cpus").filter(|left| **left > Milli::ZERO)
    );
}

fn read(text: &str) -> Option<Resources> {
    if text.starts_with('[') {
        let list = json::list_from_slice::<v1::Resource>(text.as_bytes()).ok()?;
        return Resources::from_wire(&list).ok();
    }
    let read = model_resources::parse(text, &Role::any()).ok()?;
    let written = read.to_string();
    let again = model_resources::parse(&written, &Role::any());
    assert_eq!(again.as_ref().ok(), Some(&read), "{written:?} is read again");
    let _ = model_resources::names(text);
    Some(read)
}

fn same_again(resources: &Resources) {
    let wire = resources.to_wire();
    assert_eq!(Resources::from_wire(&wire).as_ref().ok(), Some(resources), "{wire:?}");
}

pub(crate) fn attributes(data: &[u8]) {
    let Ok(all) = model_attributes::parse(&String::from_utf8_lossy(data)) else { return };
    for attribute in all {
        let text = json::to_vec(&attribute);
        let again: v1::Attribute = json::from_slice(&text).expect("an attribute has a JSON form");
        assert_eq!(json::to_vec(&again), text);
    }
}

/// Lines of `name=value`; each value also goes through all that reads values.
fn values(table: &[Flag], data: &[u8]) -> Values {
    let mut values = Values::defaults(table);
    for line in String::from_utf8_lossy(data).split('\n').take(64) {
        let Some((name, value)) = line.split_once('=') else { continue };
        // What is no flag never gets this far.
        let Some(flag) = table.iter().find(|flag| flag.name == name) else { continue };
        values.set(flag.name, value);
        let _ = (values.bool(flag.name), values.number::<f64>(flag.name), values.path(flag.name));
        if let Ok(Some(time)) = values.duration(flag.name) {
            let written = model::time::format_duration(time);
            let again = model::time::parse_duration(&written).expect("a written duration is read");
            // Through a double: a week in nanoseconds has more digits than that.
            assert!(again.abs_diff(time).as_secs_f64() <= time.as_secs_f64() * 1e-12, "{written}");
        }
        if let Some(bytes) = model::size::parse_bytes(value) {
            assert_eq!(model::size::parse_bytes(&model::size::format_bytes(bytes)), Some(bytes));
        }
    }
    values
}

pub(crate) fn agent(data: &[u8]) {
    let values = values(agent::FLAGS, data);
    if let Err(error) = agent::Config::from_flags(&values) {
        assert!(values.text(&error.flag).is_none_or(|_| !error.why.is_empty()));
    }
}

pub(crate) fn master(data: &[u8]) {
    let values = values(master::FLAGS, data);
    if let Err(error) = master::Config::from_flags(&values) {
        assert!(!error.why.is_empty());
    }
}
