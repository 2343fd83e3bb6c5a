//! Reading of scheduler_config.json, key by key; every complaint names the key, what it holds and what is allowed.

use std::fmt::Display;

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The keys of one configuration that count: diffusers skips those that it lists in `_use_default_values`.
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    defaulted: Vec<&'a str>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(value: &'a Value) -> Result<Self> {
        let map = value.as_object().ok_or_else(|| Error::Checkpoint("scheduler_config.json is no object".into()))?;
        let defaulted = map.get("_use_default_values").and_then(Value::as_array);
        Ok(Self { map, defaulted: defaulted.into_iter().flatten().filter_map(Value::as_str).collect() })
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|_| !self.defaulted.contains(&key))
    }

    pub(super) fn bool(&self, key: &str, default: bool) -> Result<bool> {
        Ok(self.optional_bool(key)?.unwrap_or(default))
    }

    /// `None` where the key is absent; `null` is false, as in Python.
    pub(super) fn optional_bool(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(false)),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(bad(key, other, "true or false")),
        }
    }

    /// A list of places in a run; none where the key is absent.
    pub(super) fn indices(&self, key: &str) -> Result<Vec<usize>> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let list = value.as_array().map(|list| list.iter().map(|index| index.as_u64().map(|i| i as usize)).collect());
        list.flatten().ok_or_else(|| bad(key, value, "a list of whole numbers from 0"))
    }

    pub(super) fn integer(&self, key: &str, default: u64, max: u64) -> Result<u64> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_u64().filter(|&n| n <= max).ok_or_else(|| bad(key, value, format!("a whole number up to {max}")))
    }

    /// A number that `accept` takes, or `None` where the key is absent or null.
    pub(super) fn number(&self, key: &str, accept: impl Fn(f64) -> bool, allowed: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => number(value).filter(|&x| accept(x)).map(Some).ok_or_else(|| bad(key, value, allowed)),
        }
    }

    /// One of `choices`, or `None` where the key is absent.
    pub(super) fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let found = choices.iter().find(|(name, _)| value.as_str() == Some(name));
        found.map(|&(_, choice)| Some(choice)).ok_or_else(|| {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            bad(key, value, names.join(", "))
        })
    }
}

/// A JSON number, or one of the strings that [`strict_json`] leaves for Python's own numbers.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) if matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity") => text.parse().ok(),
        other => other.as_f64(),
    }
}

/// An [`Error::Checkpoint`] about `key`, with `given` shortened.
pub(super) fn bad(key: &str, given: impl Display, allowed: impl Display) -> Error {
    let given = given.to_string();
    let shown: String = given.chars().take(80).collect();
    let ellipsis = if shown.len() < given.len() { "…" } else { "" };
    Error::Checkpoint(format!("scheduler_config.json: {key} is {shown}{ellipsis}, supported is {allowed}"))
}

/// `text` with Python's bare `NaN`, `Infinity` and `-Infinity` quoted: diffusers writes `"lambda_min_clipped": -Infinity`.
pub(super) fn strict_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let (mut rest, mut quoted) = (text, false);
    while let Some(c) = rest.chars().next() {
        let token = ["-Infinity", "Infinity", "NaN"].into_iter().find(|token| !quoted && rest.starts_with(token));
        let taken = match (token, c) {
            (Some(token), _) => {
                out.extend(["\"", token, "\""]);
                rest = &rest[token.len()..];
                continue;
            }
            (None, '\\') => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            _ => c.len_utf8(),
        };
        quoted ^= c == '"';
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out
}
