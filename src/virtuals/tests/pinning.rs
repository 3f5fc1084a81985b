//! What pins a file, and what happens to files that nothing pins.

use std::fs;
use std::time::Duration;

use proptest::prelude::*;

use super::reading::{Disk, NOW, date, day_before};
use crate::id::{Digest, HashAlgorithm};
use crate::virtuals::validator::{Stat, multihash};
use crate::virtuals::{Access, Allow, FileState, Locator, Validator, Virtuals, file_url};
use crate::{Clock as _, ErrorKind, Remedy, SystemClock, Timestamp};

/// A file was restored from a backup with another size and an older date than when it was committed. Nothing had been
/// recorded of it, because its place was not allowed then, and its bytes were given out without a word.
#[tokio::test]
async fn bytes_of_a_file_that_was_never_pinned_are_given_out_only_to_a_reader_who_accepts_that() {
    let disk = Disk::new();
    let path = disk.write("data/a.nc", b"0123456789");
    let record = Validator::staged_at(NOW).record(1, 1);
    let error = disk.read("data/a.nc", &record, 0..4).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("was never pinned"), "{error}");
    let Some(Remedy::Allow(entry)) = error.remedy() else { panic!("{error:?}") };
    assert!(entry.starts_with("file:///") && entry.ends_with("/data/=unpinned"), "{entry}");
    assert_eq!(disk.check("data/a.nc", &record).await, FileState::Unverifiable);

    let disk = disk.accepting_unpinned();
    assert_eq!(disk.read("data/a.nc", &record, 0..4).await.unwrap(), b"0123");
    assert_eq!(disk.check("data/a.nc", &record).await, FileState::Unverifiable, "accepting it does not prove anything");
    // The one thing that is recorded is still held.
    date(&path, day_before() + Duration::from_hours(48));
    disk.fails("data/a.nc", &record, ErrorKind::SourceChanged).await;
    assert_eq!(disk.check("data/a.nc", &record).await, FileState::Changed);
    fs::remove_file(&path).unwrap();
    assert_eq!(disk.check("data/a.nc", &record).await, FileState::Missing);
}

/// On a local disk the change time proves what little is recorded: it moves with every write, rename and `touch`.
#[tokio::test]
async fn a_local_file_that_nobody_touched_since_it_was_referred_to_is_read() {
    let disk = Disk::new();
    let path = disk.write("data/a.nc", b"0123456789");
    let now = SystemClock.now().plus(Duration::from_millis(20));
    let record = Validator::staged_at(now).record(1, 1);
    assert_eq!(disk.read("data/a.nc", &record, 0..4).await.unwrap(), b"0123");
    assert_eq!(disk.check("data/a.nc", &record).await, FileState::Unverifiable, "a check promises nothing");
    // Another file of an older date takes its place.
    std::thread::sleep(Duration::from_millis(60));
    let other = disk.write("data/b.nc", b"another one");
    date(&other, day_before() - Duration::from_hours(48));
    fs::rename(&other, &path).unwrap();
    disk.fails("data/a.nc", &record, ErrorKind::Unsupported).await;
}

#[tokio::test]
async fn accepting_unpinned_files_does_not_loosen_what_is_pinned() {
    let disk = Disk::new().accepting_unpinned();
    let path = disk.write("data/a.nc", b"0123456789");
    let record = disk.pin("data/a.nc").await;
    fs::write(&path, b"9876543210+").unwrap();
    date(&path, day_before() - Duration::from_hours(48));
    disk.fails("data/a.nc", &record, ErrorKind::SourceChanged).await;
}

#[test]
fn a_digest_an_etag_a_version_or_size_and_date_together_pin_a_file() {
    let bare = Validator::staged_at(NOW);
    let size = Validator { size: Some(7), ..bare.clone() };
    let modified = Validator { modified: Some(NOW), ..bare.clone() };
    for unpinned in [&bare, &size, &modified] {
        assert!(!unpinned.is_pinned(), "{unpinned:?}");
    }
    for pinned in [
        Validator { modified: Some(NOW), ..size },
        Validator { etag: Some(b"x".to_vec()), ..bare.clone() },
        Validator { version: Some("1".to_owned()), ..bare.clone() },
        Validator { digest: Some(multihash(&Digest::new(HashAlgorithm::Blake3, [7; 32]))), ..bare.clone() },
    ] {
        assert!(pinned.is_pinned(), "{pinned:?}");
    }
}

/// A source that tells less than it once did cannot prove that the file is the same: here an `ETag` is recorded, of which a
/// directory knows nothing.
#[tokio::test]
async fn a_source_that_no_longer_tells_what_was_recorded_proves_nothing() {
    let disk = Disk::new();
    disk.write("data/a.nc", b"0123456789");
    let record = Validator { etag: Some(b"x".to_vec()), size: Some(10), ..Validator::staged_at(NOW) }.record(1, 1);
    let message = disk.fails("data/a.nc", &record, ErrorKind::Unsupported).await;
    assert!(message.contains("no longer tells"), "{message}");
    assert_eq!(disk.accepting_unpinned().read("data/a.nc", &record, 0..4).await.unwrap(), b"0123");
}

fn moments() -> impl Strategy<Value = Option<Timestamp>> {
    let edges = [i64::MIN, -1, 0, 1, i64::MAX, Timestamp::MAX.micros(), Timestamp::MAX.micros() + 1, Timestamp::MIN.micros() - 1];
    let micros = prop_oneof![any::<i64>(), prop::sample::select(edges.to_vec())];
    prop::option::of(micros.prop_map(Timestamp::from_micros))
}

fn sizes() -> impl Strategy<Value = Option<u64>> {
    prop::option::of(prop_oneof![any::<u64>(), prop::sample::select(vec![0, u64::MAX, 1 << 63, (1 << 63) - 1])])
}

fn etags() -> impl Strategy<Value = Option<Vec<u8>>> {
    let long = (250_usize..300).prop_map(|len| vec![b'x'; len]);
    prop::option::of(prop_oneof![prop::collection::vec(any::<u8>(), 0..20), long])
}

fn versions() -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop_oneof![any::<String>(), (250_usize..300).prop_map(|len| "v".repeat(len))])
}

proptest! {
    /// An `ETag` of 257 bytes was committed, and no reader accepted the node that held it: the branch was unreadable for ever.
    #[test]
    fn whatever_a_source_tells_gives_a_record_that_its_reader_accepts(
        size in sizes(), modified in moments(), etag in etags(), version in versions(),
    ) {
        let told = Stat { size, modified, etag, version, ..Stat::default() };
        let validator = Validator::seen(told.clone(), NOW);
        prop_assert_eq!(validator.clone().record(1, 1).check(), Ok(()), "{:?}", told);
        prop_assert!(validator.check().is_ok(), "{:?}", validator);
    }

    #[test]
    fn a_validator_that_a_caller_may_give_is_one_that_the_reader_accepts(
        size in sizes(), modified in moments(), etag in etags(), version in versions(),
        digest in prop::option::of(prop::collection::vec(any::<u8>(), 0..80)),
        pinned_at in moments(),
    ) {
        let given = Validator { size, modified, etag, version, digest, pinned_at: pinned_at.unwrap_or(NOW) };
        match given.check() {
            Ok(()) => prop_assert_eq!(given.record(1, 1).check(), Ok(())),
            Err(e) => prop_assert_eq!(e.kind(), ErrorKind::Invalid),
        }
    }
}

/// `pathlib`, browsers and other tools write a space in a `file:` URL as `%20`, and nothing was found there.
#[tokio::test]
async fn a_file_url_is_percent_decoded_and_a_literal_name_still_found() {
    let disk = Disk::new();
    let virtual_of = |name: &str| {
        let locator = Locator::default();
        let located = locator.locate(&format!("file://{}/{name}", disk.path("data").display())).unwrap();
        (vec![located.container.unwrap()], located.file)
    };
    let read = async |name: &str| {
        let (containers, file) = virtual_of(name);
        let looked = disk.virtuals.lookup(&containers, &file, crate::virtuals::VirtualLookup::at(NOW)).await.unwrap();
        let record = looked.told().expect("is allowed").record(1, 1);
        disk.virtuals.read(&containers, &file, &record, 0..4, "k").await.map(|bytes| bytes.to_vec())
    };
    disk.write("data/my data.nc", b"decoded 1");
    disk.write("data/100%.nc", b"100% 3");
    assert_eq!(read("my%20data.nc").await.unwrap(), b"deco");
    assert_eq!(read("my data.nc").await.unwrap(), b"deco");
    assert_eq!(read("100%.nc").await.unwrap(), b"100%");
    assert_eq!(read("100%25.nc").await.unwrap(), b"100%");
    disk.write("data/lit%20eral.nc", b"literal 2");
    assert_eq!(read("lit%20eral.nc").await.unwrap(), b"lite", "its name has a percent sign");
    assert_eq!(read("lit%2520eral.nc").await.unwrap(), b"lite");
    // Where both are there, the decoded one is meant.
    disk.write("data/lit eral.nc", b"both 4");
    assert_eq!(read("lit%20eral.nc").await.unwrap(), b"both");
    // No spelling leads out of what is allowed.
    disk.write("outside/a.nc", b"secret 5");
    for way_out in ["%2e%2e/outside/a.nc", "x/%2E./../outside/a.nc"] {
        let locator = Locator::default();
        let refused = locator.locate(&format!("file://{}/{way_out}", disk.path("data").display())).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{way_out}");
    }
}

#[tokio::test]
async fn a_list_of_allowed_places_can_name_every_directory() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path().canonicalize().unwrap();
    let record = Validator::staged_at(Timestamp::MAX).record(1, 1);
    for name in ["my data", "a,b", "line\nbreak", "tab\tbed", "100%", "a=b", "x=unpinned"] {
        let directory = base.join(name);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("f"), b"content").unwrap();
        let url = file_url(&directory.join("f")).unwrap();
        let located = Locator::default().locate(&url).unwrap();
        let list = format!("file:///nowhere/, {}/=unpinned\n s3://bucket/", file_url(&directory).unwrap());
        let virtuals = Virtuals::new(Access::new(Access::parse_list(&list).unwrap()));
        let read = virtuals.read(&[located.container.unwrap()], &located.file, &record, 0..7, "k").await;
        assert_eq!(read.unwrap().as_ref(), b"content", "{list}");
    }
    let entries = Access::parse_list("s3://bucket/a%2Cb%20c/=env  http://h/a%2Cb/,").unwrap();
    assert_eq!(entries.iter().map(ToString::to_string).collect::<Vec<_>>(), ["s3://bucket/a,b c/=env", "http://h/a%2Cb/"]);
    let error = Access::parse_list("file:///my data/").unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("%20"), "{error}");
    for wrong in ["file:///data/=env", "file:///data/=private+unpinned", "s3://b/=unpinned+what"] {
        assert_eq!(wrong.parse::<Allow>().unwrap_err().kind(), ErrorKind::Invalid, "{wrong}");
    }
}

#[cfg(feature = "remote")]
#[test]
fn accepting_unpinned_files_takes_no_credentials_away() {
    use crate::storage::outside::Granted;
    let access = Access::parse(["s3://b/=env+private", "s3://b/x/=unpinned"]).unwrap();
    let granted = |access: &Access, url: &str| access.granted(url, None).unwrap().unwrap();
    let grant = granted(&access, "s3://b/x/f");
    assert!(grant.credentials == Granted::Environment && grant.private);
    assert!(access.accepts_unpinned("s3://b/x/f") && !access.accepts_unpinned("s3://b/y/f"));
    assert_eq!(granted(&Access::parse(["s3://b/x/=unpinned"]).unwrap(), "s3://b/x/f").credentials, Granted::Nothing);
    // An entry that says `anonymous` decides, with `unpinned` as without it; and prints what it says.
    let access = Access::parse(["s3://b/=env", "s3://b/pub/=anonymous+unpinned"]).unwrap();
    assert_eq!(granted(&access, "s3://b/pub/x").credentials, Granted::Nothing);
    assert_eq!("s3://b/pub/=anonymous+unpinned".parse::<Allow>().unwrap().to_string(), "s3://b/pub/=anonymous+unpinned");
}
