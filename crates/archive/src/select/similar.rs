//! "Did you mean": names close to one that is not there.

/// How many are offered.
const OFFERED: usize = 3;

/// Longer names are not compared: the cost grows with the square of the length.
const MAX_LENGTH: usize = 256;

/// Those of `names` that `wanted` may have been meant to be, best first.
pub(super) fn similar(wanted: &str, names: &[String]) -> Vec<String> {
    let mut close: Vec<(usize, &String)> = names
        .iter()
        .filter_map(|name| Some((score(wanted, name)?, name)))
        .collect();
    close.sort_unstable();
    close.dedup();
    close
        .into_iter()
        .take(OFFERED)
        .map(|(_, name)| name.clone())
        .collect()
}

/// How far apart a text and a name are; none when too far.
fn score(wanted: &str, name: &str) -> Option<usize> {
    if wanted.len() > MAX_LENGTH || name.len() > MAX_LENGTH {
        return None;
    }
    let (repository, tag) = split(name);
    let (wanted_repository, wanted_tag) = split(wanted);
    let base = |text: &str| {
        text.rsplit('/')
            .next()
            .map(str::to_owned)
            .unwrap_or_default()
    };
    if wanted_repository == repository {
        // The right repository with another tag.
        return Some(distance(
            wanted_tag.unwrap_or_default(),
            tag.unwrap_or_default(),
        ));
    }
    let tags = match (wanted_tag, tag) {
        (Some(wanted), Some(tag)) => distance(wanted, tag).min(2),
        _ => 0,
    };
    let whole = distance(wanted_repository, repository);
    // A name of which the registry or the folder was left out.
    let last = if base(repository) == base(wanted_repository) {
        2
    } else {
        usize::MAX
    };
    let allowed = 1 + wanted_repository.chars().count() / 4;
    let apart = whole.min(last);
    (apart <= allowed.max(2)).then_some(10 + 4 * apart + tags)
}

fn split(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    }
}

/// Letters to be changed, added, removed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at =
                |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = at(&above, j) + usize::from(x != y);
            best = best.min(at(&above, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "abc", 3),
            ("alpine", "alpnie", 1),
            ("debian", "debain", 1),
            ("a", "a", 0),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn close_names_are_offered() {
        let names: Vec<String> = [
            "alpine:3",
            "alpine:latest",
            "debian:12",
            "example.com/team/app:1",
        ]
        .map(str::to_owned)
        .into();
        assert_eq!(
            similar("alpnie", &names).first().map(String::as_str),
            Some("alpine:3")
        );
        assert_eq!(similar("alpine:lates", &names)[0], "alpine:latest");
        assert_eq!(similar("app:1", &names), ["example.com/team/app:1"]);
        assert!(similar("postgres", &names).is_empty());
    }
}
