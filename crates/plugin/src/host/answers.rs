//! What a driver says while a function of it is called, and what is made of it.
//!
//! A driver is given no pointer to anything of lith, but a number that is good for one call in one thread.
//! So it may call back late, from elsewhere, or with nonsense, and nothing is touched; it is noted
//! and is an error of the call, or of the driver's next.
#![allow(
    unsafe_code,
    reason = "the functions that drivers call get what they call strings"
)]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::without_provenance_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::abi::{Call, Host, LITH_ABI_VERSION, LITH_DONE, LITH_FAILED, LITH_PANICKED, Text};
use crate::fault::Fault;
use crate::text::{self, WORDS};

/// The longest path of a directory. Paths in trees have no limit, but none is that deep.
const PATH: usize = 1 << 20;
/// What one call may tell in all.
const TOLD: usize = 64 << 20;
/// What each thing told counts beside its bytes.
const EACH: usize = 32;

/// What lith offers drivers.
pub(super) static HOST: Host = Host {
    abi_version: LITH_ABI_VERSION,
    size: size_of::<Host>() as u32,
    fail: Some(fail),
    changed: Some(changed),
    fact: Some(fact),
};

/// What a function told that is done.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) paths: Vec<Vec<u8>>,
    pub(super) facts: Vec<(String, String)>,
}

/// How a function ended that is not done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Failed { errno: Option<i32>, message: String },
    Broken(Fault),
}

/// A call under way.
struct Answers {
    /// What the driver knows it by.
    token: usize,
    reason: Option<(i32, String)>,
    told: Told,
    /// How much that is.
    size: usize,
    /// The first thing that it did wrong.
    fault: Option<Fault>,
}

thread_local! {
    /// The calls under way in this thread: one, unless a driver uses lith in turn.
    static UNDER_WAY: RefCell<Vec<Answers>> = const { RefCell::new(Vec::new()) };
}

/// The callers whose drivers used a call that was not under way in that thread.
static STRAYED: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

/// The numbers of callers; each stands in the upper half of its calls' tokens.
static CALLERS: AtomicUsize = AtomicUsize::new(1);
const HALF: u32 = usize::BITS / 2;

/// Calls one opened driver.
#[derive(Debug)]
pub(super) struct Caller {
    number: usize,
    calls: AtomicUsize,
}

impl Caller {
    pub(super) fn new() -> Self {
        Self {
            number: CALLERS.fetch_add(1, Ordering::Relaxed),
            calls: AtomicUsize::new(1),
        }
    }

    /// Calls a function: `run` is given what the function is to be given as its call, and returns its
    /// status. What it said counts only after it has returned.
    pub(super) fn call(&self, run: impl FnOnce(*mut Call) -> i32) -> Result<Told, Ended> {
        self.strayed()?;
        let low = (1 << HALF) - 1;
        let token = (self.number << HALF) | (self.calls.fetch_add(1, Ordering::Relaxed) & low);
        UNDER_WAY.with_borrow_mut(|calls| {
            calls.push(Answers {
                token,
                reason: None,
                told: Told::default(),
                size: 0,
                fault: None,
            });
        });
        let status = run(without_provenance_mut(token));
        let answers = UNDER_WAY.with_borrow_mut(Vec::pop);
        self.strayed()?;
        match answers {
            Some(answers) => answers.verdict(status),
            None => Err(Ended::Broken(Fault::Stray)),
        }
    }

    fn strayed(&self) -> Result<(), Ended> {
        let mut strayed = STRAYED.lock().unwrap_or_else(PoisonError::into_inner);
        match strayed.remove(&self.number) {
            true => Err(Ended::Broken(Fault::Stray)),
            false => Ok(()),
        }
    }
}

impl Answers {
    fn verdict(self, status: i32) -> Result<Told, Ended> {
        if let Some(fault) = self.fault {
            return Err(Ended::Broken(fault));
        }
        let reason = self.reason;
        let message = |reason: Option<(i32, String)>| reason.map(|(_, message)| message);
        match status {
            LITH_DONE => match message(reason) {
                Some(message) => Err(Ended::Broken(Fault::Undecided { message })),
                None => Ok(self.told),
            },
            LITH_FAILED => {
                let (errno, message) = reason.unwrap_or_default();
                Err(Ended::Failed {
                    errno: (errno != 0).then_some(errno),
                    message,
                })
            }
            LITH_PANICKED => Err(Ended::Broken(Fault::Panicked {
                message: message(reason).unwrap_or_else(|| "no message".to_owned()),
            })),
            found => Err(Ended::Broken(Fault::Status { found })),
        }
    }

    /// Makes room for what is told.
    fn room(&mut self, bytes: usize) -> Result<(), Fault> {
        self.size += bytes + EACH;
        if self.size > TOLD {
            return Err(Fault::Much { limit: TOLD });
        }
        Ok(())
    }
}

/// Finds the call that a driver names and does something to it; says whether that went well.
fn answer(call: *mut Call, what: impl FnOnce(&mut Answers) -> Result<(), Fault>) -> i32 {
    let done = catch_unwind(AssertUnwindSafe(|| {
        UNDER_WAY
            .try_with(|calls| {
                let mut calls = calls.try_borrow_mut().ok()?;
                let Some(answers) = calls.iter_mut().rev().find(|a| a.token == call.addr()) else {
                    stray(call.addr(), calls.last_mut());
                    return None;
                };
                what(answers).map_err(|fault| note(answers, fault)).ok()
            })
            // The thread is about to end, and is in no call.
            .unwrap_or_else(|_| {
                stray(call.addr(), None);
                None
            })
    }));
    match done {
        Ok(Some(())) => LITH_DONE,
        _ => LITH_FAILED,
    }
}

fn note(answers: &mut Answers, fault: Fault) {
    answers.fault.get_or_insert(fault);
}

/// Blames whoever has a number like this, and whoever is being called.
fn stray(token: usize, here: Option<&mut Answers>) {
    let caller = token >> HALF;
    if (1..CALLERS.load(Ordering::Relaxed)).contains(&caller) {
        let mut strayed = STRAYED.lock().unwrap_or_else(PoisonError::into_inner);
        strayed.insert(caller);
    } else if let Some(answers) = here {
        note(answers, Fault::Stray);
    }
}

fn wrong(what: &'static str) -> impl Fn(text::TextFault) -> Fault {
    move |fault| Fault::Text { what, fault }
}

/// `lith_host.fail`.
///
/// # Safety
/// The message is a text.
unsafe extern "C" fn fail(call: *mut Call, error_number: i32, message: Text) {
    answer(call, |answers| {
        // SAFETY: the promise of the caller, which is the driver.
        let message = unsafe { text::bytes(message, WORDS) };
        let message = message.map_err(wrong("a reason for failing"))?;
        if !(0..4096).contains(&error_number) {
            return Err(Fault::Errno {
                found: error_number,
            });
        }
        answers.reason = Some((error_number, text::shown(&message)));
        Ok(())
    });
}

/// `lith_host.changed`.
///
/// # Safety
/// The path is a text.
unsafe extern "C" fn changed(call: *mut Call, path: Text) -> i32 {
    answer(call, |answers| {
        // SAFETY: the promise of the caller, which is the driver.
        let path = unsafe { text::bytes(path, PATH) };
        let path = path.map_err(wrong("a changed directory"))?;
        if !is_below(&path) {
            return Err(Fault::Path {
                path: text::shown(path.get(..256).unwrap_or(&path)),
            });
        }
        answers.room(path.len())?;
        answers.told.paths.push(path);
        Ok(())
    })
}

/// `lith_host.fact`.
///
/// # Safety
/// Both are texts.
unsafe extern "C" fn fact(call: *mut Call, name: Text, value: Text) -> i32 {
    answer(call, |answers| {
        // SAFETY: the promise of the caller, which is the driver.
        let name = unsafe { text::words(name, WORDS) }.map_err(wrong("a fact's name"))?;
        // SAFETY: as above.
        let value = unsafe { text::words(value, WORDS) }.map_err(wrong("a fact"))?;
        if name.is_empty() {
            return Err(wrong("a fact's name")(text::TextFault::Empty));
        }
        answers.room(name.len() + value.len())?;
        answers.told.facts.push((name, value));
        Ok(())
    })
}

/// Whether a path can be one below a tree: names with a slash between, none that leads elsewhere.
fn is_below(path: &[u8]) -> bool {
    path.is_empty()
        || (!path.contains(&0)
            && path
                .split(|byte| *byte == b'/')
                .all(|name| !matches!(name, b"" | b"." | b"..")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::lend;

    fn say(call: *mut Call, errno: i32, message: &[u8]) {
        // SAFETY: the message is borrowed for the call.
        unsafe { fail(call, errno, lend(message)) }
    }

    fn name(call: *mut Call, path: &[u8]) -> i32 {
        // SAFETY: the path is borrowed for the call.
        unsafe { changed(call, lend(path)) }
    }

    #[test]
    fn what_is_told_counts_when_the_function_is_done() {
        let caller = Caller::new();
        let told = caller.call(|call| name(call, b"").max(name(call, b"a/b")));
        assert_eq!(told.unwrap().paths, [b"".to_vec(), b"a/b".to_vec()]);
        let failed = caller.call(|call| {
            say(call, 0, b"first");
            say(call, 28, b"write\n\xff");
            LITH_FAILED
        });
        assert_eq!(
            failed.unwrap_err(),
            Ended::Failed {
                errno: Some(28),
                message: "write\\n\\xff".to_owned()
            }
        );
    }

    #[test]
    fn statuses_and_reasons_must_agree() {
        let caller = Caller::new();
        let mute = caller.call(|_| LITH_FAILED).unwrap_err();
        let nothing = Ended::Failed {
            errno: None,
            message: String::new(),
        };
        assert_eq!(mute, nothing);
        let found = 77;
        assert_eq!(
            caller.call(|_| found).unwrap_err(),
            Ended::Broken(Fault::Status { found })
        );
        let both = caller.call(|call| {
            say(call, 0, b"no");
            LITH_DONE
        });
        let message = "no".to_owned();
        assert_eq!(
            both.unwrap_err(),
            Ended::Broken(Fault::Undecided { message })
        );
        let negative = caller.call(|call| {
            say(call, -28, b"write");
            LITH_FAILED
        });
        assert_eq!(
            negative.unwrap_err(),
            Ended::Broken(Fault::Errno { found: -28 })
        );
    }

    #[test]
    fn a_call_is_good_until_it_ends_and_in_its_thread() {
        let (caller, other) = (Caller::new(), Caller::new());
        let mut kept = 0;
        caller
            .call(|call| {
                kept = call.addr();
                LITH_DONE
            })
            .unwrap();
        let late = || without_provenance_mut::<Call>(kept);
        assert_eq!(name(late(), b"a"), LITH_FAILED);
        // Whose call it was is blamed, and only once.
        assert!(other.call(|_| LITH_DONE).is_ok());
        let stray = Ended::Broken(Fault::Stray);
        assert_eq!(caller.call(|_| LITH_DONE).unwrap_err(), stray);
        assert!(caller.call(|_| LITH_DONE).is_ok());

        let elsewhere = caller.call(|call| {
            let token = call.addr();
            std::thread::spawn(move || name(without_provenance_mut(token), b"a"))
                .join()
                .unwrap();
            LITH_DONE
        });
        assert_eq!(elsewhere.unwrap_err(), stray);
        let nonsense = caller.call(|_| {
            name(std::ptr::null_mut(), b"a");
            LITH_DONE
        });
        assert_eq!(nonsense.unwrap_err(), stray);
        assert_eq!(name(std::ptr::null_mut(), b"a"), LITH_FAILED);
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for path in ["/", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\0b"] {
            let caller = Caller::new();
            let told = caller.call(|call| {
                assert_eq!(name(call, path.as_bytes()), LITH_FAILED);
                LITH_DONE
            });
            let Err(Ended::Broken(Fault::Path { .. })) = told else {
                panic!("{path}: {told:?}");
            };
        }
    }
}
