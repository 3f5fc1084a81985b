//! Staging one batch.

use firnline::{KeyColumn, Result, VirtualOptions, VirtualRefs, WriteSession};

use super::KerchunkImport;
use super::batch::Batch;

/// Stages a batch; says how many references and values it had.
pub(super) async fn stage(session: &WriteSession, mut batch: Batch, options: &KerchunkImport) -> Result<(u64, u64)> {
    batch.settle_repeats();
    let counts = (batch.url.len() as u64, batch.values.len() as u64);
    let values = std::mem::take(&mut batch.values);
    session.set_many(values.into_iter().map(|(_, key, value)| (key, value))).await?;
    if !batch.url.is_empty() {
        let (keys, urls) = (batch.keys(), batch.urls.iter().map(String::as_str).collect::<Vec<_>>());
        let refs = VirtualRefs {
            keys: KeyColumn::Keys(&keys),
            urls: &urls,
            url: &batch.url,
            offset: &batch.offset,
            length: &batch.length,
            validators: &[],
        };
        let mut how = VirtualOptions::default();
        how.allow_missing = options.allow_missing;
        session.set_virtual_many(&refs, &how).await?;
    }
    Ok(counts)
}
