//! The header of a safetensors file, checked in full before any of its tensors is believed.

use std::collections::HashSet;
use std::fmt;

use safetensors::tensor::{Metadata, SafeTensorError, SafeTensors};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

const LENGTH_BYTES: usize = size_of::<u64>();
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The tensors that `file`, a whole safetensors file, describes, and where in it their data begins.
///
/// Shapes, dtypes and offsets agree with each other and with the length of the file, tensors do not overlap and no
/// name occurs twice; otherwise the reason is returned.
pub(super) fn parse(file: &[u8]) -> Result<(Metadata, usize), String> {
    let header = header_bytes(file)?;
    let (length, metadata) = SafeTensors::read_metadata(file).map_err(|error| match error {
        SafeTensorError::MetadataIncompleteBuffer => {
            let data = file.len() - LENGTH_BYTES - header.len();
            format!("is truncated or has bytes that its header does not describe: {data} bytes follow the header")
        }
        SafeTensorError::InvalidHeaderDeserialization(error) => format!("header is not valid: {error}"),
        error => error.to_string(),
    })?;
    serde_json::from_slice::<UniqueNames>(header).map_err(|error| format!("header is not valid: {error}"))?;
    Ok((metadata, LENGTH_BYTES + length))
}

fn header_bytes(file: &[u8]) -> Result<&[u8], String> {
    if file.is_empty() {
        return Err("is empty".into());
    }
    let (length, rest) = file
        .split_first_chunk::<LENGTH_BYTES>()
        .ok_or_else(|| format!("is {} bytes, too short for a safetensors file", file.len()))?;
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES {
        return Err(format!(
            "is not a safetensors file: the header would be {length} bytes, allowed are at most {MAX_HEADER_BYTES}"
        ));
    }
    usize::try_from(length)
        .ok()
        .and_then(|length| rest.get(..length))
        .ok_or_else(|| format!("is truncated: the header should be {length} bytes, only {} follow", rest.len()))
}

/// A JSON object without two entries of one name; the maps of serde keep the last and say nothing.
struct UniqueNames;

impl<'de> Deserialize<'de> for UniqueNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueNames)
    }
}

impl<'de> Visitor<'de> for UniqueNames {
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut names = HashSet::new();
        while let Some((name, IgnoredAny)) = map.next_entry::<String, _>()? {
            if let Some(name) = names.replace(name) {
                return Err(A::Error::custom(format_args!("the tensor {name:?} occurs twice")));
            }
        }
        Ok(self)
    }
}
