//! All cases, by subject.

mod crash;
mod failure;
mod formats;
mod graph;
mod input;
pub(crate) mod machine;
mod migrate;
mod names;
mod peers;
mod power;
mod roundtrip;
mod steps;
mod stream;
mod tarsplit;
mod tree;
mod user;
mod writable;

use anyhow::Result;

use super::lab::Lab;
use crate::lith::Driver;

/// Gives what was seen, in a few words.
type Run = Box<dyn Fn(&Lab) -> Result<String>>;

/// A case with its name.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) run: Run,
}

/// Collects the cases of one driver (or of none) under a common prefix.
struct Cases {
    prefix: &'static str,
    cases: Vec<Case>,
}

impl Cases {
    fn new(prefix: &'static str) -> Cases {
        Cases {
            prefix,
            cases: Vec::new(),
        }
    }

    fn add(&mut self, name: &str, run: impl Fn(&Lab) -> Result<String> + 'static) {
        let name = format!("{}/{name}", self.prefix);
        self.cases.push(Case {
            name,
            run: Box::new(run),
        });
    }
}

/// Every case, in the order in which they run.
pub(crate) fn all() -> Vec<Case> {
    let mut all = Vec::new();
    for driver in Driver::ALL {
        let mut cases = Cases::new(driver.name());
        roundtrip::add(&mut cases, driver);
        input::add(&mut cases, driver);
        stream::add(&mut cases, driver);
        tree::add(&mut cases, driver);
        writable::add(&mut cases, driver);
        names::add(&mut cases, driver);
        peers::add(&mut cases, driver);
        failure::add(&mut cases, driver);
        crash::add(&mut cases, driver);
        power::add(&mut cases, driver);
        graph::add(&mut cases, driver);
        machine::add(&mut cases, driver);
        user::add(&mut cases, driver);
        all.append(&mut cases.cases);
    }
    // The plugin: what a driver has a part in.
    let (mut cases, driver) = (Cases::new("btrfs"), Driver::Btrfs);
    roundtrip::add(&mut cases, driver);
    tree::add(&mut cases, driver);
    writable::add(&mut cases, driver);
    crash::add(&mut cases, driver);
    graph::add(&mut cases, driver);
    all.append(&mut cases.cases);
    let mut cases = Cases::new("migrate");
    migrate::add(&mut cases);
    all.append(&mut cases.cases);
    let mut cases = Cases::new("formats");
    formats::add(&mut cases);
    all.append(&mut cases.cases);
    let mut cases = Cases::new("tar-split");
    tarsplit::add(&mut cases);
    all.append(&mut cases.cases);
    all
}
