//! What is fuzzed: each target takes any bytes and panics when something is not as it has to be.

mod access_log;
mod authority;
mod compile;
mod detect;
mod fields;
mod grpc;
mod headers;
mod http1;
mod path;
mod proxy_protocol;
mod router;
mod yaml;

/// Something that takes whatever bytes there are.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name on the command line, and of its folder of seeds.
    pub name: &'static str,
    /// Panics when it finds a mistake.
    pub run: fn(&[u8]),
    /// Its bytes are a file of the configuration folder.
    pub reads_yaml: bool,
}

impl Target {
    const fn new(name: &'static str, run: fn(&[u8])) -> Self {
        Self { name, run, reads_yaml: false }
    }

    const fn of_yaml(name: &'static str, run: fn(&[u8])) -> Self {
        Self { name, run, reads_yaml: true }
    }
}

/// All of them.
pub const TARGETS: [Target; 13] = [
    Target::new("access_log", access_log::access_log),
    Target::new("answer", http1::answer),
    Target::new("authority", authority::authority),
    Target::new("chunks", http1::chunks),
    Target::of_yaml("compile", compile::compile),
    Target::new("detect", detect::detect),
    Target::new("grpc", grpc::grpc),
    Target::new("head", http1::head),
    Target::new("headers", headers::headers),
    Target::new("path", path::path),
    Target::new("proxy_protocol", proxy_protocol::proxy_protocol),
    Target::new("router", router::router),
    Target::of_yaml("yaml", yaml::yaml),
];

#[cfg(test)]
mod tests;
