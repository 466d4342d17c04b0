//! Attributes of agents, as in `--attributes=rack:r1;zone:a;level:3;ports:[1-5]`.

use wire::v1;
use wire::v1::value::{Range, Ranges as WireRanges, Scalar, Set, Text, Type};

use crate::resources::{Amount, parse as parse_resources};
use crate::role::Role;

/// Reads attributes separated by `;` or line ends: a number is a scalar, `[a-b]` ranges, `{a,b}` a set, anything else
/// text.
///
/// # Errors
/// Names the part that is no `name:value`, or whose brackets don't hold what they should.
pub fn parse(text: &str) -> Result<Vec<v1::Attribute>, String> {
    let parts = text.split([';', '\n']).map(str::trim).filter(|p| !p.is_empty());
    parts.map(one).collect()
}

fn one(part: &str) -> Result<v1::Attribute, String> {
    let bad = || format!("'{part}' is no attribute; expected name:value such as rack:r1");
    let (name, value) = part.split_once(':').ok_or_else(bad)?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || value.is_empty() {
        return Err(bad());
    }
    let mut attribute = v1::Attribute { name: name.to_owned(), ..Default::default() };
    if value.starts_with(['[', '{']) {
        bracketed(&mut attribute, value).ok_or_else(|| {
            format!("'{part}' is no attribute; expected ranges such as [1-5,7-9], or a set such as {{a,b}}")
        })?;
    } else if let Some(number) = number(value) {
        attribute.set_type(Type::Scalar);
        attribute.scalar = Some(Scalar { value: number });
    } else {
        attribute.set_type(Type::Text);
        attribute.text = Some(Text { value: value.to_owned() });
    }
    Ok(attribute)
}

/// A number, negative ones included; `nan` and `inf` are names.
fn number(text: &str) -> Option<f64> {
    let digits = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    text.parse::<f64>().ok().filter(|number| digits && number.is_finite())
}

fn bracketed(attribute: &mut v1::Attribute, value: &str) -> Option<()> {
    let read = parse_resources(&format!("x:{value}"), &Role::any()).ok()?;
    match &read.iter().next()?.amount {
        Amount::Ranges(ranges) => {
            attribute.set_type(Type::Ranges);
            let range = ranges.pairs().iter().map(|&(begin, end)| Range { begin, end }).collect();
            attribute.ranges = Some(WireRanges { range });
        }
        Amount::Set(items) => {
            attribute.set_type(Type::Set);
            attribute.set = Some(Set { item: items.iter().cloned().collect() });
        }
        Amount::Scalar(_) => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_every_type_are_read() {
        let all = parse("rack:r1;level:3;range:[1-5];url:http://x\n low : -2.5 ;set:{b,a};odd:1.2.3;n:nan")
            .unwrap();
        let types: Vec<&str> = all.iter().map(|a| a.r#type().as_str_name()).collect();
        assert_eq!(types, ["TEXT", "SCALAR", "RANGES", "TEXT", "SCALAR", "SET", "TEXT", "TEXT"]);
        assert_eq!(all[0].text.as_ref().unwrap().value, "r1");
        assert_eq!(all[1].scalar.as_ref().unwrap().value, 3.0);
        assert_eq!(all[2].ranges.as_ref().unwrap().range[0].end, 5);
        assert_eq!(all[3].text.as_ref().unwrap().value, "http://x");
        assert_eq!((all[4].name.as_str(), all[4].scalar.as_ref().unwrap().value), ("low", -2.5));
        assert_eq!(all[5].set.as_ref().unwrap().item, ["a", "b"]);
    }

    #[test]
    fn what_is_no_attribute_is_refused() {
        for bad in ["rack", ":x", "rack:", "a:[1", "a:{x", "a:[5-3]", "a:[]"] {
            assert!(parse(bad).unwrap_err().contains("is no attribute; expected"), "{bad}");
        }
    }
}
