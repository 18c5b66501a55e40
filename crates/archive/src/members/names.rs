//! Member names: which spelling means which member, and where links lead.

/// Why a name inside an archive cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadName {
    Absolute,
    Outside,
    Empty,
}

impl BadName {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            BadName::Absolute => "it is absolute",
            BadName::Outside => "it leads out of the archive",
            BadName::Empty => "it names nothing",
        }
    }
}

/// The one spelling under which a member is kept: `./a//b/` is `a/b`.
pub(crate) fn clean(path: &[u8]) -> Result<Vec<u8>, BadName> {
    join(&[], path)
}

/// Where a link with `target` leads that stands at the cleaned name `link`.
pub(crate) fn follow(link: &[u8], target: &[u8]) -> Result<Vec<u8>, BadName> {
    let folder = match link.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => link.get(..slash).unwrap_or_default(),
        None => &[],
    };
    join(folder, target)
}

fn join(folder: &[u8], path: &[u8]) -> Result<Vec<u8>, BadName> {
    if path.first() == Some(&b'/') {
        return Err(BadName::Absolute);
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in folder
        .split(|byte| *byte == b'/')
        .chain(path.split(|byte| *byte == b'/'))
    {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop().ok_or(BadName::Outside)?;
            }
            _ => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Err(BadName::Empty);
    }
    Ok(parts.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling() {
        assert_eq!(clean(b"./a//b/./c/"), Ok(b"a/b/c".to_vec()));
        assert_eq!(clean(b"././manifest.json"), Ok(b"manifest.json".to_vec()));
        assert_eq!(clean(b"/etc/passwd"), Err(BadName::Absolute));
        assert_eq!(clean(b"../x"), Err(BadName::Outside));
        assert_eq!(clean(b"a/../../x"), Err(BadName::Outside));
        assert_eq!(clean(b"./"), Err(BadName::Empty));
    }

    #[test]
    fn links() {
        assert_eq!(follow(b"v1/layer.tar", b"../x.tar"), Ok(b"x.tar".to_vec()));
        assert_eq!(follow(b"layer.tar", b"x.tar"), Ok(b"x.tar".to_vec()));
        assert_eq!(follow(b"a/b", b"c"), Ok(b"a/c".to_vec()));
        assert_eq!(follow(b"a/b", b"../../c"), Err(BadName::Outside));
        assert_eq!(follow(b"a/b", b"/c"), Err(BadName::Absolute));
    }
}
