//! Regular expressions of schemas and rules. They are written in upstream's dialect (RE2), which differs from that of
//! the regex crate in details; [`translate`] bridges them, and [`problem`] says what upstream says of a malformed one.

use std::fmt::Write as _;

use regex::Regex;

/// A pattern, compiled once.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    /// As it stands in the schema.
    pub(crate) source: String,
    regex: Option<Regex>,
}

impl Pattern {
    /// A pattern that does not compile matches nothing; definitions with one are refused.
    pub(crate) fn new(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            regex: compile(source),
        }
    }

    /// Whether the pattern is found anywhere in the text.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.regex.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

/// The compiled form of a pattern; `None` if it is malformed.
pub(crate) fn compile(source: &str) -> Option<Regex> {
    if problem(source).is_some() {
        return None;
    }
    Regex::new(&translate(source)).ok()
}

/// The pattern in the dialect of the regex crate: classes like `\d` are ASCII, and what is an operator there only is
/// escaped.
fn translate(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 8);
    let mut rest = source.chars().peekable();
    let mut in_class = false;
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('d') => out.push_str("[0-9]"),
                Some('D') => out.push_str("[^0-9]"),
                Some('w') => out.push_str("[0-9A-Za-z_]"),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('s') => out.push_str(r"[\t\n\f\r ]"),
                Some('S') => out.push_str(r"[^\t\n\f\r ]"),
                Some('b') => out.push_str(r"(?-u:\b)"),
                Some('B') => out.push_str(r"(?-u:\B)"),
                Some('Q') => quote_literally(&mut rest, &mut out),
                Some('C') => out.push_str("(?s:.)"),
                Some(c) if c.is_digit(8) => {
                    let mut code = c.to_digit(8).unwrap_or(0);
                    for _ in 0..2 {
                        if let Some(digit) = rest.peek().and_then(|next| next.to_digit(8)) {
                            code = code * 8 + digit;
                            rest.next();
                        }
                    }
                    let _ = write!(out, r"\x{{{code:x}}}");
                }
                Some(c) => {
                    out.push('\\');
                    out.push(c);
                }
                None => out.push('\\'),
            },
            '[' if in_class => {
                if rest.peek() == Some(&':') {
                    out.push('[');
                    for c in rest.by_ref() {
                        out.push(c);
                        if c == ']' {
                            break;
                        }
                    }
                } else {
                    out.push_str(r"\[");
                }
            }
            '[' => {
                in_class = true;
                out.push('[');
                if rest.peek() == Some(&'^') {
                    out.push('^');
                    rest.next();
                }
                // A bracket in front stands for itself.
                if rest.peek() == Some(&']') {
                    out.push_str(r"\]");
                    rest.next();
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '{' if !in_class && !is_repetition(rest.clone()) => out.push_str(r"\{"),
            c => out.push(c),
        }
    }
    out
}

fn quote_literally(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    while let Some(c) = rest.next() {
        if c == '\\' && rest.peek() == Some(&'E') {
            rest.next();
            return;
        }
        out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    }
}

/// Whether what follows an opening brace makes it a repetition: `3}`, `3,}`, `3,5}`.
fn is_repetition(rest: impl Iterator<Item = char>) -> bool {
    let inner: String = rest
        .take_while(|c| c.is_ascii_digit() || matches!(c, ',' | '}'))
        .collect();
    let Some((inner, _)) = inner.split_once('}') else {
        return false;
    };
    let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
    !least.is_empty() && !most.contains(',')
}

/// What upstream says of a malformed pattern.
pub(crate) fn problem(source: &str) -> Option<String> {
    let found = syntax_problem(source)?;
    Some(format!("error parsing regexp: {found}"))
}

#[expect(clippy::too_many_lines, reason = "one arm per construct of the dialect")]
fn syntax_problem(source: &str) -> Option<String> {
    let mut depth = 0_usize;
    let mut place = 0;
    // Whether there is something that an operator like `*` can repeat, and the operator that was applied to it.
    let mut repeatable = false;
    let mut operator: Option<usize> = None;
    while let Some(tail) = source.get(place..).filter(|tail| !tail.is_empty()) {
        let c = tail.chars().next()?;
        let mut width = c.len_utf8();
        match c {
            '\\' => {
                let Some(escaped) = tail.chars().nth(1) else {
                    return Some("trailing backslash at end of expression: ``".to_owned());
                };
                if escaped == 'Q' {
                    width = tail.find("\\E").map_or(tail.len(), |end| end + 2);
                } else {
                    width = escape_width(tail)?.ok()?;
                    if let Some(problem) = escape_problem(tail, escaped) {
                        return Some(problem);
                    }
                }
                repeatable = true;
                operator = None;
            }
            '[' => {
                let Some(end) = class_end(tail) else {
                    return Some(format!("missing closing ]: `{tail}`"));
                };
                if let Some(problem) = class_problem(tail.get(..end).unwrap_or(tail)) {
                    return Some(problem);
                }
                width = end;
                repeatable = true;
                operator = None;
            }
            '(' => {
                if let Some(flags) = tail.strip_prefix("(?") {
                    match group_width(flags) {
                        Ok((consumed, opens)) => {
                            width = consumed + 2;
                            depth += usize::from(opens);
                        }
                        Err(shown) => {
                            let shown = tail.get(..shown + 2).unwrap_or(tail);
                            return Some(format!("invalid or unsupported Perl syntax: `{shown}`"));
                        }
                    }
                } else {
                    depth += 1;
                }
                repeatable = false;
                operator = None;
            }
            ')' => {
                if depth == 0 {
                    return Some(format!("unexpected ): `{source}`"));
                }
                depth -= 1;
                repeatable = true;
                operator = None;
            }
            '|' => {
                repeatable = false;
                operator = None;
            }
            '*' | '+' | '?' => {
                if tail.chars().nth(1) == Some('?') {
                    width += 1;
                }
                let shown = tail.get(..width).unwrap_or(tail);
                if let Some(before) = operator {
                    let both = source.get(before..place + width).unwrap_or(shown);
                    return Some(format!("invalid nested repetition operator: `{both}`"));
                }
                if !repeatable {
                    return Some(format!("missing argument to repetition operator: `{shown}`"));
                }
                operator = Some(place);
            }
            '{' if is_repetition(tail.chars().skip(1)) => {
                width = tail.find('}').map_or(width, |end| end + 1);
                let shown = tail.get(..width).unwrap_or(tail);
                if !repeatable {
                    return Some(format!("missing argument to repetition operator: `{shown}`"));
                }
                let counts: Vec<u32> = shown
                    .trim_matches(['{', '}'])
                    .split(',')
                    .filter(|count| !count.is_empty())
                    .map(|count| count.parse().unwrap_or(u32::MAX))
                    .collect();
                if counts.iter().any(|count| *count > 1000)
                    || counts.is_sorted_by(|a, b| a > b) && counts.len() > 1
                {
                    return Some(format!("invalid repeat count: `{shown}`"));
                }
                operator = Some(place);
            }
            _ => {
                repeatable = true;
                operator = None;
            }
        }
        place += width;
    }
    (depth > 0).then(|| format!("missing closing ): `{source}`"))
}

/// Bytes of the escape sequence at the start of `tail`.
fn escape_width(tail: &str) -> Option<Result<usize, ()>> {
    let escaped = tail.chars().nth(1)?;
    let plain = 1 + escaped.len_utf8();
    let width = match escaped {
        'x' | 'p' | 'P' if tail.get(2..)?.starts_with('{') => tail.find('}')? + 1,
        'x' => 4,
        'p' | 'P' => 3,
        '0'..='7' => {
            plain
                + tail
                    .get(plain..)?
                    .bytes()
                    .take(2)
                    .take_while(|c| (b'0'..=b'7').contains(c))
                    .count()
        }
        _ => plain,
    };
    Some(Ok(width.min(tail.len())))
}

fn escape_problem(tail: &str, escaped: char) -> Option<String> {
    const LETTERS: &str = "aftnrvdDsSwWbBAzCpPxQE";
    let octal = escaped == '0'
        || (('1'..='7').contains(&escaped)
            && tail.as_bytes().get(2).is_some_and(|c| (b'0'..=b'7').contains(c)));
    let known =
        LETTERS.contains(escaped) || octal || (escaped.is_ascii() && !escaped.is_ascii_alphanumeric());
    (!known).then(|| format!("invalid escape sequence: `\\{escaped}`"))
}

/// Bytes of the class at the start of `tail`, brackets included.
fn class_end(tail: &str) -> Option<usize> {
    let mut place = 1;
    if tail.get(place..)?.starts_with('^') {
        place += 1;
    }
    if tail.get(place..)?.starts_with(']') {
        place += 1;
    }
    loop {
        let rest = tail.get(place..)?;
        match rest.chars().next()? {
            ']' => return Some(place + 1),
            '\\' => place += 1 + rest.chars().nth(1)?.len_utf8(),
            '[' if rest.starts_with("[:") => place += rest.find(":]").map_or(1, |end| end + 2),
            c => place += c.len_utf8(),
        }
    }
}

fn class_problem(class: &str) -> Option<String> {
    let inner = class.get(1..class.len() - 1)?;
    let inner: Vec<char> = inner.chars().collect();
    let mut rest = inner.as_slice();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            ('\\', [_, tail @ ..]) => rest = tail,
            (low, ['-', high, tail @ ..]) if *high != '\\' => {
                if high < low {
                    return Some(format!("invalid character class range: `{low}-{high}`"));
                }
                rest = tail;
            }
            (_, tail) => rest = tail,
        }
    }
    None
}

/// What follows `(?`: how many bytes belong to it and whether it opens a group, or how many bytes are to be shown.
fn group_width(flags: &str) -> Result<(usize, bool), usize> {
    let named = flags.strip_prefix("P<").map(|name| (name, 2));
    let named = named.or_else(|| {
        flags
            .strip_prefix('<')
            .filter(|name| !name.starts_with(['=', '!']))
            .map(|name| (name, 1))
    });
    if let Some((name, before)) = named {
        return name
            .find('>')
            .map(|end| (before + end + 1, true))
            .ok_or(flags.len());
    }
    for (index, c) in flags.char_indices() {
        match c {
            'i' | 'm' | 's' | 'U' | '-' => {}
            ':' => return Ok((index + 1, true)),
            ')' if index > 0 => return Ok((index + 1, false)),
            '<' => return Err(index + 2),
            c => return Err(index + c.len_utf8()),
        }
    }
    Err(flags.len())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(r"^[a-z]+$", "abc", true)]
    #[case(r"\d", "٣", false)]
    #[case(r"[[a]", "[", true)]
    #[case(r"[a&&b]", "&", true)]
    #[case(r"a{,2}", "a{,2}", true)]
    #[case(r"x{2,3}$", "xx", true)]
    #[case(r"^\Qa.b\E$", "a.b", true)]
    #[case(r"[]a]", "]", true)]
    #[case(r"^\w+\s$", "a ", true)]
    fn api_543_patterns_of_upstream(#[case] pattern: &str, #[case] text: &str, #[case] want: bool) {
        assert_eq!(Pattern::new(pattern).matches(text), want);
    }

    #[rstest]
    #[case("[a", "missing closing ]: `[a`")]
    #[case("(?!a)b", "invalid or unsupported Perl syntax: `(?!`")]
    #[case("(?<=a)b", "invalid or unsupported Perl syntax: `(?<=`")]
    #[case("(a", "missing closing ): `(a`")]
    #[case("a)", "unexpected ): `a)`")]
    #[case("*a", "missing argument to repetition operator: `*`")]
    #[case("a**", "invalid nested repetition operator: `**`")]
    #[case(r"\1", r"invalid escape sequence: `\1`")]
    #[case("a{1001}", "invalid repeat count: `{1001}`")]
    #[case("[z-a]", "invalid character class range: `z-a`")]
    #[case("a\\", "trailing backslash at end of expression: ``")]
    fn api_543_malformed_patterns(#[case] pattern: &str, #[case] want: &str) {
        assert_eq!(problem(pattern).unwrap(), format!("error parsing regexp: {want}"));
    }
}
