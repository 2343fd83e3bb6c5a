//! Files of other formats, told by their first bytes.

use std::io::Read;
use std::path::Path;

use crate::checkpoint::component::is_pickle;
use crate::error::Result;
use crate::files::{broken, open, shown};

/// Where the text of a safetensors header begins.
const HEADER: usize = 8;

/// # Errors
/// [`crate::Error::Checkpoint`] for what torch pickled, by content or else by name, and for GGUF; and for what cannot be
/// opened.
pub(super) fn refuse(path: &Path) -> Result<()> {
    let shown = shown(path);
    let (file, _) = open(path, &shown)?;
    let mut start = Vec::new();
    file.take(HEADER as u64 + 1)
        .read_to_end(&mut start)
        .map_err(|error| broken(&shown, format_args!("cannot be read: {error}")))?;
    if start.get(HEADER) == Some(&b'{') {
        return Ok(());
    }
    if start.starts_with(b"GGUF") {
        return Err(broken(&shown, "is a GGUF file; only safetensors is read"));
    }
    // A zip archive, as torch writes since 1.6, or a bare pickle of protocol 2 to 5.
    let pickled = start.starts_with(b"PK\x03\x04") || matches!(start.as_slice(), [0x80, 2..=5, ..]);
    if pickled || is_pickle(path) {
        return Err(broken(
            &shown,
            "is a pickle, which can run code when it is read; only safetensors is read. Look for the same model as \
             .safetensors, or convert it where nothing can be harmed: torch.load(path, weights_only=True), then \
             safetensors.torch.save_file",
        ));
    }
    Ok(())
}
