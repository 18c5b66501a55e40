//! Progress on a terminal, and nothing where there is none.

use std::io::{self, IsTerminal};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lith_graph::{Event, Observer};

use crate::output::{error, text};

/// Shows what the libraries report.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    layers: Mutex<u64>,
}

impl Progress {
    /// A bar on standard error, when that is a terminal and `quiet` is not asked for.
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = (!quiet && io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self {
            bar,
            quiet,
            layers: Mutex::new(0),
        }
    }

    fn message(&self, done: &str) {
        if let Some(bar) = &self.bar {
            let layers = self.layers.lock().map_or(0, |count| *count);
            bar.set_message(format!("layer {}: {done}", layers + 1));
        }
    }
}

impl Observer for Progress {
    fn event(&self, event: &Event<'_>) {
        match *event {
            Event::LayerStart { label, .. } => self.message(&text::escape(label)),
            Event::LayerBytes { label, done } => {
                self.message(&format!("{} of {}", text::size(done), text::escape(label)));
            }
            Event::LayerDone { .. } => {
                if let Ok(mut layers) = self.layers.lock() {
                    *layers += 1;
                }
            }
            Event::Warning { message } if !self.quiet => {
                let note = || error::print_line(&format!("warning: {}", text::escape(message)));
                match &self.bar {
                    Some(bar) => bar.suspend(note),
                    None => note(),
                }
            }
            _ => {}
        }
    }

    fn cancelled(&self) -> bool {
        crate::interrupt::signal().is_some()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
