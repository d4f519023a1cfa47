//! Pure: from a tree of nodes to the structs of `config`, with the path and place of every complaint.

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};

use super::tree::{Field, Node, Place, Value};

/// Something about a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    /// Path from the object.
    pub(super) field: String,
    pub(super) place: Place,
    pub(super) message: String,
    /// What to do; empty where the message says it.
    pub(super) fix: String,
}

/// Reads `node` as a `T`. Unknown fields are complained about, and do no harm; null counts as absent.
pub(super) fn decode<'a, T: de::Deserialize<'a>>(node: &'a Node) -> (Result<T, Complaint>, Vec<Complaint>) {
    let context = Context::default();
    let result = T::deserialize(Decoder { node, context: &context });
    let result = result.map_err(|Failure(complaint)| *complaint);
    (result, context.unknown.into_inner())
}

#[derive(Default)]
struct Context {
    path: RefCell<String>,
    unknown: RefCell<Vec<Complaint>>,
    /// Names that the struct being read knows: for "did you mean".
    names: RefCell<&'static [&'static str]>,
}

impl Context {
    fn within<T>(&self, part: fmt::Arguments<'_>, f: impl FnOnce() -> T) -> T {
        let length = self.path.borrow().len();
        {
            let mut path = self.path.borrow_mut();
            let text = part.to_string();
            let text = if length == 0 { text.trim_start_matches('.') } else { &text };
            path.push_str(text);
        }
        let result = f();
        self.path.borrow_mut().truncate(length);
        result
    }
}

/// Carries the first complaint up. Boxed, for results are passed by value at every level.
#[derive(Debug)]
struct Failure(Box<Complaint>);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        let (field, place, fix) = (String::new(), Place::default(), String::new());
        Self(Box::new(Complaint { field, place, message, fix }))
    }
}

#[derive(Clone, Copy)]
struct Decoder<'a, 'c> {
    node: &'a Node,
    context: &'c Context,
}

impl<'a> Decoder<'a, '_> {
    /// Gives a failure from below its place, unless it has one.
    fn placed(self, mut failure: Failure) -> Failure {
        if failure.0.place == Place::default() {
            failure.0.place = self.node.place;
            failure.0.field = self.context.path.borrow().clone();
        }
        failure
    }

    fn fail<T>(self, message: String, fix: &str) -> Result<T, Failure> {
        let field = self.context.path.borrow().clone();
        Err(Failure(Box::new(Complaint { field, place: self.node.place, message, fix: fix.to_owned() })))
    }

    fn text<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        let quote = |shown: String| {
            self.fail(format!("a text is needed here, and `{shown}` is not one in YAML"), "put it in quotes")
        };
        match &self.node.value {
            Value::Text(text) => visitor.visit_borrowed_str(text).map_err(|e: Failure| self.placed(e)),
            Value::Int(number) => quote(number.to_string()),
            Value::UInt(number) => quote(number.to_string()),
            Value::Float(number) => quote(number.to_string()),
            Value::Bool(truth) => quote(truth.to_string()),
            Value::Null | Value::List(_) | Value::Map(_) => self.any(visitor),
        }
    }

    /// A whole number in a range.
    fn number<V: Visitor<'a>>(self, least: i128, most: i128, visitor: V) -> Result<V::Value, Failure> {
        let number = match &self.node.value {
            Value::Int(number) => i128::from(*number),
            Value::UInt(number) => i128::from(*number),
            Value::Text(text) => {
                return self.fail(
                    format!("a number is needed here, and \"{text}\" is a text"),
                    "write it without quotes",
                );
            }
            _ => return self.any(visitor),
        };
        if !(least..=most).contains(&number) {
            return self
                .fail(format!("{number} is not between {least} and {most}"), "use a number in that range");
        }
        self.any(visitor)
    }

    fn any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        let result = match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => visitor.visit_i64(*value),
            Value::UInt(value) => visitor.visit_u64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::List(items) => visitor.visit_seq(Items { items, next: 0, context: self.context }),
            Value::Map(fields) => {
                visitor.visit_map(Fields { fields, next: 0, known: &[], context: self.context })
            }
        };
        result.map_err(|e| self.placed(e))
    }
}

/// Methods that all do the same.
macro_rules! numbers {
    ($($method:ident: $number:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            self.number(i128::from(<$number>::MIN), i128::from(<$number>::MAX), visitor)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Decoder<'de, '_> {
    type Error = Failure;

    numbers!(
        deserialize_i8: i8, deserialize_i16: i16, deserialize_i32: i32, deserialize_i64: i64,
        deserialize_u8: u8, deserialize_u16: u16, deserialize_u32: u32, deserialize_u64: u64
    );

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.any(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.text(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Map(fields) => {
                let fields = Fields { fields, next: 0, known, context: self.context };
                visitor.visit_map(fields).map_err(|e| self.placed(e))
            }
            _ => {
                self.fail("fields are needed here".to_owned(), "write them below, indented, as `name: value`")
            }
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Text(word) if words.contains(&word.as_str()) => {
                visitor.visit_enum(Word(word)).map_err(|e| self.placed(e))
            }
            Value::Text(word) => {
                self.fail(format!("`{word}` is not known here"), &format!("use one of: {}", words.join(", ")))
            }
            _ => self.fail("a word is needed here".to_owned(), &format!("use one of: {}", words.join(", "))),
        }
    }

    /// Only fields that a struct does not know come here.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let field = self.context.path.borrow().clone();
        let name = field.rsplit('.').next().unwrap_or(&field);
        let fix = match nearest(name, &self.context.names.borrow()) {
            Some(known) => format!("did you mean `{known}`?"),
            None => "remove it, or see the reference of this kind".to_owned(),
        };
        let message = format!("there is no field `{name}` here; it has no effect");
        let complaint = Complaint { place: self.node.place, message, fix, field };
        self.context.unknown.borrow_mut().push(complaint);
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier
    }
}

struct Items<'a, 'c> {
    items: &'a [Node],
    next: usize,
    context: &'c Context,
}

impl<'de> SeqAccess<'de> for Items<'de, '_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let Some(node) = self.items.get(self.next) else { return Ok(None) };
        let decoder = Decoder { node, context: self.context };
        let item = self.context.within(format_args!("[{}]", self.next), || {
            seed.deserialize(decoder).map_err(|e| decoder.placed(e))
        });
        self.next += 1;
        item.map(Some)
    }
}

struct Fields<'a, 'c> {
    fields: &'a [Field],
    next: usize,
    /// Names of a struct; none for a map.
    known: &'static [&'static str],
    context: &'c Context,
}

impl<'de> MapAccess<'de> for Fields<'de, '_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        // As Kubernetes does, a field that is null counts as absent.
        while self.fields.get(self.next).is_some_and(|f| f.node.value == Value::Null) {
            self.next += 1;
        }
        let Some(field) = self.fields.get(self.next) else { return Ok(None) };
        seed.deserialize(de::value::BorrowedStrDeserializer::new(&field.key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let Some(field) = self.fields.get(self.next) else {
            return Err(de::Error::custom("a field without a value"));
        };
        self.next += 1;
        *self.context.names.borrow_mut() = self.known;
        let decoder = Decoder { node: &field.node, context: self.context };
        self.context.within(format_args!(".{}", field.key), || {
            seed.deserialize(decoder).map_err(|e| decoder.placed(e))
        })
    }
}

struct Word<'a>(&'a str);

impl<'de> EnumAccess<'de> for Word<'de> {
    type Error = Failure;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Failure> {
        let word = seed.deserialize(de::value::BorrowedStrDeserializer::new(self.0))?;
        Ok((word, self))
    }
}

impl<'de> VariantAccess<'de> for Word<'de> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Failure> {
        Err(de::Error::custom("a word with contents"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Failure> {
        Err(de::Error::custom("a word with contents"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Failure> {
        Err(de::Error::custom("a word with contents"))
    }
}

/// The known name that is one or two letters away from `name`.
fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let near = |k: &&&str| distance(&name.to_ascii_lowercase(), &k.to_ascii_lowercase()) <= 2;
    known.iter().filter(near).min_by_key(|k| distance(name, k)).copied()
}

/// Levenshtein's, of short words.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (y, cell) in b.bytes().zip(row.iter_mut().skip(1)) {
            left = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, left);
        }
    }
    row.last().copied().unwrap_or(a.len())
}
