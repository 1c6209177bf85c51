//! Interned strings: label keys and values, taints, images and resource names are compared as numbers (STY-82).

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::Serialize;

/// An interned string; equal symbols of one [`Symbols`] are equal strings. Its order is that of first appearance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Symbol(u32);

/// The strings behind the symbols. Grows only: its size is bounded by the distinct labels, images and resource names
/// that nodes ever had.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    by_text: FxHashMap<Arc<str>, Symbol>,
    texts: Vec<Arc<str>>,
}

impl Symbols {
    /// Symbol of `text`, made on first use.
    pub fn intern(&mut self, text: &str) -> Symbol {
        if let Some(symbol) = self.by_text.get(text) {
            return *symbol;
        }
        let symbol = Symbol(u32::try_from(self.texts.len()).unwrap_or(u32::MAX));
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        self.by_text.insert(text, symbol);
        symbol
    }

    /// Symbol of `text` if some node ever used it; a string without a symbol equals nothing on any node.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<Symbol> {
        self.by_text.get(text).copied()
    }

    /// The string behind a symbol of this table, empty for a symbol of another.
    #[must_use]
    pub fn text(&self, symbol: Symbol) -> Arc<str> {
        self.get(symbol).cloned().unwrap_or_default()
    }

    /// Borrowed form of [`Self::text`].
    #[must_use]
    pub fn as_str(&self, symbol: Symbol) -> &str {
        self.get(symbol).map_or("", |text| text)
    }

    fn get(&self, symbol: Symbol) -> Option<&Arc<str>> {
        usize::try_from(symbol.0)
            .ok()
            .and_then(|index| self.texts.get(index))
    }
}
