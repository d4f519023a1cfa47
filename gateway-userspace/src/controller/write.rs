//! Writes to the API server, each bounded in time and only while this replica leads.

use std::time::{Duration, Instant};

use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::applied::FIELD_MANAGER;
use super::follow::resource;
use super::plan::Write;
use super::refusal::{self, Verb};
use super::seen::{Seen, Source};
use crate::capture::selection::CAPTURE_STATUS_ANNOTATION;
use crate::control::config::meta::ObjectKey;

/// One request.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Why a write was not made.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The object has changed: its next version comes.
    #[error("it has changed meanwhile")]
    Conflict,
    /// The object is gone.
    #[error("it is gone")]
    Gone,
    /// Another replica may lead.
    #[error("this replica leads no longer")]
    NotLeading,
    /// The API server took too long.
    #[error("no answer within {TIMEOUT:?}")]
    Silent,
    /// The API server says no, to this one or to its writer: again and again, most likely.
    #[error("{0}")]
    Denied(String),
    /// It could not be asked, or fails.
    #[error("{0}")]
    Failed(String),
}

/// What a write led to.
#[derive(Debug)]
pub enum Written {
    /// The object is now so.
    Is(Seen),
    /// It is gone.
    Deleted,
    /// There is one that belongs to another.
    Foreign,
}

/// Writes as the leader.
pub struct Writer {
    client: Client,
    leads_until: watch::Receiver<Option<Instant>>,
}

impl Writer {
    /// Writes for as long as `leads_until` says.
    pub fn new(client: Client, leads_until: watch::Receiver<Option<Instant>>) -> Self {
        Self { client, leads_until }
    }

    /// Makes one write.
    ///
    /// # Errors
    /// See `WriteError`; nothing is known to be written then.
    pub async fn write(&self, write: &Write) -> Result<Written, WriteError> {
        // The answer must be there before the lease can be another's.
        let until = *self.leads_until.borrow();
        if until.is_none_or(|until| until <= Instant::now()) {
            return Err(WriteError::NotLeading);
        }
        tokio::time::timeout(TIMEOUT, self.send(write)).await.unwrap_or(Err(WriteError::Silent))
    }

    async fn send(&self, write: &Write) -> Result<Written, WriteError> {
        let source = write.source();
        let api = self.api(source, write.key());
        let name = &*write.key().name;
        let failed = |verb: Verb, sub: &str, error: &kube::Error| failure(verb, source, sub, error);
        match write {
            Write::Status { version, fields, .. } => {
                let patch = json!({ "metadata": { "resourceVersion": version }, "status": fields });
                let parameters =
                    PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
                let answer = api.patch_status(name, &parameters, &Patch::Merge(patch)).await;
                answer.map(|o| Written::Is(seen(source, o))).map_err(|e| failed(Verb::Patch, "/status", &e))
            }
            Write::Apply { object, new_for, .. } => {
                if let Some(owner) = new_for {
                    let there = api.get_opt(name).await.map_err(|e| failed(Verb::Get, "", &e))?;
                    let owners = |o: DynamicObject| o.metadata.owner_references.unwrap_or_default();
                    if there.is_some_and(|o| owners(o).iter().all(|r| r.uid != *owner)) {
                        return Ok(Written::Foreign);
                    }
                }
                let parameters = PatchParams::apply(FIELD_MANAGER).force();
                let answer = api.patch(name, &parameters, &Patch::Apply(object)).await;
                answer.map(|o| Written::Is(seen(source, o))).map_err(|e| failed(Verb::Patch, "", &e))
            }
            Write::Annotate { uid, text, .. } => {
                // Through the status: whoever may do that may not change what a pod runs.
                let annotations = json!({ CAPTURE_STATUS_ANNOTATION: text });
                let patch = json!({ "metadata": { "uid": uid, "annotations": annotations } });
                let parameters =
                    PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
                let answer = api.patch_status(name, &parameters, &Patch::Merge(patch)).await;
                answer.map(|o| Written::Is(seen(source, o))).map_err(|e| failed(Verb::Patch, "/status", &e))
            }
            Write::Delete { uid, .. } => {
                let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: None };
                let parameters =
                    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                match api.delete(name, &parameters).await {
                    Ok(_) => Ok(Written::Deleted),
                    Err(error) => match failed(Verb::Delete, "", &error) {
                        WriteError::Gone | WriteError::Conflict => Ok(Written::Deleted),
                        error => Err(error),
                    },
                }
            }
        }
    }

    fn api(&self, source: Source, key: &ObjectKey) -> Api<DynamicObject> {
        let client = self.client.clone();
        if key.namespace.is_empty() {
            Api::all_with(client, &resource(source))
        } else {
            Api::namespaced_with(client, &key.namespace, &resource(source))
        }
    }
}

fn failure(verb: Verb, source: Source, sub: &str, error: &kube::Error) -> WriteError {
    match error {
        kube::Error::Api(status) if status.code == 409 => WriteError::Conflict,
        kube::Error::Api(status) if status.code == 404 => WriteError::Gone,
        error => {
            let resource = format!("{}{sub}", source.plural());
            let why = refusal::explain(verb, source.kind().0, &resource, error);
            match error {
                kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429 => {
                    WriteError::Denied(why)
                }
                _ => WriteError::Failed(why),
            }
        }
    }
}

fn seen(source: Source, mut object: DynamicObject) -> Seen {
    let meta = &object.metadata;
    let (uid, version) = (meta.uid.clone(), meta.resource_version.clone());
    let generation = meta.generation.unwrap_or(0);
    let content = if source.only_status() {
        object.data.get_mut("status").map(Value::take).unwrap_or_default()
    } else if source == Source::Pods {
        object.metadata.annotations.unwrap_or_default().remove(CAPTURE_STATUS_ANNOTATION).into()
    } else {
        serde_json::to_value(object).unwrap_or_default()
    };
    Seen { uid: uid.unwrap_or_default(), version: version.unwrap_or_default(), generation, content }
}
