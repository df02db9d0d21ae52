//! Counting and sizing text in tokens, behind one small interface.
//!
//! The estimate is a rule of thumb, not a tokenizer: a word of `c` characters costs
//! `ceil(c / 6)` tokens. Generated prompts use words of at most six letters, which common
//! tokenizers hold as one token each. Reports show planned against achieved tokens, so a model
//! that counts differently is seen, not assumed away.

/// Characters of a word that count as one token.
const CHARACTERS_PER_TOKEN: usize = 6;

/// Tokens that a chat template adds to each message, by the same rule of thumb.
pub const PER_MESSAGE: u64 = 4;

/// Bytes of compact JSON that count as one token (tool definitions).
pub const JSON_BYTES_PER_TOKEN: u64 = 4;

/// The estimated number of tokens of `text`.
pub fn estimate(text: &str) -> u64 {
    // Generated prompts are: a byte is a character there, and each is looked at once.
    if text.is_ascii() {
        return text
            .split_ascii_whitespace()
            .map(|word| word.len().div_ceil(CHARACTERS_PER_TOKEN) as u64)
            .sum();
    }
    text.split_whitespace()
        .map(|word| word.chars().count().div_ceil(CHARACTERS_PER_TOKEN) as u64)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_cost_more() {
        assert_eq!(estimate(""), 0);
        assert_eq!(estimate("six is one"), 3);
        assert_eq!(
            estimate("übergrößen\u{2003}two"),
            3,
            "characters, not bytes"
        );
        assert_eq!(estimate("0123456789abcdef0123456789abcdef river"), 7);
    }
}
