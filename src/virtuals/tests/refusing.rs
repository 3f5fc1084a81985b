use super::{container, pairs};
use crate::ErrorKind;
use crate::format::Container;
use crate::virtuals::url::{is_secret_name, parse, secret_in_value, shown};
use crate::virtuals::{Allow, Locator};

/// Refused with this in the message.
fn refused(url: &str, saying: &str) {
    let error = parse(url).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
    assert!(error.to_string().contains(saying), "{url}: {error}");
    assert_eq!(Locator::default().locate(url).unwrap_err().kind(), ErrorKind::Invalid, "{url}");
}

#[test]
fn urls_that_cannot_be_recorded_say_what_to_write() {
    refused("data/a.nc", "write file:///");
    refused("/data/a.nc", "write file:///data/a.nc");
    refused("file:/data/a.nc", "write file:///data/a.nc");
    refused("file:data/a.nc", "write file:///data/a.nc");
    refused("file://host/a.nc", "names a host; write file:///");
    refused("file://localhost/a.nc", "names a host");
    refused("file:///", "names no file");
    refused("file://", "names no file");
    refused("file:///a/", "names a directory");
    refused("file:///a/../b", "segment \"..\"");
    refused("file:///a/./b", "segment \".\"");
    refused("file:///a//b", "segment \"\"");
    refused("file:///..", "segment \"..\"");
    refused("ftp://h/a", "unknown scheme");
    refused("S3://b/k", "in lower case");
    refused("://b/k", "unknown scheme");
    refused("", "is not a url");
    refused("s3:///k", "no bucket name");
    refused("s3://b", "a / must follow");
    refused("s3://b/", "names no object");
    refused("https:///x", "no host name");
    refused("s3://b/a/../k", ".. segment");
    refused("https://h/a/%2E%2e/k", ".. segment");
    refused("https://h/a/.%2E", ".. segment");
    refused("https://h/a#frag", "write %23");
    refused("https://h/a b", "write %20");
    refused("https://h\\@evil/a", "user name");
    refused("https://h\\evil/a", "no host name");
    refused("https://h/a\\b", "write %5C");
    refused("https://h/a\nb", "control character");
    refused("file:///a\u{85}b", "control character");
    for good in ["https://h/", "https://h/a/.../b", "s3://b/a//b", "s3://b/k/", "file:///a/...", "https://h/.well-known/%2easdf/x"] {
        assert!(parse(good).is_ok(), "{good}");
    }
}

#[test]
fn secrets_are_refused_and_never_repeated() {
    for url in [
        "https://user:hunter2@h/a",
        "https://hunter2@h/a",
        "s3://AKIA:hunter2@b/k",
        "https://h/a?X-Amz-Signature=hunter2",
        "https://h/a?x=1&x-amz-credential=hunter2",
        "https://h/a?X-Amz-Security-Token=hunter2",
        "https://h/a?X%2DAmz%2DSignature=hunter2",
        "https://h/a?AWSAccessKeyId=hunter2&Expires=1",
        "https://h/a?Signature=hunter2",
        "https://h/a?X-Goog-Signature=hunter2",
        "https://h/a?sv=1&sig=hunter2",
        "https://h/a?token=hunter2",
        "https://h/a?access_token=hunter2",
        "https://h/a?api_key=hunter2",
        "https://h/a?a=b;password=hunter2",
        "s3://b/k?X-Amz-Signature=hunter2",
        "az://c/k?sig=hunter2",
    ] {
        let error = parse(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        let template = url.replacen("/a", "/{}", 1).replacen("/k", "/{}", 1);
        let error = container("c", &template).check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{template}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(template.parse::<Allow>().is_err(), "{template}");
    }
    assert!(!shown("https://u:hunter2@h/x?sig=hunter2").contains("hunter2"));
}

#[test]
fn names_tell_secrets_from_settings() {
    for secret in [
        "secret",
        "token",
        "password",
        "key",
        "Signature",
        "credential",
        "credentials",
        "aws_secret_access_key",
        "AWS_ACCESS_KEY_ID",
        "awsSecretAccessKey",
        "session-token",
        "accountKey",
        "api_key",
        "apikey",
        "APIKey",
        "sas",
        "sig",
        "bearer",
        "Authorization",
        "auth",
        "private_key",
        "passphrase",
        "username",
        "X-Amz-Credential",
        "GoogleAccessId",
        "connection.password",
        "refreshToken",
        "cookie",
        "pwd",
    ] {
        assert!(is_secret_name(secret), "{secret}");
    }
    for setting in [
        "anonymous",
        "anon",
        "region",
        "endpoint",
        "endpoint_url",
        "bucket",
        "skip_signature",
        "aws_skip_signature",
        "path_style",
        "account",
        "requester_pays",
        "user_project",
        "allow_http",
        "virtual_hosted_style_request",
        "monkey",
        "authority",
        "version",
        "signed",
        "keyspace",
        "Policy",
        "partition",
    ] {
        assert!(!is_secret_name(setting), "{setting}");
    }
    for value in
        ["https://u:p@h/", "x AKIAABCDEFGHIJKLMNOP", "AccountName=a;AccountKey=b", "https://h/?sig=1", "-----BEGIN RSA PRIVATE KEY-----"]
    {
        assert!(secret_in_value(value).is_some(), "{value}");
    }
    for value in ["https://minio.example:9000", "eu-west-1", "true", "mail@example.org", "http://h/a@b", "AKIA"] {
        assert_eq!(secret_in_value(value), None, "{value}");
    }
}

#[test]
fn options_and_defaults_hold_no_secrets() {
    let with = |defaults: &[(&str, &str)], options: &[(&str, &str)]| {
        Container { defaults: pairs(defaults), options: pairs(options), ..container("c", "https://h/{x}/{y}") }.check()
    };
    assert!(with(&[("x", "v1")], &[("region", "eu"), ("anonymous", "true"), ("endpoint", "https://h:9000"), ("bucket", "b")]).is_ok());
    for (defaults, options) in [
        (vec![], vec![("secret_access_key", "hunter2")]),
        (vec![], vec![("endpoint", "https://u:hunter2@h")]),
        (vec![], vec![("endpoint", "https://h?token=hunter2")]),
        (vec![], vec![("", "x")]),
        (vec![], vec![("a\nb", "x")]),
        (vec![("x", "?sig=hunter2")], vec![]),
        (vec![("x", "..")], vec![]),
        (vec![("z", "1")], vec![]),
    ] {
        let error = with(&defaults, &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{defaults:?} {options:?}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let default_in_authority = Container { defaults: pairs(&[("x", "u:p@h")]), ..container("c", "https://{x}/{y}") };
    assert!(default_in_authority.check().is_err());
    assert!(container("c", "https://h/{token}/{x}").check().is_err());
    assert!(container("c", "s3://b/{key}").check().is_ok());
}

#[test]
fn containers_are_checked() {
    for (name, template) in [
        ("", "s3://b/{}"),
        ("a\u{1f}b", "s3://b/{}"),
        (" a", "s3://b/{}"),
        ("c", ""),
        ("c", "data/{}"),
        ("c", "{}"),
        ("c", "{scheme}://b/x"),
        ("c", "/data/{}"),
        ("c", "file://{}"),
        ("c", "file:///a/../{}"),
        ("c", "file:///a//{}"),
        ("c", "ftp://h/{}"),
        ("c", "s3://b/{}{}"),
        ("s3://b", "s3://c/{}"),
        ("s3://b", "s3://b/{x}"),
        ("x://", "s3://b/{}"),
    ] {
        assert_eq!(container(name, template).check().unwrap_err().kind(), ErrorKind::Invalid, "{name:?} {template:?}");
    }
    assert!(container(&"n".repeat(257), "s3://b/{}").check().is_err());
    assert!(container("c", &format!("s3://b/{}{{}}", "x".repeat(5000))).check().is_err());
    for (name, template) in
        [("ERA5 (copy)", "s3://b/{}"), ("c", "file:///{}"), ("c", "file:///d/{y}/{m}.nc"), ("file://", "file:///{}"), ("c", "s3://{b}/{k}")]
    {
        assert!(container(name, template).check().is_ok(), "{name:?} {template:?}");
    }
    let with_options = Container { options: pairs(&[("region", "eu")]), ..container("s3://b", "s3://b/{}") };
    assert!(with_options.check().is_ok(), "an automatic container may have options");
    assert_eq!(Container { defaults: pairs(&[("y", "2024")]), ..container("c", "s3://b/{y}/{m}") }.place().unwrap(), "s3://b/2024/{m}");
}

#[test]
fn allowed_places_are_prefixes_of_whole_segments() {
    use crate::virtuals::Access;
    let access = Access::parse(["https://h/data", "s3://b/"]).unwrap();
    for (url, permitted) in [
        ("https://h/data", true),
        ("https://h/data/x", true),
        ("https://h/data?x=1", true),
        ("https://h/database", false),
        ("https://h/dat", false),
        ("https://h.evil/data/x", false),
        ("http://h/data/x", false),
        ("https://H/data/x", false),
        ("s3://b/anything", true),
        ("s3://bb/x", false),
        ("file:///x", false),
    ] {
        assert_eq!(access.permits(url), permitted, "{url}");
    }
    assert_eq!("s3://b".parse::<Allow>().unwrap(), "s3://b/".parse::<Allow>().unwrap());
    assert_eq!("file:///".parse::<Allow>().unwrap().to_string(), "file:///");
    assert!("/data/".parse::<Allow>().unwrap_err().to_string().ends_with("write file:///data/"));
    for bad in ["", "/data", "data", "file://h/data", "file:///a/../b", "s3://", "ftp://h/", "https://h/x?y", "https://u:p@h/", "file:////"]
    {
        assert_eq!(bad.parse::<Allow>().unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
    }
}

/// A server that reads `%2f` as a slash found the file of another directory, with the token that was meant for this one.
#[test]
fn no_spelling_of_a_slash_hides_a_dot_segment() {
    use crate::virtuals::url::parse;
    for path in ["x%2f..%2f..%2fprivate/f", "x%2F%2e%2E/f", "..%5cf", "x%5C..%5Cf", "a/.%2fb", "%2f../f"] {
        for scheme in ["http", "https"] {
            assert_eq!(parse(&format!("{scheme}://h/public/{path}")).unwrap_err().kind(), ErrorKind::Invalid, "{path}");
        }
    }
    for fine in ["https://h/a%2fb/..c%2f...", "https://h/x?y=..%2f..", "s3://b/x%2f..%2fy"] {
        assert!(parse(fine).is_ok(), "{fine}");
    }
}
