//! The graph under load: many processes, sudden ends, long chains, many images, removal.

mod at_once;
mod chain;
mod free;
mod killed;
mod scale;
mod stopped;
mod turmoil;

use super::Cases;
use crate::lith::Driver;

pub(super) fn add(cases: &mut Cases, driver: Driver) {
    at_once::add(cases, driver);
    turmoil::add(cases, driver);
    killed::add(cases, driver);
    stopped::add(cases, driver);
    // Every snapshot waits for the disk: a thousand would take minutes and show nothing more.
    if driver != Driver::Btrfs {
        chain::add(cases, driver);
        scale::add(cases, driver);
    }
    free::add(cases, driver);
}
