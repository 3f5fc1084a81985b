//! Requests to web servers.

use std::sync::OnceLock;
use std::time::Duration;

use data_encoding::BASE64;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_RANGE, HeaderValue, IF_MATCH, IF_UNMODIFIED_SINCE, LOCATION, RANGE,
    RETRY_AFTER,
};
use reqwest::{Client, Method, Response, StatusCode};

use super::address::{self, PublicOnly};
use super::{Answer, Condition, Grant, Granted, Unanswered, What, header};
use crate::error::{Error, Result};
use crate::storage::cloud::answers::{address_in, is_loopback};
use crate::storage::credentials::{CredentialForm, Secret};
use crate::storage::tls::{self, Certificates};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Web servers, asked without proxies, cookies or redirects. Makes its clients when they are first needed.
#[derive(Debug)]
pub(crate) struct Web {
    patience: Duration,
    /// By whether they speak TLS and whether they connect to addresses that are not public.
    clients: [OnceLock<Client>; 4],
}

impl Web {
    /// Gives up on a server that keeps silent for `patience`.
    pub(crate) const fn new(patience: Duration) -> Self {
        Self { patience, clients: [const { OnceLock::new() }; 4] }
    }

    /// Sends one request to `url`, exactly as it is written.
    pub(crate) async fn ask(&self, url: &str, what: What<'_>, condition: &Condition, grant: &Grant) -> Result<Answer, Unanswered> {
        let parsed = exactly(url).map_err(Unanswered::Unasked)?;
        let is_secure = parsed.scheme() == "https";
        if !grant.private {
            address::require_public(address_in(&parsed))?;
        }
        let client = self.client(is_secure, grant.private).map_err(Unanswered::Unasked)?;
        let method = if what == What::Facts { Method::HEAD } else { Method::GET };
        let mut request = client.request(method, parsed.clone()).header(ACCEPT_ENCODING, "identity");
        if let What::Part(range) = what {
            request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        }
        if let Some(etag) = &condition.etag {
            let quoted = [&b"\""[..], etag, b"\""].concat();
            let value = HeaderValue::from_bytes(&quoted)
                .map_err(|_| Unanswered::Unasked(Error::unsupported("has an etag that no request can name")))?;
            request = request.header(IF_MATCH, value);
        } else if let Some(date) = condition.not_after.and_then(header::date) {
            request = request.header(IF_UNMODIFIED_SINCE, date);
        }
        let is_safe = is_secure || is_loopback(&parsed);
        if let Some(value) = self.authorization(&grant.credentials, is_safe).await.map_err(unasked)? {
            request = request.header(AUTHORIZATION, value);
        }
        let sent = tokio::time::timeout(self.patience, request.send()).await;
        let response = sent.map_err(|_| Unanswered::Lost(Error::unavailable(format!("does not answer within {:?}", self.patience))))?;
        answer(response.map_err(lost)?, what)
    }

    /// The header that lets requests in, for a place to which it may be sent.
    async fn authorization(&self, granted: &Granted, is_safe: bool) -> Result<Option<HeaderValue>> {
        if *granted != Granted::Nothing && !is_safe {
            return Err(Error::denied("credentials are not sent without encryption; write https"));
        }
        let (text, from) = match granted {
            Granted::Nothing => return Ok(None),
            Granted::Repository => {
                return Err(Error::invalid("the credentials of the repository are for object stores"));
            }
            Granted::Environment => (bearer()?, "FIRN_HTTP_TOKEN".to_owned()),
            Granted::Set(named) => {
                let credential = named.current("http", self.patience).await?;
                let from = format!("credentials {}", named.name);
                let text = match &credential.0 {
                    CredentialForm::Basic { user, .. } if user.contains(':') => {
                        return Err(Error::invalid(format!("{from}: the user has a colon, which cannot be sent")));
                    }
                    CredentialForm::Basic { user, password } => basic(user, password),
                    CredentialForm::Bearer(token) => format!("Bearer {}", token.reveal()),
                    _ => return Err(Error::internal("credentials of a web server are a token or a password")),
                };
                (text, from)
            }
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| Error::invalid(format!("{from} cannot be sent in an HTTP header")))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn client(&self, is_secure: bool, private: bool) -> Result<Client> {
        let slot = usize::from(is_secure) * 2 + usize::from(private);
        let Some(slot) = self.clients.get(slot) else { return Err(Error::internal("there are four clients")) };
        if let Some(client) = slot.get() {
            return Ok(client.clone());
        }
        let mut builder = Client::builder()
            .user_agent(concat!("firnline/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            // A proxy would connect in our place, and to any address.
            .no_proxy()
            .connect_timeout(CONNECT.min(self.patience))
            .read_timeout(self.patience);
        // Connections without TLS need no certificates, so those of the system are not loaded.
        builder = builder.tls_backend_preconfigured(tls::config(if is_secure { Certificates::System } else { Certificates::Nothing })?);
        if !private {
            builder = builder.dns_resolver(std::sync::Arc::new(PublicOnly));
        }
        let client =
            builder.build().map_err(|e| Error::unsupported("cannot be asked: no HTTP client can be made on this machine").caused_by(e))?;
        Ok(slot.get_or_init(|| client).clone())
    }
}

/// The error for a request that its credentials do not let be sent.
fn unasked(error: Error) -> Unanswered {
    let kind = error.kind();
    Unanswered::Unasked(Error::new(kind, format!("cannot be asked: {error}")).caused_by(error))
}

fn basic(user: &str, password: &Secret) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{}", password.reveal()).as_bytes()))
}

/// The bearer token of this process's environment.
fn bearer() -> Result<String> {
    let token = std::env::var("FIRN_HTTP_TOKEN").ok().filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| Error::denied("a token is to be sent, and FIRN_HTTP_TOKEN holds none"))?;
    Ok(format!("Bearer {token}"))
}

/// Reads a URL that is sent as it is written.
fn exactly(url: &str) -> Result<url::Url> {
    let parsed = url::Url::parse(url).map_err(|e| Error::invalid("is not a URL that can be requested").caused_by(e))?;
    if parsed.as_str() == url {
        return Ok(parsed);
    }
    Err(Error::unsupported(format!("cannot be sent as it is written; its container should write {parsed}")))
}

fn lost(error: reqwest::Error) -> Unanswered {
    if let Some(refusal) = address::refusal(&error) {
        return refusal;
    }
    let what = match &error {
        e if e.is_timeout() => "does not answer in time",
        e if e.is_connect() => "cannot be reached",
        _ => "gives no whole answer",
    };
    // The client's message repeats the URL, which may hold secrets.
    Unanswered::Lost(Error::unavailable(what).caused_by(error.without_url()))
}

/// Reads an answer as far as its headers go.
fn answer(response: Response, what: What<'_>) -> Result<Answer, Unanswered> {
    let headers = response.headers();
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let status = response.status();
    match status {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => {}
        StatusCode::NOT_FOUND | StatusCode::GONE => return Err(Unanswered::Absent),
        StatusCode::PRECONDITION_FAILED => return Err(Unanswered::Changed),
        StatusCode::RANGE_NOT_SATISFIABLE => return Err(Unanswered::Short(text(CONTENT_RANGE).and_then(header::unsatisfied_length))),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(Unanswered::Denied(None)),
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED | StatusCode::BAD_REQUEST => {
            return Err(Unanswered::Unable(format!("the server answers {}", status.as_u16())));
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            return Err(Unanswered::busy(status.as_u16(), text(RETRY_AFTER).and_then(header::retry_after)));
        }
        _ if status.is_redirection() && status != StatusCode::NOT_MODIFIED => {
            let to = text(LOCATION).ok_or_else(|| Error::unavailable("the answer sends elsewhere and does not say where"))?;
            let to = response
                .url()
                .join(to)
                .map_err(|e| Error::unavailable("the answer redirects to something that is not a URL").caused_by(e))?;
            return Err(Unanswered::Elsewhere(to.into()));
        }
        _ => return Err(Unanswered::Lost(Error::unavailable(format!("the server answers {}", status.as_u16())))),
    }
    if text(CONTENT_ENCODING).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(Unanswered::Unable("the server sends it in another encoding than it is kept in".to_owned()));
    }
    let mut facts = header::facts(|name| headers.get(name).map(HeaderValue::as_bytes));
    let length = text(reqwest::header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let mut start = 0;
    if status == StatusCode::PARTIAL_CONTENT {
        let told = text(CONTENT_RANGE).and_then(header::content_range);
        let (What::Part(asked), Some((first, end, whole))) = (what, told) else {
            return Err(Unanswered::Unable("the server answers with a part that does not say which".to_owned()));
        };
        if first != asked.start || end > asked.end || (end < asked.end && whole != Some(end)) {
            return Err(Unanswered::Unable(format!(
                "the server answers with bytes {first}..{end} when asked for {}..{}",
                asked.start, asked.end
            )));
        }
        (start, facts.size) = (first, whole);
    } else {
        facts.size = length;
    }
    if what == What::Facts {
        return Ok(Answer { facts, start, body: stream::empty().boxed(), permit: None });
    }
    Ok(Answer { facts, start, body: response.bytes_stream().map_err(lost).boxed(), permit: None })
}
