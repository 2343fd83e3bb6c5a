//! Reading of `config.json`: every value is checked before anything is built from it.

use std::fmt::Debug;
use std::ops::RangeInclusive;

use serde_json::Value;

use crate::error::{Error, Result};

/// Most levels of a UNet or VAE, each half the size of the one before.
const MAX_LEVELS: usize = 8;

/// The fields of one component's configuration.
pub struct Fields<'a> {
    component: &'a str,
    value: &'a Value,
}

impl<'a> Fields<'a> {
    /// The fields of `value`, which must be an object; `component` names it in errors.
    pub fn new(component: &'a str, value: &'a Value) -> Result<Self> {
        if value.is_object() {
            Ok(Self { component, value })
        } else {
            Err(Error::Checkpoint(format!("{component}: the configuration is not a JSON object")))
        }
    }

    /// The error that `name` is not as it must be.
    pub fn wrong(&self, name: &str, allowed: impl std::fmt::Display) -> Error {
        let given = self.get(name).map_or_else(|| "nothing".into(), Value::to_string);
        let given: String = given.chars().take(80).collect();
        Error::Checkpoint(format!("{}: {name} is {given}, supported is {allowed}", self.component))
    }

    /// The error that the component is of the class `given`.
    pub fn unsupported_class(&self, given: &str, allowed: &str) -> Error {
        let given: String = given.chars().take(80).collect();
        Error::Checkpoint(format!("{}: the class is {given}, supported is {allowed}", self.component))
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.value.get(name).filter(|value| !value.is_null())
    }

    /// A whole number in `range`; `default` where it is absent.
    pub fn size(&self, name: &str, default: usize, range: RangeInclusive<usize>) -> Result<usize> {
        let Some(value) = self.get(name) else { return Ok(default) };
        value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.wrong(name, format!("a whole number in {}..={}", range.start(), range.end())))
    }

    /// A finite number in `range`; `default` where it is absent.
    pub fn number(&self, name: &str, default: f64, range: RangeInclusive<f64>) -> Result<f64> {
        let Some(value) = self.get(name) else { return Ok(default) };
        value
            .as_f64()
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.wrong(name, format!("a number in {:e}..={:e}", range.start(), range.end())))
    }

    /// A boolean; `default` where it is absent.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(name) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.wrong(name, "true or false"))
    }

    /// A text; none where it is absent.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>> {
        self.get(name).map(|value| value.as_str().ok_or_else(|| self.wrong(name, "a string"))).transpose()
    }

    /// Whole numbers in `range`: a list of exactly `count`, or one number for all; none where it is absent.
    pub fn sizes(&self, name: &str, count: usize, range: RangeInclusive<usize>) -> Result<Option<Vec<usize>>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        if value.is_u64() {
            return Ok(Some(vec![self.size(name, 0, range)?; count]));
        }
        let allowed = || format!("{count} whole numbers in {}..={}", range.start(), range.end());
        let list = value.as_array().filter(|list| list.len() == count).ok_or_else(|| self.wrong(name, allowed()))?;
        let number = |value: &Value| {
            let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
            number.filter(|number| range.contains(number)).ok_or_else(|| self.wrong(name, allowed()))
        };
        list.iter().map(number).collect::<Result<_>>().map(Some)
    }

    /// Between 1 and 8 channel counts of 1 to 16384 each.
    pub fn channels(&self, name: &str) -> Result<Vec<usize>> {
        let count = self.get(name).and_then(Value::as_array).map_or(0, Vec::len);
        if !(1..=MAX_LEVELS).contains(&count) {
            return Err(self.wrong(name, format!("a list of 1 to {MAX_LEVELS} channel counts")));
        }
        Ok(self.sizes(name, count, 1..=16_384)?.unwrap_or_default())
    }

    /// [`Fields::channels`]; `default` where they are absent.
    pub fn channels_or(&self, name: &str, default: &[usize]) -> Result<Vec<usize>> {
        if self.get(name).is_none() { Ok(default.to_vec()) } else { self.channels(name) }
    }

    /// `count` texts, each mapped by `parse`, which returns none for what is not supported.
    pub fn kinds<T>(
        &self,
        name: &str,
        count: usize,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>> {
        let wrong = || self.wrong(name, format!("{count} of {allowed}"));
        let list = self.get(name).and_then(Value::as_array).filter(|list| list.len() == count).ok_or_else(wrong)?;
        list.iter().map(|kind| kind.as_str().and_then(&parse).ok_or_else(wrong)).collect()
    }

    /// Refuses any value of `name` but `only`; absent and null count as `only`.
    pub fn only(&self, name: &str, only: impl Into<Value> + Debug) -> Result<()> {
        let only = only.into();
        match self.get(name) {
            Some(value) if *value != only => Err(self.wrong(name, only)),
            _ => Ok(()),
        }
    }

    /// Refuses a number that does not divide every one of `channels`.
    pub fn divides(&self, name: &str, divisor: usize, channels: &[usize]) -> Result<()> {
        if channels.iter().all(|count| count % divisor == 0) {
            return Ok(());
        }
        Err(self.wrong(name, format!("a divisor of {channels:?}")))
    }
}
