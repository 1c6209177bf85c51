//! Requests as text.

use std::{fmt, fs, path::Path};

/// A request; nothing in it has to be valid.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// `None` if the bytes are not of the form of a corpus file.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(2).position(|pair| pair == b"\n\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.lines();
        let (method, target) = lines.next()?.split_once(' ')?;
        if method.is_empty() || !method.bytes().all(|c| c.is_ascii_alphabetic()) || !target.starts_with('/') {
            return None;
        }
        let headers = lines
            .map(|line| {
                line.split_once(": ")
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
            })
            .collect::<Option<_>>()?;
        Some(Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers,
            body: bytes[end + 2..].to_owned(),
        })
    }

    pub(crate) fn header(&self, wanted: &str) -> &str {
        self.headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map_or("", |(_, value)| value)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.method, self.target)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {value}")?;
        }
        let body = String::from_utf8_lossy(&self.body);
        write!(f, "\n{}", body.chars().take(4000).collect::<String>())
    }
}

/// The requests of a target's corpus, by file name.
pub(crate) fn corpus(target: &str) -> Vec<Request> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/__fuzz__")
        .join(target)
        .join("corpus");
    let mut files: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|file| {
            Request::parse(&fs::read(&file).unwrap())
                .unwrap_or_else(|| panic!("{} is not a request", file.display()))
        })
        .collect()
}
