//! What btrfs can be asked for: subvolumes.
//!
//! The structures are those of `linux/btrfs.h`. Descriptors of directories must be open for reading;
//! one that only stands for a directory (`O_PATH`) takes no such call.

use std::ffi::CStr;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use linux_raw_sys::btrfs::{
    BTRFS_FIRST_FREE_OBJECTID, BTRFS_INODE_EXTREF_KEY, BTRFS_INODE_ITEM_KEY, BTRFS_INODE_REF_KEY,
    BTRFS_SUBVOL_RDONLY, btrfs_ioctl_get_subvol_info_args, btrfs_ioctl_ino_lookup_args,
    btrfs_ioctl_search_args, btrfs_ioctl_search_header, btrfs_ioctl_search_key,
    btrfs_ioctl_vol_args, btrfs_ioctl_vol_args_v2, btrfs_ioctl_vol_args_v2__bindgen_ty_1,
    btrfs_ioctl_vol_args_v2__bindgen_ty_2,
};
use linux_raw_sys::general::BTRFS_SUPER_MAGIC;
use linux_raw_sys::ioctl::{
    BTRFS_IOC_GET_SUBVOL_INFO, BTRFS_IOC_INO_LOOKUP, BTRFS_IOC_SNAP_CREATE_V2,
    BTRFS_IOC_SNAP_DESTROY, BTRFS_IOC_SUBVOL_CREATE, BTRFS_IOC_SUBVOL_GETFLAGS,
    BTRFS_IOC_SUBVOL_SETFLAGS, BTRFS_IOC_TREE_SEARCH,
};
use rustix::fs::{FileType, fstat, fstatfs};
use rustix::io::{Errno, Result};
use rustix::ioctl::{self, Getter, Opcode, Setter, Updater};

/// Returns whether an open file lies on btrfs.
pub(crate) fn is_btrfs(fd: BorrowedFd<'_>) -> Result<bool> {
    Ok(fstatfs(fd)?.f_type == BTRFS_SUPER_MAGIC.into())
}

/// Returns whether an open directory is the root of a subvolume.
pub(crate) fn is_subvolume(dir: BorrowedFd<'_>) -> Result<bool> {
    Ok(is_btrfs(dir)? && fstat(dir)?.st_ino == BTRFS_FIRST_FREE_OBJECTID.into())
}

/// Makes an empty subvolume.
pub(crate) fn create(dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    set::<{ BTRFS_IOC_SUBVOL_CREATE as Opcode }, _>(dir, named(name)?)
}

/// Makes a writable snapshot of a subvolume. The kernel waits until it is on the disk.
pub(crate) fn snapshot(from: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let mut text = [0; 4040];
    put(name, &mut text)?;
    let arguments = btrfs_ioctl_vol_args_v2 {
        fd: from.as_raw_fd().into(),
        transid: 0,
        flags: 0,
        __bindgen_anon_1: btrfs_ioctl_vol_args_v2__bindgen_ty_1 { unused: [0; 4] },
        __bindgen_anon_2: btrfs_ioctl_vol_args_v2__bindgen_ty_2 { name: text },
    };
    set::<{ BTRFS_IOC_SNAP_CREATE_V2 as Opcode }, _>(dir, arguments)
}

/// Removes a subvolume, whatever is in it but further subvolumes. Its space is given back by the
/// kernel some time later.
pub(crate) fn destroy(dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    set::<{ BTRFS_IOC_SNAP_DESTROY as Opcode }, _>(dir, named(name)?)
}

/// Says whether nobody can write to a subvolume.
pub(crate) fn set_read_only(subvolume: BorrowedFd<'_>, read_only: bool) -> Result<()> {
    let mut flags = 0u64;
    // SAFETY: the call fills in the u64 that it is given, and nothing else.
    unsafe {
        let ask = Updater::<{ BTRFS_IOC_SUBVOL_GETFLAGS as Opcode }, u64>::new(&mut flags);
        ioctl::ioctl(subvolume, ask)?;
    }
    let wanted = match read_only {
        true => flags | u64::from(BTRFS_SUBVOL_RDONLY),
        false => flags & !u64::from(BTRFS_SUBVOL_RDONLY),
    };
    if wanted == flags {
        return Ok(());
    }
    set::<{ BTRFS_IOC_SUBVOL_SETFLAGS as Opcode }, _>(subvolume, wanted)
}

fn named(name: &CStr) -> Result<btrfs_ioctl_vol_args> {
    let mut arguments = btrfs_ioctl_vol_args {
        fd: 0,
        name: [0; 4088],
    };
    put(name, &mut arguments.name)?;
    Ok(arguments)
}

/// Puts a name in its place, with a zero behind it.
fn put(name: &CStr, place: &mut [std::ffi::c_char]) -> Result<()> {
    let name = name.to_bytes();
    if name.len() >= place.len() {
        return Err(Errno::NAMETOOLONG);
    }
    for (to, from) in place.iter_mut().zip(name) {
        *to = std::ffi::c_char::from_ne_bytes([*from]);
    }
    Ok(())
}

/// Calls with arguments that the kernel reads only.
fn set<const CALL: Opcode, Arguments>(fd: BorrowedFd<'_>, arguments: Arguments) -> Result<()> {
    const { assert!(mem::size_of::<Arguments>() <= 4096) }
    // SAFETY: each caller in this module gives the structure that `linux/btrfs.h` names for the
    // call, initialised as a whole; none has a pointer in it.
    unsafe { ioctl::ioctl(fd, Setter::<CALL, Arguments>::new(arguments)) }
}

/// What btrfs knows of a subvolume.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subvolume {
    pub(crate) uuid: [u8; 16],
    /// The one that it is a snapshot of; zeros where it is none.
    pub(crate) snapshot_of: [u8; 16],
    /// The transaction in which it was made: it has nothing that came later.
    pub(crate) made_in: u64,
    /// The transaction that changed it last.
    pub(crate) changed_in: u64,
}

/// Asks what is known of the subvolume that an open file lies in.
pub(crate) fn subvolume(fd: BorrowedFd<'_>) -> Result<Subvolume> {
    // SAFETY: the call fills in the structure that is named for it, of integers and arrays of
    // them, and nothing else.
    let found = unsafe {
        let ask = Getter::<
            { BTRFS_IOC_GET_SUBVOL_INFO as Opcode },
            btrfs_ioctl_get_subvol_info_args,
        >::new();
        ioctl::ioctl(fd, ask)?
    };
    Ok(Subvolume {
        uuid: found.uuid,
        snapshot_of: found.parent_uuid,
        made_in: found.otransid,
        changed_in: found.ctransid,
    })
}

/// A file of a subvolume.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inode {
    pub(crate) number: u64,
    pub(crate) is_directory: bool,
}

/// Returns the inodes of a subvolume that were changed by a later transaction than `since`.
pub(crate) fn changed_inodes(subvolume: BorrowedFd<'_>, since: u64) -> Result<Vec<Inode>> {
    let mut inodes = Vec::new();
    let key = Range {
        objects: (FIRST_INODE, u64::MAX),
        kinds: (BTRFS_INODE_ITEM_KEY, BTRFS_INODE_ITEM_KEY),
        since: since.saturating_add(1),
    };
    search(subvolume, &key, &mut |header, item| {
        if header.type_ != BTRFS_INODE_ITEM_KEY {
            return Some(());
        }
        // `btrfs_inode_item`: generation, transid, size, nbytes, block_group, then nlink, uid, gid,
        // mode.
        let (changed, mode) = (number(item, 8)?, short(item, 52)?);
        if changed > since {
            let kind = FileType::from_raw_mode(mode);
            inodes.push(Inode {
                number: header.objectid,
                is_directory: kind == FileType::Directory,
            });
        }
        Some(())
    })?;
    Ok(inodes)
}

/// Returns the directories in which a file has names.
pub(crate) fn parents(subvolume: BorrowedFd<'_>, inode: u64) -> Result<Vec<u64>> {
    let mut parents = Vec::new();
    let key = Range {
        objects: (inode, inode),
        kinds: (BTRFS_INODE_REF_KEY, BTRFS_INODE_EXTREF_KEY),
        since: 0,
    };
    search(subvolume, &key, &mut |header, item| {
        match header.type_ {
            // The root of a subvolume says that it lies in itself.
            BTRFS_INODE_REF_KEY => parents.push(header.offset),
            BTRFS_INODE_EXTREF_KEY => {
                // Several names whose hashes are the same: parent, index, length, name each.
                let mut rest = item;
                while !rest.is_empty() {
                    parents.push(number(rest, 0)?);
                    let length = usize::from(u16::from_le_bytes(bytes(rest, 16)?));
                    rest = rest.get(18 + length..)?;
                }
            }
            _ => {}
        }
        Some(())
    })?;
    Ok(parents)
}

/// Returns where a directory lies below the root of its subvolume.
pub(crate) fn path(subvolume: BorrowedFd<'_>, directory: u64) -> Result<Vec<u8>> {
    let mut arguments = btrfs_ioctl_ino_lookup_args {
        treeid: 0,
        objectid: directory,
        name: [0; 4080],
    };
    // SAFETY: the call reads and fills in the structure that is named for it, and nothing else.
    unsafe {
        let ask = Updater::<{ BTRFS_IOC_INO_LOOKUP as Opcode }, _>::new(&mut arguments);
        ioctl::ioctl(subvolume, ask)?;
    }
    let path = arguments.name.iter().map(|byte| byte.to_ne_bytes());
    let mut path: Vec<u8> = path.flatten().take_while(|byte| *byte != 0).collect();
    if path.last() == Some(&b'/') {
        path.pop();
    }
    Ok(path)
}

/// The lowest number that a file has.
const FIRST_INODE: u64 = BTRFS_FIRST_FREE_OBJECTID as u64;

/// Which items are searched for.
struct Range {
    objects: (u64, u64),
    kinds: (u32, u32),
    /// Only blocks of this transaction or a later one.
    since: u64,
}

/// Is told of an item; returns nothing when it is not as it should be.
type Item<'a> = &'a mut dyn FnMut(&btrfs_ioctl_search_header, &[u8]) -> Option<()>;

/// Tells every item of a subvolume's tree in a range; items of other kinds may be among them.
fn search(subvolume: BorrowedFd<'_>, range: &Range, found: Item<'_>) -> Result<()> {
    const HEADER: usize = mem::size_of::<btrfs_ioctl_search_header>();
    let mut arguments = btrfs_ioctl_search_args {
        key: btrfs_ioctl_search_key {
            tree_id: 0,
            min_objectid: range.objects.0,
            max_objectid: range.objects.1,
            min_offset: 0,
            max_offset: u64::MAX,
            min_transid: range.since,
            max_transid: u64::MAX,
            min_type: range.kinds.0,
            max_type: range.kinds.1,
            nr_items: 0,
            unused: 0,
            unused1: 0,
            unused2: 0,
            unused3: 0,
            unused4: 0,
        },
        buf: [0; 3992],
    };
    loop {
        arguments.key.nr_items = u32::MAX;
        // SAFETY: the call reads and fills in the structure that is named for it, buffer included,
        // and nothing else.
        unsafe {
            let ask = Updater::<{ BTRFS_IOC_TREE_SEARCH as Opcode }, _>::new(&mut arguments);
            ioctl::ioctl(subvolume, ask)?;
        }
        if arguments.key.nr_items == 0 {
            return Ok(());
        }
        let text: Vec<u8> = arguments
            .buf
            .iter()
            .flat_map(|byte| byte.to_ne_bytes())
            .collect();
        let mut rest = &text[..];
        let mut last = None;
        for _ in 0..arguments.key.nr_items {
            let taken = header(rest).and_then(|header| {
                let item = rest.get(HEADER..)?.get(..header.len as usize)?;
                found(&header, item)?;
                Some((header, HEADER + item.len()))
            });
            let (header, length) = taken.ok_or(Errno::PROTO)?;
            rest = rest.get(length..).ok_or(Errno::PROTO)?;
            last = Some(header);
        }
        // The search goes on behind the last key: object, type, offset, in this order.
        let Some(last) = last else { return Ok(()) };
        let key = &mut arguments.key;
        (key.min_objectid, key.min_type, key.min_offset) = (last.objectid, last.type_, last.offset);
        if let Some(next) = key.min_offset.checked_add(1) {
            key.min_offset = next;
        } else if let Some(next) = key.min_type.checked_add(1).filter(|t| *t <= u8::MAX.into()) {
            (key.min_offset, key.min_type) = (0, next);
        } else if let Some(next) = key.min_objectid.checked_add(1) {
            (key.min_offset, key.min_type, key.min_objectid) = (0, 0, next);
        } else {
            return Ok(());
        }
    }
}

/// The header of an item: as the kernel lays it in the buffer, in the machine's own order.
fn header(text: &[u8]) -> Option<btrfs_ioctl_search_header> {
    Some(btrfs_ioctl_search_header {
        transid: u64::from_ne_bytes(bytes(text, 0)?),
        objectid: u64::from_ne_bytes(bytes(text, 8)?),
        offset: u64::from_ne_bytes(bytes(text, 16)?),
        type_: u32::from_ne_bytes(bytes(text, 24)?),
        len: u32::from_ne_bytes(bytes(text, 28)?),
    })
}

/// A number in an item, which lies there as on the disk.
fn number(item: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes(item, at)?))
}

fn short(item: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes(item, at)?))
}

fn bytes<const LENGTH: usize>(text: &[u8], at: usize) -> Option<[u8; LENGTH]> {
    text.get(at..at + LENGTH)?.try_into().ok()
}
