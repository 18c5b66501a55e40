//! A move in place: the new trees beside the old ones, one step, then the old ones go.

use std::time::Duration;

use lith_drivers::DriverKind;
use lith_store::{Alone, Intent, LayerId, Store};

use super::trees::Trees;
use super::{MigrateError, Migrated};
use crate::damage::NOTE;
use crate::{Graph, Observer};

impl Graph {
    pub(super) fn migrate_here(
        &self,
        kind: &DriverKind,
        patience: Duration,
        observer: &dyn Observer,
    ) -> Result<Migrated, MigrateError> {
        let (root, from, to) = (self.store().root(), self.store().driver(), kind.name());
        if from != to {
            self.refuse_used_trees()?;
            self.refuse_damage()?;
        }
        let swept = self.sweep_drivers(root, [from, to])?;
        let mut migrated = Migrated {
            root: root.path().to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            moved: false,
            layers: self.store().layers()?.len(),
            made: 0,
            bytes: 0,
            swept,
        };
        if from == to {
            return Ok(migrated);
        }
        let mut trees = Trees::new(self, self.begin_trees(root, kind)?, observer);
        if let Err(error) = self.make_and_switch(&mut trees, to, patience, observer) {
            drop(trees);
            return Err(self.give_back(error, from, to));
        }
        migrated.moved = true;
        migrated.made = trees.made();
        migrated.bytes = trees.bytes();
        Ok(migrated)
    }

    /// On a full disk removes the new trees, unless they are the store's by now.
    fn give_back(&self, error: MigrateError, from: &str, to: &str) -> MigrateError {
        let root = self.store().root();
        let unchanged = Store::driver_of(root.path()).is_ok_and(|now| now.as_deref() == Some(from));
        if !error.is_no_space() || !unchanged {
            return error;
        }
        match self.remove_driver(root, to) {
            Ok(()) => MigrateError::NoSpace {
                driver: to.to_owned(),
                source: Box::new(error),
            },
            Err(worse) => worse,
        }
    }

    fn make_and_switch(
        &self,
        trees: &mut Trees<'_>,
        to: &str,
        patience: Duration,
        observer: &dyn Observer,
    ) -> Result<(), MigrateError> {
        let session = self.store().begin()?;
        trees.make_all(&session)?;
        // So that little is left for the time when nobody else can work.
        trees.sync()?;
        trees.make_all(&session)?;
        let alone = self.alone(patience, observer)?;
        self.refuse_used_trees()?;
        self.refuse_damage()?;
        trees.make_all(&session)?;
        trees.settle()?;
        let (from, to) = (self.store().driver().to_owned(), to.to_owned());
        let intent = session.intend(&Intent::SwitchDriver {
            from: from.clone(),
            to: to.clone(),
        })?;
        // An error leaves the intent: who finds it looks which driver the store has.
        self.switch(&alone, &to)?;
        drop(alone);
        if let Err(error) = self.remove_driver(self.store().root(), &from) {
            return Err(MigrateError::OldTrees {
                driver: to,
                former: from,
                source: Box::new(error),
            });
        }
        intent.done()?;
        Ok(session.end()?)
    }

    /// The step itself. What was known of the old trees alone goes.
    fn switch(&self, alone: &Alone<'_>, to: &str) -> Result<(), MigrateError> {
        let layers = self.store().layers()?;
        alone.switch_driver(to)?;
        let noted = layers.iter().filter(|layer| self.has_note(&layer.id));
        let noted: Vec<LayerId> = noted.map(|layer| layer.id).collect();
        for id in noted {
            let _lock = self.store().lock_layer(&id)?;
            let note = self.store().root().layer(&id).join(NOTE);
            self.store().effects().remove_file(&note)?;
        }
        let trees = layers.into_iter().map(|layer| (layer.id, layer.cache));
        Ok(self.store().mark_synced(&trees.collect::<Vec<_>>())?)
    }
}
