//! Where the servers that run for tests are, and the variables with which the engine reaches them.

use crate::support::skip;

/// The bucket or container that was made in each server before the tests began.
pub(crate) const BUCKET: &str = "firn";
/// The account of every Azurite and its key, both published by its makers.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The endpoint that `variable` names, or `None` after saying that `test` is skipped.
pub(crate) fn endpoint(test: &str, variable: &str) -> Option<String> {
    let endpoint = std::env::var(variable).ok();
    if endpoint.is_none() {
        skip(test, &format!("set {variable} to the endpoint of a server that runs for tests"));
    }
    endpoint
}

pub(crate) fn s3_variables(endpoint: &str) -> Vec<(String, String)> {
    named("AWS", &[("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "testtest"), ("ENDPOINT_URL", endpoint)])
}

pub(crate) fn azurite_variables(endpoint: &str) -> Vec<(String, String)> {
    named("AZURE_STORAGE", &[("ACCOUNT_NAME", ACCOUNT), ("ACCOUNT_KEY", KEY), ("ENDPOINT", endpoint)])
}

fn named(vendor: &str, variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| (format!("{vendor}_{name}"), (*value).to_owned())).collect()
}
