//! What the figures were measured on.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::e2e::Settings;
use crate::process;

#[derive(Default)]
pub(super) struct Machine {
    processor: String,
    processors: usize,
    kernel: String,
    /// How many processes wanted to run in the last minute, five and fifteen, as the kernel
    /// counts it.
    load: String,
    /// What was measured, and of which version.
    tools: Vec<(String, String)>,
    rounds: usize,
}

impl Machine {
    /// Looks before anything is measured.
    pub(super) fn look(
        lith: &std::path::Path,
        settings: &Settings,
        newer: Option<&Settings>,
        rounds: usize,
    ) -> Machine {
        let mut tools = Vec::new();
        let mut own = Command::new(lith);
        add(&mut tools, "lith", own.arg("--version"));
        let sets = [(Some(settings), ""), (newer, " (Debian 13)")];
        for (settings, suffix) in sets {
            for name in ["skopeo", "podman", "dockerd", "umoci", "tar"] {
                let command = settings.and_then(|settings| settings.command(name).ok());
                if let Some(mut command) = command {
                    add(
                        &mut tools,
                        &format!("{name}{suffix}"),
                        command.arg("--version"),
                    );
                }
            }
        }
        let words = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let info = words("/proc/cpuinfo");
        let model = info.lines().find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split(':').nth(1));
        let load = words("/proc/loadavg");
        let load: Vec<&str> = load.split_whitespace().take(3).collect();
        Machine {
            processor: model.unwrap_or("unknown").trim().to_owned(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: words("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: load.join(" "),
            tools,
            rounds,
        }
    }

    pub(super) fn markdown(&self) -> String {
        let tools = self
            .tools
            .iter()
            .map(|(tool, version)| format!("{tool} {version}"));
        let tools: Vec<String> = tools.collect();
        format!(
            "# Loading and saving images\n\n\
             {} x {}, Linux {}; load average at the start {}; {} round(s), each run on a fresh \
             ext4.\n\n{}.\n",
            self.processors,
            self.processor,
            self.kernel,
            self.load,
            self.rounds,
            tools.join("; "),
        )
    }

    pub(super) fn json(&self) -> Value {
        let tools: serde_json::Map<String, Value> = self
            .tools
            .iter()
            .map(|(tool, version)| (tool.clone(), json!(version)))
            .collect();
        json!({
            "processor": self.processor,
            "processors": self.processors,
            "kernel": self.kernel,
            "load_average": self.load,
            "rounds": self.rounds,
            "versions": tools,
        })
    }
}

/// The first thing in what a tool says of itself that looks like a version.
fn add(tools: &mut Vec<(String, String)>, name: &str, command: &mut Command) {
    let Ok(output) = process::run(command) else {
        return;
    };
    let text = output.text();
    let mut words = text.split_whitespace();
    let version = words.find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    if let Some(version) = version {
        let version = version.trim_end_matches([',', ';']);
        tools.push((name.to_owned(), version.to_owned()));
    }
}
