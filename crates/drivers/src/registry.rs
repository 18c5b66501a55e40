//! Which drivers there are.

use std::path::Path;

use crate::driver::Driver;
use crate::error::DriverError;
use crate::mount::overlay::probe;
use crate::options::{DriverOptions, Ownership};
use crate::{overlay, vfs};

type Open = fn(&Path, &DriverOptions) -> Result<Box<dyn Driver>, DriverError>;

const DRIVERS: [(&str, Open); 2] = [
    (overlay::NAME, overlay::Overlay::open),
    (vfs::NAME, vfs::Vfs::open),
];
const NAMES: [&str; 2] = [overlay::NAME, vfs::NAME];

/// Returns the names of all drivers.
#[must_use]
pub fn names() -> &'static [&'static str] {
    &NAMES
}

/// Opens the driver called `name` on its folder.
///
/// # Errors
/// When there is no such driver, or it cannot work there.
pub fn open_driver(
    name: &str,
    home: &Path,
    options: &DriverOptions,
) -> Result<Box<dyn Driver>, DriverError> {
    match DRIVERS.iter().find(|(known, _)| *known == name) {
        Some((_, open)) => open(home, options),
        None => Err(DriverError::UnknownDriver {
            name: name.to_owned(),
            known: NAMES.join(", "),
        }),
    }
}

/// Returns the name of the driver that suits an existing folder best: overlay where such mounts
/// work (one is made and taken away again), else vfs.
///
/// With [`Ownership::Recorded`] nothing is mounted, which a user cannot do: overlay is chosen
/// where its layers can be made and the kernel lets a user namespace mount them.
#[must_use]
pub fn default_driver(root: &Path, ownership: Ownership) -> &'static str {
    match probe(root, ownership) {
        Ok(()) => overlay::NAME,
        Err(error) => {
            tracing::debug!(root = %root.display(), %error, "overlay mounts do not work here");
            vfs::NAME
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_and_the_names_agree() {
        assert_eq!(DRIVERS.map(|(name, _)| name), NAMES);
        let Err(error) = open_driver("aufs", Path::new("/nowhere"), &DriverOptions::default())
        else {
            panic!("there is no such driver");
        };
        assert_eq!(
            error.to_string(),
            "no driver is called \"aufs\" (there are: overlay, vfs)"
        );
    }
}
