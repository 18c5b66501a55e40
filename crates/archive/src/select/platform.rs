//! Which image of an index: the one for the platform that is asked for, or for this machine.

use lith_store::{ImageId, ImageRecord, IndexMember, Store};

use crate::SelectError;
use crate::oci::Platform;

/// The image that `id` stands for: itself, or where it is an index, its image for `platform`,
/// which is this machine's when nothing is said.
///
/// # Errors
/// [`SelectError::NoPlatform`], which lists what there is, also for an image that is for another
/// platform than the one that is asked for.
pub fn pick(
    store: &Store,
    id: &ImageId,
    platform: Option<&Platform>,
) -> Result<ImageId, SelectError> {
    let members = store.members_of(id)?;
    if !members.is_empty() {
        return best(id, &members, platform);
    }
    let Some(wanted) = platform else {
        return Ok(*id);
    };
    match store.image(id)? {
        Some(image) => check(&image, wanted).map(|()| *id),
        // Removed since; whoever opens it says so.
        None => Ok(*id),
    }
}

/// Refuses an image that is for another platform.
pub(crate) fn check(image: &ImageRecord, wanted: &Platform) -> Result<(), SelectError> {
    match Platform::of_image(image) {
        Some(own) if own.fits(wanted) => Ok(()),
        own => Err(SelectError::NoPlatform {
            image: image.id,
            wanted: Box::new(wanted.clone()),
            available: own.iter().map(Platform::to_string).collect(),
        }),
    }
}

/// The member of an index that fits best.
pub(crate) fn best(
    index: &ImageId,
    members: &[IndexMember],
    platform: Option<&Platform>,
) -> Result<ImageId, SelectError> {
    let wanted = platform.cloned().unwrap_or_else(Platform::here);
    let rank = |member: &IndexMember| {
        let own: Platform = member.platform.as_ref()?.parse().ok()?;
        Some((own.rank(&wanted)?, member.image))
    };
    let best = members
        .iter()
        .filter_map(rank)
        .min_by_key(|(rank, _)| *rank);
    let available = members.iter().filter_map(|member| member.platform.clone());
    match best {
        Some((_, image)) => Ok(image),
        None => Err(SelectError::NoPlatform {
            image: *index,
            wanted: Box::new(wanted),
            available: available.collect(),
        }),
    }
}
