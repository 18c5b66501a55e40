//! `lith events`: what was done to the store.

use std::time::Duration;

use anyhow::bail;
use lith_graph::Graph;
use lith_store::Event;

use crate::args::EventsArgs;
use crate::output::{self, text};

/// Events asked for at once.
const PAGE: usize = 1000;

/// How often `--follow` looks for more.
const POLL: Duration = Duration::from_millis(250);

pub(super) fn run(graph: &Graph, args: &EventsArgs) -> anyhow::Result<()> {
    let mut after = 0;
    let mut all = Vec::new();
    loop {
        let page = graph.store().events(after, PAGE)?;
        after = page.last().map_or(after, |event| event.seq);
        let full = page.len() == PAGE;
        if args.json && !args.follow {
            all.extend(page);
        } else {
            print(&page, args.json)?;
        }
        if full {
            continue;
        }
        if !args.follow {
            break;
        }
        std::thread::sleep(POLL);
        if crate::interrupt::signal().is_some() {
            bail!("interrupted");
        }
    }
    if args.json {
        output::json(&all)
    } else {
        Ok(())
    }
}

fn print(events: &[Event], json: bool) -> anyhow::Result<()> {
    let mut lines = String::new();
    for event in events {
        if json {
            lines.push_str(&serde_json::to_string(event)?);
        } else {
            lines.push_str(&line(event));
        }
        lines.push('\n');
    }
    output::print(&lines)
}

fn line(event: &Event) -> String {
    let image = event
        .image
        .map_or_else(|| "-".to_owned(), |id| id.to_string());
    let subject = text::escape(event.subject.as_deref().unwrap_or_default());
    format!("{} {} {image} {subject}", event.time, event.kind)
        .trim_end()
        .to_owned()
}
