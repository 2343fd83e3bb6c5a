//! Prompts to ids, and the files that say how.

mod files;
mod prompts;
mod truncation;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use sd_rbee::tokenizer::ClipTokenizer;

use crate::common::pollen;

/// Pollen's tokenizer, from `tokenizer.json`.
static POLLEN: LazyLock<ClipTokenizer> =
    LazyLock::new(|| ClipTokenizer::from_folder(&pollen().join("tokenizer")).expect("pollen's tokenizer"));

/// Copies pollen's tokenizer files of these names into `folder`.
fn copy(names: &[&str], folder: &Path) {
    for name in names {
        fs::copy(pollen().join("tokenizer").join(name), folder.join(name)).expect(name);
    }
}
