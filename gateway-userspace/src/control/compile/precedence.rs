//! Pure: which of two objects comes first when both want the same.

use crate::control::config::meta::{ObjectKey, ObjectMeta};

/// The Gateway API's order: the oldest, then the first by `namespace/name`. An object without a
/// creation time, as files have none, counts as oldest.
pub(super) type Rank<'a> = (Option<&'a str>, ObjectKey);

/// The rank of an object; the lesser one wins.
pub(super) fn rank(meta: &ObjectMeta) -> Rank<'_> {
    (meta.creation_timestamp.as_deref(), meta.key())
}
