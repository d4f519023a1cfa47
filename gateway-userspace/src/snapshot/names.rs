//! Pure: what the numbers of clusters and rules are called, for logs and metrics.
//!
//! Numbers are given once and never reused, so a table only grows: by one text for each Service
//! port or rule that ever was. Formatting reads it; the request path carries numbers alone.

use std::sync::{Arc, PoisonError, RwLock};

use super::cluster::ClusterId;
use super::router::RuleId;

/// Texts by number. The lock is held for the copy of one pointer.
#[derive(Debug, Default)]
struct Table(RwLock<Vec<Arc<str>>>);

impl Table {
    fn get(&self, index: u32) -> Option<Arc<str>> {
        let texts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        texts.get(usize::try_from(index).ok()?).cloned()
    }

    fn push(&self, text: Arc<str>) -> u32 {
        let mut texts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        texts.push(text);
        u32::try_from(texts.len() - 1).unwrap_or(u32::MAX)
    }

    fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Names of clusters and rules, by number. One writer (control), any number of readers.
#[derive(Debug, Default)]
pub struct Names {
    clusters: Table,
    rules: Table,
}

impl Names {
    /// `namespace/service:port`.
    pub fn cluster(&self, id: ClusterId) -> Option<Arc<str>> {
        self.clusters.get(id.0)
    }

    /// `namespace/route/rule`.
    pub fn rule(&self, id: RuleId) -> Option<Arc<str>> {
        self.rules.get(id.0)
    }

    /// Clusters that were ever named: their ids are below this.
    pub fn clusters_len(&self) -> usize {
        self.clusters.len()
    }

    /// Rules that were ever named: their ids are below this.
    pub fn rules_len(&self) -> usize {
        self.rules.len()
    }

    /// Gives the next number to a cluster. Only `control` calls this.
    pub fn add_cluster(&self, name: Arc<str>) -> ClusterId {
        ClusterId(self.clusters.push(name))
    }

    /// Gives the next number to a rule. Only `control` calls this.
    pub fn add_rule(&self, name: Arc<str>) -> RuleId {
        RuleId(self.rules.push(name))
    }
}

#[cfg(test)]
mod tests {
    use super::{ClusterId, Names, RuleId};

    #[test]
    fn numbers_count_up_and_keep_their_names() {
        let names = Names::default();
        assert_eq!(names.add_cluster("shop/cart:80".into()), ClusterId(0));
        assert_eq!(names.add_cluster("shop/web:80".into()), ClusterId(1));
        assert_eq!(names.add_rule("shop/cart/0".into()), RuleId(0));
        assert_eq!(names.cluster(ClusterId(1)).as_deref(), Some("shop/web:80"));
        assert_eq!(names.rule(RuleId(0)).as_deref(), Some("shop/cart/0"));
        assert_eq!(names.rule(RuleId(1)), None);
    }
}
