use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{container, pairs};
use crate::ErrorKind;
use crate::format::FileKey;
use crate::virtuals::Rebind;
use crate::virtuals::template::Template;

fn parse(text: &str) -> Result<Template, String> {
    Template::parse(text, &BTreeMap::new())
}

#[test]
fn the_shortest_text_is_taken_and_the_last_takes_the_rest() {
    let t = parse("s3://b/{year}/{}/{file}.nc").unwrap();
    assert_eq!(t.matches("s3://b/2024/a/b/c.nc.nc").unwrap(), ["2024", "a", "b/c.nc"]);
    assert_eq!(t.literal_prefix(), "s3://b/");
    assert_eq!(t.matches("s3://b/2024/a"), None);
    assert_eq!(t.matches("s3://b/2024/a/b.grib"), None);
    assert_eq!(parse("s3://b/x.nc").unwrap().matches("s3://b/x.nc").unwrap(), Vec::<&str>::new());
    assert_eq!(parse("s3://b/x.nc").unwrap().matches("s3://b/x.ncc"), None);
    // The literal and the one that ends the template may not share bytes.
    assert_eq!(parse("s3://b/{}aa{}a").unwrap().matches("s3://b/aa"), None);
    assert_eq!(parse("s3://b/{}aa{}a").unwrap().matches("s3://b/aaa").unwrap(), ["", ""]);
}

#[test]
fn defaults_are_written_out_before_matching() {
    let defaults = pairs(&[("region", "eu"), ("tail", "zarr")]);
    let t = Template::parse("s3://b-{region}/{path}.{tail}", &defaults).unwrap();
    assert_eq!(t.literal_prefix(), "s3://b-eu/");
    assert_eq!(t.written_out(), "s3://b-eu/{path}.zarr");
    assert_eq!(t.matches("s3://b-eu/a.zarr").unwrap(), ["a"]);
    assert_eq!(t.matches("s3://b-us/a.zarr"), None);
    assert_eq!(t.names().collect::<Vec<_>>(), ["path"]);
}

#[test]
fn templates_that_mean_nothing_or_two_things_are_refused() {
    for bad in
        ["s3://b/{a}{b}", "s3://b/{}{}", "s3://b/{", "s3://b/}", "s3://b/{a", "s3://b/a}", "s3://b/{{a}}", "s3://b/{a b}", "s3://b/{a}/{a}"]
    {
        assert!(parse(bad).is_err(), "{bad}");
    }
    assert!(Template::parse("s3://b/{a}", &pairs(&[("c", "x")])).is_err(), "a default without placeholder");
    assert!(Template::parse("s3://b/{a}", &pairs(&[("a", "{x}")])).is_err(), "a default with braces");
    assert!(Template::parse("s3://b/{a}{b}", &pairs(&[("a", "x")])).is_err(), "judged as written");
    assert!(Template::parse("s3://b/{}", &pairs(&[("", "x")])).is_err(), "a default for {{}}");
}

#[test]
fn arguments_that_would_not_come_back_are_refused() {
    let t = parse("s3://b/{}/{}").unwrap();
    assert_eq!(t.render_exactly(&["a", "b/c"]).unwrap(), "s3://b/a/b/c");
    assert!(t.render_exactly(&["a/b", "c"]).unwrap_err().contains("ambiguous"));
    assert!(t.render_exactly(&["a"]).unwrap_err().contains("takes 2 arguments, not 1"));
    // No argument holds the literal here, yet together they make it one character earlier.
    assert!(parse("s3://b/{}aa{}").unwrap().render_exactly(&["xa", "y"]).is_err());
}

fn small() -> impl Strategy<Value = String> {
    // Few letters, so that literals turn up inside arguments all the time.
    "[ab/.]{0,5}"
}

/// A template as text, its defaults, and the names of the placeholders without one.
fn template() -> impl Strategy<Value = (String, BTreeMap<String, String>, usize)> {
    (prop::collection::vec(("[ab/.]{1,3}", prop::option::weighted(0.3, small()), any::<bool>()), 0..5), small(), any::<bool>()).prop_map(
        |(slots, tail, ends)| {
            let (mut text, mut defaults, mut open) = ("s3://b/".to_owned(), BTreeMap::new(), 0);
            for (i, (literal, default, named)) in slots.into_iter().enumerate() {
                text += &literal;
                if let Some(value) = default {
                    let name = format!("d{i}");
                    text.extend(["{", &name, "}"]);
                    defaults.insert(name, value);
                } else {
                    let name = if named { format!("n{i}") } else { String::new() };
                    text.extend(["{", &name, "}"]);
                    open += 1;
                }
            }
            if ends {
                text += &tail;
            }
            (text, defaults, open)
        },
    )
}

/// Whether `text` matches with *some* split: what the greedy matcher must agree with.
fn some_split(template: &[(&str, bool)], text: &str) -> bool {
    match template {
        [] => text.is_empty(),
        [(literal, false), rest @ ..] => text.strip_prefix(literal).is_some_and(|tail| some_split(rest, tail)),
        [_, rest @ ..] => (0..=text.len()).any(|at| text.is_char_boundary(at) && some_split(rest, &text[at..])),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::testing::property_cases(20_000)))]

    #[test]
    fn rendered_arguments_come_back_or_are_refused(
        ((text, defaults, open), args) in template().prop_flat_map(|t| { let n = t.2; (Just(t), prop::collection::vec(small(), n)) }),
    ) {
        let t = Template::parse(&text, &defaults).unwrap();
        prop_assert_eq!(t.arity(), open);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let url = t.render(&args).unwrap();
        // Something matches, since these very arguments gave the URL; and what matches renders to the URL.
        let back = t.matches(&url).expect("a rendered url matches");
        prop_assert_eq!(t.render(&back).unwrap(), url.clone());
        prop_assert_eq!(t.render_exactly(&back).unwrap(), url.clone());
        prop_assert_eq!(t.render_exactly(&args).is_ok(), back == args);
        prop_assert!(url.starts_with(t.literal_prefix()));
        // Written out, it is the same template without defaults.
        let plain = Template::parse(&t.written_out(), &BTreeMap::new());
        if let Ok(plain) = plain { prop_assert_eq!(plain, t); }
    }

    /// Whatever beginning of a URL is known, the key of its file begins as that beginning says.
    #[test]
    fn the_beginning_of_a_url_tells_how_its_key_begins(
        ((text, defaults, open), args) in template().prop_flat_map(|t| { let n = t.2; (Just(t), prop::collection::vec(small(), n)) }),
    ) {
        let t = Template::parse(&text, &defaults).unwrap();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        if let Ok(url) = t.render_exactly(&args) {
            let key = FileKey::new("c", args.iter().copied()).unwrap();
            for (at, _) in url.char_indices().chain([(url.len(), ' ')]) {
                let told = t.args_beginning(&url[..at]).expect("a URL of the template begins so");
                let told = FileKey::beginning("c", open > 0, &told);
                prop_assert!(key.as_map_key().as_str().starts_with(&told), "{key:?} begins with {told:?}, by {:?}", &url[..at]);
            }
        }
        prop_assert_eq!(t.args_beginning("s3://other"), None);
    }

    #[test]
    fn a_url_matches_exactly_if_some_split_does(((text, defaults, _), url) in (template(), small())) {
        let t = Template::parse(&text, &defaults).unwrap();
        let url = format!("s3://b/{url}");
        let written = t.written_out();
        let mut pieces = Vec::new();
        let mut rest = written.as_str();
        while let Some((literal, tail)) = rest.split_once('{') {
            pieces.extend([(literal, false), ("", true)]);
            rest = tail.split_once('}').unwrap().1;
        }
        pieces.push((rest, false));
        prop_assert_eq!(t.matches(&url).is_some(), some_split(&pieces, &url), "{} against {}", written, url);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,40}|[{}a/]{0,20}") {
        let _ = Template::parse(&text, &BTreeMap::new());
    }
}

/// Where a container lies for a reader who put it at `to`.
fn put(template: &str, to: &str) -> crate::Result<String> {
    let rebind = Rebind { template: to.to_owned(), accept_unverified: false };
    Ok(rebind.template_for(&container("far", template))?.written_out())
}

#[test]
fn a_container_is_put_at_a_template_or_below_a_url() {
    for (template, to, found) in [
        ("s3://bucket/{}", "file:///mirror/", "file:///mirror/{}"),
        ("s3://bucket/sets/{year}/{}.nc", "https://h/m/", "https://h/m/{year}/{}.nc"),
        ("s3://bucket/sets/air-{}.nc", "file:///mirror/", "file:///mirror/air-{}.nc"),
        ("s3://bucket/sets/one.nc", "file:///mirror/", "file:///mirror/one.nc"),
        ("file:///{}", "s3://archive/", "s3://archive/{}"),
        ("s3://bucket/{a}/{b}", "file:///m/{}-{}.nc", "file:///m/{}-{}.nc"),
    ] {
        assert_eq!(put(template, to).unwrap(), found);
    }
    for (template, to) in [("s3://bucket/{}", "file:///mirror"), ("s3://bucket/{}", "file:///m/{}/{}"), ("s3://b/x.nc", "file:///m/{}")] {
        let error = put(template, to).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("container \"far\"") && error.to_string().contains(template), "{error}");
    }
}

#[test]
fn rebindings_are_read_as_they_are_written() {
    let parse = |text: &str| Rebind::parse(text).map(|(name, rebind)| (name, rebind.to_string()));
    for (text, name, rest) in [
        ("era5=file:///mirror/", "era5", "file:///mirror/"),
        ("era5=file:///mirror/{}/{}.nc=unverified", "era5", "file:///mirror/{}/{}.nc=unverified"),
        ("s3://bucket=https://h/a=b/", "s3://bucket", "https://h/a=b/"),
    ] {
        assert_eq!(parse(text).unwrap(), (name.to_owned(), rest.to_owned()));
    }
    for text in ["", "era5", "=file:///x/", "era5=", "era5=mirror/", "era5=file:///x/{", "era5=https://u:p@h/", "era5=unverified"] {
        let error = parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{text}");
        assert!(!error.to_string().contains("u:p"), "{error}");
    }
    let list = Rebind::parse_list("a=file:///my%20data/, b=s3://bucket/a%2Cb/=unverified").unwrap();
    assert_eq!(list[0].1.to_string(), "file:///my%20data/");
    assert_eq!((list[1].0.as_str(), list[1].1.template.as_str(), list[1].1.accept_unverified), ("b", "s3://bucket/a,b/", true));
}
