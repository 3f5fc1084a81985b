//! Times that count from another day than those that are stored.

use std::collections::{BTreeMap, BTreeSet};

use firnline::{Error, Result};
use serde_json::Value;

use crate::array::Array;
use crate::calendar::{Calendar, TimeUnits};
use crate::element::{self, Element, Kind, Scalar};
use crate::join;
use crate::model::{Body, Values, Variable};

/// The attributes by which a coordinate names the variable of the ends of its cells, which is in its units and need not say so.
const BOUNDS: [&str; 2] = ["bounds", "climatology"];

/// Writes copied times in the units of the arrays that they are added to, and the ends of their cells. `Invalid`, naming the variable, when
/// that cannot be done exactly.
pub(crate) fn fit(variables: &mut [Variable], arrays: &BTreeMap<String, Array>) -> Result<()> {
    let mut changes: BTreeMap<usize, Change> = BTreeMap::new();
    for (n, variable) in variables.iter().enumerate() {
        let Some(array) = arrays.get(&variable.path) else { continue };
        let text =
            |attributes: &serde_json::Map<String, Value>, name: &str| attributes.get(name).and_then(Value::as_str).map(str::to_owned);
        let (Some(is), Some(was)) = (text(&variable.attributes, "units"), text(&array.document.attributes, "units")) else { continue };
        let calendar = text(&variable.attributes, "calendar");
        if is == was || !is.contains(" since ") || !was.contains(" since ") || calendar != text(&array.document.attributes, "calendar") {
            continue;
        }
        let change = Change::new(&is, &was, calendar.as_deref()).map_err(|e| e.context(&variable.path))?;
        // Readers go by the stored name, whatever a later file says.
        let names = [&variable.attributes, &array.document.attributes].into_iter().flat_map(|all| BOUNDS.map(|name| text(all, name)));
        for name in names.flatten().collect::<BTreeSet<_>>() {
            let ends = ends(variables, &variable.path, &name).map_err(|why| change.refuse(why).context(&variable.path))?;
            changes.extend(ends.map(|n| (n, change.clone())));
        }
        changes.insert(n, change);
    }
    for (n, change) in changes {
        if let Some(variable) = variables.get_mut(n) {
            change.apply(variable).map_err(|e| e.context(&variable.path))?;
        }
    }
    Ok(())
}

/// The place of the variable `name` of the ends of cells of the coordinate at `path`, in its group or the nearest one above; `None` if
/// there is
/// none, or if it has units of its own.
fn ends(variables: &[Variable], path: &str, name: &str) -> std::result::Result<Option<usize>, &'static str> {
    if name.contains('/') {
        return Err("it names its bounds by a path");
    }
    let mut group = path;
    while !group.is_empty() {
        group = group.rsplit_once('/').map_or("", |(above, _)| above);
        let wanted = join(group, name);
        if let Some((n, found)) = variables.iter().enumerate().find(|(_, other)| other.path == wanted) {
            return Ok((!found.attributes.contains_key("units")).then_some(n));
        }
    }
    Ok(None)
}

/// From one unit into another.
#[derive(Debug, Clone)]
struct Change {
    is: String,
    was: String,
    from: TimeUnits,
    to: TimeUnits,
}

impl Change {
    fn new(is: &str, was: &str, calendar: Option<&str>) -> Result<Self> {
        let of = |units: &str| {
            let calendar = Calendar::named(calendar.unwrap_or("standard")).ok_or_else(|| "its calendar is not known".to_owned())?;
            TimeUnits::parse(units, calendar).ok_or_else(|| format!("{units:?} is no unit of a fixed length since a day of the calendar"))
        };
        let both = of(is).and_then(|from| Ok((from, of(was)?)));
        let (from, to) = both.map_err(|why| Self::refused(is, was, &why))?;
        Ok(Self { is: is.to_owned(), was: was.to_owned(), from, to })
    }

    fn refused(is: &str, was: &str, why: &str) -> Error {
        Error::invalid(format!("has the attribute units {is:?}, not {was:?} as before, and cannot be written so: {why}"))
    }

    fn refuse(&self, why: &str) -> Error {
        Self::refused(&self.is, &self.was, why)
    }

    fn apply(&self, variable: &mut Variable) -> Result<()> {
        let refused = |why: &str| self.refuse(why);
        if ["scale_factor", "add_offset"].iter().any(|name| variable.attributes.contains_key(*name)) {
            return Err(refused("its values are scaled"));
        }
        let Body::Values(Values::Bytes(bytes)) = &mut variable.body else {
            return Err(refused("its values are not copied (--inline-limit)"));
        };
        let element = variable.element;
        let is_known = matches!((element.kind, element.size), (Kind::Int | Kind::UInt, 1 | 2 | 4 | 8) | (Kind::Float, 4 | 8));
        if !is_known {
            return Err(refused("its values are no usual numbers"));
        }
        let mut missing: Vec<Scalar> = variable.fill_attribute.iter().cloned().collect();
        let stated = variable.attributes.get("missing_value");
        missing.extend(stated.and_then(Value::as_i64).map(|x| Scalar::Int(x.into())));
        missing.extend(stated.and_then(Value::as_f64).map(Scalar::Float));
        for bytes in bytes.chunks_exact_mut(element.size) {
            if is_missing(element, bytes, &missing) {
                continue;
            }
            let changed = self.value(element, bytes).filter(|changed| !is_missing(element, changed, &missing));
            let changed = changed.ok_or_else(|| {
                let shown =
                    if element.kind == Kind::Float { element::float(bytes).to_string() } else { integer(element, bytes).to_string() };
                refused(&format!("{shown} cannot be written so in its type without loss"))
            })?;
            bytes.copy_from_slice(&changed);
        }
        if variable.attributes.contains_key("units") {
            variable.attributes.insert("units".to_owned(), self.was.clone().into());
        }
        Ok(())
    }

    /// One value; `None` where the type does not have exactly this number.
    fn value(&self, element: Element, bytes: &[u8]) -> Option<Vec<u8>> {
        // A number is `numerator / 2^shift`.
        let (numerator, shift) = if element.kind == Kind::Float { fraction(element::float(bytes))? } else { (integer(element, bytes), 0) };
        let apart = self.from.epoch.checked_sub(self.to.epoch)?.checked_mul(1_i128.checked_shl(shift)?)?;
        let numerator = numerator.checked_mul(self.from.length)?.checked_add(apart)?;
        // The length is an odd number, shifted.
        let twos = self.to.length.trailing_zeros();
        let odd = self.to.length >> twos;
        if numerator % odd != 0 {
            return None;
        }
        let (numerator, shift) = (numerator / odd, shift + twos);
        if element.kind == Kind::Float {
            return in_float(numerator, shift, element.size);
        }
        let whole = 1_i128.checked_shl(shift)?;
        let value = (numerator % whole == 0).then_some(numerator / whole)?;
        let bytes = value.to_le_bytes().get(..element.size)?.to_vec();
        (integer(element, &bytes) == value).then_some(bytes)
    }
}

fn integer(element: Element, bytes: &[u8]) -> i128 {
    if element.kind == Kind::Int { element::signed(bytes) } else { element::unsigned(bytes).cast_signed() }
}

#[expect(clippy::float_cmp, reason = "only this very number marks a missing value")]
#[expect(clippy::cast_precision_loss, reason = "a float that marks a missing value may be written as an integer")]
fn is_missing(element: Element, bytes: &[u8], missing: &[Scalar]) -> bool {
    if element.kind == Kind::Float {
        let x = element::float(bytes);
        return x.is_nan()
            || missing.iter().any(|m| matches!(m, Scalar::Float(y) if *y == x) || matches!(m, Scalar::Int(y) if *y as f64 == x));
    }
    let x = integer(element, bytes);
    missing.iter().any(|m| matches!(m, Scalar::Int(y) if *y == x) || matches!(m, Scalar::Float(y) if *y == x as f64))
}

/// A float as a whole number over a power of two, if they are not too large.
fn fraction(x: f64) -> Option<(i128, u32)> {
    let (mut x, mut shift) = (x, 0);
    while x.fract() != 0.0 && shift < 50 {
        (x, shift) = (x * 2.0, shift + 1);
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and not too large")]
    (x.fract() == 0.0 && x.abs() < 2_f64.powi(63)).then_some((x as i128, shift))
}

/// The float that is exactly `numerator / 2^shift`.
fn in_float(numerator: i128, shift: u32, size: usize) -> Option<Vec<u8>> {
    let digits = if size == 4 { f32::MANTISSA_DIGITS } else { f64::MANTISSA_DIGITS };
    let odd = numerator.unsigned_abs() >> numerator.trailing_zeros().min(127);
    if 128 - odd.leading_zeros() > digits {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "it has no more digits than a float")]
    let x = numerator as f64 / 2_f64.powi(i32::try_from(shift).ok()?);
    #[expect(clippy::cast_possible_truncation, reason = "it has no more digits than this float")]
    Some(if size == 4 { (x as f32).to_le_bytes().to_vec() } else { x.to_le_bytes().to_vec() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change(is: &str, was: &str) -> Change {
        Change::new(is, was, Some("standard")).unwrap()
    }

    fn int(change: &Change, x: i32) -> Option<i32> {
        let bytes = change.value(Element::new(Kind::Int, 4, false), &x.to_le_bytes())?;
        Some(i32::from_le_bytes(bytes.try_into().unwrap()))
    }

    fn double(change: &Change, x: f64) -> Option<f64> {
        let bytes = change.value(Element::new(Kind::Float, 8, false), &x.to_le_bytes())?;
        Some(f64::from_le_bytes(bytes.try_into().unwrap()))
    }

    #[test]
    fn times_are_the_same_in_the_other_units_or_refused() {
        let days = change("days since 2025-02-01", "days since 2025-01-01 00:00:00");
        assert_eq!((int(&days, 27), double(&days, 0.25), int(&days, i32::MAX)), (Some(58), Some(31.25), None));
        let hours = change("hours since 2025-02-01", "days since 2025-01-01");
        assert_eq!((int(&hours, 48), int(&hours, 6), double(&hours, 6.0), double(&hours, 1.0)), (Some(33), None, Some(31.25), None));
        let zone = change("seconds since 2025-01-01T01:00:00+01:00", "minutes since 2024-12-31T23:59:30Z");
        assert_eq!((double(&zone, 0.0), double(&zone, 30.0), int(&zone, 30)), (Some(0.5), Some(1.0), Some(1)));
        let single = days.value(Element::new(Kind::Float, 4, false), &16_777_216_f32.to_le_bytes());
        assert_eq!(single, None, "a float of four bytes has no such number");
        for (is, was) in [("months since 2025-01-01", "days since 2025-01-01"), ("days since 2025-02-30", "days since 2025-01-01")] {
            assert!(Change::new(is, was, None).unwrap_err().to_string().contains("fixed length"), "{is}");
        }
        assert!(Change::new("days since 2025-01-01", "days since 2025-02-01", Some("lunar")).is_err());
    }

    proptest! {
        #[test]
        fn what_can_be_written_so_can_be_written_back(x in any::<i32>(), day in 0_i32..10_000, from in 0..4_usize, to in 0..4_usize) {
            let unit = |n: usize| ["seconds", "minutes", "hours", "days"][n];
            let epoch = format!("{:04}-{:02}-{:02}", 1600 + day / 25, day % 12 + 1, day % 28 + 1);
            let (is, was) = (format!("{} since {epoch}", unit(from)), format!("{} since 1970-01-01", unit(to)));
            if let Some(there) = int(&change(&is, &was), x) {
                prop_assert_eq!(int(&change(&was, &is), there), Some(x));
            }
            if let Some(there) = double(&change(&is, &was), f64::from(x) / 8.0) {
                prop_assert_eq!(double(&change(&was, &is), there), Some(f64::from(x) / 8.0));
            }
        }
    }
}
