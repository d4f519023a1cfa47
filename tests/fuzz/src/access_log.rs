//! Access-log lines: whatever a client sends, a record is one line, and as JSON one object that says the same.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use arbitrary::{Result, Unstructured};
use gateway_userspace::reason::Reason;
use gateway_userspace::snapshot::cluster::ClusterId;
use gateway_userspace::snapshot::router::RuleId;
use gateway_userspace::telemetry::access_log::line::{LineWriter, LogFormat};
use gateway_userspace::telemetry::directory::Directory;
use gateway_userspace::telemetry::record::text::Text;
use gateway_userspace::telemetry::record::{PodId, Protocol, Record};
use http::{Method, StatusCode};

/// The bytes are made into a record.
pub(crate) fn access_log(data: &[u8]) {
    let mut data = Unstructured::new(data);
    let Ok(record) = record(&mut data) else { return };
    let directory = Directory::default();
    directory.names.add_cluster("shop/cart:80".into());
    directory.names.add_rule("shop/cart/\"write\"".into());
    let field_bytes_max = data.int_in_range(0..=64).unwrap_or(64);
    let line = |format| {
        let mut out = Vec::new();
        LineWriter { format, directory: directory.clone(), field_bytes_max }.write(&record, &mut out);
        String::from_utf8(out).expect("a line is text")
    };
    for format in [LogFormat::Json, LogFormat::Text] {
        let line = line(format);
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        assert!(line.ends_with('\n') && !line.trim_end().chars().any(char::is_control), "{line:?}");
    }
    let value: serde_json::Value = serde_json::from_str(&line(LogFormat::Json)).expect("a line is JSON");
    let object = value.as_object().expect("a line is an object");
    assert_eq!(object.get("bytes_sent"), Some(&record.bytes_sent.into()));
    let path = object.get("url.path").and_then(|path| path.as_str()).unwrap_or_default();
    let path_said = record.text.path();
    let cut = &path_said[..path_said.len().min(field_bytes_max)];
    assert_eq!(path, String::from_utf8_lossy(cut));
}

fn record(data: &mut Unstructured<'_>) -> Result<Record> {
    const PROTOCOLS: [Protocol; 5] =
        [Protocol::Http1, Protocol::Http2, Protocol::Grpc, Protocol::Upgrade, Protocol::Tcp];
    let start = SystemTime::UNIX_EPOCH + Duration::from_millis(data.arbitrary::<u64>()? >> 20);
    let (downstream, destination) = (address(data)?, address(data)?);
    let mut record =
        Record::new(start, *data.choose(&PROTOCOLS)?, PodId(data.arbitrary()?), downstream, destination);
    record.duration = Duration::from_nanos(data.arbitrary()?);
    record.frontend = data.arbitrary::<Option<u8>>()?.map(|id| ClusterId(id.into()));
    record.rule = data.arbitrary::<Option<u8>>()?.map(|id| RuleId(id.into()));
    record.cluster = data.arbitrary::<Option<u8>>()?.map(|id| ClusterId(id.into()));
    record.endpoint = data.arbitrary::<bool>()?.then(|| address(data)).transpose()?;
    record.attempts = data.arbitrary()?;
    record.upstream_duration = data.arbitrary::<Option<u64>>()?.map(Duration::from_nanos);
    record.method = Method::from_bytes(data.arbitrary()?).ok();
    record.status = StatusCode::from_u16(data.arbitrary()?).ok();
    record.grpc_status = data.arbitrary()?;
    record.reason = data.arbitrary::<Option<u8>>()?.map(|n| Reason::ALL[usize::from(n) % Reason::ALL.len()]);
    record.bytes_received = data.arbitrary()?;
    record.bytes_sent = data.arbitrary()?;
    record.trace_id = data.arbitrary()?;
    record.text = Text::new(data.arbitrary()?, data.arbitrary()?, data.arbitrary()?);
    record.text.set_request_id(data.arbitrary()?);
    Ok(record)
}

fn address(data: &mut Unstructured<'_>) -> Result<SocketAddr> {
    let ip = if data.arbitrary()? {
        IpAddr::from(data.arbitrary::<[u8; 4]>()?)
    } else {
        IpAddr::from(data.arbitrary::<[u8; 16]>()?)
    };
    Ok(SocketAddr::new(ip, data.arbitrary()?))
}
