//! The plugin's side: a Rust type as a table of C functions.
//!
//! For [`export_driver!`](crate::export_driver) alone.
#![allow(unsafe_code, reason = "C calls this, with pointers")]

use std::any::Any;
use std::ffi::{CString, OsString, c_int, c_void};
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::abi::{
    Call, Driver, Host, LITH_ABI_VERSION, LITH_DONE, LITH_FAILED, LITH_PANICKED,
    LITH_POWER_CHANGED, LITH_POWER_SEAL, LITH_POWER_SNAPSHOT, Text,
};
use crate::backend::{Plugin, Powers};
use crate::error::BackendError;
use crate::text::{self, WORDS, lend};

/// Exports a driver: makes the function by which lith finds it.
///
/// For a type that is a [`Plugin`](crate::Plugin), once in a crate whose `crate-type` is `cdylib`. The crate
/// may forbid `unsafe_code`. It must not be built with `panic = "abort"`: panics of the driver are
/// caught and become errors.
///
/// The crate's documentation has an example. A name that no driver can have does not compile:
///
/// ```compile_fail,E0080
/// # use std::{ffi::CStr, os::fd::BorrowedFd, path::Path};
/// # use lith_plugin::{Backend, BackendError, BackendInfo, Plugin, Powers, export_driver};
/// # #[derive(Debug)]
/// # struct Plain(BackendInfo);
/// # impl Backend for Plain {
/// #     fn info(&self) -> &BackendInfo { &self.0 }
/// #     fn create(&self, _: BorrowedFd<'_>, _: &CStr) -> Result<(), BackendError> { Ok(()) }
/// #     fn remove(&self, _: BorrowedFd<'_>, _: &CStr) -> Result<(), BackendError> { Ok(()) }
/// # }
/// impl Plugin for Plain {
///     const NAME: &'static str = "Plain";
/// #   const VERSION: &'static str = "1";
/// #   const POWERS: Powers = Powers::NONE;
/// #   fn open(_: &Path) -> Result<Self, BackendError> { Ok(Self(BackendInfo::of::<Self>())) }
///     // ...
/// }
///
/// export_driver!(Plain);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_driver {
    ($driver:ty) => {
        const _: () = {
            assert!(
                $crate::is_driver_name(<$driver as $crate::Plugin>::NAME),
                "a driver's name has 1 to 32 of a-z, 0-9 and -, the first a letter"
            );

            #[unsafe(no_mangle)]
            unsafe extern "C" fn lith_driver_plugin(
                host: *const $crate::abi::Host,
            ) -> *const $crate::abi::Driver {
                // SAFETY: lith calls this, as the ABI says.
                unsafe { $crate::export::entry::<$driver>(host) }
            }
        };
    };
}

/// The lith that loaded this plugin.
static HOST: OnceLock<&'static Host> = OnceLock::new();

/// What the exported function does.
///
/// # Safety
/// `host` is null or the table of a lith, which stays.
pub unsafe fn entry<P: Plugin>(host: *const Host) -> *const Driver {
    if host.is_null() {
        return std::ptr::null();
    }
    // SAFETY: tables of all versions begin with two such numbers.
    let [version, size] = unsafe { host.cast::<[u32; 2]>().read() };
    // Another version's table is not touched, and lith refuses ours: it can say more about it.
    if version == LITH_ABI_VERSION && size as usize >= size_of::<Host>() {
        // SAFETY: it is a table of this version, at least as long as ours, and it stays.
        let _ = HOST.set(unsafe { &*host });
    }
    Exported::<P>::DRIVER
}

struct Exported<P>(PhantomData<P>);

impl<P: Plugin> Exported<P> {
    const DRIVER: &'static Driver = &Driver {
        abi_version: LITH_ABI_VERSION,
        size: size_of::<Driver>() as u32,
        powers: powers(P::POWERS),
        name: lend(P::NAME.as_bytes()),
        version: lend(P::VERSION.as_bytes()),
        open: Some(open::<P>),
        close: Some(close::<P>),
        create: Some(create::<P>),
        remove: Some(remove::<P>),
        status: Some(status::<P>),
        snapshot: Some(snapshot::<P>),
        seal: Some(seal::<P>),
        changed: Some(changed::<P>),
    };
}

const fn powers(powers: Powers) -> u64 {
    let snapshot = powers.snapshot as u64 * LITH_POWER_SNAPSHOT;
    let seal = powers.seal as u64 * LITH_POWER_SEAL;
    let changed = powers.changed as u64 * LITH_POWER_CHANGED;
    snapshot | seal | changed
}

/// # Safety
/// As the ABI says of `open`.
unsafe extern "C" fn open<P: Plugin>(call: *mut Call, home: Text, state: *mut *mut c_void) -> i32 {
    guard(call, || {
        // SAFETY: lith's texts are texts.
        let home = unsafe { text::bytes(home, usize::MAX) }.map_err(wrong)?;
        let driver = P::open(&PathBuf::from(OsString::from_vec(home)))?;
        // SAFETY: lith gives a place for it.
        unsafe { state.write(Box::into_raw(Box::new(driver)).cast()) };
        Ok(())
    })
}

/// # Safety
/// As the ABI says of `close`.
unsafe extern "C" fn close<P: Plugin>(state: *mut c_void) {
    guard(std::ptr::null_mut(), || {
        // SAFETY: `open` made it, and nobody has it any more.
        drop(unsafe { Box::from_raw(state.cast::<P>()) });
        Ok(())
    });
}

/// # Safety
/// As the ABI says of `create`.
unsafe extern "C" fn create<P: Plugin>(
    state: *mut c_void,
    call: *mut Call,
    dir: c_int,
    name: Text,
) -> i32 {
    guard(call, || {
        // SAFETY: what lith gives is as the ABI says.
        let (driver, dir, name) = unsafe { (this::<P>(state), lent(dir)?, named(name)?) };
        driver.create(dir, &name)
    })
}

/// # Safety
/// As the ABI says of `remove`.
unsafe extern "C" fn remove<P: Plugin>(
    state: *mut c_void,
    call: *mut Call,
    dir: c_int,
    name: Text,
) -> i32 {
    guard(call, || {
        // SAFETY: what lith gives is as the ABI says.
        let (driver, dir, name) = unsafe { (this::<P>(state), lent(dir)?, named(name)?) };
        driver.remove(dir, &name)
    })
}

/// # Safety
/// As the ABI says of `status`.
unsafe extern "C" fn status<P: Plugin>(state: *mut c_void, call: *mut Call) -> i32 {
    guard(call, || {
        // SAFETY: what lith gives is as the ABI says.
        let driver = unsafe { this::<P>(state) };
        let facts = driver.status()?;
        let fact = host(|host| host.fact)?;
        for (name, value) in &facts {
            // SAFETY: both are lent for the call.
            taken(unsafe { fact(call, lend(name.as_bytes()), lend(value.as_bytes())) })?;
        }
        Ok(())
    })
}

/// # Safety
/// As the ABI says of `snapshot`.
unsafe extern "C" fn snapshot<P: Plugin>(
    state: *mut c_void,
    call: *mut Call,
    tree: c_int,
    dir: c_int,
    name: Text,
) -> i32 {
    guard(call, || {
        // SAFETY: what lith gives is as the ABI says.
        let (driver, tree, dir, name) =
            unsafe { (this::<P>(state), lent(tree)?, lent(dir)?, named(name)?) };
        driver.snapshot(tree, dir, &name)
    })
}

/// # Safety
/// As the ABI says of `seal`.
unsafe extern "C" fn seal<P: Plugin>(state: *mut c_void, call: *mut Call, tree: c_int) -> i32 {
    guard(call, || {
        // SAFETY: what lith gives is as the ABI says.
        let (driver, tree) = unsafe { (this::<P>(state), lent(tree)?) };
        driver.seal(tree)
    })
}

/// # Safety
/// As the ABI says of `changed`.
unsafe extern "C" fn changed<P: Plugin>(
    state: *mut c_void,
    call: *mut Call,
    tree: c_int,
    since: c_int,
) -> i32 {
    guard(call, || {
        // SAFETY: what lith gives is as the ABI says.
        let (driver, tree, since) = unsafe { (this::<P>(state), lent(tree)?, lent(since)?) };
        let tell = host(|host| host.changed)?;
        let mut all = Ok(());
        driver.changed(tree, since, &mut |path| {
            if all.is_ok() {
                // SAFETY: the path is lent for the call.
                all = taken(unsafe { tell(call, lend(path)) });
            }
        })?;
        all
    })
}

/// # Safety
/// `open` made it.
unsafe fn this<'a, P: Plugin>(state: *mut c_void) -> &'a P {
    // SAFETY: the caller's promise; it is shared until `close`.
    unsafe { &*state.cast::<P>() }
}

/// # Safety
/// It stays open during the call.
unsafe fn lent<'a>(fd: c_int) -> Result<BorrowedFd<'a>, BackendError> {
    if fd < 0 {
        return Err(BackendError::new("lith lent no descriptor"));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// # Safety
/// It is a text.
unsafe fn named(name: Text) -> Result<CString, BackendError> {
    // SAFETY: the caller's promise.
    let name = unsafe { text::bytes(name, usize::MAX) }.map_err(wrong)?;
    CString::new(name).map_err(|error| BackendError::from(std::io::Error::from(error)))
}

fn wrong(fault: text::TextFault) -> BackendError {
    BackendError::new(format!("lith gave a text that {fault}"))
}

/// A function of the lith that loaded this.
fn host<F>(which: impl FnOnce(&'static Host) -> Option<F>) -> Result<F, BackendError> {
    let found = HOST.get().and_then(|host| which(host));
    found.ok_or_else(|| BackendError::new("this lith lacks a function of its ABI"))
}

/// What lith says to what it was told.
fn taken(status: i32) -> Result<(), BackendError> {
    match status {
        LITH_DONE => Ok(()),
        _ => Err(BackendError::new("lith does not take what it was told")),
    }
}

/// Does what was asked for, and turns what went wrong into a reason and a status.
fn guard(call: *mut Call, what: impl FnOnce() -> Result<(), BackendError>) -> i32 {
    match catch_unwind(AssertUnwindSafe(what)) {
        Ok(Ok(())) => LITH_DONE,
        Ok(Err(error)) => {
            match error {
                BackendError::Failed {
                    errno: Some(errno @ 1..4096),
                    message,
                } => fail(call, errno, &message),
                error => fail(call, 0, &error.to_string()),
            }
            LITH_FAILED
        }
        Err(panic) => {
            fail(call, 0, panic_message(&*panic));
            // Dropping it could panic again.
            std::mem::forget(panic);
            LITH_PANICKED
        }
    }
}

fn fail(call: *mut Call, errno: i32, message: &str) {
    // A character that was cut is shown as bytes: no reason is that long.
    let message = message.as_bytes();
    let message = message.get(..WORDS).unwrap_or(message);
    if let (false, Ok(fail)) = (call.is_null(), host(|host| host.fail)) {
        // SAFETY: the message is lent for the call.
        unsafe { fail(call, errno, lend(message)) }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => message,
        (_, Some(message)) => message,
        _ => "no message",
    }
}
