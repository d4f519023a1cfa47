//! Pure: a field whose presence matters and whose contents Weir does not read.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// Stands for any value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Presence;

impl<'de> Deserialize<'de> for Presence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not `deserialize_ignored_any`: the reader takes that for a field it does not know.
        deserializer.deserialize_any(Anything)
    }
}

impl Serialize for Presence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(true)
    }
}

struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Presence;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Presence, E> {
        Ok(Presence)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Presence, E> {
        Ok(Presence)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Presence, E> {
        Ok(Presence)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Presence, E> {
        Ok(Presence)
    }

    fn visit_str<E>(self, _: &str) -> Result<Presence, E> {
        Ok(Presence)
    }

    fn visit_unit<E>(self) -> Result<Presence, E> {
        Ok(Presence)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Presence, A::Error> {
        while items.next_element::<Presence>()?.is_some() {}
        Ok(Presence)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Presence, A::Error> {
        while fields.next_entry::<String, Presence>()?.is_some() {}
        Ok(Presence)
    }
}
