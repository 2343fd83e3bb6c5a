//! What does not fit the window is told.

use proptest::prelude::*;
use sd_rbee::tokenizer::Truncation;

use super::POLLEN;

fn ids(text: &str) -> Vec<u32> {
    POLLEN.encode(text, "prompt").expect("any text")
}

fn truncation(text: &str, window: usize) -> Option<Truncation> {
    POLLEN.prepare(text, window, "prompt").expect("any text").truncation
}

proptest! {
    #[test]
    fn what_was_dropped_is_the_end_of_the_prompt(text in any::<String>(), window in 2usize..20) {
        let total = ids(&text).len();
        match truncation(&text, window) {
            None => prop_assert!(total <= window - 2),
            Some(Truncation { kept, total: told, dropped_text }) => {
                prop_assert_eq!((kept, told), (window - 2, total));
                prop_assert!(text.ends_with(&dropped_text), "{:?} of {:?}", dropped_text, text);
                prop_assert!(!dropped_text.is_empty());
            }
        }
    }

    /// Between words, the kept and the dropped text have the kept and the dropped ids.
    #[test]
    fn kept_and_dropped_text_are_the_whole(words in prop::collection::vec("[a-zA-Z]{1,9}|[0-9]{1,3}|é|漢字", 1..30)) {
        let text = words.join(" ");
        let all = ids(&text);
        let mut end = 0;
        for word in &words[..words.len() - 1] {
            end += word.len() + 1;
            let kept = ids(&text[..end]).len();
            let told = truncation(&text, kept + 2).expect("words are left");
            prop_assert_eq!(&told.dropped_text, &text[end..]);
            prop_assert_eq!(ids(&told.dropped_text), &all[kept..]);
        }
        prop_assert_eq!(truncation(&text, all.len() + 2), None);
    }
}

#[test]
fn a_cut_inside_a_character_drops_all_of_it() {
    let text = "🤖🤖";
    let total = ids(text).len();
    assert!(total > 2, "pollen's vocabulary has no robots of one token");
    for room in 0..total {
        let told = truncation(text, room + 2).expect("cut");
        assert!(["🤖", "🤖🤖"].contains(&told.dropped_text.as_str()), "{told:?}");
        assert_eq!(told, Truncation { kept: room, total, dropped_text: told.dropped_text.clone() });
    }
}

#[test]
fn what_was_dropped_is_as_it_was_written() {
    let text = "A  ROBOT\tIs  Here, Él";
    let told = truncation(text, ids("a robot").len() + 2).expect("cut");
    assert_eq!(told.dropped_text, "Is  Here, Él");
}
