//! What the signs in a prompt mean.

use std::str::FromStr;

use crate::error::{Error, Result};

/// Factor of each round bracket, and divisor of each square one.
const BRACKET: f64 = 1.1;
/// Largest weight, either way.
const MAX_WEIGHT: f64 = 1000.0;
/// The word that begins a new chunk.
const BREAK: &str = "BREAK";
/// What the webui gives the word instead of a weight; brackets multiply it, and it is a word again.
const BREAK_WEIGHT: f64 = -1.0;

/// How a prompt is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PromptSyntax {
    /// As it stands, and cut where the text encoder's window ends: diffusers.
    #[default]
    Plain,
    /// AUTOMATIC1111's webui: any length in chunks, `(emphasis:1.3)`, `BREAK`.
    A1111,
}

impl PromptSyntax {
    /// The name that [`PromptSyntax::from_str`] takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::A1111 => "a1111",
        }
    }
}

impl FromStr for PromptSyntax {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "plain" => Ok(Self::Plain),
            "a1111" => Ok(Self::A1111),
            _ => Err(Error::invalid("prompt_syntax", name, "plain or a1111")),
        }
    }
}

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Without signs.
    pub text: String,
    /// What its embeddings are multiplied by.
    pub weight: f64,
}

impl Part {
    fn plain(text: &str) -> Self {
        Self { text: text.to_string(), weight: 1.0 }
    }

    /// Whether a new chunk begins here instead.
    pub fn is_break(&self) -> bool {
        self.weight == BREAK_WEIGHT && self.text == BREAK
    }
}

/// The parts of `prompt` as the webui's `parse_prompt_attention` finds them, at least one. Brackets that are never closed
/// are closed at the end. `:` and what is not a number are text before a bracket, where the webui fails.
///
/// # Errors
/// [`Error::InvalidParams`] that names `field` for a weight that is not in -1000 to 1000.
pub fn parse(prompt: &str, field: &'static str) -> Result<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    let (mut round, mut square) = (Vec::new(), Vec::new());
    let multiply = |parts: &mut [Part], factor: f64| parts.iter_mut().for_each(|part| part.weight *= factor);
    let mut rest = prompt;
    while let Some(first) = rest.chars().next() {
        let (sign, weight) = next_sign(rest, first);
        rest = &rest[sign.len()..];
        match (first, weight) {
            ('\\', _) => parts.push(Part::plain(&sign[1..])),
            ('(', _) => round.push(parts.len()),
            ('[', _) => square.push(parts.len()),
            (':', Some(weight)) if !round.is_empty() => {
                multiply(&mut parts[round.pop().unwrap_or_default()..], weight);
            }
            (')', _) if !round.is_empty() => multiply(&mut parts[round.pop().unwrap_or_default()..], BRACKET),
            (']', _) if !square.is_empty() => multiply(&mut parts[square.pop().unwrap_or_default()..], 1.0 / BRACKET),
            _ => split_at_breaks(sign, &mut parts),
        }
    }
    for begin in round {
        multiply(&mut parts[begin..], BRACKET);
    }
    for begin in square {
        multiply(&mut parts[begin..], 1.0 / BRACKET);
    }
    let mut merged: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts {
        if !(-MAX_WEIGHT..=MAX_WEIGHT).contains(&part.weight) {
            let allowed = format!("weights of -{MAX_WEIGHT} to {MAX_WEIGHT}");
            return Err(Error::invalid(field, format_args!("a weight of {}", part.weight), allowed));
        }
        match merged.last_mut() {
            Some(last) if last.weight == part.weight => last.text.push_str(&part.text),
            _ => merged.push(part),
        }
    }
    if merged.is_empty() {
        merged.push(Part::plain(""));
    }
    Ok(merged)
}

/// What `rest` begins with, and its number where that is `:number)`.
fn next_sign(rest: &str, first: char) -> (&str, Option<f64>) {
    match first {
        '\\' => {
            let escaped = rest[1..].starts_with(['(', ')', '[', ']', '\\']);
            (&rest[..1 + usize::from(escaped)], None)
        }
        '(' | ')' | '[' | ']' => (&rest[..1], None),
        ':' => {
            let sign = usize::from(rest[1..].starts_with(['+', '-']));
            let digits = rest[1 + sign..].bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
            let end = 1 + sign + digits;
            match rest[1..end].parse() {
                Ok(weight) if rest[end..].starts_with(')') => (&rest[..=end], Some(weight)),
                _ => (&rest[..1], None),
            }
        }
        _ => (&rest[..rest.find(['\\', '(', ')', '[', ']', ':']).unwrap_or(rest.len())], None),
    }
}

/// `text` as parts, with one between them for each [`BREAK`] that stands alone, whose space is dropped.
fn split_at_breaks(text: &str, parts: &mut Vec<Part>) {
    let is_word = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    let (mut begin, mut search) = (0, 0);
    while let Some(found) = text[search..].find(BREAK).map(|found| search + found) {
        let end = found + BREAK.len();
        if is_word(text[..found].chars().next_back()) || is_word(text[end..].chars().next()) {
            search = end;
            continue;
        }
        parts.push(Part::plain(text[begin..found].trim_end()));
        parts.push(Part { text: BREAK.to_string(), weight: BREAK_WEIGHT });
        begin = text.len() - text[end..].trim_start().len();
        search = begin;
    }
    parts.push(Part::plain(&text[begin..]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(prompt: &str) -> Vec<(String, f64)> {
        parse(prompt, "prompt").expect("right weights").into_iter().map(|part| (part.text, part.weight)).collect()
    }

    /// The webui's own examples, and what else its rules say.
    #[test]
    fn signs_are_read_as_the_webui_reads_them() {
        let cases: &[(&str, &[(&str, f64)])] = &[
            ("", &[("", 1.0)]),
            ("normal text", &[("normal text", 1.0)]),
            ("an (important) word", &[("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
            ("(unbalanced", &[("unbalanced", 1.1)]),
            ("unbalanced)]", &[("unbalanced)]", 1.0)]),
            (r"\(literal\]", &[("(literal]", 1.0)]),
            (r"a\\b\c", &[(r"a\bc", 1.0)]),
            ("(unnecessary)(parens)", &[("unnecessaryparens", 1.1)]),
            ("[less] (nothing:0)", &[("less", 1.0 / 1.1), (" ", 1.0), ("nothing", 0.0)]),
            ("(a:-.5) b:1.3)", &[("a", -0.5), (" b:1.3)", 1.0)]),
            ("(a:1.2.3)(b:.)(c: 2)", &[("a:1.2.3b:.c: 2", 1.1)]),
            (
                "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
                &[
                    ("a ", 1.0),
                    ("house", 1.573_000_000_000_000_4),
                    (" ", 1.1),
                    ("on", 1.0),
                    (" a ", 1.1),
                    ("hill", 0.55),
                    (", sun, ", 1.1),
                    ("sky", 1.464_100_000_000_000_6),
                    (".", 1.1),
                ],
            ),
            ("a BREAK\n b", &[("a", 1.0), ("BREAK", -1.0), ("b", 1.0)]),
            ("BREAKS _BREAK", &[("BREAKS _BREAK", 1.0)]),
            ("BREAK BREAK", &[("", 1.0), ("BREAK", -1.0), ("", 1.0), ("BREAK", -1.0), ("", 1.0)]),
            ("(a BREAK b:2)", &[("a", 2.0), ("BREAK", -2.0), ("b", 2.0)]),
        ];
        for (prompt, want) in cases {
            let want: Vec<_> = want.iter().map(|(text, weight)| ((*text).to_string(), *weight)).collect();
            let found = parsed(prompt);
            assert_eq!(found.len(), want.len(), "{prompt}: {found:?}");
            for (found, want) in found.iter().zip(&want) {
                assert!(found.0 == want.0 && (found.1 - want.1).abs() < 1e-12, "{prompt}: {found:?}, {want:?}");
            }
        }
    }

    #[test]
    fn weights_that_are_absurd_are_refused() {
        for prompt in ["(a:1001)", "((a:100):100)", &format!("(a:{})", "9".repeat(400)), &"(".repeat(100_000)] {
            let prompt = if prompt.ends_with('(') { format!("{prompt}a") } else { prompt.to_string() };
            let result = parse(&prompt, "negative_prompt");
            assert!(matches!(result, Err(Error::InvalidParams { field: "negative_prompt", .. })));
        }
    }

    proptest! {
        #[test]
        fn any_text_has_parts(prompt in r"(\PC|[\\()\[\]:. 0-9]|BREAK|:1\.5\)|\s){0,60}") {
            if let Ok(parts) = parse(&prompt, "prompt") {
                prop_assert!(!parts.is_empty());
                prop_assert!(parts.iter().all(|part| part.weight.is_finite()));
            }
        }

        #[test]
        fn text_without_signs_is_itself(prompt in r"[^\\()\[\]B]{0,60}") {
            prop_assert_eq!(parsed(&prompt), vec![(prompt, 1.0)]);
        }
    }
}
