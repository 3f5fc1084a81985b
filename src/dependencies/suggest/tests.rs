use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::testing::property_cases;

/// Files as a session without containers of its own would name them.
fn named(urls: impl IntoIterator<Item = String>) -> (Vec<NamedUrl>, Vec<Container>) {
    let (mut known, mut locator, mut files) = (Vec::new(), Locator::default(), Vec::new());
    for url in urls {
        let located = locator.locate(&url).unwrap();
        if let Some(container) = located.container {
            locator.add(&container).unwrap();
            known.push(container);
        }
        files.push(NamedUrl { url, file: located.file, refs: 3 });
    }
    (files, known)
}

fn templates(rows: &[ContainerSuggestion]) -> Vec<(&str, &str, u64)> {
    rows.iter().map(|row| (row.container.name.as_str(), row.container.template.as_str(), row.files)).collect()
}

#[test]
fn files_that_differ_by_numbers_or_names_get_templates() {
    let months = (1980..2000).flat_map(|year| (1..=12).map(move |month| (year, month)));
    let monthly = months.clone().map(|(year, month)| format!("s3://bucket/cmip6/tas/tas_day_{year}{month:02}01.nc"));
    let hourly = months.map(|(year, month)| format!("s3://bucket/era5/{year}/{month:02}/t2m.nc"));
    let words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"];
    let others = words.map(|word| format!("https://data.example.org/public/daily/{word}.grib"));
    let (files, known) = named(monthly.chain(hourly).chain(others).chain(["s3://bucket/alone.nc".to_owned()]));
    let rows = suggest(&files, &known).unwrap();
    assert_eq!(
        templates(&rows),
        [
            ("daily", "https://data.example.org/public/daily/{}.grib", 10),
            ("day", "s3://bucket/cmip6/tas/tas_day_{}.nc", 240),
            ("era5", "s3://bucket/era5/{}/{}/t2m.nc", 240),
        ]
    );
    assert!(rows.iter().all(|row| row.is_new && row.bytes_saved > 0 && row.refs == 3 * row.files));
    let day = rows.iter().find(|row| row.container.name == "day").unwrap();
    // `s3://bucket` and U+001F cmip6/tas/tas_day_19800101.nc become `day` and U+001F 19800101.
    assert_eq!(day.bytes_saved, 240 * (12 + 29 - 12));
}

#[test]
fn a_few_files_get_none_and_a_template_that_is_there_is_named() {
    let (files, mut known) = named((0..7).map(|n| format!("s3://b/some/long/directory/{n}.nc")));
    assert_eq!(suggest(&files, &known).unwrap(), []);
    known.push(Container::new("mine", "s3://b/some/{}"));
    let rows = suggest(&files, &known).unwrap();
    assert_eq!(templates(&rows), [("mine", "s3://b/some/{}", 7)]);
    assert!(!rows[0].is_new);
}

/// Two templates with one beginning would leave URLs that cannot be named any more.
#[test]
fn templates_that_begin_alike_are_not_proposed_together() {
    let one = (10..60).map(|n| format!("s3://b/x/tas_{n}.nc"));
    let two = (10..60).map(|n| format!("s3://b/x/tas_{n}_{n}.nc"));
    let (files, known) = named(one.chain(two));
    let rows = suggest(&files, &known).unwrap();
    let heads: BTreeSet<_> = rows.iter().map(|row| row.container.template.split('{').next().unwrap()).collect();
    assert_eq!(heads.len(), rows.len(), "{:?}", templates(&rows));
    assert_eq!(rows.iter().map(|row| row.files).sum::<u64>(), 100, "{:?}", templates(&rows));
}

fn url() -> impl Strategy<Value = String> {
    let place = prop::sample::select(vec!["s3://b", "gs://c-1", "https://h.example.org", "file://"]);
    (place, prop::collection::vec("[a-c1-3_.=-]{1,4}|2025|ö1|tas_19[0-9]{2}", 1..5), prop::sample::select(vec!["", ".nc", ".grib2"]))
        .prop_map(|(place, segments, end)| {
            let segments = segments.into_iter().map(|s| if s.trim_matches('.').is_empty() { format!("x{s}") } else { s });
            format!("{place}/{}{end}", segments.collect::<Vec<_>>().join("/"))
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(property_cases(400)))]

    #[test]
    fn every_url_has_one_name_that_gives_it_back(urls in prop::collection::btree_set(url(), 0..120)) {
        let (files, mut all) = named(urls);
        let rows = suggest(&files, &all).unwrap();
        let new: Vec<_> = rows.iter().filter(|row| row.is_new).map(|row| row.container.clone()).collect();
        prop_assert_eq!(new.len(), rows.len());
        all.extend(new);
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let locator = Locator::new(&all).unwrap();
        let (mut names, mut saved, mut renamed) = (BTreeSet::new(), 0, 0);
        for NamedUrl { url, file, .. } in &files {
            let located = locator.locate(url).unwrap();
            prop_assert!(located.container.is_none(), "{} is in no container", url);
            prop_assert_eq!(&located.file.url(&all).unwrap(), url);
            prop_assert!(names.insert(located.file.clone()), "{} has the name of another", url);
            renamed += u64::from(located.file != *file);
            saved += length(file) - length(&located.file);
        }
        prop_assert_eq!(rows.iter().map(|row| row.files).sum::<u64>(), renamed);
        prop_assert_eq!(rows.iter().map(|row| row.bytes_saved).sum::<i64>(), saved);
        prop_assert!(rows.iter().all(|row| row.files >= FEWEST as u64 && row.bytes_saved > 0));
    }
}
