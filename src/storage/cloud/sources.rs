//! Objects of a bucket that hold data of their own.

use std::future::ready;

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore as _};
use tokio_util::io::StreamReader;

use super::store::Cloud;
use crate::error::{Error, Result};
use crate::storage::outside::header::strong_etag;
use crate::storage::sources::{SourceBody, SourceObject, SourceObjects};

#[async_trait]
impl SourceObjects for Cloud {
    fn identity(&self) -> String {
        format!("{self} at {}", self.connection.endpoint.as_deref().unwrap_or("the vendor's own server"))
    }

    fn list_sources(&self) -> BoxStream<'static, Result<SourceObject>> {
        let folder = if self.place.prefix.is_empty() { Ok(None) } else { Path::parse(&self.place.prefix).map(Some) };
        let folder = match folder {
            Ok(folder) => folder,
            Err(e) => return stream::iter([Err(Error::invalid(format!("{self} is not a prefix")).caused_by(e))]).boxed(),
        };
        let store = self.clone();
        let found = self.connection.retrying.list(folder.as_ref());
        let objects = found.map_err(move |e| store.trouble("it cannot be listed", e));
        let place = self.clone();
        let objects = objects.try_filter_map(move |meta| {
            let found = place.name_of(meta.location.as_ref()).map(|name| {
                let name = name.map(str::to_owned);
                name.map(|name| SourceObject { name, size: meta.size, etag: strong(meta.e_tag.as_ref()) })
            });
            ready(found)
        });
        objects.boxed()
    }

    async fn open_source(&self, name: &str) -> Result<Option<SourceBody>> {
        let path = self.path(name)?;
        let answer = match self.connection.retrying.get_opts(&path, GetOptions::default()).await {
            Ok(answer) => answer,
            Err(e) if Self::is_absence(&e) => return Ok(None),
            Err(e) => return Err(self.trouble(&format!("{name} cannot be read"), e)),
        };
        let (size, etag) = (answer.meta.size, strong(answer.meta.e_tag.as_ref()));
        let reader = StreamReader::new(answer.into_stream().map_err(std::io::Error::other));
        Ok(Some(SourceBody { size, etag, reader: Box::pin(reader) }))
    }
}

impl Cloud {
    /// The part of a key that follows the place; `None` for the object that consoles make to show the place as a folder, whose key ends in
    /// a slash that the client removes.
    fn name_of<'k>(&self, key: &'k str) -> Result<Option<&'k str>> {
        let prefix = self.place.prefix.as_str();
        match key.strip_prefix(prefix) {
            Some(name) if prefix.is_empty() => Ok(Some(name)),
            Some("") => Ok(None),
            Some(rest) if rest.starts_with('/') => Ok(rest.get(1..)),
            _ => Err(Error::corrupt(format!("{self}: the listing names {key}, which does not lie there"))),
        }
    }
}

fn strong(etag: Option<&String>) -> Option<String> {
    String::from_utf8(strong_etag(etag?.as_bytes())?).ok()
}
