//! The process's own log: to standard error, as text for people or JSON for collectors.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How the process's own log looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggingOptions {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,gateway_userspace::control=debug`.
    pub level: String,
    /// One JSON object a line.
    pub json: bool,
}

impl Default for LoggingOptions {
    fn default() -> Self {
        Self { level: "info".to_owned(), json: false }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The level is none.
    #[error("log level {level:?} is not understood ({reason}); use error, warn, info, debug or trace")]
    Level {
        /// As given.
        level: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something else logs already.
    #[error("logging is set up twice")]
    Twice,
}

/// Sets logging up for the whole process. Call it once, first.
///
/// # Errors
/// When the level is not understood.
pub fn init(options: &LoggingOptions) -> Result<(), LoggingError> {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let subscriber = subscriber(options, colour, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::Twice)
}

fn subscriber<W>(
    options: &LoggingOptions,
    colour: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // The HTTP/2 codec warns of each odd frame of a peer: a peer may not fill the log.
    let filter = EnvFilter::try_new(format!("h2=error,{}", options.level))
        .map_err(|e| LoggingError::Level { level: options.level.clone(), reason: e.to_string() })?;
    // Standard error may be a full disk: a line is lost then, and nothing more is said about it.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).log_internal_errors(false);
    Ok(if options.json {
        Box::new(builder.json().flatten_event(true).finish())
    } else {
        Box::new(builder.with_ansi(colour).with_target(false).finish())
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn options(level: &str, json: bool) -> LoggingOptions {
        LoggingOptions { level: level.to_owned(), json }
    }

    #[test]
    fn a_level_that_is_none_is_refused_with_what_to_use() {
        let Err(error) = subscriber(&options("a=b=c", false), false, std::io::sink) else {
            panic!("accepted")
        };
        assert!(error.to_string().contains("use error, warn, info"), "{error}");
    }

    #[test]
    fn a_json_line_is_one_object_with_its_fields() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let log = subscriber(&options("info", true), false, File::create(file.path()).unwrap()).unwrap();
        tracing::subscriber::with_default(log, || {
            tracing::info!(port = 80, "two\nlines");
            tracing::debug!("not wanted");
        });
        let value: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(file.path()).unwrap()).unwrap();
        assert_eq!((&value["message"], &value["port"]), (&"two\nlines".into(), &80.into()));
    }

    #[test]
    fn a_full_disk_under_the_log_stops_nobody() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let log = subscriber(&options("info", false), false, full).unwrap();
        tracing::subscriber::with_default(log, || tracing::info!("lost"));
    }
}
