//! What the published schemas say about types and fields, unpacked only while a document is built.

use std::collections::HashMap;
use std::io::Read;

/// Written by the generator: `T <type> <text>` and `F <field> <text>` lines, tabs between.
pub(super) const COMPRESSED: &[u8] = include_bytes!("../../../schema/descriptions.gz");

/// The unpacked text and where each type stands in it.
pub(super) struct Descriptions {
    text: String,
}

/// What is said about one type.
#[derive(Default)]
pub(super) struct TypeText<'a> {
    pub(super) about: &'a str,
    pub(super) fields: HashMap<&'a str, &'a str>,
}

impl Descriptions {
    pub(super) fn unpack() -> Self {
        let mut text = String::new();
        // The file is part of the build; were it damaged, documents would go without descriptions.
        if flate2::read::GzDecoder::new(COMPRESSED).read_to_string(&mut text).is_err() {
            text.clear();
        }
        Self { text }
    }

    pub(super) fn by_type(&self) -> HashMap<&str, TypeText<'_>> {
        let mut types: HashMap<&str, TypeText<'_>> = HashMap::new();
        let mut current = "";
        for line in self.text.lines() {
            let mut columns = line.splitn(3, '\t');
            match (columns.next(), columns.next(), columns.next()) {
                (Some("T"), Some(name), Some(about)) => {
                    current = name;
                    types.insert(name, TypeText { about, fields: HashMap::new() });
                }
                (Some("F"), Some(field), Some(about)) => {
                    types.entry(current).or_default().fields.insert(field, about);
                }
                _ => {}
            }
        }
        types
    }
}

/// Undoes the escapes of the file.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(other) => out.push(other),
                None => {}
            },
            other => out.push(other),
        }
    }
    out
}
