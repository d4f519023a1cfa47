//! Pure: the parameters of a page.

use percent_encoding::percent_decode_str;

/// Parameters in the order they came, decoded. A name may come more than once.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decoded(name), decoded(value))
                })
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    }

    /// Whether `output=text` is asked for; JSON otherwise.
    pub(super) fn wants_text(&self) -> bool {
        self.get("output") == Some("text")
    }
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[test]
    fn values_are_decoded_and_names_may_repeat() {
        let query = Query::parse("url=http%3A%2F%2Fcart%2F%3Fa%26b&header=x%3A1&header=y:2&flag");
        assert_eq!(query.get("url"), Some("http://cart/?a&b"));
        assert_eq!(query.all("header"), ["x:1", "y:2"]);
        assert_eq!(query.get("flag"), Some(""));
        assert_eq!(query.get("none"), None);
    }
}
