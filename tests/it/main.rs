//! The `weir` binary as its users meet it: a folder of YAML, a Gateway on loopback, no privilege, no eBPF.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod admin;
mod bad_config;
mod descriptors;
mod edits;
mod endpoints;
mod filters;
mod fixture;
mod full_disk;
mod h2spec;
mod hostile_input;
mod hostile_responses;
mod http1_battery;
mod http2_backend_floods;
mod http2_floods;
mod http2_slow;
mod killed;
mod labels;
mod memory_limit;
mod overload;
mod path_spellings;
mod privilege;
mod protocols;
mod proxy_protocol;
mod raw_client;
mod replicas;
mod reverse_proxy;
mod shutdown;
mod slow_clients;
mod takeover;
mod whence;
