//! How deep expressions are nested. The evaluator's parser, its trees and the walks over them are recursive: what is
//! nested too deeply is refused before any of them sees it, and the rest gets a stack that is large enough.

use super::parse::{Token, scan};

/// Deepest nesting, and longest chain of operators, in one expression (cel-go, kube-apiserver 1.36).
const DEEPEST: usize = 250;

/// Longest chain of `&&` or `||`. Ours: upstream balances the tree of such a chain and has no limit, the evaluator here
/// does not.
const LONGEST_LOGIC: usize = 1000;

/// Longest expression, in characters (cel-go, kube-apiserver 1.36).
const LONGEST: usize = 100_000;

/// Stack for expressions up to [`DEEPEST`], in bytes: an unoptimised build takes 100 KiB per level. It is mapped, and
/// only what is used of it takes memory.
const STACK: usize = 64 << 20;

/// Nesting that any thread's stack has room for.
const SHALLOW: usize = 4;

/// Nesting of an expression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::crd) struct Nesting {
    /// Open brackets and conditionals around the innermost part.
    levels: usize,
    /// Operators and members in a row, on all levels around the innermost part.
    links: usize,
    /// `&&` and `||` in a row.
    logic: usize,
}

impl Nesting {
    /// Measures an expression, a malformed one too.
    fn of(source: &str) -> Self {
        match scan(source) {
            Some(tokens) => Self::of_signs(tokens.iter().filter_map(|(token, _)| match token {
                Token::Sign(sign) => Some(*sign),
                Token::Name(name) if name == "in" => Some("in"),
                _ => None,
            })),
            // Not even tokens: an upper bound, for the parser that says what is wrong.
            None => Self::of_signs(source.split_inclusive(|_: char| true).filter(|text| {
                matches!(
                    *text,
                    "(" | "[" | "{" | ")" | "]" | "}" | "?" | "." | "+" | "-" | "*" | "/" | "%"
                )
            })),
        }
    }

    fn of_signs<'a>(signs: impl Iterator<Item = &'a str>) -> Self {
        let mut around: Vec<Self> = Vec::new();
        let mut here = Self::default();
        let mut deepest = Self::default();
        for sign in signs {
            match sign {
                "(" | "[" | "{" => {
                    here.levels += 1;
                    around.push(here);
                }
                ")" | "]" | "}" => {
                    here = around.pop().unwrap_or(here);
                    here.levels = here.levels.saturating_sub(1);
                    here.links += 1;
                }
                "," => here = around.last().copied().unwrap_or_default(),
                "&&" | "||" | ":" | "?" => {
                    here.links = around.last().map_or(0, |outer| outer.links);
                    here.logic += usize::from(sign.len() == 2);
                    here.levels += usize::from(sign == "?");
                }
                _ => here.links += 1,
            }
            deepest.levels = deepest.levels.max(here.levels);
            deepest.links = deepest.links.max(here.links);
            deepest.logic = deepest.logic.max(here.logic);
        }
        deepest
    }

    /// Measures an expression and refuses what is too long or nested too deeply.
    ///
    /// # Errors
    /// With upstream's words.
    pub(in crate::crd) fn checked(source: &str) -> Result<Self, String> {
        let size = source.chars().count();
        if size > LONGEST {
            return Err(format!(
                "ERROR: <input>:-1:0: expression code point size exceeds limit: size: {size}, limit {LONGEST}"
            ));
        }
        let nesting = Self::of(source);
        nesting.check()?;
        Ok(nesting)
    }

    fn check(self) -> Result<(), String> {
        if self.levels > DEEPEST {
            Err(format!(
                "ERROR: <input>:-1:0: expression recursion limit exceeded: {DEEPEST}"
            ))
        } else if self.links > DEEPEST {
            Err("ERROR: <input>:-1:0: max recursion depth exceeded".to_owned())
        } else if self.logic > LONGEST_LOGIC {
            Err(format!(
                "this server supports no more than {LONGEST_LOGIC} operators && and || in a row; split the rule"
            ))
        } else {
            Ok(())
        }
    }

    /// Runs something that recurses into the expression.
    pub(in crate::crd) fn run<T>(self, run: impl FnOnce() -> T) -> T {
        if self.levels + self.links + self.logic <= SHALLOW {
            run()
        } else {
            stacker::maybe_grow(STACK / 2, STACK, run)
        }
    }
}

#[cfg(test)]
mod tests {
    use kube_cel::cel::{Context, Value as CelValue};

    use super::*;
    use crate::crd::evaluate::Program;

    fn nesting(source: &str) -> (usize, usize) {
        let Nesting { levels, links, .. } = Nesting::of(source);
        (levels, links)
    }

    #[test]
    fn api_545_nesting_counts_levels_and_links() {
        assert_eq!(nesting("self.a"), (0, 1));
        assert_eq!(nesting("[[1], [2]]"), (2, 1));
        assert_eq!(nesting("a ? b : c ? d : e"), (2, 0));
        assert_eq!(nesting("a && b && c && d"), (0, 0));
        assert_eq!(nesting("1 + 2 + 3 > f(4 + 5)"), (1, 4));
        assert_eq!(nesting("'((((' == \"[[[[\""), (0, 1));
        assert_eq!(nesting(")))("), (1, 3), "closed more than opened");
    }

    #[test]
    fn api_545_deep_expressions_need_no_deep_stack() {
        let deep = |open: &str, close: &str| {
            let levels = 200;
            format!("{}true{}", open.repeat(levels), close.repeat(levels))
        };
        let sources = [
            deep("(", ")"),
            deep("false ? false : ", ""),
            format!("{}0 > 0", "1+".repeat(240)),
            format!("{}true", "false||".repeat(1000)),
        ];
        let run = move || {
            let context = Context::default();
            for source in sources {
                let value = Program::parse(&source).unwrap().resolve(&context);
                assert_eq!(value.unwrap(), CelValue::Bool(true), "{source}");
            }
        };
        let thread = std::thread::Builder::new().stack_size(512 << 10);
        thread.spawn(run).unwrap().join().unwrap();
    }

    #[test]
    fn api_545_too_deep_expressions_are_refused_in_upstreams_words() {
        let deep = "ERROR: <input>:-1:0: expression recursion limit exceeded: 250";
        let long = "ERROR: <input>:-1:0: max recursion depth exceeded";
        for (source, expected) in [
            (format!("{}true{}", "(".repeat(300), ")".repeat(300)), Some(deep)),
            ("[".repeat(300), Some(deep)),
            (format!("{}\u{1}", "(".repeat(1000)), Some(deep)),
            (format!("{}true", "true?true:".repeat(300)), Some(deep)),
            (format!("{}0 > 0", "1+".repeat(300)), Some(long)),
            (format!("self{} > 0", ".a".repeat(300)), Some(long)),
            (format!("{}0 > 0", "1+".repeat(200)), None),
            (format!("{}1", "1 in ".repeat(300)), Some(long)),
            (format!("{}true", "true&&".repeat(500)), None),
            (format!("{}true{}", "(".repeat(60), ")".repeat(60)), None),
        ] {
            let refused = Nesting::checked(&source).err();
            assert_eq!(refused.as_deref(), expected, "{source}");
        }
        assert!(Nesting::checked(&format!("{}true", "true||".repeat(1001))).is_err());
        assert_eq!(
            Nesting::checked(&"1".repeat(100_001)),
            Err(
                "ERROR: <input>:-1:0: expression code point size exceeds limit: size: 100001, limit 100000"
                    .to_owned()
            )
        );
    }
}
