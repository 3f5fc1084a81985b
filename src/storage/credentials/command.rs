//! Credentials that a program prints.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;

use super::{Credential, CredentialSource, IssuedCredentials, Secret};
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// Asks a program for credentials, which it prints as one JSON object.
///
/// The object has the fields of [`Credential::from_fields`] and may have `expires`, a time in RFC 3339. The program is started without a
/// shell and gets no input. What it writes on standard error is passed on. It is stopped when the request that needs the credentials is
/// cancelled. Printing shows no arguments, which may hold secrets.
#[derive(Clone)]
pub struct CredentialCommand {
    kind: String,
    program: String,
    arguments: Vec<String>,
}

impl CredentialCommand {
    /// Runs `program` with `arguments` for credentials of `kind`: `s3`, `gs`, `az` or `http`.
    pub fn new(kind: impl Into<String>, program: impl Into<String>, arguments: impl IntoIterator<Item = String>) -> Self {
        Self { kind: kind.into(), program: program.into(), arguments: arguments.into_iter().collect() }
    }

    /// Reads what the program printed. Messages repeat none of it.
    fn read(&self, printed: &[u8]) -> Result<IssuedCredentials> {
        let wrong = |why: &str| Error::invalid(format!("program {} prints {why}", self.program));
        let mut fields: BTreeMap<String, String> =
            serde_json::from_slice(printed).map_err(|_| wrong("something else than one JSON object of texts"))?;
        let expires = fields.remove("expires").map(|text| text.parse::<Timestamp>());
        let expires = expires.transpose().map_err(|_| wrong("a field \"expires\" that is not a time in RFC 3339"))?;
        let fields = fields.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
        let credential = Credential::from_fields(&self.kind, &fields).map_err(|e| e.context(format!("program {}", self.program)))?;
        Ok(IssuedCredentials { credential, expires })
    }
}

impl fmt::Debug for CredentialCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, program, arguments } = self;
        f.debug_struct("CredentialCommand").field("kind", kind).field("program", program).field("arguments", &arguments.len()).finish()
    }
}

#[async_trait]
impl CredentialSource for CredentialCommand {
    #[cfg(feature = "remote")]
    async fn credentials(&self) -> Result<IssuedCredentials> {
        use std::process::Stdio;
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
        let ended = command.output().await;
        let ended = ended.map_err(|e| Error::unavailable(format!("program {} cannot be run", self.program)).caused_by(e))?;
        if !ended.status.success() {
            return Err(Error::unavailable(format!("program {} gives no credentials: {}", self.program, ended.status)));
        }
        self.read(&ended.stdout)
    }

    #[cfg(not(feature = "remote"))]
    async fn credentials(&self) -> Result<IssuedCredentials> {
        self.read(b"{}").and(Err(Error::unsupported("this build reads no place that takes credentials")))
    }

    fn kind(&self) -> Option<&str> {
        Some(&self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn arguments_are_not_printed() {
        let command = CredentialCommand::new("http", "tokens", ["--client-secret".to_owned(), "hush".to_owned()]);
        assert_eq!(format!("{command:?}"), r#"CredentialCommand { kind: "http", program: "tokens", arguments: 2 }"#);
    }

    #[test]
    fn what_a_program_prints_is_read_and_never_repeated() {
        let command = CredentialCommand::new("http", "tokens", []);
        let issued = command.read(br#"{"bearer": "hush", "expires": "2024-06-01T00:00:00Z"}"#).unwrap();
        assert_eq!(issued.expires, Some(Timestamp::from_micros(1_717_200_000_000_000)));
        assert_eq!(issued.credential, Credential::bearer("hush".to_owned()));
        assert_eq!(command.read(br#"{"bearer": "hush"}"#).unwrap().expires, None);
        for wrong in
            [&b"hush"[..], b"", b"[\"hush\"]", br#"{"bearer": 5}"#, br#"{"bearer": "hush", "expires": "hush"}"#, br#"{"token": "hush"}"#]
        {
            let error = command.read(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(!format!("{error:?}").contains("hush") && error.to_string().contains("program tokens"), "{error:?}");
        }
    }
}
