//! Fills in the record of one request or relayed connection, and hands it over when that has ended.

use std::cell::Cell;
use std::rc::Rc;
use std::time::SystemTime;

use tokio::time::Instant;

use super::holders::InUse;
use super::shedding::TakenOn;
use super::upstream::note_failure;
use super::upstream::registry::Endpoint;
use super::{Downstream, Proxy};
use crate::reason::Reason;
use crate::snapshot::circuit::Permit;
use crate::snapshot::cluster::Cluster;
use crate::telemetry::record::{Protocol, Record};

/// What is known so far. Dropped, it is reported: a request cannot end without a record.
pub struct Recorder {
    proxy: Rc<Proxy>,
    begin: Instant,
    /// To be filled in by those who serve the request.
    pub record: Record,
    /// The request's body, unless it has none.
    pub upload: Option<Rc<Upload>>,
    /// Unless it is no request, or was refused before.
    pub taken_on: Option<TakenOn>,
    permit: Option<Permit>,
    _connection: InUse,
}

/// What the body of a request came to. The body itself may outlive the response.
#[derive(Debug, Default)]
pub struct Upload {
    /// Bytes of it that were read.
    pub received: Cell<u64>,
    /// Why it broke off.
    pub failure: Cell<Option<Reason>>,
}

impl Recorder {
    /// Begins now. Boxed: it moves from the request to the body of its response.
    pub fn new(proxy: &Rc<Proxy>, downstream: &Downstream, protocol: Protocol) -> Box<Self> {
        let pod = downstream.ingress.pod_id();
        Box::new(Self {
            proxy: Rc::clone(proxy),
            begin: Instant::now(),
            record: Record::new(SystemTime::now(), protocol, pod, downstream.peer, downstream.destination),
            upload: None,
            taken_on: None,
            permit: None,
            _connection: downstream.admission.in_use(),
        })
    }

    /// When it began.
    pub fn begin(&self) -> Instant {
        self.begin
    }

    /// Counts as in flight to the cluster until it is reported.
    ///
    /// # Errors
    /// `Overflow` when the cluster has as many as it may have.
    pub fn enter(&mut self, cluster: &Cluster) -> Result<(), Reason> {
        if let Some(limit) = &cluster.circuit {
            self.record.cluster = Some(cluster.id);
            self.permit = Some(limit.enter().ok_or(Reason::Overflow)?);
        }
        Ok(())
    }

    /// Why the request's body broke off, if it did.
    pub fn upload_failure(&self) -> Option<Reason> {
        self.upload.as_ref().and_then(|upload| upload.failure.get())
    }

    /// The endpoint broke off in the middle of its answer.
    pub fn endpoint_failed(&self, endpoint: &Endpoint, reason: Reason) {
        if let Some(cluster) = self.record.cluster {
            note_failure(&self.proxy, cluster, endpoint, reason);
        }
    }

    /// The first thing that went wrong is what the record says.
    pub fn fail(&mut self, reason: Reason) {
        self.record.reason.get_or_insert(reason);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let blank = Record::new(
            self.record.start,
            self.record.protocol,
            self.record.pod,
            self.record.downstream,
            self.record.destination,
        );
        let mut record = std::mem::replace(&mut self.record, blank);
        if record.status.is_none() && record.protocol != Protocol::Tcp {
            record.reason.get_or_insert(Reason::ClientClosed);
        }
        if let Some(taken_on) = self.taken_on {
            self.proxy.shedding.ended(taken_on);
        }
        record.duration = self.begin.elapsed();
        if let Some(upload) = &self.upload {
            record.bytes_received = upload.received.get();
        }
        self.proxy.observe.ended(record);
    }
}
