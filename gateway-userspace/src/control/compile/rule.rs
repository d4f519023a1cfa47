//! Pure: one rule of a route: its filters, backends and limits, and the matches that lead to it.

use std::sync::Arc;

use super::backend::Services;
use super::conditions::{Problem, Subject};
use super::filter::{self, Place};
use super::interned::Interned;
use super::pattern::Patterns;
use super::value_match::PatternSource;
use crate::control::config::filter::{FilterType, RouteFilter};
use crate::control::config::meta::ObjectKey;
use crate::control::config::resources::{Kind, ResourceSet};
use crate::control::config::route::BackendRef;
use crate::control::diagnostic::{Code, Diagnostic};
use crate::reason::Reason;
use crate::snapshot::router::{Backend, Matcher, RetryPolicy, Rule, Timeouts, WeightedBackends};

/// Largest weight of a backend in the API.
const WEIGHT_MAX: u32 = 1_000_000;

/// What compiling the rules of a route needs.
pub(super) struct RouteContext<'a> {
    pub(super) set: &'a ResourceSet,
    pub(super) services: &'a Services,
    pub(super) interned: &'a mut Interned,
    pub(super) patterns: &'a mut Patterns,
    /// What the route's regular expressions may still take.
    pub(super) regex_bytes_left: usize,
    pub(super) subject: &'a Subject,
}

impl RouteContext<'_> {
    pub(super) fn patterns(&mut self) -> PatternSource<'_> {
        PatternSource {
            patterns: self.patterns,
            bytes_max: self.interned.regex_bytes_max,
            bytes_left: &mut self.regex_bytes_left,
        }
    }

    fn kind(&self) -> Kind {
        self.subject.id.kind
    }

    fn key(&self) -> &ObjectKey {
        &self.subject.id.key
    }
}

/// The rules of a route, compiled.
#[derive(Debug, Default)]
pub(super) struct RouteRules {
    /// Matches in order, each with its rule.
    pub(super) entries: Vec<(Matcher, Arc<Rule>)>,
    /// What cannot be served as written.
    pub(super) invalid: Vec<Problem>,
    /// References that lead nowhere.
    pub(super) unresolved: Vec<Problem>,
    /// Findings that no condition shows.
    pub(super) notes: Vec<Diagnostic>,
    /// How many rules there are.
    pub(super) total: usize,
    /// How many of them can be served as written.
    pub(super) valid: usize,
}

/// A rule as its kind of route gives it.
pub(super) struct RuleSpec<'a> {
    pub(super) index: usize,
    pub(super) name: Option<&'a str>,
    pub(super) filters: &'a [RouteFilter],
    pub(super) backend_refs: &'a [BackendRef],
    pub(super) timeouts: Timeouts,
    pub(super) retry: Option<RetryPolicy>,
    pub(super) session_persistence: bool,
    pub(super) one_prefix: bool,
    /// The matches, or why the rule is dropped.
    pub(super) matches: Result<Vec<Matcher>, Problem>,
}

impl RouteRules {
    /// Compiles a rule and adds it.
    pub(super) fn add(&mut self, context: &mut RouteContext<'_>, spec: RuleSpec<'_>) {
        self.total += 1;
        let field = format!("spec.rules[{}]", spec.index);
        let matches = match spec.matches {
            Ok(matches) => matches,
            Err(problem) => {
                self.invalid.push(problem);
                return;
            }
        };
        let grpc = context.kind() == Kind::GrpcRoute;
        let place = Place { grpc, backend: false, one_prefix: spec.one_prefix };
        let before = self.invalid.len();
        let filters = filter::compile(spec.filters, place, &field, &mut self.invalid);
        let backends = self.backends(context, spec.backend_refs, place, &field);
        if self.invalid.len() == before {
            self.valid += 1;
        }
        if spec.session_persistence {
            let finding =
                context.subject.warning(Code::FieldIgnored).field(format!("{field}.sessionPersistence"));
            self.notes.push(
                finding.message("session persistence is not supported; this has no effect").fix("remove it"),
            );
        }
        let redirects = spec.filters.iter().any(|f| f.kind == FilterType::RequestRedirect);
        if !redirects && backends.iter().all(|b| b.weight == 0) {
            let finding =
                context.subject.warning(Code::RuleWithoutBackend).field(format!("{field}.backendRefs"));
            let message = "it has no backend with a weight: its requests get 500";
            self.notes.push(finding.message(message).fix("add a backendRef with a weight above 0"));
        }
        let index = spec.index.to_string();
        let key = context.key().clone();
        let (id, name) = context.interned.rule(context.kind(), &key, spec.name.unwrap_or(&index));
        let rule =
            Arc::new(Rule { id, name, grpc, filters, backends, timeouts: spec.timeouts, retry: spec.retry });
        self.entries.extend(matches.into_iter().map(|m| (m, Arc::clone(&rule))));
    }

    fn backends(
        &mut self,
        context: &RouteContext<'_>,
        refs: &[BackendRef],
        place: Place,
        field: &str,
    ) -> WeightedBackends {
        let mut backends = Vec::with_capacity(refs.len());
        for (index, backend) in refs.iter().enumerate() {
            let field = format!("{field}.backendRefs[{index}]");
            let route = (context.kind(), context.key());
            let cluster = context.services.resolve(context.set, route, backend, &field).map_err(|problem| {
                self.unresolved.push(problem);
                Reason::InvalidBackend
            });
            let place = Place { backend: true, ..place };
            let filters = filter::compile(&backend.filters, place, &field, &mut self.invalid);
            let weight = backend.weight.unwrap_or(1).min(WEIGHT_MAX);
            backends.push(Backend { weight, cluster, filters });
        }
        WeightedBackends::new(backends)
    }
}
