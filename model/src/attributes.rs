//! Attributes of agents, as in `--attributes=rack:r1;zone:a;level:3;ports:[1-5]`.

use wire::v1;
use wire::v1::value::{Range, Ranges as WireRanges, Scalar, Text, Type};

use crate::resources::{Amount, parse as parse_resources};
use crate::role::Role;

/// Reads attributes separated by `;`: a number is a scalar, `[a-b]` ranges, anything else text.
///
/// # Errors
/// Names the part that is no `name:value`.
pub fn parse(text: &str) -> Result<Vec<v1::Attribute>, String> {
    let mut all = Vec::new();
    for part in text.split(';').map(str::trim).filter(|p| !p.is_empty()) {
        let Some((name, value)) = part.split_once(':') else {
            return Err(format!("'{part}' is no attribute; expected name:value such as rack:r1"));
        };
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || value.is_empty() {
            return Err(format!("'{part}' is no attribute; expected name:value such as rack:r1"));
        }
        all.push(one(name, value));
    }
    Ok(all)
}

fn one(name: &str, value: &str) -> v1::Attribute {
    let mut attribute = v1::Attribute { name: name.to_owned(), ..Default::default() };
    let typed = parse_resources(&format!("x:{value}"), &Role::any()).ok();
    match typed.as_ref().and_then(|r| r.iter().next()).map(|r| &r.amount) {
        Some(Amount::Scalar(amount)) => {
            attribute.set_type(Type::Scalar);
            attribute.scalar = Some(Scalar { value: amount.as_f64() });
        }
        Some(Amount::Ranges(ranges)) => {
            attribute.set_type(Type::Ranges);
            let range = ranges.pairs().iter().map(|&(begin, end)| Range { begin, end }).collect();
            attribute.ranges = Some(WireRanges { range });
        }
        _ => {
            attribute.set_type(Type::Text);
            attribute.text = Some(Text { value: value.to_owned() });
        }
    }
    attribute
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read() {
        let all = parse("rack:r1;level:3;range:[1-5];url:http://x").unwrap();
        assert_eq!(all.len(), 4);
        assert_eq!(all[0].text.as_ref().unwrap().value, "r1");
        assert_eq!(all[1].scalar.as_ref().unwrap().value, 3.0);
        assert_eq!(all[2].ranges.as_ref().unwrap().range[0].end, 5);
        assert_eq!(all[3].text.as_ref().unwrap().value, "http://x");
        for bad in ["rack", ":x", "rack:"] {
            assert!(parse(bad).unwrap_err().contains("expected name:value"), "{bad}");
        }
    }
}
