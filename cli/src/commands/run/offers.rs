//! Which offer a task goes to, and why none may ever do.

use model::resources::{Amount, Resource, Resources, parse};
use model::{Role, resources::Milli};
use serde_json::Value;
use wire::v1::Offer;

use crate::api;

/// The first offer that has what the task wants, and what of it is taken.
pub fn choose<'a>(offers: &'a [Offer], wanted: &Resources) -> Option<(&'a Offer, Resources)> {
    offers.iter().find_map(|offer| {
        let offered = Resources::from_wire(&offer.resources).ok()?;
        Some((offer, sdk::fit::pick(&offered, wanted)?))
    })
}

/// Why no agent of `/slaves` is large enough even when idle; none when one is.
pub fn too_large(answer: &Value, wanted: &Resources) -> Option<String> {
    let agents: Vec<(&Value, Resources)> =
        api::list(answer, "slaves").iter().map(|agent| (agent, total(agent))).collect();
    if agents.is_empty() {
        return Some("no agent is registered with the master".to_owned());
    }
    if agents.iter().any(|(_, total)| wanted.iter().all(|want| has(total, want))) {
        return None;
    }
    // What is scarcest says most: something no agent has enough of, or else the combination.
    let scarce = wanted.iter().find(|want| agents.iter().all(|(_, total)| !has(total, want)));
    let name = scarce.map_or("cpus", |want| &*want.name);
    let (largest, _) = agents.iter().max_by_key(|(_, total)| total.scalar(name))?;
    let asked = scarce.map_or_else(|| wanted.to_string(), |want| one(want).to_string());
    Some(format!(
        "no agent offers {asked}; the largest is {} with {}",
        api::text(largest, "hostname"),
        api::resources(largest.get("resources"))
    ))
}

fn one(resource: &Resource) -> Resources {
    let mut all = Resources::none();
    all.add_one(resource);
    all
}

fn has(total: &Resources, want: &Resource) -> bool {
    match &want.amount {
        Amount::Scalar(amount) => total.scalar(&want.name) >= *amount,
        _ => total.contains(&one(want)),
    }
}

/// The summary of an agent's resources, as far as it can be read.
fn total(agent: &Value) -> Resources {
    let mut total = Resources::none();
    for (name, value) in agent.get("resources").and_then(Value::as_object).into_iter().flatten() {
        match value {
            Value::Number(number) => {
                if let Some(amount) = number.as_f64().and_then(Milli::from_f64) {
                    total.add_one(&Resource::scalar(name, amount));
                }
            }
            Value::String(text) => {
                if let Ok(read) = parse(&format!("{name}:{text}"), &Role::any()) {
                    total.add(&read);
                }
            }
            _ => {}
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn says_what_no_agent_has() {
        let answer = json!({"slaves": [
            {"hostname": "a", "resources": {"cpus": 2.0, "mem": 512.0, "ports": "[31000-32000]"}},
            {"hostname": "b", "resources": {"cpus": 4.0, "mem": 256.0, "gpus": 0.0}},
        ]});
        let check = |wanted: &str, expect: Option<&str>| {
            let wanted = parse(wanted, &Role::any()).unwrap();
            assert_eq!(too_large(&answer, &wanted).as_deref(), expect);
        };
        check("cpus:2;mem:512;ports:[31000-31001]", None);
        check("cpus:99;mem:32", Some("no agent offers cpus:99; the largest is b with cpus:4 mem:256"));
        check(
            "mem:600",
            Some("no agent offers mem:600; the largest is a with cpus:2 mem:512 ports:[31000-32000]"),
        );
        check(
            "cpus:4;mem:512",
            Some("no agent offers cpus:4; mem:512; the largest is b with cpus:4 mem:256"),
        );
        check("ports:[80-80]", Some("no agent offers ports:[80-80]; the largest is b with cpus:4 mem:256"));
        let none = too_large(&json!({"slaves": []}), &Resources::none());
        assert_eq!(none.as_deref(), Some("no agent is registered with the master"));
    }
}
