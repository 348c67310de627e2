//! What is wrong with a text that is no YAML, in words that say what to do. The parser's own words tell what the parser was doing.

/// The words for a syntax error. `said` is what the parser says, and `line` is the line on which it gave up. The words never repeat
/// the line, which may hold a secret.
pub(super) fn in_words(said: &str, line: &str) -> String {
    let value = value_of(line);
    let has = |word: &str| said.contains(word);
    let why = if line.contains("{{") || line.contains("{%") {
        "`{{` or `{%` begins a template that was not filled in; render the file first"
    } else if value.starts_with(['*', '&']) && (has("alias") || has("anchor") || has("expected key") || has("trailing")) {
        "a value that begins with `*` or `&` must be in quotes, such as cron: \"*/15 * * * *\""
    } else if has("unknown anchor") {
        "`*` begins a reference to an anchor (`&`) that this document does not have; write the value out, or put it in quotes"
    } else if has("tab") {
        "a tab stands here; indent with spaces"
    } else if value.starts_with(['@', '`', '%', '|', '>'])
        && (has("unexpected character") || has("block scalar") || has("directive"))
    {
        "a value that begins with this character must be in quotes"
    } else if has("mapping values are not allowed") {
        "a second `:` stands here, or this line is indented deeper than the one above; put a value that holds `: ` in quotes"
    } else if has("flow sequence") || has("':' indicator") {
        "a list that begins with `[`, here or above, lacks its `]`, or a comma between two items"
    } else if has("flow mapping") {
        "a mapping that begins with `{`, here or above, lacks its `}`, or a comma between two fields"
    } else if has("misplaced bracket") {
        "a `]` or `}` stands here without its `[` or `{`"
    } else if has("in quoted scalar") || has("quoted scalar, found unexpected") || has("unexpected eof") {
        "a quote is opened and never closed"
    } else if has("escape") {
        "a backslash in \"...\" begins an escape that YAML does not know; write '...' instead, or \\\\ for one backslash"
    } else if has("double-quoted scalar") {
        "something stands behind the closing quote; put the whole value in quotes"
    } else if has("expected key")
        || has("'-' indicator")
        || has("indentation")
        || has("indented")
        || has("block sequence entries")
    {
        "the indentation fits none of the lines above; give all fields of one mapping, and all items of one list, the same"
    } else if has("simple key") {
        "a field needs a `:` and a space behind its name"
    } else if has("recursion limit") {
        "nested too deep to be a manifest"
    } else {
        return format!("cannot be read as YAML: {said}");
    };
    format!("cannot be read as YAML: {why}")
}

/// What stands behind the first `: ` or `- ` of a line.
fn value_of(line: &str) -> &str {
    let after = line.split_once(": ").or_else(|| line.split_once("- ")).map_or(line, |(_, value)| value);
    after.trim_start_matches(['[', '{', ' ']).trim()
}

#[cfg(test)]
mod tests {
    use crate::manifest::yaml::documents;

    /// The line, the column and the words of the one syntax error.
    fn said(body: &str) -> (usize, usize, String) {
        let flaws: Vec<_> = documents(body).into_iter().flat_map(|document| document.findings).collect();
        assert_eq!(flaws.len(), 1, "{body:?}: {flaws:?}");
        (flaws[0].line, flaws[0].column, flaws[0].message.replace("cannot be read as YAML: ", ""))
    }

    #[test]
    fn each_common_slip_has_its_words() {
        for (body, line, words) in [
            ("a:\n  cron: * 8-18 * * *\n", 2, "must be in quotes, such as cron"),
            ("a:\n  cron: */15 * * * *\n", 2, "must be in quotes, such as cron"),
            ("- *x\n", 1, "begins with `*` or `&`"),
            ("a:\n\tb: 1\n", 2, "indent with spaces"),
            ("a: [1, 2\nb: 3\n", 2, "lacks its `]`"),
            ("a: {b: 1\nc: 3\n", 2, "lacks its `}`"),
            ("a: \"x\nb: 1\n", 1, "never closed"),
            ("a: b: c\n", 1, "a second `:`"),
            ("a:\n  b: 1\n c: 2\n", 3, "indentation fits none"),
            ("a: [{{ name }}\n", 2, "lacks its"),
            ("a: {% name %}\n", 1, "template"),
            ("a: @b\n", 1, "must be in quotes"),
            ("a: \"\\d\"\n", 1, "begins an escape"),
        ] {
            let (at, column, told) = said(body);
            assert!(told.contains(words), "{body:?}: {told}");
            assert!((at, column > 0) == (line, true), "{body:?}: {at}:{column}: {told}");
        }
    }
}
