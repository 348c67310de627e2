//! The patterns for repositories and instance types, such as `acme/*`.

/// `*` matches any run of characters, `/` included; everything else matches itself.
fn glob(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// The same, whatever the case: GitHub's names of owners and repositories, and muster's own words.
pub fn fits(pattern: &str, text: &str) -> bool {
    glob(&pattern.to_ascii_lowercase(), &text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, fits) in [
            ("a/*", "a/b", true),
            ("*", "x", true),
            ("a/b", "a/bc", false),
            ("*/api-*-x", "o/api-1-x", true),
            ("a*a", "a", false),
            ("a*b*b", "ab", false),
            ("a*bc*c", "abcbc", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
    }
}
