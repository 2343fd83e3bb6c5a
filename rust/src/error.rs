//! The one error type of the crate. Each variant is a class of `sd_rbee.errors` on the Python side.

/// Result of every fallible function of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, by who can mend it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No model where one was said to be.
    #[error("{0}")]
    ModelNotFound(String),
    /// A model that is there but cannot be used: broken files, wrong tensors, absurd or unsupported configuration.
    #[error("{0}")]
    Checkpoint(String),
    /// A generation parameter out of its range.
    #[error("{field}: got {given}, allowed is {allowed}")]
    InvalidParams {
        /// The parameter's name, as Python spells it.
        field: &'static str,
        /// What was given, shortened.
        given: String,
        /// What would have been accepted.
        allowed: String,
    },
    /// A device that is absent, not compiled in, or unable to do what was asked.
    #[error("{0}")]
    Device(String),
    /// The device's or the machine's memory is exhausted.
    #[error("{0}")]
    OutOfMemory(String),
    /// The computation itself failed.
    #[error("{0}")]
    Inference(String),
    /// The caller asked to stop.
    #[error("generation was cancelled")]
    Cancelled,
}

impl Error {
    /// An [`Error::InvalidParams`]; `given` is shortened to 80 characters, and quotes stand for an empty one.
    pub fn invalid(field: &'static str, given: impl std::fmt::Display, allowed: impl Into<String>) -> Self {
        let given = given.to_string();
        let given = match given.char_indices().nth(80) {
            Some((end, _)) => format!("{}…", &given[..end]),
            None if given.is_empty() => "\"\"".into(),
            None => given,
        };
        Self::InvalidParams { field, given, allowed: allowed.into() }
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        let text = plain(&error);
        if text.contains("OUT_OF_MEMORY") || text.to_lowercase().contains("out of memory") {
            Self::OutOfMemory(text)
        } else {
            Self::Inference(text)
        }
    }
}

/// What candle says, without the backtrace that it carries where `RUST_BACKTRACE` is set.
pub(crate) fn plain(error: &candle_core::Error) -> String {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => plain(inner),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candles_backtraces_are_left_out() {
        let inner = Box::new(candle_core::Error::Msg("shapes differ".into()));
        let backtrace = Box::new(std::backtrace::Backtrace::force_capture());
        let error = Error::from(candle_core::Error::WithBacktrace { inner, backtrace });
        assert!(matches!(error, Error::Inference(text) if text == "shapes differ"));
    }
}
