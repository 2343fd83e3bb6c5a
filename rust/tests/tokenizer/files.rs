//! Tokenizer files, good and bad.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use sd_rbee::Error;
use sd_rbee::tokenizer::ClipTokenizer;
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::copy;
use crate::common::checkpoint_error;

/// A tokenizer of the letters a to c.
fn tiny(unk: &str) -> Value {
    let vocab = ["a", "b", "c", "a</w>", "b</w>", "c</w>", "ab</w>", "<|startoftext|>", "<|endoftext|>"];
    let vocab: serde_json::Map<_, _> =
        vocab.iter().enumerate().map(|(id, token)| (token.to_string(), json!(id))).collect();
    json!({"model": {"type": "BPE", "vocab": vocab, "merges": [["a", "b</w>"]], "unk_token": unk}})
}

fn folder_of(files: &[(&str, &str)]) -> TempDir {
    let folder = tempdir().expect("a folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect(name);
    }
    folder
}

fn read(folder: &Path) -> sd_rbee::Result<ClipTokenizer> {
    ClipTokenizer::from_folder(folder)
}

/// Reads the tokenizer and uses it.
fn use_all(folder: &Path) -> sd_rbee::Result<()> {
    let tokenizer = read(folder)?;
    for text in ["", "ab c", "ABC <|endoftext|> x 👩‍👧", "\u{0}"] {
        tokenizer.prepare(text, 7, "prompt")?;
    }
    Ok(())
}

#[test]
fn a_tiny_tokenizer_works() {
    let folder = folder_of(&[("tokenizer.json", &tiny("<|endoftext|>").to_string())]);
    let ids = read(folder.path()).expect("a tokenizer").prepare("AB c", 6, "prompt").expect("ids").ids;
    assert_eq!(ids, [7, 6, 5, 8, 8, 8]);
}

#[test]
fn merges_may_be_joined_by_a_space() {
    let mut file = tiny("<|endoftext|>");
    file["model"]["merges"] = json!(["a b</w>"]);
    let folder = folder_of(&[("tokenizer.json", &file.to_string())]);
    assert_eq!(read(folder.path()).expect("a tokenizer").encode("ab", "prompt").expect("ids"), [6]);
}

#[test]
fn files_that_are_missing_are_named() {
    let folder = tempdir().expect("a folder");
    assert!(checkpoint_error(read(folder.path())).ends_with("/vocab.json: there is no such file"));
    copy(&["vocab.json"], folder.path());
    assert!(checkpoint_error(read(folder.path())).ends_with("/merges.txt: there is no such file"));
    fs::create_dir(folder.path().join("merges.txt")).expect("a folder");
    assert!(checkpoint_error(read(folder.path())).ends_with("/merges.txt: is not a file"));
}

#[test]
fn files_that_are_wrong_are_named_with_the_reason() {
    let tokenizer = |change: fn(&mut Value)| {
        let mut file = tiny("<|endoftext|>");
        change(&mut file);
        vec![("tokenizer.json", file.to_string())]
    };
    let with_config = |config: &str| {
        let mut files = tokenizer(|_| {});
        files.push(("tokenizer_config.json", config.into()));
        files
    };
    let vocab = || ("vocab.json", tiny("")["model"]["vocab"].to_string());
    for (files, reason) in [
        (vec![("tokenizer.json", "{".into())], "is not a tokenizer"),
        (vec![("tokenizer.json", "[]".into())], "is not a tokenizer"),
        (tokenizer(|file| file["model"]["type"] = json!("Unigram")), "is a Unigram tokenizer, CLIP's is BPE"),
        (tokenizer(|file| file["model"]["vocab"] = json!({})), "has an empty vocabulary"),
        (tokenizer(|file| file["model"]["vocab"] = json!({"a": -1})), "is not a tokenizer"),
        (tokenizer(|file| file["model"]["vocab"] = json!({"a": 1u64 << 32})), "is not a tokenizer"),
        (tokenizer(|file| file["model"]["merges"] = json!([["a", "c"]])), "\"ac\" is not in the vocabulary"),
        (tokenizer(|file| file["model"]["merges"] = json!(["a b c"])), "merge 1 is not two tokens and a space"),
        (tokenizer(|file| file["model"]["merges"] = json!([1])), "is not a tokenizer"),
        (tokenizer(|file| file["added_tokens"] = json!([{"id": 1}])), "is not a tokenizer"),
        (with_config(r#"{"bos_token": "<s>"}"#), "the bos_token \"<s>\" is not in the vocabulary"),
        (with_config(r#"{"pad_token": 3}"#), "\"pad_token\" is not a token"),
        (with_config(r#"{"model_max_length": 1}"#), "allowed are whole numbers from 2"),
        (with_config(r#"{"model_max_length": "x"}"#), "allowed are whole numbers from 2"),
        (with_config(r#"{"added_tokens_decoder": {"x": {}}}"#), "added_tokens_decoder"),
        (with_config("[]"), "not the JSON that it should be"),
        (vec![("vocab.json", "[]".into())], "not the JSON that it should be"),
        (vec![vocab(), ("merges.txt", "#version: 0.2\na b</w>\nb  c".into())], "merge 3 is not two tokens"),
        (vec![vocab(), ("merges.txt", "b c".into())], "\"bc\" is not in the vocabulary"),
    ] {
        let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let text = checkpoint_error(read(folder_of(&files).path()));
        assert!(text.contains(reason), "{reason:?} is not in {text:?}");
    }
}

#[test]
fn text_outside_the_vocabulary_without_an_unknown_token_is_an_error_not_a_panic() {
    let files =
        [("tokenizer.json", &*tiny("<unk>").to_string()), ("tokenizer_config.json", r#"{"unk_token": "<unk>"}"#)];
    let result = use_all(folder_of(&files).path());
    assert!(matches!(result, Ok(()) | Err(Error::Checkpoint(_))), "{result:?}");
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec!["", "a", "ab</w>", "<|endoftext|>", "zz", " "]).prop_map(Value::from),
        "\\PC{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        let key = prop::sample::select(vec!["content", "special", "normalized", "id", "a", "lstrip"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..4)
                .prop_map(|entries| entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_configuration(
        key in prop::sample::select(vec![
            "bos_token", "eos_token", "pad_token", "unk_token", "mask_token", "odd_token", "model_max_length",
            "additional_special_tokens", "extra_special_tokens", "added_tokens_decoder",
        ]),
        value in json(),
        name in prop::sample::select(vec!["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"]),
    ) {
        let config = json!({key: value}).to_string();
        let folder = folder_of(&[("tokenizer.json", &tiny("<|endoftext|>").to_string()), (name, &config)]);
        let result = use_all(folder.path());
        prop_assert!(matches!(result, Ok(()) | Err(Error::Checkpoint(_))), "{:?}", result);
    }

    #[test]
    fn any_added_token(content in "\\PC{0,5}|<\\|endoftext\\|>|[a-c]{1,2}", id: u64, flags: [bool; 5]) {
        let [single_word, lstrip, rstrip, normalized, special] = flags;
        let mut file = tiny("<|endoftext|>");
        file["added_tokens"] = json!([{
            "id": id, "content": content, "single_word": single_word, "lstrip": lstrip, "rstrip": rstrip,
            "normalized": normalized, "special": special,
        }]);
        let folder = folder_of(&[("tokenizer.json", &file.to_string())]);
        let result = use_all(folder.path());
        prop_assert!(matches!(result, Ok(()) | Err(Error::Checkpoint(_))), "{:?}", result);
    }

    #[test]
    fn any_change_of_a_valid_file(changes in prop::collection::vec((any::<Index>(), 32u8..127), 1..5)) {
        let mut bytes = tiny("<|endoftext|>").to_string().into_bytes();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        let folder = folder_of(&[("tokenizer.json", &String::from_utf8(bytes).expect("ascii"))]);
        let result = use_all(folder.path());
        prop_assert!(matches!(result, Ok(()) | Err(Error::Checkpoint(_))), "{:?}", result);
    }
}
