//! A model's small files, read up to a limit, with errors that name the file as the user knows it.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// `path` by its last two parts: enough to find a file within a model, and free of the machine's own folders.
pub(crate) fn shown(path: &Path) -> String {
    let mut parts: Vec<_> = path.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
    parts.reverse();
    parts.join("/")
}

/// An [`Error::Checkpoint`] about the file `shown`.
pub(crate) fn broken(shown: &str, reason: impl std::fmt::Display) -> Error {
    Error::Checkpoint(format!("{shown}: {reason}"))
}

/// Opens a regular file and tells its length; anything else (a pipe, a device) could block or never end.
pub(crate) fn open(path: &Path, shown: &str) -> Result<(File, u64)> {
    let reason = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => broken(shown, "there is no such file"),
        _ => broken(shown, format_args!("cannot be read: {error}")),
    };
    if !fs::metadata(path).map_err(reason)?.is_file() {
        return Err(broken(shown, "is not a file"));
    }
    let file = File::open(path).map_err(reason)?;
    let length = file.metadata().map_err(reason)?.len();
    Ok((file, length))
}

/// The text of a file of at most `limit` bytes.
pub(crate) fn read_text(path: &Path, shown: &str, limit: u64) -> Result<String> {
    let (file, length) = open(path, shown)?;
    if length > limit {
        return Err(broken(shown, format_args!("is {length} bytes, allowed are at most {limit}")));
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(|error| broken(shown, format_args!("cannot be read: {error}")))?;
    String::from_utf8(bytes).map_err(|error| broken(shown, format_args!("is not UTF-8: {}", error.utf8_error())))
}

/// A JSON file of at most `limit` bytes.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, shown: &str, limit: u64) -> Result<T> {
    let text = read_text(path, shown, limit)?;
    serde_json::from_str(&text).map_err(|error| broken(shown, format_args!("not the JSON that it should be: {error}")))
}

/// Like [`read_json`], `None` where there is no such file at all.
pub(crate) fn read_optional_json<T: DeserializeOwned>(path: &Path, shown: &str, limit: u64) -> Result<Option<T>> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        _ => read_json(path, shown, limit).map(Some),
    }
}
