//! Any text becomes a window of ids.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sd_rbee::params::MAX_PROMPT_BYTES;
use sd_rbee::tokenizer::ClipTokenizer;
use tempfile::tempdir;

use super::{POLLEN, copy};
use crate::allocations::peak_of;
use crate::common::{checkpoint_error, invalid_field};

/// The same tokenizer, from `vocab.json` and `merges.txt`.
static PAIR: LazyLock<ClipTokenizer> = LazyLock::new(|| {
    let folder = tempdir().expect("a folder");
    copy(&["vocab.json", "merges.txt", "tokenizer_config.json"], folder.path());
    ClipTokenizer::from_folder(folder.path()).expect("a tokenizer")
});

/// Text of every script, words of the vocabulary, special tokens whole and broken, and what unicode has of traps.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[a-zA-Z' ,.0-9]{0,12}",
        2 => "\\PC{0,8}",
        2 => any::<String>(),
        1 => prop::sample::select(vec![
            "<|startoftext|>", "<|endoftext|>", "<|END", "OFTEXT|>", "<|ENDOFTEXT|>", "it's", "we'LL", "’s",
            "👩‍👩‍👧‍👦", "🏳️‍🌈", "e\u{301}", "\u{fdfa}", "İstanbul", "ẞ", "ﬁ", "\u{0}", "\u{feff}", "\u{202e}",
            "\u{a0}", "\u{3000}", "\r\n", "漢字かな", "ไทย", "नमस्ते", "½²", "Ω≈ç√", "\u{10ffff}",
        ]).prop_map(String::from),
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn a_window_is_begin_text_end_and_padding(text in text(), window in 2usize..80) {
        let tokenizer = &*POLLEN;
        let prepared = tokenizer.prepare(&text, window, "prompt").expect("any text");
        let all = tokenizer.encode(&text, "prompt").expect("any text");
        let kept = all.len().min(window - 2);
        prop_assert_eq!(prepared.ids.len(), window);
        prop_assert_eq!(prepared.ids[0], tokenizer.bos_id());
        prop_assert_eq!(&prepared.ids[1..=kept], &all[..kept]);
        prop_assert_eq!(prepared.ids[kept + 1], tokenizer.eos_id());
        prop_assert!(prepared.ids[kept + 2..].iter().all(|id| *id == tokenizer.pad_id()));
        prop_assert!(prepared.ids.iter().all(|id| *id <= tokenizer.max_id()));
        prop_assert_eq!(prepared.truncation.is_some(), all.len() > window - 2);
    }

    #[test]
    fn both_forms_of_the_files_give_the_same_ids(text in text()) {
        prop_assert_eq!(POLLEN.encode(&text, "prompt").expect("any text"), PAIR.encode(&text, "prompt").expect("any text"));
    }

    #[test]
    fn case_and_the_kind_of_space_change_nothing(words in prop::collection::vec("[a-z]{1,8}", 1..8)) {
        let ids = |text: String| POLLEN.encode(&text, "prompt").expect("any text");
        let plain = ids(words.join(" "));
        prop_assert_eq!(&ids(words.join(" \n\t\u{a0} ").to_uppercase()), &plain);
        prop_assert_eq!(&ids(format!("  {}\n", words.join("  "))), &plain);
    }
}

#[test]
fn both_forms_have_the_same_special_tokens() {
    let special = |tokenizer: &ClipTokenizer| {
        let ids = [tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id(), tokenizer.max_id()];
        (ids, tokenizer.model_max_length())
    };
    assert_eq!(special(&POLLEN), special(&PAIR));
    assert_eq!(special(&POLLEN), ([4292, 4293, 4293, 4293], Some(32)));
}

#[test]
fn the_empty_prompt_is_begin_and_end() {
    let prepared = POLLEN.prepare("", 4, "prompt").expect("empty");
    assert_eq!(prepared.ids, [4292, 4293, 4293, 4293]);
    assert_eq!(prepared.truncation, None);
}

#[test]
fn a_prompt_of_ten_megabytes_is_refused_at_once() {
    let text = "a robot ".repeat((10 << 20) / 8);
    LazyLock::force(&POLLEN);
    let begun = Instant::now();
    let (peak, result) = peak_of(|| POLLEN.prepare(&text, 32, "negative_prompt"));
    assert_eq!(invalid_field(result), "negative_prompt");
    assert_eq!(invalid_field(POLLEN.encode(&text, "prompt")), "prompt");
    assert!(peak < 1 << 16, "{peak} bytes");
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
}

#[test]
fn the_longest_prompts_are_encoded_in_bounded_time_and_memory() {
    for unit in ["a", "a ", "ab1'", "👩‍👩‍👧‍👦", "<|endoftext|>", "\u{301}", " ", "\u{fdfa}"] {
        let text = unit.repeat(MAX_PROMPT_BYTES / unit.len());
        let begun = Instant::now();
        let (peak, prepared) = peak_of(|| POLLEN.prepare(&text, 32, "prompt").expect(unit));
        assert_eq!(prepared.ids.len(), 32, "{unit:?}");
        assert!(peak < 512 << 20, "{unit:?}: {peak} bytes");
        assert!(begun.elapsed() < Duration::from_secs(5), "{unit:?}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_window_without_room_is_the_models_fault() {
    for window in [0, 1, (1 << 16) + 1, usize::MAX] {
        assert!(checkpoint_error(POLLEN.prepare("a", window, "prompt")).contains("allowed are 2 to 65536"));
    }
    assert_eq!(POLLEN.prepare("a robot", 2, "prompt").expect("begin and end").ids, [4292, 4293]);
}
