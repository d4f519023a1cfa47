//! HAProxy, configured like the others.

use std::fmt::Write;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Speaks, Task};

pub(super) fn configure(command: &mut Command, task: &Task<'_>) -> Result<()> {
    let mut routes = String::new();
    for route in 0..task.routes {
        writeln!(routes, "/r{route}/ backend")?;
    }
    let map = task.folder.join("routes.map");
    std::fs::write(&map, routes)?;
    let path = task.folder.join("haproxy.cfg");
    std::fs::write(&path, text(task, map.to_str().context("the folder's name")?))?;
    // Its log goes to its standard output.
    command.arg("-db").arg("-f").arg(path);
    Ok(())
}

fn text(task: &Task<'_>, map: &str) -> String {
    let Task { listen, upstream, workers, .. } = task;
    let (down, up) = match task.speaks {
        Speaks::Http1 => ("", ""),
        Speaks::Http2 => (" proto h2", ""),
        Speaks::Grpc => (" proto h2", " proto h2"),
    };
    format!(
        "global
  nbthread {workers}
  maxconn 8000
  log stdout format raw local0
  tune.h2.max-concurrent-streams 1024
defaults
  mode http
  log global
  option httplog
  option http-keep-alive
  option forwardfor
  http-reuse always
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
frontend front
  bind {listen}{down} backlog 4096
  unique-id-format %{{+X}}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid
  unique-id-header X-Request-Id
  http-request set-header X-Forwarded-Proto http
  use_backend %[path,map_beg({map})]
backend backend
  server one {upstream}{up} pool-max-conn -1
"
    )
}
