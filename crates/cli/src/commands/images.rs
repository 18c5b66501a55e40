//! `lith images`: what is in the store.

use jiff::Timestamp;
use lith_graph::Graph;
use lith_store::{ImageSummary, IndexMember, Reference, Store};
use serde::Serialize;

use crate::args::ImagesArgs;
use crate::output::{self, table, text};

/// An image in `images --json`; the names are stable.
#[derive(Serialize)]
struct Row<'a> {
    id: String,
    names: Vec<String>,
    digest: Option<String>,
    created: Option<&'a str>,
    architecture: Option<&'a str>,
    os: Option<&'a str>,
    layers: usize,
    size: u64,
    unique_size: u64,
    /// The images in it, where it is one for several platforms.
    members: Vec<Member<'a>>,
}

#[derive(Serialize)]
struct Member<'a> {
    id: String,
    platform: Option<&'a str>,
    digest: String,
}

pub(super) fn run(graph: &Graph, args: &ImagesArgs, quiet: bool) -> anyhow::Result<()> {
    let mut images = find(graph.store(), args.filter.as_deref())?;
    // An image for several platforms stands for those it consists of; who asks for one by its ID
    // gets it.
    if !args.all && args.filter.is_none() {
        images.retain(|image| !image.in_index || !image.names.is_empty());
    }
    if args.json {
        return output::json(&images.iter().map(row).collect::<Vec<_>>());
    }
    if quiet {
        let ids: String = images
            .iter()
            .map(|image| format!("{}\n", image.id))
            .collect();
        return output::print(&ids);
    }
    output::print(&render(&images, args.digests))
}

/// Without a star the index answers, whatever else is in the store.
fn find(store: &Store, filter: Option<&str>) -> anyhow::Result<Vec<ImageSummary>> {
    match filter {
        None => Ok(store.images()?),
        Some(pattern) if pattern.contains('*') => {
            let mut images = store.images()?;
            images.retain(|image| fits(image, pattern));
            Ok(images)
        }
        Some(text) => {
            let mut ids = store.images_by_prefix(text)?;
            if let Ok(name) = Reference::parse_bare(text) {
                if name.tag().is_some() || name.digest().is_some() {
                    ids.extend(store.name(&name)?);
                } else {
                    let tags = store.tags_of_repository(&name)?;
                    ids.extend(tags.into_iter().map(|(_, id)| id));
                }
            }
            ids.sort_unstable();
            ids.dedup();
            Ok(store.images_of(&ids)?)
        }
    }
}

fn row(image: &ImageSummary) -> Row<'_> {
    Row {
        id: image.id.to_string(),
        names: familiar(image),
        digest: image.manifest.as_ref().map(ToString::to_string),
        created: text::date(image.created.as_deref()),
        architecture: image.architecture.as_deref(),
        os: image.os.as_deref(),
        layers: image.layers,
        size: image.size,
        unique_size: image.unique_size,
        members: image.members.iter().map(member).collect(),
    }
}

fn member(member: &IndexMember) -> Member<'_> {
    Member {
        id: member.image.to_string(),
        platform: member.platform.as_deref(),
        digest: member.manifest.to_string(),
    }
}

fn familiar(image: &ImageSummary) -> Vec<String> {
    let mut names: Vec<String> = image.names.iter().map(|name| name.familiar()).collect();
    names.sort_unstable();
    names
}

fn render(images: &[ImageSummary], digests: bool) -> String {
    let now = Timestamp::now();
    let mut heading = vec!["REPOSITORY", "TAG"];
    if digests {
        heading.push("DIGEST");
    }
    heading.extend(["IMAGE ID", "CREATED", "SIZE", "SHARED"]);
    let mut rows = Vec::new();
    for image in images {
        let mut names: Vec<(String, String)> = image
            .names
            .iter()
            .map(|name| {
                let tag = name.tag().unwrap_or("<none>");
                (name.familiar_repository().to_owned(), tag.to_owned())
            })
            .collect();
        names.sort_unstable();
        if names.is_empty() {
            names.push(("<none>".into(), "<none>".into()));
        }
        for (repository, tag) in names {
            let mut cells = vec![text::escape(&repository), text::escape(&tag)];
            if digests {
                cells.push(
                    image
                        .manifest
                        .as_ref()
                        .map_or("<none>".into(), ToString::to_string),
                );
            }
            cells.push(image.id.hex().chars().take(12).collect());
            cells.push(text::ago(image.created.as_deref(), now));
            cells.push(text::size(image.size));
            cells.push(text::size(image.size.saturating_sub(image.unique_size)));
            rows.push(cells);
        }
    }
    table::render(&heading, &rows)
}

/// Whether a name of an image, or its repository, is like a pattern.
fn fits(image: &ImageSummary, pattern: &str) -> bool {
    image.names.iter().any(|name| {
        let full = name.to_string();
        let familiar = name.familiar();
        let repositories = [name.repository(), name.familiar_repository()];
        [full.as_str(), familiar.as_str()]
            .into_iter()
            .chain(repositories)
            .any(|candidate| matches(pattern.as_bytes(), candidate.as_bytes()))
    })
}

/// Compares with a pattern in which `*` stands for any bytes. Linear in the text for each star.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let mut parts = pattern.split(|&byte| byte == b'*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let found =
            (0..=rest.len()).find(|&at| rest.get(at..).is_some_and(|r| r.starts_with(part)));
        match found.and_then(|at| rest.get(at + part.len()..)) {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, text, expected) in [
            ("app", "app", true),
            ("app", "apps", false),
            ("app*", "app:1", true),
            ("*app", "my/app", true),
            ("a*p*1", "app:1", true),
            ("a*b*1", "app:1", false),
            ("*", "", true),
            ("a**", "a", true),
            ("aa*aa", "aaa", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }
}
