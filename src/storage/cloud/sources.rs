//! Objects of a bucket that hold data of their own.

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
        let objects = found.map(move |found| {
            let meta = found.map_err(|e| store.trouble("it cannot be listed", e))?;
            let key = meta.location.as_ref();
            let name = if store.place.prefix.is_empty() { Some(key) } else { key.strip_prefix(&format!("{}/", store.place.prefix)) };
            let Some(name) = name else {
                return Err(Error::corrupt(format!("{store}: the listing names {key}, which does not lie there")));
            };
            Ok(SourceObject { name: name.to_owned(), size: meta.size, etag: strong(meta.e_tag.as_ref()) })
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

fn strong(etag: Option<&String>) -> Option<String> {
    String::from_utf8(strong_etag(etag?.as_bytes())?).ok()
}
