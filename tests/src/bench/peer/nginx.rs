//! nginx, configured like the others.

use std::fmt::Write;
use std::process::Command;

use anyhow::{Context, Result};

use super::{HOST, Speaks, Task};

pub(super) fn configure(command: &mut Command, task: &Task<'_>) -> Result<()> {
    let path = task.folder.join("nginx.conf");
    std::fs::write(&path, text(task)?)?;
    command.arg("-p").arg(task.folder).arg("-c").arg(path);
    Ok(())
}

fn text(task: &Task<'_>) -> Result<String> {
    let folder = task.folder.to_str().context("the folder's name")?;
    let Task { listen, upstream, workers, .. } = task;
    let (http2, pass) = match task.speaks {
        Speaks::Http1 => ("", "proxy_pass http"),
        Speaks::Http2 => (" http2", "proxy_pass http"),
        Speaks::Grpc => (" http2", "grpc_pass grpc"),
    };
    let mut locations = String::new();
    for route in 0..task.routes {
        writeln!(locations, "    location /r{route}/ {{ {pass}://backend; }}")?;
    }
    Ok(format!(
        "daemon off;
worker_processes {workers};
worker_rlimit_nofile 60000;
error_log stderr crit;
pid {folder}/nginx.pid;
events {{ worker_connections 20000; }}
http {{
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  log_format bench '$remote_addr [$time_iso8601] \"$request\" $status $body_bytes_sent $request_time '
                   '\"$http_user_agent\" $request_id $upstream_addr';
  access_log /dev/null bench buffer=64k flush=1s;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  http2_max_concurrent_streams 1024;
  upstream backend {{ server {upstream}; keepalive 4096; keepalive_requests 1000000000; }}
  server {{
    listen {listen}{http2} reuseport backlog=4096;
    server_name {HOST};
    proxy_http_version 1.1;
    proxy_buffers 8 64k;
    proxy_buffer_size 64k;
    proxy_busy_buffers_size 128k;
    proxy_max_temp_file_size 0;
    proxy_set_header Connection \"\";
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Request-Id $request_id;
    grpc_set_header X-Request-Id $request_id;
{locations}  }}
}}
"
    ))
}
