//! The binary as a plugin of the Container Network Interface: when it is called by the plugin's name.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use crate::app;
use crate::capture::cni::{NAME, Task, read};
use crate::limits::CNI_BYTES_MAX;

/// Whether a runtime has called this process as its plugin.
pub fn is_called(program: Option<&str>) -> bool {
    program.is_some_and(|path| Path::new(path).file_name().is_some_and(|name| name == NAME))
}

/// Does what the runtime asks for.
pub fn run() -> ExitCode {
    let mut input = Vec::new();
    if let Err(error) = std::io::stdin().take(CNI_BYTES_MAX).read_to_end(&mut input) {
        say(&format!("standard input cannot be read: {error}"));
    }
    match read(&input, |name| std::env::var(name).ok()) {
        Ok(Task::Nothing) => ExitCode::SUCCESS,
        Ok(Task::Print(answer)) => print(&answer),
        Ok(Task::Add { ask, netns, socket, wait, result }) => {
            if let Some(ask) = ask {
                let asked =
                    File::open(&netns).and_then(|netns| app::cni::ask(&socket, &ask, &netns.into(), wait));
                // A pod starts, whatever becomes of Weir.
                if let Err(error) = asked {
                    say(&format!("{}/{} starts before it is captured: {error}", ask.namespace, ask.name));
                }
            }
            print(&result)
        }
        Err(error) => {
            print(&error.to_json());
            ExitCode::FAILURE
        }
    }
}

fn print(answer: &Value) -> ExitCode {
    match super::output::json(answer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// To the runtime's log.
fn say(text: &str) {
    use std::io::Write;
    // Nobody can be told when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{NAME}: {text}");
}
