//! How long work reports what it does.

/// Receives what happens while layers are read and written.
///
/// Nothing in the libraries prints: a command line draws a bar from these events, a
/// service counts them, a test collects them. Calls come from worker threads, often,
/// and must return quickly. `()` ignores everything.
pub trait Observer: Send + Sync {
    /// Takes note of one event.
    fn event(&self, event: &Event<'_>) {
        let _ = event;
    }

    /// Asked often: true stops the work at its next step, which undoes itself and ends
    /// with an error.
    fn cancelled(&self) -> bool {
        false
    }
}

impl Observer for () {}

/// One thing that happened.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Work on a layer begins; `total` is the number of transported bytes, where known.
    LayerStart {
        /// What the layer is called so far: a digest, or the name of an archive member.
        label: &'a str,
        /// Bytes to be read, where that is known beforehand.
        total: Option<u64>,
    },
    /// `done` bytes of the layer's tar have been worked on in all.
    LayerBytes {
        /// As in [`Event::LayerStart`].
        label: &'a str,
        /// Bytes of the uncompressed tar so far.
        done: u64,
    },
    /// Work on a layer has ended well.
    LayerDone {
        /// As in [`Event::LayerStart`].
        label: &'a str,
        /// Bytes of the uncompressed tar.
        bytes: u64,
        /// True when the store had the layer already, so that nothing was kept anew.
        reused: bool,
    },
    /// Something the user should know that does not stop the work.
    Warning {
        /// One sentence, lower case, without a full stop.
        message: &'a str,
    },
}
