//! Pure: a YAML document as a tree whose every node knows its line and column.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// Line and column, both from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Place {
    /// Of what stands in no file; not the place of what has not been placed yet.
    const NOWHERE: Self = Self { line: 0, column: 1 };
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What YAML says a value is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Field>),
}

/// A field of a map, with the place of its key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

/// Why a document is not YAML, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) place: Place,
    pub(super) message: String,
}

fn place(location: serde_saphyr::Location) -> Place {
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Place { line: number(location.line()), column: number(location.column()) }
}

/// Reads one document. Bounded in depth, nodes and expansion of aliases.
pub(super) fn read(text: &str) -> Result<Node, SyntaxError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: 2_000_000, max_events: 4_000_000, max_documents: 2 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| SyntaxError {
        place: error.location().map(place).unwrap_or_default(),
        message: one_line(&error.render_with_formatter(&serde_saphyr::UserMessageFormatter)),
    })
}

/// The message without the location that the finding has already.
fn one_line(text: &str) -> String {
    let line = text.lines().find(|l| !l.trim().is_empty()).unwrap_or("not YAML").trim();
    let line = line.split(" at line ").next().unwrap_or(line);
    line.trim_start_matches("error: ").to_owned()
}

impl Node {
    /// Reads JSON. Its nodes are nowhere: nobody wrote it into a file.
    pub(super) fn from_json(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text).map(Self::of_json)
    }

    fn of_json(value: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let value = match value {
            Json::Null => Value::Null,
            Json::Bool(truth) => Value::Bool(truth),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Value::Int(number),
                (None, Some(number)) => Value::UInt(number),
                (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::Text(text),
            Json::Array(items) => Value::List(items.into_iter().map(Self::of_json).collect()),
            Json::Object(fields) => {
                let field = |(key, value)| Field { key, place: Place::NOWHERE, node: Self::of_json(value) };
                Value::Map(fields.into_iter().map(field).collect())
            }
        };
        Self { place: Place::NOWHERE, value }
    }

    /// The place of a field like `spec.rules[0].backendRefs[1].port`, or of the nearest one above it.
    pub(super) fn place_of(&self, field: &str) -> Place {
        let mut node = self;
        let mut place = self.place;
        for part in path_parts(field) {
            let next = match (&node.value, part) {
                (Value::Map(fields), Part::Name(name)) => {
                    fields.iter().find(|f| f.key == name).map(|f| (&f.node, f.place))
                }
                (Value::List(items), Part::Index(index)) => items.get(index).map(|item| (item, item.place)),
                _ => None,
            };
            let Some((below, at)) = next else { break };
            (node, place) = (below, at);
        }
        place
    }

    /// The value of a field of a map.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(fields) => fields.iter().find(|f| f.key == key).map(|f| &f.node),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

enum Part<'a> {
    Name(&'a str),
    Index(usize),
}

/// `a.b[0].c[d.e/f]` is a, b, 0, c, d.e/f.
fn path_parts(field: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = field;
    while !rest.is_empty() {
        if let Some((inside, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
            parts.push(inside.parse().map_or(Part::Name(inside), Part::Index));
            rest = after.strip_prefix('.').unwrap_or(after);
            continue;
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        parts.push(Part::Name(name));
        // A stray `[` without its `]` ends the path.
        rest = match after.strip_prefix('.') {
            Some(after) => after,
            None if after.contains(']') => after,
            None => "",
        };
    }
    parts
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { place: place(spanned.referenced), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::UInt(value), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let place = place(key.referenced);
            fields.push(Field { key: key.value, place, node: entries.next_value()? });
        }
        Ok(Value::Map(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Value, read};

    #[test]
    fn nodes_know_where_they_stand() {
        let tree = read("a:\n  b: [1, x]\n  c: \"2\"\n").unwrap();
        let b = tree.get("a").and_then(|a| a.get("b")).unwrap();
        assert_eq!(b.place, Place { line: 2, column: 6 });
        let Value::List(items) = &b.value else { panic!("{b:?}") };
        assert_eq!((items[0].place, &items[0].value), (Place { line: 2, column: 7 }, &Value::Int(1)));
        assert_eq!(tree.get("a").and_then(|a| a.get("c")).unwrap().as_text(), Some("2"));
    }

    #[test]
    fn json_is_read_too() {
        let tree = read("{\n\t\"a\": {\"b\": null}\n}").unwrap();
        assert_eq!(tree.get("a").and_then(|a| a.get("b")).unwrap().value, Value::Null);
    }

    #[test]
    fn a_broken_document_says_where_and_what() {
        let error = read("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(error.place.line >= 2, "{error:?}");
        assert!(!error.message.is_empty() && !error.message.contains('\n'), "{error:?}");
        assert!(read("a: 1\na: 2\n").unwrap_err().message.contains('a'));
        assert!(read(&"[".repeat(10_000)).is_err());
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for i in 1..12 {
            let last = format!("*a{}", i - 1);
            bomb += &format!("a{i}: &a{i} [{}]\n", vec![last; 10].join(","));
        }
        assert!(read(&bomb).is_err());
    }
}
