//! The threads that compute.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};

/// The environment variable that sets the number of threads where nobody else does.
pub const VARIABLE: &str = "SD_RBEE_THREADS";
/// Most threads of a pool.
pub const MAX_THREADS: usize = 1024;

static POOLS: Mutex<BTreeMap<usize, Arc<ThreadPool>>> = Mutex::new(BTreeMap::new());

/// A pool of threads; pools of the same size are one.
#[derive(Clone)]
pub struct Threads(Arc<ThreadPool>);

impl Threads {
    /// `count` threads; where it is none, as many as [`VARIABLE`] says, else one for each core that the process may use:
    /// its affinity and, on Linux, the CPU quotas of its cgroups count.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] for a number outside of 1 to [`MAX_THREADS`], [`Error::Device`] if the system gives no
    /// threads.
    pub fn new(count: Option<usize>) -> Result<Self> {
        let count = match count {
            Some(count) => check("num_threads", &count.to_string())?,
            None => match std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
                Some(value) => check(VARIABLE, &value.to_string_lossy())?,
                None => std::thread::available_parallelism().map_or(1, |count| count.get().min(MAX_THREADS)),
            },
        };
        let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&count) {
            return Ok(Self(pool.clone()));
        }
        let pool = ThreadPoolBuilder::new().num_threads(count).thread_name(|index| format!("sd-rbee-{index}"));
        let pool =
            pool.build().map_err(|error| Error::Device(format!("{count} threads cannot be started: {error}")))?;
        let pool = Arc::new(pool);
        pools.insert(count, pool.clone());
        Ok(Self(pool))
    }

    /// Number of threads.
    pub fn count(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Runs `work` on these threads and waits for it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.0.install(work)
    }
}

fn check(field: &'static str, given: &str) -> Result<usize> {
    let count = given.parse().ok().filter(|count| (1..=MAX_THREADS).contains(count));
    count.ok_or_else(|| Error::invalid(field, given, format!("1 to {MAX_THREADS}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_of_one_size_are_one() {
        let [two, again, three] = [2, 2, 3].map(|count| Threads::new(Some(count)).expect("threads"));
        assert!(Arc::ptr_eq(&two.0, &again.0));
        assert_eq!((two.count(), three.count()), (2, 3));
        assert_eq!(three.run(rayon::current_num_threads), 3);
    }

    #[test]
    fn absurd_numbers_are_refused() {
        for count in [0, MAX_THREADS + 1, usize::MAX] {
            assert!(matches!(Threads::new(Some(count)), Err(Error::InvalidParams { field: "num_threads", .. })));
        }
    }

    #[test]
    fn the_default_is_what_the_process_may_use() {
        let allowed = std::thread::available_parallelism().expect("told").get();
        if std::env::var_os(VARIABLE).is_none() {
            assert_eq!(Threads::new(None).expect("threads").count(), allowed.min(MAX_THREADS));
        }
    }
}
