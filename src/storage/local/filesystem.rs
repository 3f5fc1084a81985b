//! Which file systems can hold a repository that is written to.
//!
//! Only kinds that are known to be local are written to unasked: a kind that nobody has looked at may be a network's.

use std::path::Path;

use super::mount::{Mount, mount_of};
use super::{Disk, NetworkFileSystems};
use crate::error::{Error, Result};

/// What a kind of file system means for a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum FileSystem {
    /// One machine writes to it, and its kernel answers for locks, renames and syncs.
    Local(&'static str),
    /// Other machines write to it, too, or a daemon answers.
    Refused(&'static str, Hazard),
    /// This program does not know the kind.
    Unknown(u32),
}

/// Why a kind of file system is refused for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum Hazard {
    /// Locks are leases of a server.
    Nfs,
    /// Whether locks reach other machines is an option of the mount.
    Lustre,
    /// Locks reach the other machines, but a machine may be cut off while it holds one.
    Cluster,
    /// Names and locks are those of the protocol.
    Smb,
    /// A daemon answers, and how is its own affair.
    Fuse,
    /// The host of a virtual machine or container answers.
    Host,
    /// Other machines see what a file was when it was closed, if that.
    Afs,
}

impl Hazard {
    /// Continues "… lies on NFS: ".
    const fn words(self) -> &'static str {
        match self {
            Self::Nfs => {
                "the server gives a lock of a machine that it does not hear from to another one, and a rename that was on its way is \
                 carried out afterwards, so that two machines can replace each other's commits"
            }
            Self::Lustre => {
                "without the mount option `flock` locks do not keep other machines out, and with it a machine that is cut off loses them \
                 and may not know"
            }
            Self::Cluster => "a machine that is cut off from the others loses its locks and may not know",
            Self::Smb => "neither the locks nor the renames that this needs have to reach the server",
            Self::Fuse => "a program answers for locks, renames and syncs, and many of them keep locks to one machine or sync nothing",
            Self::Host => "the host answers for locks and syncs, and others may write there without seeing the locks",
            Self::Afs => "other machines see a file as it was when they were last told of it",
        }
    }
}

/// Kinds that are written to unasked: the low 32 bits of `f_type`.
const LOCAL: &[(u32, &str)] = &[
    (0x0000_ef53, "ext4"), // ext2 and ext3, too
    (0x0000_ef51, "ext2"),
    (0x5846_5342, "XFS"),
    (0x9123_683e, "Btrfs"),
    (0x2fc1_2fc1, "ZFS"),
    (0xf2f5_2010, "F2FS"),
    (0xca45_1a4e, "bcachefs"),
    (0x0102_1994, "tmpfs"),
    (0x8584_58f6, "ramfs"),
    (0x794c_7630, "overlayfs"), // The kernel refuses a network file system as the layer that is written to.
    (0x0000_f15f, "eCryptfs"),
    (0x3153_464a, "JFS"),
    (0x5265_4973, "ReiserFS"),
    (0x0000_3434, "NILFS"),
    (0x2405_1905, "UBIFS"),
    (0x0000_4d44, "FAT"),
    (0x2011_bab0, "exFAT"),
    (0x7366_746e, "NTFS"), // ntfs3 of the kernel; ntfs-3g is FUSE.
    (0x0000_482b, "HFS+"),
    (0x0000_4858, "HFS+"),
    (0x5346_4846, "the disk of WSL 1"),
    (0x7371_7368, "SquashFS"), // From here on read-only.
    (0xe0f5_e1e2, "EROFS"),
    (0x0000_9660, "ISO 9660"),
    (0x1501_3346, "UDF"),
];

/// Kinds whose locks and syncs another machine or a daemon answers for.
const REFUSED: &[(u32, &str, Hazard)] = &[
    (0x0000_6969, "NFS", Hazard::Nfs),
    (0x0bd0_0bd0, "Lustre", Hazard::Lustre),
    (0x4750_4653, "GPFS", Hazard::Cluster),
    (0x00c3_6400, "CephFS", Hazard::Cluster),
    (0x1983_0326, "BeeGFS", Hazard::Cluster),
    (0x0116_1970, "GFS2", Hazard::Cluster),
    (0x7461_636f, "OCFS2", Hazard::Cluster),
    (0x2003_0528, "OrangeFS", Hazard::Cluster),
    (0xaad7_aaea, "PanFS", Hazard::Cluster),
    (0xbeef_dead, "StorNext", Hazard::Cluster),
    (0xa501_fcf5, "VxFS", Hazard::Cluster),
    (0x6163_6673, "ACFS", Hazard::Cluster),
    (0x0131_11a8, "IBRIX", Hazard::Cluster),
    (0xfe53_4d42, "SMB", Hazard::Smb),
    (0xff53_4d42, "SMB", Hazard::Smb),
    (0x0000_517b, "SMB", Hazard::Smb),
    (0x0000_564c, "NCP", Hazard::Smb),
    (0x6573_5546, "FUSE", Hazard::Fuse),
    (0x6175_6673, "aufs", Hazard::Fuse),
    (0x0102_1997, "9p", Hazard::Host),
    (0x786f_4256, "a VirtualBox shared folder", Hazard::Host),
    (0xbacb_acbc, "a VMware shared folder", Hazard::Host),
    (0x7c7c_6673, "a Parallels shared folder", Hazard::Host),
    (0x5346_414f, "AFS", Hazard::Afs),
    (0x6b41_4653, "AFS", Hazard::Afs),
    (0x7375_7245, "Coda", Hazard::Afs),
];

impl FileSystem {
    /// What the low 32 bits of `f_type` stand for.
    pub(in crate::storage) fn of(magic: u32) -> Self {
        if let Some(&(_, name)) = LOCAL.iter().find(|(kind, _)| *kind == magic) {
            return Self::Local(name);
        }
        REFUSED.iter().find(|(kind, ..)| *kind == magic).map_or(Self::Unknown(magic), |&(_, name, hazard)| Self::Refused(name, hazard))
    }

    const fn is_local(self) -> bool {
        matches!(self, Self::Local(_))
    }

    /// What it is called: `fuse.sshfs`, where the system tells more than "FUSE".
    fn name(self, mount: Option<&Mount>) -> String {
        match self {
            Self::Refused(name, Hazard::Fuse) => mount.map_or_else(|| name.to_owned(), |mount| format!("{name} ({})", mount.kind)),
            Self::Local(name) | Self::Refused(name, _) => name.to_owned(),
            Self::Unknown(magic) => {
                let kind = mount.map_or_else(String::new, |mount| format!("{}, ", mount.kind));
                format!("a file system that this program does not know ({kind}number {magic:#x})")
            }
        }
    }

    /// Why it is refused.
    const fn hazard(self) -> &'static str {
        match self {
            Self::Refused(_, hazard) => hazard.words(),
            Self::Local(_) | Self::Unknown(_) => "other machines may write to it, too, without seeing the locks of this one",
        }
    }
}

/// Whether `path` is on a local disk, so that neither another machine nor a daemon answers for its metadata. `false` if the system does
/// not tell.
pub(crate) fn is_local_disk(path: &Path) -> bool {
    matches!(file_system(path), Ok(Some(found)) if found.is_local())
}

impl Disk {
    /// Refuses to write to a network file system, before anything is created on it.
    pub(super) fn check_file_system(&self) -> Result<()> {
        if self.options.network == NetworkFileSystems::Trust {
            return Ok(());
        }
        let Some(found) = self.file_system()?.filter(|found| !found.is_local()) else { return Ok(()) };
        Err(Error::unsupported(format!(
            "{} lies on {}: {}. It can be read there. Keep a repository that is written to on a local disk or in an object store; \
             if one machine at a time writes to it, network file systems can be trusted explicitly",
            self.root.display(),
            found.name(mount_of(self.existing()).as_ref()),
            found.hazard()
        )))
    }

    /// What the directory lies on, for somebody who asks.
    pub(super) fn describe_file_system(&self) -> Result<String> {
        self.check_file_system()?;
        let Some(found) = self.file_system()? else {
            return Ok("the system does not tell its kind; it must be a local one".to_owned());
        };
        let mount = mount_of(self.existing());
        let name = found.name(mount.as_ref());
        if found.is_local() {
            return Ok(format!("{name}, a local one"));
        }
        let options = mount.map_or_else(String::new, |mount| mount.telling_options());
        Ok(format!("{name}{options}, trusted: only one machine at a time may write or collect garbage, because {}", found.hazard()))
    }

    fn file_system(&self) -> Result<Option<FileSystem>> {
        file_system(self.existing()).map_err(|e| self.trouble("the file system", "be asked for its kind", e))
    }

    /// The root, or what is there above it.
    fn existing(&self) -> &Path {
        self.root.ancestors().find(|path| path.exists()).unwrap_or(&self.root)
    }
}

/// The kind of file system that `path` lies on, where the system has numbers for them.
#[cfg(target_os = "linux")]
fn file_system(path: &Path) -> std::io::Result<Option<FileSystem>> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "its width and sign differ from machine to machine")]
    let magic = rustix::fs::statfs(path)?.f_type as u32;
    Ok(Some(FileSystem::of(magic)))
}

/// The kind of file system that `path` lies on, where the system has numbers for them.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature as on Linux")]
fn file_system(_path: &Path) -> std::io::Result<Option<FileSystem>> {
    Ok(None)
}
