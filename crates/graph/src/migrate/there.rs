//! A move into a new root: a copy of everything, with other trees. The old root stays as it is.

use std::path::Path;
use std::time::Duration;

use lith_drivers::DriverKind;
use lith_store::RootCopy;

use super::trees::Trees;
use super::{MigrateError, Migrated};
use crate::damage::NOTE;
use crate::{Event, Graph, Observer};

/// What was found to be wrong with the old trees says nothing of the new ones.
const LEFT_OUT: &[&str] = &[NOTE];

impl Graph {
    pub(super) fn migrate_there(
        &self,
        kind: &DriverKind,
        root: &Path,
        patience: Duration,
        observer: &dyn Observer,
    ) -> Result<Migrated, MigrateError> {
        self.refuse_damage()?;
        let mut migrated = Migrated {
            root: root.to_owned(),
            from: self.store().driver().to_owned(),
            to: kind.name().to_owned(),
            moved: false,
            layers: self.store().layers()?.len(),
            made: 0,
            bytes: 0,
            swept: Vec::new(),
        };
        let Some(copy) = RootCopy::begin(self.store(), root)? else {
            return Ok(migrated);
        };
        self.tell_of_writable_layers(observer)?;
        let to = kind.name();
        migrated.root = copy.root().path().to_owned();
        migrated.swept = self.sweep_drivers(copy.root(), [to, to])?;
        let mut trees = Trees::new(self, self.begin_trees(copy.root(), kind)?, observer);
        let filled = self.fill(&copy, &mut trees, patience, observer);
        migrated.made = trees.made();
        migrated.bytes = trees.bytes();
        drop(trees);
        match filled.and_then(|alone| Ok(copy.complete(&alone, to, kind.plugin())?)) {
            Ok(store) => migrated.layers = store.layers()?.len(),
            Err(error) if error.is_no_space() => {
                self.remove_driver(copy.root(), to)?;
                copy.discard()?;
                return Err(MigrateError::NoSpace {
                    driver: to.to_owned(),
                    source: Box::new(error),
                });
            }
            Err(error) => return Err(error),
        }
        migrated.moved = true;
        Ok(migrated)
    }

    fn fill(
        &self,
        copy: &RootCopy<'_>,
        trees: &mut Trees<'_>,
        patience: Duration,
        observer: &dyn Observer,
    ) -> Result<lith_store::Alone<'_>, MigrateError> {
        let session = self.store().begin()?;
        trees.make_all(&session)?;
        // So that little is left for the time when nobody else can work.
        trees.sync()?;
        copy.mirror(LEFT_OUT)?;
        trees.make_all(&session)?;
        let alone = self.alone(patience, observer)?;
        self.refuse_damage()?;
        trees.make_all(&session)?;
        trees.settle()?;
        // Twice at most: what is there is compared with what was copied.
        if copy.mirror(LEFT_OUT)? > 0 && copy.mirror(LEFT_OUT)? > 0 {
            return Err(MigrateError::Restless {
                root: self.store().root().path().to_owned(),
            });
        }
        session.end()?;
        Ok(alone)
    }

    fn tell_of_writable_layers(&self, observer: &dyn Observer) -> Result<(), MigrateError> {
        let layers = self.writable_ids()?;
        if !layers.is_empty() {
            let message = format!(
                "layers that can be written are not copied, and stay in the old store: {}",
                layers.join(", ")
            );
            observer.event(&Event::Warning { message: &message });
        }
        Ok(())
    }
}
