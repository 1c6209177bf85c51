//! The syntax tree of an expression with the places of its parts, which messages name. Expressions come here after the
//! evaluator has parsed them: what it refuses has been reported in its words.

/// One part of an expression.
#[derive(Debug)]
pub(super) struct Node {
    /// Byte offset that errors of this part point to.
    pub(super) at: usize,
    pub(super) kind: Kind,
}

/// What a part is.
#[derive(Debug)]
pub(super) enum Kind {
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Bytes(usize),
    Text(String),
    /// A variable or the name of a type.
    Name(String),
    /// `a.b`; optional: `a.?b`.
    Select {
        of: Box<Node>,
        name: String,
        optional: bool,
    },
    /// `a[b]`; optional: `a[?b]`.
    Index {
        of: Box<Node>,
        index: Box<Node>,
        optional: bool,
    },
    /// Operators are calls of functions like `_+_`.
    Call {
        target: Option<Box<Node>>,
        function: String,
        arguments: Vec<Node>,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// Parses an expression whose nesting has been checked; `None` if it is malformed.
pub(super) fn parse(source: &str) -> Option<Node> {
    let tokens = scan(source)?;
    let mut parser = Parser { tokens, place: 0 };
    let node = parser.expression()?;
    (parser.peek() == &Token::End).then_some(node)
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Int,
    Uint,
    Double,
    Text(String),
    Bytes(usize),
    Sign(&'static str),
    End,
}

const SIGNS: &[&str] = &[
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", "(", ")", "[", "]",
    "{", "}", ".", ",",
];

/// Tokens with the bytes where they start; `None`: something that is no token.
pub(super) fn scan(source: &str) -> Option<Vec<(Token, usize)>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
        let first = rest.chars().next()?;
        if first.is_whitespace() {
            at += first.len_utf8();
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if let Some((token, width)) = literal(rest)? {
            tokens.push((token, at));
            at += width;
        } else if first.is_ascii_alphabetic() || first == '_' {
            let width = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            tokens.push((Token::Name(rest.get(..width)?.to_owned()), at));
            at += width;
        } else if first == '`' {
            let width = rest.get(1..)?.find('`')? + 2;
            tokens.push((Token::Name(rest.get(1..width - 1)?.to_owned()), at));
            at += width;
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            tokens.push((Token::Sign(sign), at));
            at += sign.len();
        } else {
            return None;
        }
    }
    tokens.push((Token::End, source.len()));
    Some(tokens)
}

/// A number or text at the start of `rest` with its width; the outer `None` is a malformed one.
#[expect(clippy::option_option, reason = "no literal and a malformed literal differ")]
fn literal(rest: &str) -> Option<Option<(Token, usize)>> {
    let prefix = rest
        .find(|c: char| !matches!(c, 'r' | 'R' | 'b' | 'B'))
        .unwrap_or(rest.len());
    let body = rest.get(prefix..)?;
    if prefix <= 2 && body.starts_with(['"', '\'']) {
        let flags = rest.get(..prefix)?.to_ascii_lowercase();
        let (content, width) = quoted(body, flags.contains('r'))?;
        let token = if flags.contains('b') {
            Token::Bytes(content.len())
        } else {
            Token::Text(content)
        };
        return Some(Some((token, prefix + width)));
    }
    let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let whole = digits(rest);
    let fraction = rest.get(whole..)?.strip_prefix('.').map_or(0, digits);
    if whole == 0 && fraction == 0 {
        return Some(None);
    }
    if rest.starts_with("0x") {
        let hex = rest.get(2..)?;
        let width = 2 + hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
        return Some(Some(suffixed(rest, width, Token::Int)));
    }
    let mut width = whole + if fraction > 0 { fraction + 1 } else { 0 };
    let mut is_double = fraction > 0;
    let after = rest.get(width..)?;
    if after.starts_with(['e', 'E']) {
        let signed = after.get(1..)?.trim_start_matches(['+', '-']);
        let exponent = digits(signed);
        if exponent > 0 {
            width += after.len() - signed.len() + exponent;
            is_double = true;
        }
    }
    let token = if is_double { Token::Double } else { Token::Int };
    Some(Some(suffixed(rest, width, token)))
}

fn suffixed(rest: &str, width: usize, token: Token) -> (Token, usize) {
    match rest.get(width..) {
        Some(after) if token == Token::Int && after.starts_with(['u', 'U']) => (Token::Uint, width + 1),
        _ => (token, width),
    }
}

/// Content and width of a quoted text.
fn quoted(body: &str, raw: bool) -> Option<(String, usize)> {
    let first = body.get(..1)?;
    let triple = first.repeat(3);
    let quote = if body.starts_with(&triple) {
        triple.as_str()
    } else {
        first
    };
    let mut content = String::new();
    let mut at = quote.len();
    loop {
        let rest = body.get(at..)?;
        if rest.starts_with(quote) {
            return Some((content, at + quote.len()));
        }
        let c = rest.chars().next()?;
        at += c.len_utf8();
        if c != '\\' || raw {
            content.push(c);
            continue;
        }
        let escaped = rest.chars().nth(1)?;
        at += escaped.len_utf8();
        let (width, radix) = match escaped {
            'x' | 'X' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='3' => (2, 8),
            _ => (0, 10),
        };
        if width == 0 {
            content.push(match escaped {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'v' => '\u{b}',
                other => other,
            });
        } else {
            let start = if radix == 8 { at - 1 } else { at };
            let code = u32::from_str_radix(body.get(start..at + width)?, radix).ok()?;
            content.push(char::from_u32(code)?);
            at += width;
        }
    }
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    place: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens
            .get(self.place)
            .map_or(&Token::End, |(token, _)| token)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.place).map_or(0, |(_, at)| *at)
    }

    fn next(&mut self) -> (Token, usize) {
        let found = self.tokens.get(self.place).cloned().unwrap_or((Token::End, 0));
        self.place += 1;
        found
    }

    /// Takes one of these signs, if it is next.
    fn sign(&mut self, signs: &[&'static str]) -> Option<(&'static str, usize)> {
        match self.peek() {
            Token::Sign(sign) if signs.contains(sign) => {
                let sign = *sign;
                let at = self.at();
                self.place += 1;
                Some((sign, at))
            }
            _ => None,
        }
    }

    fn expect(&mut self, sign: &'static str) -> Option<usize> {
        self.sign(&[sign]).map(|(_, at)| at)
    }

    fn expression(&mut self) -> Option<Node> {
        let condition = self.binary(0)?;
        Some(match self.expect("?") {
            None => condition,
            Some(at) => {
                let yes = self.binary(0)?;
                self.expect(":")?;
                let no = self.expression()?;
                call(at, "_?_:_", vec![condition, yes, no])
            }
        })
    }

    fn binary(&mut self, level: usize) -> Option<Node> {
        const LEVELS: &[&[&str]] = &[
            &["||"],
            &["&&"],
            &["==", "!=", "<=", ">=", "<", ">", "in"],
            &["+", "-"],
            &["*", "/", "%"],
        ];
        let Some(signs) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        loop {
            let (sign, at) = if level == 2 && self.peek() == &Token::Name("in".to_owned()) {
                ("in", self.next().1)
            } else {
                match self.sign(signs) {
                    Some(found) => found,
                    None => return Some(left),
                }
            };
            let right = self.binary(level + 1)?;
            let function = if sign == "in" {
                "@in".to_owned()
            } else {
                format!("_{sign}_")
            };
            left = call(at, &function, vec![left, right]);
        }
    }

    fn unary(&mut self) -> Option<Node> {
        let Some((sign, at)) = self.sign(&["!", "-"]) else {
            return self.member();
        };
        let operand = self.unary()?;
        Some(match (sign, &operand.kind) {
            ("-", Kind::Int | Kind::Double) => Node { at, ..operand },
            _ => call(at, if sign == "!" { "!_" } else { "-_" }, vec![operand]),
        })
    }

    fn member(&mut self) -> Option<Node> {
        let mut node = self.primary()?;
        loop {
            if let Some(at) = self.expect(".") {
                let optional = self.expect("?").is_some();
                let (Token::Name(name), _) = self.next() else {
                    return None;
                };
                let open = self.at();
                node = if !optional && self.expect("(").is_some() {
                    let kind = Kind::Call {
                        target: Some(Box::new(node)),
                        function: name,
                        arguments: self.arguments(")")?,
                    };
                    Node { at: open, kind }
                } else {
                    let kind = Kind::Select {
                        of: Box::new(node),
                        name,
                        optional,
                    };
                    Node { at, kind }
                };
            } else if let Some(at) = self.expect("[") {
                let optional = self.expect("?").is_some();
                let index = Box::new(self.expression()?);
                self.expect("]")?;
                let kind = Kind::Index {
                    of: Box::new(node),
                    index,
                    optional,
                };
                node = Node { at, kind };
            } else {
                return Some(node);
            }
        }
    }

    /// Expressions up to a closing sign; a comma may precede it.
    fn arguments(&mut self, close: &'static str) -> Option<Vec<Node>> {
        let mut arguments = Vec::new();
        loop {
            if self.expect(close).is_some() {
                return Some(arguments);
            }
            // Optional elements of lists.
            self.expect("?");
            arguments.push(self.expression()?);
            if self.expect(",").is_none() {
                self.expect(close)?;
                return Some(arguments);
            }
        }
    }

    fn primary(&mut self) -> Option<Node> {
        let leading = self.expect(".");
        let (token, at) = self.next();
        let kind = match token {
            Token::Int => Kind::Int,
            Token::Uint => Kind::Uint,
            Token::Double => Kind::Double,
            Token::Text(text) => Kind::Text(text),
            Token::Bytes(length) => Kind::Bytes(length),
            Token::Name(name) => match name.as_str() {
                "true" | "false" => Kind::Bool,
                "null" => Kind::Null,
                _ => {
                    let open = self.at();
                    if self.expect("(").is_some() {
                        let kind = Kind::Call {
                            target: None,
                            function: name,
                            arguments: self.arguments(")")?,
                        };
                        return Some(Node { at: open, kind });
                    }
                    Kind::Name(name)
                }
            },
            Token::Sign("(") => {
                let inner = self.expression()?;
                self.expect(")")?;
                return Some(inner);
            }
            Token::Sign("[") => Kind::List(self.arguments("]")?),
            Token::Sign("{") => Kind::Map(self.entries()?),
            Token::Sign(_) | Token::End => return None,
        };
        (leading.is_none() || matches!(kind, Kind::Name(_))).then_some(Node { at, kind })
    }

    fn entries(&mut self) -> Option<Vec<(Node, Node)>> {
        let mut entries = Vec::new();
        loop {
            if self.expect("}").is_some() {
                return Some(entries);
            }
            self.expect("?");
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((key, self.expression()?));
            if self.expect(",").is_none() {
                self.expect("}")?;
                return Some(entries);
            }
        }
    }
}

fn call(at: usize, function: &str, arguments: Vec<Node>) -> Node {
    Node {
        at,
        kind: Kind::Call {
            target: None,
            function: function.to_owned(),
            arguments,
        },
    }
}
