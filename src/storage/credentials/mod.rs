//! Credentials: what a request carries to be let in, and where it comes from.
//!
//! A [`Secret`] is never printed. A [`Credential`] is what one kind of server takes. A [`CredentialSet`] is where credentials come
//! from, fixed or fetched by a [`CredentialSource`], and to which server they go.

mod command;
mod set;

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, Result};

pub use command::CredentialCommand;
pub(crate) use set::ServerSettings;
pub use set::{CredentialSet, CredentialSource, IssuedCredentials};
#[cfg(feature = "remote")]
pub(crate) use set::{NamedSet, SetKind};

/// A text that is never printed: `Debug` shows `…`, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text. Whoever asks for it must not print it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// What requests to one kind of server carry. Printing shows the kind only.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(pub(crate) CredentialForm);

/// The forms of credentials, by kind of server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum CredentialForm {
    /// `s3`: the pair of keys, and the token of a session.
    Aws { id: String, secret: Secret, token: Option<Secret> },
    /// `gs`: an access token.
    GoogleToken(Secret),
    /// `gs`: the JSON document of a service account.
    GoogleAccount(Secret),
    /// `az`: the key of the account, in base64.
    AzureKey(Secret),
    /// `az`: a shared access signature, as it stands in a query.
    AzureSas(Secret),
    /// `az`: an access token.
    AzureToken(Secret),
    /// `http`: a token.
    Bearer(Secret),
    /// `http`: a name and a password.
    Basic { user: String, password: Secret },
}

/// The fields of each kind, of which the first group that is given in full is taken; the last of a group may be left out where it is
/// marked with `?`.
const FORMS: &[(&str, &[&str])] = &[
    ("s3", &["access_key_id", "secret_access_key", "session_token?"]),
    ("gs", &["token"]),
    ("gs", &["service_account_key"]),
    ("az", &["account_key"]),
    ("az", &["sas_token"]),
    ("az", &["token"]),
    ("http", &["bearer"]),
    ("http", &["user", "password"]),
];

impl Credential {
    /// A pair of keys for `s3:`, with the token of the session where the keys belong to one.
    pub fn aws(access_key_id: impl Into<String>, secret_access_key: impl Into<Secret>, session_token: Option<Secret>) -> Self {
        Self(CredentialForm::Aws { id: access_key_id.into(), secret: secret_access_key.into(), token: session_token })
    }

    /// A bearer token for `http:` and `https:`.
    pub fn bearer(token: impl Into<Secret>) -> Self {
        Self(CredentialForm::Bearer(token.into()))
    }

    /// A name and a password for `http:` and `https:`.
    pub fn basic(user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self(CredentialForm::Basic { user: user.into(), password: password.into() })
    }

    /// Reads credentials from fields by name, as a configuration file or a callback has them:
    ///
    /// | `kind` | fields |
    /// |---|---|
    /// | `s3` | `access_key_id`, `secret_access_key`, and `session_token` where there is one |
    /// | `gs` | `token`, or `service_account_key` (a JSON document) |
    /// | `az` | `account_key`, or `sas_token`, or `token` |
    /// | `http` | `bearer`, or `user` and `password` |
    ///
    /// A field that is missing or unknown, and fields of two forms together, are `Invalid`; messages hold names of fields and no values.
    pub fn from_fields(kind: &str, fields: &BTreeMap<String, Secret>) -> Result<Self> {
        let forms: Vec<_> = FORMS.iter().filter(|(of, _)| *of == kind).map(|(_, names)| *names).collect();
        if forms.is_empty() {
            return Err(Error::invalid("credentials are of kind s3, gs, az or http"));
        }
        let fits = |names: &&[&str]| {
            let is_known = |field: &String| names.iter().any(|name| name.trim_end_matches('?') == field);
            names.iter().all(|name| name.ends_with('?') || fields.contains_key(*name)) && fields.keys().all(is_known)
        };
        let Some(names) = forms.iter().copied().find(fits) else {
            let lists: Vec<_> = forms.iter().map(|names| names.join(" and ").replace('?', " (optional)")).collect();
            let given: Vec<_> = fields.keys().map(String::as_str).collect();
            let given = if given.is_empty() { "none".to_owned() } else { given.join(", ") };
            return Err(Error::invalid(format!("credentials of kind {kind} have {}; given: {given}", lists.join(", or "))));
        };
        let text = |name: &str| fields.get(name).cloned().unwrap_or_else(|| Secret::new(""));
        let form = match names {
            ["access_key_id", ..] => CredentialForm::Aws {
                id: text("access_key_id").0,
                secret: text("secret_access_key"),
                token: fields.get("session_token").cloned(),
            },
            ["service_account_key"] => CredentialForm::GoogleAccount(text("service_account_key")),
            ["account_key"] => CredentialForm::AzureKey(text("account_key")),
            ["sas_token"] => CredentialForm::AzureSas(text("sas_token")),
            ["bearer"] => CredentialForm::Bearer(text("bearer")),
            ["user", "password"] => CredentialForm::Basic { user: text("user").0, password: text("password") },
            _ if kind == "gs" => CredentialForm::GoogleToken(text("token")),
            _ => CredentialForm::AzureToken(text("token")),
        };
        if fields.values().any(|value| value.0.is_empty()) {
            return Err(Error::invalid(format!("credentials of kind {kind} have an empty field")));
        }
        Ok(Self(form))
    }

    /// The kind of server that takes them: `s3`, `gs`, `az` or `http`.
    pub const fn kind(&self) -> &'static str {
        match self.0 {
            CredentialForm::Aws { .. } => "s3",
            CredentialForm::GoogleToken(_) | CredentialForm::GoogleAccount(_) => "gs",
            CredentialForm::AzureKey(_) | CredentialForm::AzureSas(_) | CredentialForm::AzureToken(_) => "az",
            CredentialForm::Bearer(_) | CredentialForm::Basic { .. } => "http",
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({})", self.kind())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn fields(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect()
    }

    #[test]
    fn fields_make_credentials_of_one_form() {
        for (kind, given) in [
            ("s3", &[("access_key_id", "A"), ("secret_access_key", "hush")][..]),
            ("s3", &[("access_key_id", "A"), ("secret_access_key", "hush"), ("session_token", "hush")]),
            ("gs", &[("token", "hush")]),
            ("gs", &[("service_account_key", "hush")]),
            ("az", &[("account_key", "hush")]),
            ("az", &[("sas_token", "hush")]),
            ("az", &[("token", "hush")]),
            ("http", &[("bearer", "hush")]),
            ("http", &[("user", "me"), ("password", "hush")]),
        ] {
            let credential = Credential::from_fields(kind, &fields(given)).unwrap();
            assert_eq!((credential.kind(), format!("{credential:?}")), (kind, format!("Credential({kind})")));
        }
        for (kind, given) in [
            ("s3", &[("access_key_id", "hush")][..]),
            ("s3", &[]),
            ("gs", &[("token", "hush"), ("service_account_key", "hush")]),
            ("http", &[("bearer", "hush"), ("user", "hush")]),
            ("http", &[("bearer", "")]),
            ("http", &[("token", "hush")]),
            ("ftp", &[("user", "hush"), ("password", "hush")]),
        ] {
            let error = Credential::from_fields(kind, &fields(given)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{kind}");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
        assert_eq!(format!("{:?}", fields(&[("a", "hush")])), "{\"a\": …}");
    }
}
