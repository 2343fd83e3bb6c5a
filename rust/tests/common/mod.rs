//! What several tests need.

use std::path::PathBuf;

use sd_rbee::Error;

/// The embedded model's folder.
pub fn pollen() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("python/sd_rbee/pollen")
}

/// The text of an [`Error::Checkpoint`]; anything else fails the test.
#[track_caller]
pub fn checkpoint_error<T>(result: sd_rbee::Result<T>) -> String {
    match result {
        Err(Error::Checkpoint(text)) => text,
        Err(other) => panic!("another error: {other:?}"),
        Ok(_) => panic!("no error"),
    }
}

/// The field that an [`Error::InvalidParams`] names; anything else fails the test.
#[track_caller]
pub fn invalid_field<T>(result: sd_rbee::Result<T>) -> &'static str {
    match result {
        Err(Error::InvalidParams { field, .. }) => field,
        Err(other) => panic!("another error: {other:?}"),
        Ok(_) => panic!("no error"),
    }
}

/// Numbers between -1 and 1 that are the same in every run.
pub fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
