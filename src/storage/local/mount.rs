//! What the system tells about the mount that a file lies on, for messages: nothing is decided by it.

use std::path::Path;

/// A line of the system's list of mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// `nfs4`, `fuse.sshfs`.
    pub(super) kind: String,
    /// The options of the file system, separated by commas.
    options: String,
}

/// Options that say whether locks, names and answers are those of other machines, too.
const TELLING: &[&str] = &[
    "vers=",
    "hard",
    "soft",
    "softerr",
    "nocto",
    "noac",
    "nolock",
    "local_lock=",
    "lookupcache=",
    "flock",
    "localflock",
    "noflock",
    "cache=",
    "nobrl",
];

impl Mount {
    /// Reads the list for the device `major:minor`. Of several mounts of one file system the last is taken: they differ in nothing here.
    fn find(list: &str, device: &str) -> Option<Self> {
        list.lines().rev().find_map(|line| {
            // 36 35 98:0 /root /mount/point rw,noatime master:1 - ext3 /dev/root rw,errors=continue
            let (place, file_system) = line.split_once(" - ")?;
            if place.split(' ').nth(2)? != device {
                return None;
            }
            let mut fields = file_system.split(' ');
            let kind = fields.next()?.to_owned();
            Some(Self { kind, options: fields.nth(1).unwrap_or_default().to_owned() })
        })
    }

    /// ` (vers=4.2,hard,local_lock=none)`: options that matter to writers; empty when there are none.
    pub(super) fn telling_options(&self) -> String {
        let tells = |option: &&str| TELLING.iter().any(|told| option == told || (told.ends_with('=') && option.starts_with(told)));
        let found: Vec<_> = self.options.split(',').filter(tells).collect();
        if found.is_empty() { String::new() } else { format!(" ({})", found.join(",")) }
    }
}

/// The mount that `path` lies on; `None` if the system does not tell.
#[cfg(target_os = "linux")]
pub(super) fn mount_of(path: &Path) -> Option<Mount> {
    use std::os::unix::fs::MetadataExt as _;
    let device = std::fs::metadata(path).ok()?.dev();
    let list = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    Mount::find(&list, &format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device)))
}

/// The mount that `path` lies on; `None` if the system does not tell.
#[cfg(not(target_os = "linux"))]
pub(super) fn mount_of(_path: &Path) -> Option<Mount> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
22 28 0:21 / /proc rw,nosuid shared:5 - proc proc rw
28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
80 28 0:52 / /srv/n rw,relatime shared:9 - nfs4 10.9.1.1:/ rw,vers=4.2,rsize=131072,hard,proto=tcp,timeo=600,local_lock=none
81 28 0:53 / /home/a\\040b rw - fuse.sshfs host:/b - c rw,user_id=0
82 28 0:54 / /scratch rw - lustre mgs@tcp:/work rw,localflock,lazystatfs
83 28 0:55
";

    #[test]
    fn a_mount_is_found_by_its_device_and_tells_what_matters() {
        let found = |device| Mount::find(LIST, device).map(|mount| (mount.kind.clone(), mount.telling_options()));
        let told = |kind: &str, options: &str| Some((kind.to_owned(), options.to_owned()));
        assert_eq!(found("254:0"), told("ext4", ""));
        assert_eq!(found("0:52"), told("nfs4", " (vers=4.2,hard,local_lock=none)"));
        assert_eq!(found("0:53"), told("fuse.sshfs", ""));
        assert_eq!(found("0:54"), told("lustre", " (localflock)"));
        assert_eq!((found("0:55"), found("0:5"), found("")), (None, None, None));
    }
}
