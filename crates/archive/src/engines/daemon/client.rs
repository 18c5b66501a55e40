//! The connection, and its errors in our words.

use std::future::Future;
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::future::{Either, select};
use tokio::sync::oneshot;

use crate::EngineError;
use crate::engines::address::{EngineAddress, Kind};

/// How long the engine may take until it begins to answer, in seconds: it may have to write a
/// large image to its own disk first. Whoever does not want to wait that long stops the work.
const PATIENCE: u64 = 24 * 60 * 60;

/// How long is waited before somebody looks whether the work is to be stopped.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// Bytes that may wait in between, in pieces.
pub(super) const PIECES: usize = 16;

/// A thread that talks to an engine.
///
/// Dropping it ends the connection, whatever is under way.
pub(super) struct Talk<T> {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Option<Result<T, EngineError>>>>,
}

impl<T: Send + 'static> Talk<T> {
    /// Connects and runs `talk` in a thread of its own.
    pub(super) fn start<F, R>(address: &EngineAddress, talk: F) -> Result<Talk<T>, EngineError>
    where
        F: FnOnce(Docker) -> R + Send + 'static,
        R: Future<Output = Result<T, Error>>,
    {
        let failed = {
            let address = address.to_string();
            move |source| EngineError::Unreachable {
                address: address.clone(),
                source,
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(&failed)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let address = address.clone();
        let run = move || {
            let work = async {
                let docker = connect(&address)?;
                talk(docker).await
            };
            let work = std::pin::pin!(work);
            let result = runtime.block_on(async {
                match select(work, stopped).await {
                    Either::Left((result, _)) => Some(result),
                    Either::Right(_) => None,
                }
            });
            // A look-up of the host's name may still be under way.
            runtime.shutdown_background();
            result.map(|result| result.map_err(|error| explain(&address, error)))
        };
        let thread = std::thread::Builder::new()
            .name("engine".into())
            .spawn(run)
            .map_err(failed)?;
        Ok(Talk {
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Waits for the end of the talk; none when it was stopped or waited for before.
    pub(super) fn wait(&mut self) -> Option<Result<T, EngineError>> {
        let joined = self.thread.take()?.join();
        // A panic of the thread was printed by then; to the caller it is as good as a stop.
        joined.ok().flatten()
    }

    /// True when the talk is over.
    pub(super) fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl<T> Drop for Talk<T> {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // An error says that it is over already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn connect(address: &EngineAddress) -> Result<Docker, Error> {
    match &address.0 {
        Kind::Unix(path) => Docker::connect_with_unix(path, PATIENCE, API_DEFAULT_VERSION),
        Kind::Tcp(host) => Docker::connect_with_http(host, PATIENCE, API_DEFAULT_VERSION),
    }
}

/// Sorts the client's errors by what the user can do about them.
fn explain(address: &EngineAddress, error: Error) -> EngineError {
    let address = address.to_string();
    match error {
        Error::SocketNotFoundError(_) => EngineError::Unreachable {
            address,
            source: rustix::io::Errno::NOENT.into(),
        },
        Error::HyperLegacyError { err } if err.is_connect() => EngineError::Unreachable {
            address,
            source: innermost(err),
        },
        Error::DockerResponseServerError {
            status_code,
            message,
        } => {
            let message = message.trim();
            EngineError::Refused {
                address,
                message: if message.is_empty() {
                    format!("status {status_code}")
                } else {
                    message.to_owned()
                },
            }
        }
        Error::DockerStreamError { error } => EngineError::Refused {
            address,
            message: error,
        },
        other => EngineError::HungUp {
            address,
            source: innermost(other),
        },
    }
}

/// The last cause, which says what happened; those above it say what was being done.
fn innermost(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let mut found = None;
    while let Some(inner) = cause {
        found = inner.downcast_ref::<io::Error>().or(found);
        cause = inner.source();
    }
    match found {
        Some(io) => io::Error::new(io.kind(), io.to_string()),
        None => io::Error::other(error),
    }
}
