//! Which of several manifests is taken: indexes within indexes, and platforms.

use lith_store::Digest;

use super::Reader;
use super::entries::Entry;
use crate::oci::{Descriptor, Document, Kind, Platform};
use crate::{LoadError, config};

/// Indexes within indexes.
pub(super) const MAX_DEPTH: usize = 16;
/// Manifests of one image, for all its platforms.
pub(super) const MAX_MANIFESTS: usize = 10_000;

/// Marks what belongs to an image and is none, as BuildKit writes it.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// A manifest, and which document lists it.
pub(super) type Listed = (Descriptor, String);

impl Reader<'_> {
    /// The manifest of an entry for the platform that is wanted; none when it holds no image.
    ///
    /// A manifest that stands alone is taken whatever it is for.
    pub(super) fn pick(&mut self, entry: &Entry) -> Result<Option<Listed>, LoadError> {
        let listed = |descriptor: &Descriptor| (descriptor.clone(), "index.json".to_owned());
        if let [only] = &entry.descriptors[..]
            && only.media_type.kind() == Kind::Manifest
            && !is_no_image(only)
        {
            return Ok(Some(listed(only)));
        }
        let all = entry.descriptors.iter().map(listed).collect();
        self.pick_for_platform(all, &entry.label())
    }

    /// As `pick`, for any list of manifests and indexes.
    pub(crate) fn pick_for_platform(
        &mut self,
        list: Vec<Listed>,
        label: &str,
    ) -> Result<Option<Listed>, LoadError> {
        let before = self.left_out.len();
        let mut found = Vec::new();
        for listed in list {
            self.manifests(listed, &mut Vec::new(), &mut found)?;
        }
        if found.is_empty() {
            if self.left_out.len() == before {
                self.left_out.push(format!("{label} is not an image"));
            }
            return Ok(None);
        }
        let wanted = match self.platform {
            Some(wanted) => wanted.clone(),
            None => Platform::here(),
        };
        let mut available = Vec::new();
        let mut best: Option<(usize, Listed)> = None;
        for (descriptor, wanted_by) in found {
            let Some(platform) = self.platform_of(&descriptor, &wanted_by)? else {
                continue;
            };
            if let Some(rank) = platform.rank(&wanted)
                && best.as_ref().is_none_or(|(other, _)| rank < *other)
            {
                best = Some((rank, (descriptor, wanted_by)));
            }
            available.push(platform.to_string());
        }
        match best {
            Some((_, listed)) => Ok(Some(listed)),
            None => Err(LoadError::NoPlatform {
                image: label.to_owned(),
                wanted: Box::new(wanted),
                available,
            }),
        }
    }

    /// All manifests of images below a descriptor, in their order.
    fn manifests(
        &mut self,
        (descriptor, wanted_by): Listed,
        above: &mut Vec<Digest>,
        found: &mut Vec<Listed>,
    ) -> Result<(), LoadError> {
        if is_no_image(&descriptor) {
            return Ok(());
        }
        let kind = descriptor.media_type.kind();
        if kind == Kind::Manifest {
            if found.len() >= MAX_MANIFESTS {
                let (what, limit) = ("manifests of one image", MAX_MANIFESTS);
                return Err(LoadError::TooMany { what, limit });
            }
            found.push((descriptor, wanted_by));
            return Ok(());
        }
        if kind != Kind::Index {
            self.left_out.push(format!(
                "{} is left out: {:?} is not an image",
                descriptor.digest,
                descriptor.media_type.as_str()
            ));
            return Ok(());
        }
        if above.contains(&descriptor.digest) || above.len() >= MAX_DEPTH {
            let (what, limit) = ("indexes within each other", MAX_DEPTH);
            return Err(LoadError::TooMany { what, limit });
        }
        let (_, document) = self.blobs.manifest(&descriptor, &wanted_by)?;
        let Document::Index(index) = document else {
            return Ok(());
        };
        above.push(descriptor.digest);
        let listed_by = format!("index {}", descriptor.digest);
        for below in index.manifests {
            self.manifests((below, listed_by.clone()), above, found)?;
        }
        above.pop();
        Ok(())
    }

    /// What a manifest is for: its index says it, or its config; none when neither does, or
    /// when it is not there.
    fn platform_of(
        &mut self,
        descriptor: &Descriptor,
        wanted_by: &str,
    ) -> Result<Option<Platform>, LoadError> {
        if descriptor.platform.is_some() {
            return Ok(descriptor.platform.clone());
        }
        let read = |reader: &mut Self| {
            let (_, document) = reader.blobs.manifest(descriptor, wanted_by)?;
            let Document::Manifest(manifest) = document else {
                return Ok(None);
            };
            if manifest.config.media_type.kind() != Kind::Config {
                return Ok(None);
            }
            let by = format!("manifest {}", descriptor.digest);
            let config = reader.blobs.config(&manifest.config, &by)?;
            let facts = config::parse(&config).ok();
            Ok(facts.as_ref().and_then(Platform::of_config))
        };
        match read(self) {
            // An index may list what was not copied with it.
            Err(LoadError::MissingMember { .. }) => Ok(None),
            other => other,
        }
    }
}

/// True for attestations and the like.
pub(super) fn is_no_image(descriptor: &Descriptor) -> bool {
    descriptor.annotations.contains_key(REFERENCE_TYPE)
        || descriptor
            .platform
            .as_ref()
            .is_some_and(Platform::is_unknown)
}
