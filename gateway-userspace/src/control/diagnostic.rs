//! Pure: what is wrong with the configuration, where, and what to do about it.

use std::fmt;

use serde::Serialize;

use super::config::meta::Origin;
use super::config::resources::ObjectId;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is lost.
    Info,
    /// Served, though perhaps not as meant.
    Warning,
    /// Something that was asked for is not served.
    Error,
}

impl Severity {
    /// Lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What kind of finding it is. The number is stable: users search for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Code {
    /// An annotation of Weir has a value that it does not know.
    BadAnnotation = 201,
    /// A Service port says nothing about its protocol.
    PortWithoutProtocol = 211,
    /// A Service has no endpoint that may take traffic.
    NoEndpoints = 220,
    /// An EndpointSlice belongs to no Service.
    OrphanEndpointSlice = 221,
    /// An ExternalName Service cannot be a backend or a parent.
    ExternalName = 222,
    /// An endpoint's address cannot be used.
    BadEndpoint = 223,
    /// A Service has an address that cannot be used, or one that another Service has.
    BadServiceAddress = 224,
    /// An endpoint that an API server names and that is never dialled.
    EndpointRefused = 225,
    /// A document is not YAML.
    Syntax = 401,
    /// An object does not have the shape of its kind.
    InvalidObject = 402,
    /// A field that the kind does not have.
    UnknownField = 403,
    /// The same object is written twice.
    DuplicateObject = 404,
    /// A kind that this version does not act on.
    UnsupportedKind = 405,
    /// A file or folder cannot be read.
    Unreadable = 406,
    /// A limit on files is reached.
    TooLarge = 407,
    /// The API server refuses what Weir has to ask it.
    ApiRefused = 410,
    /// The API server cannot be reached, or answers what cannot be understood.
    ApiUnreachable = 411,
    /// What is known cannot be written to disk, or what was written cannot be used.
    StateUnusable = 412,
    /// A Gateway or one of its listeners is refused.
    GatewayRefused = 501,
    /// A Gateway's class is not Weir's.
    ForeignClass = 502,
    /// A route is refused by a parent.
    RouteRefused = 510,
    /// A reference of a route leads nowhere.
    RefUnresolved = 511,
    /// A rule or a part of it asks for what Weir cannot do.
    RuleUnsupported = 512,
    /// A field that has no effect where it stands.
    FieldIgnored = 513,
    /// A rule sends requests nowhere.
    RuleWithoutBackend = 514,
    /// A route has no parent.
    RouteWithoutParent = 515,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WEIR{:04}", *self as u16)
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// What kind of finding it is.
    pub code: Code,
    /// `Kind namespace/name`, where there is one.
    pub object: Option<String>,
    /// File, as the user named it.
    pub file: Option<String>,
    /// Line of the field, or of the object where the field's is not known; from 1.
    pub line: Option<u32>,
    /// Column, from 1.
    pub column: Option<u32>,
    /// Path of the field, as `spec.rules[0].backendRefs[1].port`; empty for the whole object.
    pub field: String,
    /// What is wrong, and what that means for traffic.
    pub message: String,
    /// What to do.
    pub fix: String,
}

impl Diagnostic {
    /// A finding about an object.
    pub fn on(severity: Severity, code: Code, id: &ObjectId, origin: &Origin) -> Self {
        let place = origin.place();
        Self {
            file: place.map(|(file, _)| file.to_owned()),
            line: place.map(|(_, line)| line),
            ..Self::of(severity, code, id.to_string())
        }
    }

    /// A finding about a place in a file. Line and column count from 1.
    pub fn at(severity: Severity, code: Code, file: &str, place: Option<(u32, u32)>) -> Self {
        Self {
            object: None,
            file: Some(file.to_owned()),
            line: place.map(|p| p.0),
            column: place.map(|p| p.1),
            ..Self::of(severity, code, String::new())
        }
    }

    /// A finding about an object that is in no file, called `Kind namespace/name`.
    pub fn of(severity: Severity, code: Code, object: String) -> Self {
        Self {
            severity,
            code,
            object: Some(object),
            file: None,
            line: None,
            column: None,
            field: String::new(),
            message: String::new(),
            fix: String::new(),
        }
    }

    /// A finding about nothing that has a name.
    pub fn about_nothing(severity: Severity, code: Code) -> Self {
        Self { object: None, ..Self::of(severity, code, String::new()) }
    }

    /// The same, about a field.
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }

    /// The same, with what is wrong.
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// The same, with what to do.
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }
}
