//! What goes along with requests for a place: whose credentials, and whether to addresses that are not public.

use std::sync::Arc;

use super::access::Access;
use super::allow::{Allow, AllowedSet, server};
use super::url::{self, UrlScheme};
use crate::error::{Error, Result};
use crate::storage::CredentialSet;
use crate::storage::credentials::{NamedSet, SetKind};
use crate::storage::outside::{Grant, Granted};

impl Access {
    /// The entry that decides about a URL, at the server that the snapshot names if it names one: the longest, and of two equally long
    /// ones the one that names the server.
    fn deciding(&self, url: &str, endpoint: Option<&str>) -> Option<&Allow> {
        let fits = |allow: &&Allow| {
            allow.scheme != UrlScheme::File && allow.permits(url) && (allow.at.is_none() || allow.at.as_deref() == endpoint)
        };
        self.allowed.iter().filter(fits).max_by_key(|allow| (!allow.only_unpinned(), allow.prefix.len(), allow.at.is_some()))
    }

    /// What is granted to requests for a URL, at the server that the snapshot names if it names one; `None` when the URL is not
    /// allowed. `Invalid` if its entry names credentials that are not defined, `Denied` if these are for another server.
    pub(crate) fn granted(&self, url: &str, endpoint: Option<&str>) -> Result<Option<Grant>> {
        let endpoint = endpoint.map(server);
        let Some(entry) = self.deciding(url, endpoint.as_deref()) else { return Ok(None) };
        let named = match &entry.credentials {
            Some(AllowedSet::Named(name)) => Some((name, self.sets.get(name).ok_or_else(|| self.undefined("is given", name))?)),
            _ => None,
        };
        let of_set = named.and_then(|(_, set)| set.server(kind(url))).map(|named| server(&named));
        // A server that the snapshot chose is given nothing that was granted to another one.
        let is_meant = endpoint.is_none() || entry.at.is_some() || endpoint == of_set;
        let credentials = match (&entry.credentials, named) {
            _ if !is_meant => Granted::Nothing,
            (_, Some((name, set))) => granted_by(name, set, url, endpoint.as_deref())?,
            (None | Some(AllowedSet::Anonymous | AllowedSet::Named(_)), None) => Granted::Nothing,
            (Some(AllowedSet::Environment), None) => Granted::Environment,
            (Some(AllowedSet::Repository), None) => Granted::Repository,
        };
        let settings = named.filter(|_| is_meant).map(|(_, set)| set.settings().clone()).unwrap_or_default();
        Ok(Some(Grant { credentials, settings, private: entry.private && is_meant }))
    }

    /// The servers that entries for a URL name.
    pub(crate) fn servers_allowed(&self, url: &str) -> String {
        let named = self.allowed.iter().filter(|allow| allow.permits(url)).filter_map(|allow| allow.at.as_deref());
        named.map(url::shown_whole).collect::<Vec<_>>().join(", ")
    }

    /// What to say of a place whose server refused a request, and the entry that would grant it credentials.
    pub(crate) fn refused(&self, url: &str, endpoint: Option<&str>) -> (String, Option<String>) {
        let Ok(Some(Grant { credentials, .. })) = self.granted(url, endpoint) else {
            return ("is denied by its server".to_owned(), None);
        };
        match credentials {
            Granted::Set(named) => (format!("is denied by its server, which was given the credentials {}", named.name), None),
            Granted::Environment => ("is denied by its server, which was given the credentials of the environment".to_owned(), None),
            Granted::Repository => ("is denied by its server, which was given the credentials of the repository".to_owned(), None),
            Granted::Nothing => {
                let endpoint = endpoint.map(server);
                let set = self.suitable(url, endpoint.as_deref());
                let entry = self.deciding(url, endpoint.as_deref()).map(|entry| entry.given(set, endpoint.as_deref()).to_string());
                ("is denied by its server, which was given no credentials".to_owned(), entry)
            }
        }
    }

    /// The credentials to advise for a place. A set is named only if it names this server itself: a snapshot may have chosen the server,
    /// and must not be able to ask for a set that is for another one. For other sets of the right kind stands `NAME`.
    fn suitable(&self, url: &str, endpoint: Option<&str>) -> AllowedSet {
        let is_of_kind = |set: &CredentialSet| set.kind() == SetKind::Given && set.takes().is_none_or(|takes| takes == kind(url));
        let names_it = |at: &str| is_for(at, url, endpoint) && (endpoint.is_some() || kind(url) == "http");
        let is_there = |set: &CredentialSet| set.server(kind(url)).is_some_and(|at| names_it(&at));
        match self.sets.iter().find(|(_, set)| is_of_kind(set) && is_there(set)) {
            Some((name, _)) => AllowedSet::Named(name.clone()),
            None if self.sets.values().any(|set| is_of_kind(set) && set.server(kind(url)).is_none()) => {
                AllowedSet::Named("NAME".to_owned())
            }
            None => AllowedSet::Environment,
        }
    }
}

/// The kind of credentials that the server of a URL takes.
fn kind(url: &str) -> &str {
    let scheme = url.split(':').next().unwrap_or(url);
    if scheme == "https" { "http" } else { scheme }
}

/// Whether credentials for the server `at` are for a URL, at the server that the snapshot names if it names one.
fn is_for(at: &str, url: &str, endpoint: Option<&str>) -> bool {
    match kind(url) {
        "http" => url::is_at_or_below(&server(url), &server(at)),
        _ => endpoint.is_none_or(|endpoint| endpoint == server(at)),
    }
}

/// The credentials of a set for a URL; `Denied` for servers that it is not for.
fn granted_by(name: &str, set: &CredentialSet, url: &str, endpoint: Option<&str>) -> Result<Granted> {
    if let Some(takes) = set.takes().filter(|takes| *takes != kind(url)) {
        let why = format!("is given the credentials {name}, which are of kind {takes}; it takes {}", kind(url));
        return Err(Error::invalid(why));
    }
    if let Some(at) = set.server(kind(url)).filter(|at| !is_for(at, url, endpoint)) {
        return Err(Error::denied(format!("is given the credentials {name}, which are for {} only", url::shown(&at))));
    }
    Ok(match set.kind() {
        SetKind::Environment => Granted::Environment,
        SetKind::Anonymous => Granted::Nothing,
        SetKind::Repository => Granted::Repository,
        SetKind::Given => Granted::Set(NamedSet { name: Arc::from(name), set: set.clone() }),
    })
}
