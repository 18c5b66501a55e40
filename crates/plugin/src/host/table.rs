//! The table of a driver: read as far as it goes, checked, and made functions that are there.
#![allow(unsafe_code, reason = "a driver's table is behind a pointer")]

use std::ffi::{c_int, c_void};
use std::mem::{MaybeUninit, offset_of};
use std::path::Path;

use super::memory::Memory;
use crate::abi::{
    Call, Driver, LITH_ABI_VERSION, LITH_POWER_CHANGED, LITH_POWER_SEAL, LITH_POWER_SNAPSHOT, Text,
};
use crate::backend::{BackendInfo, Powers};
use crate::error::PluginError;
use crate::fault::Fault;
use crate::name::{LONGEST, is_driver_name};
use crate::text::{self, TextFault, shown};

/// What every driver has.
const LEAST: usize = offset_of!(Driver, snapshot);
/// No table of any version will be larger: what says so is no table.
const MOST: u32 = 64 << 10;
/// The longest version.
const VERSION: usize = 64;

pub(super) type Open = unsafe extern "C" fn(*mut Call, Text, *mut *mut c_void) -> i32;
pub(super) type Close = unsafe extern "C" fn(*mut c_void);
pub(super) type Named = unsafe extern "C" fn(*mut c_void, *mut Call, c_int, Text) -> i32;
pub(super) type Status = unsafe extern "C" fn(*mut c_void, *mut Call) -> i32;
pub(super) type Snapshot = unsafe extern "C" fn(*mut c_void, *mut Call, c_int, c_int, Text) -> i32;
pub(super) type Seal = unsafe extern "C" fn(*mut c_void, *mut Call, c_int) -> i32;
pub(super) type Changed = unsafe extern "C" fn(*mut c_void, *mut Call, c_int, c_int) -> i32;

/// The functions of a driver; the optional ones where it promises them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Functions {
    pub(super) open: Open,
    pub(super) close: Close,
    pub(super) create: Named,
    pub(super) remove: Named,
    pub(super) status: Status,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) seal: Option<Seal>,
    pub(super) changed: Option<Changed>,
}

/// Copies a table: what a newer one has more is left out, what an older one lacks is null.
///
/// # Safety
/// At `at` lies what a driver's entry returned, and was made by the rules of the ABI.
pub(super) unsafe fn read(
    at: *const Driver,
    memory: &Memory,
    file: &Path,
) -> Result<Driver, PluginError> {
    let file = || file.to_owned();
    if at.is_null() {
        return Err(PluginError::Refused {
            file: file(),
            version: LITH_ABI_VERSION,
        });
    }
    let nowhere = || PluginError::Broken {
        file: file(),
        fault: Fault::Address,
    };
    if !at.is_aligned() || !memory.is_readable(at, size_of::<[u32; 2]>()) {
        return Err(nowhere());
    }
    // SAFETY: tables of all versions begin with two such numbers.
    let [version, size] = unsafe { at.cast::<[u32; 2]>().read() };
    if version != LITH_ABI_VERSION {
        return Err(PluginError::Version {
            file: file(),
            found: version,
            expected: LITH_ABI_VERSION,
        });
    }
    let bytes = size as usize;
    if bytes < LEAST {
        return Err(PluginError::Table {
            file: file(),
            version,
            found: size,
            expected: LEAST,
        });
    }
    if size > MOST || !bytes.is_multiple_of(align_of::<Driver>()) {
        return Err(PluginError::Broken {
            file: file(),
            fault: Fault::Size { found: size },
        });
    }
    let whole = bytes.min(size_of::<Driver>());
    if !memory.is_readable(at, whole) {
        return Err(nowhere());
    }
    let mut driver = MaybeUninit::<Driver>::zeroed();
    // SAFETY: no further than either table goes. All its fields may be zero: numbers, pointers,
    // functions that may be null.
    Ok(unsafe {
        std::ptr::copy_nonoverlapping(at.cast::<u8>(), driver.as_mut_ptr().cast(), whole);
        driver.assume_init()
    })
}

/// Checks what a table says.
///
/// # Safety
/// Its texts are texts.
pub(super) unsafe fn check(
    driver: &Driver,
    memory: &Memory,
    file: &Path,
) -> Result<(Functions, BackendInfo), PluginError> {
    let broken = |what: &'static str| {
        move |fault: TextFault| PluginError::Broken {
            file: file.to_owned(),
            fault: Fault::Text { what, fault },
        }
    };
    let expect = |text, limit, what| memory.expect_text(text, limit).map_err(broken(what));
    expect(driver.name, LONGEST, "a name")?;
    expect(driver.version, VERSION, "a version")?;
    // SAFETY: the caller's promise.
    let name = unsafe { text::bytes(driver.name, LONGEST) }.map_err(broken("a name"))?;
    let Some(name) = String::from_utf8(name.clone())
        .ok()
        .filter(|name| is_driver_name(name))
    else {
        return Err(PluginError::Name {
            file: file.to_owned(),
            found: shown(&name),
        });
    };
    // SAFETY: the caller's promise.
    let version = unsafe { text::words(driver.version, VERSION) }.map_err(broken("a version"))?;
    if version.is_empty() {
        return Err(broken("a version")(TextFault::Empty));
    }
    let functions = functions(driver, memory, file)?;
    let powers = Powers {
        snapshot: functions.snapshot.is_some(),
        seal: functions.seal.is_some(),
        changed: functions.changed.is_some(),
    };
    Ok((functions, BackendInfo::new(name, version).with(powers)))
}

fn functions(driver: &Driver, memory: &Memory, file: &Path) -> Result<Functions, PluginError> {
    let found = Found {
        powers: driver.powers,
        memory,
        file,
    };
    Ok(Functions {
        open: found.needed("open", driver.open, |f| f as usize)?,
        close: found.needed("close", driver.close, |f| f as usize)?,
        create: found.needed("create", driver.create, |f| f as usize)?,
        remove: found.needed("remove", driver.remove, |f| f as usize)?,
        status: found.needed("status", driver.status, |f| f as usize)?,
        snapshot: found.promised(LITH_POWER_SNAPSHOT, "snapshot", driver.snapshot, |f| {
            f as usize
        })?,
        seal: found.promised(LITH_POWER_SEAL, "seal", driver.seal, |f| f as usize)?,
        changed: found.promised(LITH_POWER_CHANGED, "changed", driver.changed, |f| {
            f as usize
        })?,
    })
}

/// What is asked of each function that a table has.
struct Found<'a> {
    powers: u64,
    memory: &'a Memory,
    file: &'a Path,
}

impl Found<'_> {
    /// Every driver has it.
    fn needed<F: Copy>(
        &self,
        name: &'static str,
        function: Option<F>,
        address: impl Fn(F) -> usize,
    ) -> Result<F, PluginError> {
        let function = function.ok_or_else(|| self.none(name, "which every driver has"))?;
        match self.memory.is_code(address(function)) {
            true => Ok(function),
            false => Err(self.none(name, "but something in its place that is no code")),
        }
    }

    /// It must be there when it is promised, and is not used when it is not.
    fn promised<F: Copy>(
        &self,
        power: u64,
        name: &'static str,
        function: Option<F>,
        address: impl Fn(F) -> usize,
    ) -> Result<Option<F>, PluginError> {
        if self.powers & power == 0 {
            return Ok(None);
        }
        if function.is_none() {
            return Err(self.none(name, "though its `powers` say that it has one"));
        }
        self.needed(name, function, address).map(Some)
    }

    fn none(&self, function: &'static str, reason: &'static str) -> PluginError {
        PluginError::Function {
            file: self.file.to_owned(),
            function,
            reason,
        }
    }
}
