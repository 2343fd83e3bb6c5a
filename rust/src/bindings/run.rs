//! The doors into long native work: they release the GIL, hear Ctrl-C, and turn a panic into an error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;

use super::step;
use crate::error::{Error, Result};
use crate::progress::{CancelToken, Observer, Step};

/// How often a thread that waits looks up.
const POLL: Duration = Duration::from_millis(20);

fn guard<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Error::Inference(format!("internal error: {}", text.unwrap_or("a panic without a message"))))
    })
}

/// Runs `work` on this thread without the GIL.
pub fn blocking<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    Ok(py.detach(|| guard(work))?)
}

/// Waits for `mutex`; a panic of an earlier holder changes nothing, since a pipeline is never left half changed.
pub fn lock<'a, T>(mutex: &'a Mutex<T>, cancel: &CancelToken) -> Result<MutexGuard<'a, T>> {
    loop {
        match mutex.try_lock() {
            Ok(guard) => return Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => cancel.check()?,
        }
        thread::sleep(POLL);
    }
}

/// Hands each step to the calling thread and waits until it was heard.
struct Relay {
    steps: SyncSender<Step>,
    heard: Receiver<()>,
}

impl Observer for Relay {
    fn on_step(&mut self, step: &Step) -> Result<()> {
        self.steps.send(step.clone()).map_err(|_| Error::Cancelled)?;
        self.heard.recv().map_err(|_| Error::Cancelled)
    }
}

/// Runs `work` on a thread of its own, while this thread calls `on_step` and hears signals.
///
/// An exception of `on_step` or of a signal handler cancels the work and is raised when it has stopped.
pub fn observed<T: Send>(
    py: Python<'_>,
    on_step: Option<Py<PyAny>>,
    cancel: &CancelToken,
    work: impl FnOnce(&mut dyn Observer, &CancelToken) -> Result<T> + Send,
) -> PyResult<T> {
    let cancel = &cancel.child();
    let (steps, arriving) = sync_channel(0);
    let (hear, heard) = sync_channel(1);
    let on_step = on_step.as_ref();
    let (result, interruption) = py.detach(move || {
        thread::scope(|scope| {
            let worker = scope.spawn(move || guard(|| work(&mut Relay { steps, heard }, cancel)));
            let mut interruption = None;
            loop {
                let step = match arriving.recv_timeout(POLL) {
                    Ok(step) => Some(step),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => break,
                };
                let arrived = step.is_some();
                if interruption.is_none() {
                    interruption = attend(on_step, step).err();
                    if interruption.is_some() {
                        cancel.cancel();
                    }
                }
                if arrived && hear.send(()).is_err() {
                    break;
                }
            }
            let result = worker.join().unwrap_or_else(|_| Err(Error::Inference("internal error".into())));
            (result, interruption)
        })
    });
    match interruption {
        Some(error) => Err(error),
        None => Ok(result?),
    }
}

fn attend(on_step: Option<&Py<PyAny>>, step: Option<Step>) -> PyResult<()> {
    // An interpreter that is on its way out hears nothing more.
    let attached = Python::try_attach(|py| {
        py.check_signals()?;
        if let (Some(callback), Some(step)) = (on_step, step) {
            callback.call1(py, (step::Step(step),))?;
        }
        Ok(())
    });
    attached.unwrap_or_else(|| Err(Error::Cancelled.into()))
}
