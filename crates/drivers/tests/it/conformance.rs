//! The conformance suite on the built-in drivers, and on one that is broken on purpose.

use std::path::Path;

use lith_drivers::conformance::{self, Outcome, Report};
use lith_drivers::{
    CacheId, Draft, Driver, DriverError, DriverInfo, DriverOptions, LayerFiles, LayerTree, Mount,
    MountInfo, MountRequest, Parent, Usage, WritableLayers, open_driver,
};

use crate::support::{self, DRIVERS, root};

fn explain(report: &Report) -> String {
    let cases = report.cases.iter();
    let failed = cases.filter(|case| matches!(case.outcome, Outcome::Failed(_)));
    failed
        .map(|case| {
            let reason = case.outcome.reason().unwrap_or_default();
            format!("\n{}: {}: {reason}", case.name, case.asserts)
        })
        .collect()
}

#[test]
fn every_driver_passes() {
    if !root("the conformance suite") {
        return;
    }
    let temp = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let temp = temp.unwrap();
    for driver in DRIVERS {
        let open = |home: &Path| support::open(driver, home, &DriverOptions::default());
        let report = conformance::run(&open, &temp.path().join(driver)).unwrap();
        assert!(report.passed(), "{driver}:{}", explain(&report));
        assert_eq!(report.cases.len(), conformance::cases().len());
        let skipped = report.cases.iter();
        let skipped: Vec<_> = skipped
            .filter(|case| matches!(case.outcome, Outcome::Skipped(_)))
            .map(|case| case.name)
            .collect();
        assert_eq!(
            skipped,
            [
                "graphtest-create-from-template",
                "graphtest-set-quota",
                "graphtest-force-mask",
                "graphtest-supports-shifting",
                "graphtest-foreign-home",
                "snapshots-walk",
                "b29-quota",
                "b31-shifted-owners",
            ],
            "{driver}"
        );
        let left = std::fs::read_dir(temp.path().join(driver)).unwrap().count();
        assert_eq!(left, 0, "{driver} left something behind");
    }
}

/// Does everything right but one thing.
struct Broken {
    inner: Box<dyn Driver>,
    fault: Fault,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    /// Lists a layer that nobody made.
    Lists,
    /// Says that it has every layer.
    HasAll,
    /// Mounts the layer below instead.
    Forgets,
    /// Forgets to say that something is mounted.
    NoMounts,
    /// Removes nothing.
    Keeps,
    /// Has no layers that can be written, and says so.
    ReadOnly,
}

impl Driver for Broken {
    fn info(&self) -> &DriverInfo {
        self.inner.info()
    }
    fn prepare(&self, parent: Parent<'_>) -> Result<Box<dyn Draft>, DriverError> {
        self.inner.prepare(parent)
    }
    fn exists(&self, id: &CacheId) -> Result<bool, DriverError> {
        Ok(self.fault == Fault::HasAll || self.inner.exists(id)?)
    }
    fn list(&self) -> Result<Vec<CacheId>, DriverError> {
        let mut listed = self.inner.list()?;
        if self.fault == Fault::Lists {
            listed.push("nobodys".parse().unwrap());
        }
        Ok(listed)
    }
    fn remove(&self, id: &CacheId) -> Result<(), DriverError> {
        match self.fault {
            Fault::Keeps => Ok(()),
            _ => self.inner.remove(id),
        }
    }
    fn files(&self, id: &CacheId) -> Result<LayerFiles, DriverError> {
        self.inner.files(id)
    }
    fn tree(&self, id: &CacheId) -> Result<LayerTree, DriverError> {
        self.inner.tree(id)
    }
    fn usage(&self, id: &CacheId) -> Result<Usage, DriverError> {
        self.inner.usage(id)
    }
    fn diff_size(&self, id: &CacheId, parent: Option<&CacheId>) -> Result<u64, DriverError> {
        self.inner.diff_size(id, parent)
    }
    fn mount(&self, request: &MountRequest<'_>) -> Result<Mount, DriverError> {
        let first: CacheId = "layer-1".parse().unwrap();
        let mut request = request.clone();
        if self.fault == Fault::Forgets && request.read_only && self.inner.exists(request.layer)? {
            request.layer = &first;
        }
        self.inner.mount(&request)
    }
    fn writable(&self) -> Option<&dyn WritableLayers> {
        self.inner
            .writable()
            .filter(|_| self.fault != Fault::ReadOnly)
    }
    fn mounts(&self) -> Result<Vec<MountInfo>, DriverError> {
        match self.fault {
            Fault::NoMounts => Ok(Vec::new()),
            _ => self.inner.mounts(),
        }
    }
    fn status(&self) -> Result<Vec<(String, String)>, DriverError> {
        self.inner.status()
    }
    fn sweep(&self) -> Result<usize, DriverError> {
        self.inner.sweep()
    }
    fn sync(&self) -> Result<(), DriverError> {
        self.inner.sync()
    }
}

#[test]
fn a_broken_driver_fails_where_it_is_broken() {
    if !root("the conformance suite") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let some = [
        "graphtest-list-layers",
        "b01-empty-layer",
        "b05-root-inherited",
        "b03-remove-missing",
        "b21-unchanged",
        "b40-status",
    ];
    for (fault, expected) in [
        (Fault::Lists, &["graphtest-list-layers"][..]),
        (Fault::HasAll, &["b03-remove-missing", "b01-empty-layer"]),
        (Fault::Forgets, &["b05-root-inherited"]),
        (Fault::NoMounts, &["b40-status"]),
        (Fault::Keeps, &["b03-remove-missing", "b40-status"]),
        (Fault::ReadOnly, &[]),
    ] {
        let open = |home: &Path| {
            let inner = open_driver("overlay", home, &DriverOptions::default())?;
            Ok(Box::new(Broken { inner, fault }) as Box<dyn Driver>)
        };
        let wanted = |name: &str| some.contains(&name);
        let report = conformance::run_some(&open, temp.path(), &wanted).unwrap();
        let mut failed: Vec<_> = report
            .cases
            .iter()
            .filter(|case| matches!(case.outcome, Outcome::Failed(_)))
            .map(|case| case.name)
            .collect();
        let mut expected = expected.to_vec();
        failed.sort_unstable();
        expected.sort_unstable();
        assert_eq!(failed, expected, "{fault:?}:{}", explain(&report));
        if fault == Fault::ReadOnly {
            let case = report
                .cases
                .iter()
                .find(|case| case.name == "b21-unchanged");
            let reason = case.unwrap().outcome.reason().unwrap();
            assert_eq!(reason, "the driver has no layers that can be written");
        }
    }
}
