//! Where a master or an agent is: the region and the zone of its fault domain.

use wire::v1::DomainInfo;

const EXPECTED: &str = "expected {\"fault_domain\":{\"region\":{\"name\":\"r\"},\"zone\":{\"name\":\"z\"}}}";

/// Reads `--domain`, which is JSON.
///
/// # Errors
/// Says what is expected. Mesos: a domain without a fault domain is refused.
pub fn parse(text: &str) -> Result<DomainInfo, String> {
    let domain: DomainInfo =
        wire::json::from_slice(text.as_bytes()).map_err(|why| format!("{why}; {EXPECTED}"))?;
    let named =
        domain.fault_domain.as_ref().is_some_and(|f| !f.region.name.is_empty() && !f.zone.name.is_empty());
    if named { Ok(domain) } else { Err(EXPECTED.to_owned()) }
}

/// The region, if there is one.
pub fn region(domain: Option<&DomainInfo>) -> Option<&str> {
    Some(domain?.fault_domain.as_ref()?.region.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_and_a_zone_are_needed() {
        let domain = parse(r#"{"fault_domain":{"region":{"name":"eu"},"zone":{"name":"a"}}}"#).unwrap();
        assert_eq!(region(Some(&domain)), Some("eu"));
        assert_eq!(region(None), None);
        for bad in [
            "",
            "eu",
            "[]",
            "{}",
            r#"{"fault_domain":{"region":{"name":"eu"}}}"#,
            r#"{"fault_domain":{"region":{"name":""},"zone":{"name":"a"}}}"#,
        ] {
            assert!(parse(bad).unwrap_err().contains("expected {"), "{bad}");
        }
    }
}
