//! Pruning, defaults and validation from outside, and that no schema and no object makes them panic.
