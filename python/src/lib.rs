//! The native half of the Python package `firnline`: the engine's calls, as Python can wait for them.
//!
//! The classes that users see are written in Python (`python/firnline`). This module gives them a repository, a session and
//! bytes that cross into Python without a copy. Every call that waits gives up the interpreter's lock while it waits.
//!
//! | file | what it does |
//! |---|---|
//! | `runtime` | the Tokio runtime of this process, also after a fork; waiting on the calling thread |
//! | `completion` | results for coroutines: ready at once, or handed to the event loop in batches |
//! | `value` | bytes of the engine as an object with the buffer protocol |
//! | `failure` | errors of the engine as Python exceptions |
//! | `logs` `progress` | events for `logging`, reports for callbacks |
//! | `options` `credentials` | how a repository is opened, from keyword arguments; what lets its reader in |
//! | `stream` | tables that Python takes piece by piece |
//! | `repository` `refs` `history` `health` `collection` `car` | the methods of a repository |
//! | `retention` `sync` | versions that expire, and what they take up; copies between repositories |
//! | `branches` `blame` | work on branches as a whole; which commit changed something last, or made it bad |
//! | `dependencies` `external` `kerchunk` `virtualize` | external files: what depends on them, what becomes of them, references into them |
//! | `session` `view` `store` `references` `staging` `virtuals` `commit` | the methods of a session and of its store |

#![allow(clippy::needless_pass_by_value, reason = "arguments come from Python by value")]

mod blame;
mod branches;
mod car;
mod collection;
mod commit;
mod completion;
mod credentials;
mod dependencies;
mod external;
mod failure;
mod health;
mod history;
mod kerchunk;
mod logs;
mod options;
mod progress;
mod references;
mod refs;
mod repository;
mod retention;
mod rows;
mod runtime;
mod session;
mod staging;
mod store;
mod stream;
mod sync;
mod value;
mod view;
mod virtualize;
mod virtuals;

use pyo3::prelude::*;

/// The module `firnline._firnline`.
#[pymodule]
mod _firnline {
    #[pymodule_export]
    use super::blame::NativeBisection;
    #[pymodule_export]
    use super::completion::Pending;
    #[pymodule_export]
    use super::credentials::NativeCredentials;
    #[pymodule_export]
    use super::logs::set_log_level;
    #[pymodule_export]
    use super::repository::NativeRepository;
    #[pymodule_export]
    use super::retention::{NativeExpirePlan, NativeRetention};
    #[pymodule_export]
    use super::runtime::forked;
    #[pymodule_export]
    use super::session::NativeSession;
    #[pymodule_export]
    use super::stream::NativeRows;
    #[pymodule_export]
    use super::sync::{configured_remotes, remote_place};
    #[pymodule_export]
    use super::value::Value;
    #[pymodule_export]
    use super::virtuals::Locations;

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::logs::install();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
