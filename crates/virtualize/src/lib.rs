//! Makes virtual Zarr arrays of NetCDF and HDF5 files: their metadata is read and stored, their data stays where it is.
//!
//! ```no_run
//! use firnline::{Access, OpenOptions, Repository};
//! use firnline_virtualize::{VirtualizeOptions, virtualize};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let options = OpenOptions::default().access(Access::parse(["file:///data/"])?);
//! let repository = Repository::open_with("/data/air", options).await?;
//! let session = repository.write("main").await?;
//! let files = ["/data/air-2025-01.nc", "/data/air-2025-02.nc"];
//! virtualize(&session, &files, &VirtualizeOptions::default().prefix("air").concat("time")).await?;
//! session.commit("January and February").await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What becomes of a file
//!
//! - A variable becomes an array with one virtual chunk for each chunk of the file. A variable that lies in one piece becomes one chunk,
//!   or several along the dimension of concatenation ([`VirtualizeOptions::rows`]). A record variable of a NetCDF3 file has one chunk
//!   for each record.
//! - Coordinates (variables of one dimension that have its name), small variables ([`VirtualizeOptions::inline_limit`]), single values and
//!   strings of any length or padded with spaces are read, decoded and stored in the repository.
//! - Groups become groups. Attributes that only organise the file (`CLASS`, `DIMENSION_LIST`, `_NCProperties` and the like) are left out.
//! - HDF5 filters become codecs of numcodecs (`zlib`, `shuffle`, `fletcher32`, `zstd`, `blosc`, `bz2`), as `VirtualiZarr` writes them. What
//!   no
//!   codec can read, and what Zarr has no type for, is `Unsupported`, naming the variable: leave it out with [`VirtualizeOptions::drop`].
//!
//! # Several files
//!
//! Files are joined along one dimension, [`VirtualizeOptions::concat`], in the order in which they are given. Variables without it must be
//! equal in all files: values that are copied are compared, references are not, and those of the first file are kept. The type of elements,
//! dimensions, chunks, filters, fill value, and the attributes that decide what values mean (`units`, `calendar`, `scale_factor`,
//! `add_offset`, `_FillValue`, `missing_value`, flags) must be equal. Of all other attributes those of the first file are kept, and
//! [`VirtualizeSummary::other_attributes`] names the ones that differ. A file may end within a chunk only if it is the last one.
//!
//! A copied variable whose `units` are a time since another day (`days since 2025-02-01`) is written in the units of the first file, and
//! the
//! bounds that it or the stored coordinate names with it, if both units have a fixed length, the calendar is the same, and every value is
//! exact in its type.
//!
//! With [`VirtualizeOptions::append`] the first file is compared with what is stored, and only references of the new files are staged.

mod array;
mod budget;
mod calendar;
mod document;
mod element;
mod hdf5;
mod model;
mod netcdf3;
mod open;
mod options;
mod parse;
mod rows;
mod source;
mod stage;
mod stored;
mod time;
mod vacant;

pub use options::{VirtualizeOptions, VirtualizeSummary, ZarrFormat};

use std::collections::{BTreeMap, BTreeSet};

use firnline::{Amount, Error, Prefix, Result, WriteSession};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use array::Array;
use model::Parsed;
use open::OpenedFile;
use options::Settings;
use parse::Copied;
use stage::Stager;
use stored::StoredHierarchy;

/// How many files are opened and parsed at once.
const FILES: usize = 16;

/// Stages virtual arrays for `files`, which are URLs or paths on this machine: the chunks as references, everything else as values.
///
/// Every file is opened in one state, and its references are pinned to that state. Nothing is committed. After an error, or if the future
/// is
/// dropped, some of the changes may be staged: drop the session.
///
/// `Invalid`: there are no files, several without [`concat`](VirtualizeOptions::concat), files that do not fit each other or what is
/// stored,
/// arrays that exist without [`append`](VirtualizeOptions::append). `NotFound`: a file, the group in it, or what should be appended to.
/// `Denied`: a file lies in a place that the repository was not opened with access to. `Corrupt`: a file that is damaged. `Unsupported`: a
/// file of another format, a type or filter that Zarr has no word for. `SourceChanged`: a file that changed while it was parsed. Errors
/// about a file begin with its URL and the variable.
///
/// Reports each file as one item to the repository's [`Progress`](firnline::Progress).
///
/// Needs a Tokio runtime. Files are parsed on threads that may block, 16 at once. Each takes at most about 256 MiB for names, attributes
/// and
/// values that are copied; a file that needs more is `Unsupported`. Copied values are held until the end. Each reference that is not staged
/// yet
/// takes about 40 bytes, and there are at most 262,144 of these and those of one file.
pub async fn virtualize<F: AsRef<str>>(session: &WriteSession, files: &[F], options: &VirtualizeOptions) -> Result<VirtualizeSummary> {
    let urls: Vec<String> = files.iter().map(|file| open::url(file.as_ref())).collect::<Result<_>>()?;
    let (Some(first), rest) = (urls.first(), urls.get(1..).unwrap_or_default()) else {
        return Err(Error::invalid("there are no files to virtualize"));
    };
    if options.concat.is_none() && !rest.is_empty() {
        return Err(Error::invalid(format!("{} files need a dimension along which they are joined (--concat)", urls.len())));
    }
    if options.concat.is_none() && options.append {
        return Err(Error::invalid("appending needs the dimension along which the files are joined (--concat)"));
    }
    if options.rows == Some(0) {
        return Err(Error::invalid("chunks of 0 rows hold nothing; give at least 1"));
    }
    let stored = StoredHierarchy::load(session, &options.prefix, options.concat.as_deref(), options.append).await?;
    let format = stored.format.unwrap_or(options.zarr_format);
    let settings = Settings { format, concat: options.concat.clone(), rows: options.rows };
    let mut wanted = options.wanted();
    if options.append {
        wanted.copied = stored.copied(options.inline_limit, options.concat.as_deref());
    }
    if let Some(progress) = session.base().repository().progress() {
        progress.expect(Amount { items: urls.len() as u64, bytes: 0 });
    }
    let mut opened = open::open(session, first, &wanted).await?;
    if let Some(paths) = stored.copied_after_all(&opened.parsed.variables, &settings).map_err(|e| e.context(first))? {
        wanted.copied = Copied::named(paths);
        opened = open::open(session, first, &wanted).await?;
    }
    let Parsed { groups, variables, dropped, left_out } = opened.parsed;
    if variables.is_empty() {
        return Err(Error::invalid(format!("{first}: there are no variables in the group that was asked for")));
    }
    let arrays = begin(session, &options.prefix, &stored, (&groups, &variables), &settings).await.map_err(|e| e.context(first))?;
    if options.append {
        stored.require_all(&arrays, &settings).map_err(|e| e.context(first))?;
    }
    wanted.copied = Copied::named(arrays.values().filter(|array| array.is_copied).map(|array| array.path.clone()).collect());
    let mut stager = Stager::new(session, options.prefix.clone(), settings, arrays);
    stager.add(OpenedFile { parsed: Parsed { groups: Vec::new(), variables, dropped, left_out }, ..opened }).await?;
    let wanted = &wanted;
    // Collected, because a closure over references keeps the future from being `Send`.
    let opens: Vec<_> = rest.iter().map(|url| open::open(session, url, wanted)).collect();
    let parsed = stream::iter(opens).buffered(FILES);
    let mut parsed = std::pin::pin!(parsed);
    while let Some(opened) = parsed.try_next().await? {
        stager.add(opened).await?;
    }
    stager.finish(&groups, &stored).await
}

/// The arrays of the first file, each as it is stored or empty.
async fn begin(
    session: &WriteSession,
    prefix: &str,
    stored: &StoredHierarchy,
    (groups, variables): (&[model::ParsedGroup], &[model::Variable]),
    settings: &Settings,
) -> Result<BTreeMap<String, Array>> {
    let mut arrays = BTreeMap::new();
    if !stored.is_appended {
        let paths = variables.iter().map(|variable| join(prefix, &variable.path));
        let groups = groups.iter().map(|group| join(prefix, &group.path));
        vacant::check(session, settings.format, paths, groups).await?;
    }
    for variable in variables {
        let path = &variable.path;
        let array = match stored.arrays.get(path) {
            Some((document, may_be_copied)) => {
                let is_copied = *may_be_copied && matches!(variable.body, model::Body::Values(_));
                Array::resume(path, document.clone(), is_copied, variable, settings)
            }
            None if stored.is_appended => Err(Error::invalid("is not stored, so nothing can be appended to it; leave it out")),
            None => Array::begin(variable, settings),
        };
        arrays.insert(path.clone(), array.map_err(|e| e.context(path))?);
    }
    if let Some(concat) = &settings.concat
        && !arrays.values().any(|array| array.axis.is_some())
    {
        let dims: BTreeSet<_> = variables.iter().flat_map(|v| &v.dims).map(String::as_str).collect();
        return Err(Error::invalid(format!("no variable has the dimension {concat}; there are {}", Vec::from_iter(dims).join(", "))));
    }
    Ok(arrays)
}

/// A path below a prefix, either of which may be empty.
fn join(prefix: &str, path: &str) -> String {
    match (prefix.is_empty(), path.is_empty()) {
        (true, _) => path.to_owned(),
        (false, true) => prefix.to_owned(),
        (false, false) => format!("{prefix}/{path}"),
    }
}

/// The prefix below which everything of a hierarchy lies.
fn below(prefix: &str) -> Result<Prefix> {
    Prefix::new(prefix)
}
