//! Which file systems can hold a repository that is written to.

use std::path::Path;

use super::{Disk, NetworkFileSystems};
use crate::error::{Error, Result};

/// Why a kind of file system is refused for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) struct Refusal {
    /// The name of the kind.
    pub(in crate::storage) name: &'static str,
}

/// Kinds of file system whose locks and syncs another machine or a daemon answers for: the low 32 bits of `f_type`.
const REFUSED: &[(u32, &str)] = &[
    (0x0000_6969, "NFS"),
    (0x0000_517b, "SMB"),
    (0xfe53_4d42, "SMB2"),
    (0xff53_4d42, "CIFS"),
    (0x0000_564c, "NCP"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "FUSE"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x4750_4653, "GPFS"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0x1983_0326, "BeeGFS"),
    (0x2003_0528, "OrangeFS"),
    (0xaad7_aaea, "PanFS"),
    (0x786f_4256, "VirtualBox shared folder"),
    (0xbacb_acbc, "VMware shared folder"),
    (0x7c7c_6673, "Parallels shared folder"),
];

/// Why a file system of this kind is refused for writing; `None` when it is taken for a local one.
pub(in crate::storage) fn refusal(magic: u32) -> Option<Refusal> {
    REFUSED.iter().find(|(refused, _)| *refused == magic).map(|&(_, name)| Refusal { name })
}

/// Whether `path` is on a local disk, so that neither another machine nor a daemon answers for its metadata. `false` if the system does
/// not tell.
pub(crate) fn is_local_disk(path: &Path) -> bool {
    matches!(kind_of(path), Ok(Some(magic)) if refusal(magic).is_none())
}

impl Disk {
    /// Refuses to write to a network file system, before anything is created on it.
    pub(super) fn check_file_system(&self) -> Result<()> {
        if self.options.network == NetworkFileSystems::Trust {
            return Ok(());
        }
        let existing = self.root.ancestors().find(|path| path.exists()).unwrap_or(&self.root);
        let magic = kind_of(existing).map_err(|e| self.trouble("the file system", "be asked for its kind", e))?;
        match magic.and_then(refusal) {
            None => Ok(()),
            Some(Refusal { name }) => Err(Error::unsupported(format!(
                "{} lies on a network or user-space file system ({name}), whose locks and syncs cannot be relied on; \
                 it can be read, and written when network file systems are trusted explicitly",
                self.root.display()
            ))),
        }
    }
}

/// The kind of file system that `path` lies on, where the system has numbers for them.
#[cfg(target_os = "linux")]
fn kind_of(path: &Path) -> std::io::Result<Option<u32>> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "its width and sign differ from machine to machine")]
    let kind = rustix::fs::statfs(path)?.f_type as u32;
    Ok(Some(kind))
}

/// The kind of file system that `path` lies on, where the system has numbers for them.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature as on Linux")]
fn kind_of(_path: &Path) -> std::io::Result<Option<u32>> {
    Ok(None)
}
