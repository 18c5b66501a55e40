//! What shows images as directories.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::OnePlatform;

#[derive(Args, Debug)]
pub(crate) struct MountArgs {
    /// Make a layer over the image that can be written; it has an ID, and stays when it is
    /// unmounted, until it is committed or discarded. With the ID of such a layer it is mounted again
    #[arg(long)]
    pub(crate) rw: bool,
    /// The image to mount, read-only unless --rw is given
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Where, made when missing; without it a folder below the root is made and printed. With
    /// --rw its last part is the ID, and with DIR the ID is printed
    #[arg(value_name = "DIR")]
    pub(crate) target: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) of: OnePlatform,
    /// Print a JSON document for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// Run this in the mounted directory and unmount when it ends; nobody else sees the mount
    #[arg(last = true, value_name = "CMD", conflicts_with = "json")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct UnshareArgs {
    /// The command and its arguments [default: $SHELL]
    #[arg(
        value_name = "CMD",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct UmountArgs {
    /// Where an image is mounted, the image, or the ID of a writable layer
    #[arg(required = true, value_name = "DIR|ID")]
    pub(crate) targets: Vec<PathBuf>,
    /// Remove writable layers with everything that was written, mounted or not
    #[arg(long)]
    pub(crate) discard: bool,
    /// Print a JSON document for programs
    #[arg(long)]
    pub(crate) json: bool,
}
