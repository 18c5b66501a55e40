//! What crosses between lith and a driver: plain C, nothing else.
//!
//! `include/lith_plugin.h` is made of this file (`cargo xtask header`): its comments are what
//! somebody reads who writes a driver in C. Rust authors need none of it.

use std::ffi::{c_char, c_int, c_void};

/// The version of this ABI. It changes when something here changes its meaning; functions that are
/// added at the end of a table do not change it.
pub const LITH_ABI_VERSION: u32 = 1;

/// It is done.
pub const LITH_DONE: i32 = 0;
/// It is not done; the reason was given to `lith_host.fail`.
pub const LITH_FAILED: i32 = 1;
/// As LITH_FAILED, by a panic that was caught. What the driver did is not known.
pub const LITH_PANICKED: i32 = 2;

/// In `lith_driver.powers`: the driver has `snapshot`.
pub const LITH_POWER_SNAPSHOT: u64 = 1;
/// In `lith_driver.powers`: the driver has `seal`.
pub const LITH_POWER_SEAL: u64 = 2;
/// In `lith_driver.powers`: the driver has `changed`.
pub const LITH_POWER_CHANGED: u64 = 4;

/// A string: bytes and how many. Who gets one may read it until the function returns, and copies
/// what is to stay; nobody frees it. What lith gives is followed by a NUL byte that `len` does not
/// count. What a driver gives need not be; `data` may be null where `len` is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// The first byte.
    pub data: *const c_char,
    /// How many bytes.
    pub len: usize,
}

/// A call of lith to the driver that is under way: what the driver gives back to the functions of
/// `lith_host`. It says nothing to the driver, and holds only in the thread that was called and until the
/// function returns.
#[derive(Debug)]
pub struct Call {
    _private: (),
}

/// What lith offers a driver. It stays where it is as long as the process lives.
#[repr(C)]
#[derive(Debug)]
pub struct Host {
    /// LITH_ABI_VERSION of lith.
    pub abi_version: u32,
    /// The size of this table in lith. It may have more functions than you know, never fewer
    /// than those of the first `lith_host` of this ABI version.
    pub size: u32,
    /// Says why the function fails: to be called before it returns LITH_FAILED, and only then. The
    /// last reason counts. `error_number` is the `errno` that made it fail, or 0. The message (at most
    /// 64 KiB of UTF-8, one line) says what was being done; lith adds the meaning of the number.
    pub fail: Option<unsafe extern "C" fn(call: *mut Call, error_number: i32, message: Text)>,
    /// Only in `changed`: names a directory in which something may differ, as a path below the tree
    /// ("a/b"; empty for the tree itself). When it returns anything but LITH_DONE, return LITH_FAILED.
    pub changed: Option<unsafe extern "C" fn(call: *mut Call, path: Text) -> i32>,
    /// Only in `status`: gives a fact for people, as a name and a value (UTF-8, one line each). When
    /// it returns anything but LITH_DONE, return LITH_FAILED.
    pub fact: Option<unsafe extern "C" fn(call: *mut Call, name: Text, value: Text) -> i32>,
}

/// A driver: what `lith_driver_plugin` returns. It and its strings must stay where they are as long
/// as the process lives; lith never unloads a driver.
///
/// A *tree* is a directory that holds the files of a layer. The driver makes and removes trees; what is
/// in them, and everything else in the folders where they lie, is lith's: lith renames these folders when a
/// layer is complete. `dir` is always an open directory below the driver's folder, and `name` a name
/// in it without a slash; `tree` is a tree, opened as a directory. Descriptors are lent for the call: do
/// not close or keep them.
///
/// Each function may be called by several threads at once, but for `close`, which is the last. No
/// exception may leave a function. Where nothing else is said, functions return LITH_DONE or
/// LITH_FAILED.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Driver {
    /// LITH_ABI_VERSION of the header that the driver was built with.
    pub abi_version: u32,
    /// sizeof(lith_driver) when the driver was built. lith reads no further.
    pub size: u32,
    /// Which optional functions there are: LITH_POWER_... or-ed. A power that is set needs its function;
    /// a function whose power is not set is not called.
    pub powers: u64,
    /// The driver's name: 1 to 32 of a-z, 0-9 and -, the first a letter. lith keeps the trees of a
    /// store in a folder of this name.
    pub name: Text,
    /// The driver's version, for people: 1 to 64 bytes of UTF-8.
    pub version: Text,
    /// Opens the driver on its folder `home`, an absolute path to a directory that is there. Sets
    /// `*state` to what the other functions get; it may not be null. It may be called several times, for
    /// several folders or for the same one. Fails when the driver cannot work there, and says what it
    /// needs; then `close` is not called.
    pub open:
        Option<unsafe extern "C" fn(call: *mut Call, home: Text, state: *mut *mut c_void) -> i32>,
    /// Frees what `open` made.
    pub close: Option<unsafe extern "C" fn(state: *mut c_void)>,
    /// Makes an empty tree: a directory called `name` in `dir`, owned by the caller, mode 0700. When it
    /// fails, nothing new is there.
    pub create: Option<
        unsafe extern "C" fn(state: *mut c_void, call: *mut Call, dir: c_int, name: Text) -> i32,
    >,
    /// Removes a tree that `create` or `snapshot` made, with all that is in it: files of any kind,
    /// directories of any depth. Follows no symbolic link and enters no mount. A tree that is not there is no
    /// failure; what an interrupted `remove` left must be removable.
    pub remove: Option<
        unsafe extern "C" fn(state: *mut c_void, call: *mut Call, dir: c_int, name: Text) -> i32,
    >,
    /// Gives facts for people to `lith_host.fact`, if there are any.
    pub status: Option<unsafe extern "C" fn(state: *mut c_void, call: *mut Call) -> i32>,
    /// LITH_POWER_SNAPSHOT. Makes `name` in `dir` a writable copy of the tree that is open as `tree`: all
    /// files with all attributes. When it fails, nothing new is there. Without this, lith copies files.
    pub snapshot: Option<
        unsafe extern "C" fn(
            state: *mut c_void,
            call: *mut Call,
            tree: c_int,
            dir: c_int,
            name: Text,
        ) -> i32,
    >,
    /// LITH_POWER_SEAL. Makes a finished tree unwritable for everybody, until it is removed. Its
    /// attributes stay. It may still be renamed.
    pub seal: Option<unsafe extern "C" fn(state: *mut c_void, call: *mut Call, tree: c_int) -> i32>,
    /// LITH_POWER_CHANGED. Gives `lith_host.changed` each directory of `tree` in which something may
    /// differ from `since`, of which `tree` was made by `snapshot`. One too many costs time; one too
    /// few loses changes. Without this, lith compares everything.
    pub changed: Option<
        unsafe extern "C" fn(state: *mut c_void, call: *mut Call, tree: c_int, since: c_int) -> i32,
    >,
}
