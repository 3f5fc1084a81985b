//! What the targets for whole files share: a repository in memory, and one file in a directory that it may read.

use std::path::PathBuf;

use firnline::{Access, CreateOptions, OpenOptions, Repository, storage::Memory};
use tokio::runtime::Runtime;

/// Where a file is put before it is read.
pub struct Place {
    /// What runs the calls.
    pub runtime: Runtime,
    /// A repository that may read the directory.
    pub repository: Repository,
    folder: tempfile::TempDir,
}

impl Place {
    /// A new one.
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a directory");
        let url = firnline::file_url(&folder.path().canonicalize().expect("its path")).expect("its URL");
        let options = OpenOptions::default().access(Access::parse([url.as_str()]).expect("a place that is allowed"));
        let create = Repository::create_storage(std::sync::Arc::new(Memory::new()), CreateOptions::from(options));
        let repository = runtime.block_on(create).expect("a repository");
        Self { runtime, repository, folder }
    }

    /// Writes the file.
    pub fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).expect("the file can be written");
        path
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}
