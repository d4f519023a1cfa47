//! What the programs log, on its way to where the gateway logs. For development: off unless asked for.

use aya::Ebpf;
use aya_log::EbpfLogger;

use super::DatapathError;

/// The log map's name, as aya-log-ebpf gives it.
const MAP: &str = "AYA_LOGS";

/// Bytes of the log map of a datapath that does not log: the least that the kernel takes.
const IDLE_BYTES: u32 = 4096;

/// Passes records on to `tracing`.
#[derive(Debug)]
struct ToTracing;

impl log::Log for ToTracing {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::debug!(target: "weir::kernel", "{}", record.args());
    }

    fn flush(&self) {}
}

/// The reader of the programs' log.
pub(super) struct KernelLog(EbpfLogger<ToTracing>);

impl KernelLog {
    /// `None` unless `wanted`.
    pub(super) fn new(ebpf: &mut Ebpf, wanted: bool) -> Result<Option<Self>, DatapathError> {
        if !wanted {
            return Ok(None);
        }
        let error = |source| DatapathError::Map { map: MAP, source: std::io::Error::other(source) };
        Ok(Some(Self(EbpfLogger::init_with_logger(ebpf, ToTracing).map_err(error)?)))
    }

    /// Writes what has gathered.
    pub(super) fn flush(&mut self) {
        self.0.flush();
    }
}

/// Keeps the log map small where nobody logs.
pub(super) fn shrink(loader: &mut aya::EbpfLoader<'_>, wanted: bool) {
    if !wanted {
        loader.map_max_entries(MAP, IDLE_BYTES);
    }
}
