//! Parses the generated table (`schema/kubernetes.schema`; its generator describes the format). The file is part of
//! the build and a test loads it, so a broken line is a broken build and panics here.

use std::collections::HashMap;

use super::types::{
    Embed, Field, GroupVersionKind, ListType, Part, PatchMarks, Registry, Shape, Type, TypeId,
};

pub(super) const TABLE: &str = include_str!("../../schema/kubernetes.schema");

/// A type as its lines say it, before the embedded fields are lifted into it.
struct Draft {
    name: &'static str,
    go: &'static str,
    atomic: bool,
    gvk: Option<GroupVersionKind>,
    entries: Vec<Entry>,
}

enum Entry {
    Own(Field),
    Embedded(Embed),
}

pub(super) fn load() -> Registry {
    let drafts = parse(TABLE);
    let mut registry = Registry {
        types: Vec::with_capacity(drafts.len()),
        by_name: HashMap::new(),
        by_kind: HashMap::new(),
    };
    for (at, draft) in drafts.iter().enumerate() {
        let id = TypeId(u16::try_from(at).expect("the table has far fewer than 65,536 types"));
        let mut fields = Vec::new();
        flatten(&drafts, draft, false, &mut fields);
        let mut by_name: Vec<u16> = (0..fields.len() as u16).collect();
        by_name.sort_by_key(|&i| fields[usize::from(i)].name);
        let embeds = draft.entries.iter().filter_map(|e| match e {
            Entry::Embedded(embed) => Some(*embed),
            Entry::Own(_) => None,
        });
        let embeds: Box<[Embed]> = embeds.collect();
        let parts = parts(&fields, &embeds);
        registry.by_name.insert(draft.name, id);
        if let Some(gvk) = draft.gvk {
            registry.by_kind.insert(gvk, id);
        }
        registry.types.push(Type {
            name: draft.name,
            go: draft.go,
            atomic: draft.atomic,
            gvk: draft.gvk,
            fields: fields.into(),
            embeds,
            by_name: by_name.into(),
            parts,
        });
    }
    registry
}

/// What has a number, in order of the numbers.
fn parts(fields: &[Field], embeds: &[Embed]) -> Box<[Part]> {
    let of_fields = (0..).zip(fields).map(|(at, field)| (field.number, Part::Field(at)));
    let of_embeds = (0..).zip(embeds).map(|(at, embed)| (embed.number, Part::Embed(at)));
    let mut parts: Vec<(u32, Part)> = of_fields.chain(of_embeds).filter(|(number, _)| *number > 0).collect();
    parts.sort_by_key(|(number, _)| *number);
    parts.into_iter().map(|(_, part)| part).collect()
}

/// Appends a type's fields as JSON shows them. Lifted fields lose their number: it counts inside the embedded message.
fn flatten(drafts: &[Draft], draft: &Draft, lifted: bool, out: &mut Vec<Field>) {
    for entry in &draft.entries {
        match entry {
            Entry::Own(field) if lifted => out.push(Field { number: 0, ..*field }),
            Entry::Own(field) => out.push(*field),
            Entry::Embedded(embed) => flatten(drafts, &drafts[usize::from(embed.of.0)], true, out),
        }
    }
}

fn parse(table: &'static str) -> Vec<Draft> {
    let mut shapes = Shapes::default();
    let mut drafts: Vec<Draft> = Vec::new();
    for line in table.lines().filter(|l| !l.starts_with('#')) {
        let mut columns = line.split('\t');
        let mut next =
            || columns.next().unwrap_or_else(|| panic!("schema table: too few columns in {line:?}"));
        match next() {
            "T" => drafts.push(Draft {
                name: next(),
                go: next(),
                atomic: next().contains('a'),
                gvk: parse_kind(next()),
                entries: Vec::new(),
            }),
            "F" => {
                let (name, number, flags, shape, marks) = (next(), next(), next(), next(), next());
                let number = number.parse().unwrap_or_else(|_| panic!("schema table: number in {line:?}"));
                let shape = shapes.parse(shape);
                let entry = if flags.contains('e') {
                    let Shape::Struct(of) = shape else { panic!("schema table: embeds no struct: {line:?}") };
                    Entry::Embedded(Embed { number, of })
                } else {
                    Entry::Own(parse_field(name, number, flags, shape, marks))
                };
                drafts.last_mut().expect("schema table: a field before the first type").entries.push(entry);
            }
            _ => panic!("schema table: unknown line {line:?}"),
        }
    }
    drafts
}

fn parse_kind(text: &'static str) -> Option<GroupVersionKind> {
    let mut parts = text.split('/');
    Some(GroupVersionKind { group: parts.next()?, version: parts.next()?, kind: parts.next()? })
}

fn parse_field(name: &'static str, number: u32, flags: &str, shape: Shape, marks: &'static str) -> Field {
    let mut field = Field {
        name,
        number,
        pointer: flags.contains('p'),
        omitempty: flags.contains('o'),
        required: flags.contains('r'),
        shape,
        patch: PatchMarks::default(),
        list: ListType::Unmarked,
        atomic: false,
    };
    for mark in marks.split(';').filter(|m| !m.is_empty()) {
        match mark.split_once('=') {
            Some(("p", strategy)) => field.patch.strategy = strategy,
            Some(("k", key)) => field.patch.merge_key = key,
            Some(("t", "atomic")) => field.list = ListType::Atomic,
            Some(("t", "set")) => field.list = ListType::Set,
            Some(("t", "map")) => {}
            Some(("m", keys)) => field.list = ListType::Map(Vec::leak(keys.split(',').collect())),
            None if mark == "a" => field.atomic = true,
            _ => panic!("schema table: mark {mark:?} of {name}"),
        }
    }
    field
}

/// Shapes are shared: the few distinct list and map shapes are allocated once and live with the registry.
#[derive(Default)]
struct Shapes {
    seen: HashMap<&'static str, &'static Shape>,
}

impl Shapes {
    fn parse(&mut self, text: &'static str) -> Shape {
        let (first, rest) = text.split_at(1);
        match first {
            "s" => Shape::String,
            "i" => Shape::Int32,
            "l" => Shape::Int64,
            "b" => Shape::Bool,
            "d" => Shape::Double,
            "B" => Shape::Bytes,
            "T" => Shape::Time,
            "M" => Shape::MicroTime,
            "D" => Shape::Duration,
            "Q" => Shape::Quantity,
            "I" => Shape::IntOrString,
            "R" => Shape::Raw,
            "O" => Shape::RawObject,
            "J" if rest == "a" => Shape::SchemaOrArray,
            "J" if rest == "b" => Shape::SchemaOrBool,
            "J" if rest == "s" => Shape::SchemaOrStrings,
            "[" => Shape::List(self.shared(rest)),
            "w" => Shape::WrappedList(self.shared(rest)),
            "{" => Shape::Map(self.shared(rest)),
            "@" => {
                Shape::Struct(TypeId(rest.parse().unwrap_or_else(|_| panic!("schema table: shape {text:?}"))))
            }
            _ => panic!("schema table: shape {text:?}"),
        }
    }

    fn shared(&mut self, text: &'static str) -> &'static Shape {
        if let Some(shape) = self.seen.get(text) {
            return shape;
        }
        let shape: &'static Shape = Box::leak(Box::new(self.parse(text)));
        self.seen.insert(text, shape);
        shape
    }
}
