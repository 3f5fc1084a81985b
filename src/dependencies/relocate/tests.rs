use proptest::prelude::*;

use super::*;
use crate::testing::property_cases;

fn container(template: &str, defaults: &[(&str, &str)]) -> Container {
    let defaults = defaults.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Container { defaults, ..Container::new("c", template) }
}

fn moved(template: &str, defaults: &[(&str, &str)]) -> Option<(String, usize)> {
    let moved = moved_template(&container(template, defaults), "s3://b/x", "https://h/y").unwrap()?;
    moved.check().unwrap();
    Some((moved.template, moved.defaults.len()))
}

#[test]
fn a_template_is_moved_if_all_of_its_files_lie_below_the_old_place() {
    let to = |template: &str, defaults| Some((template.to_owned(), defaults));
    assert_eq!(moved("s3://b/x/{}.nc", &[]), to("https://h/y/{}.nc", 0));
    assert_eq!(moved("s3://b/x/y/{year}/{}", &[("year", "2025")]), to("https://h/y/y/{year}/{}", 1));
    assert_eq!(moved("s3://b/{d}/{}", &[("d", "x")]), to("https://h/y/{}", 0), "the default is a part of what changes");
    assert_eq!(moved("s3://b/{d}/{}", &[("d", "x/z")]), to("https://h/y/z/{}", 0));
    assert_eq!(moved("s3://b/x", &[]), to("https://h/y", 0), "one file");
    assert_eq!(moved("s3://b/x{}", &[]), None, "files beside the place fit it too");
    assert_eq!(moved("s3://b/xy/{}", &[]), None);
    assert_eq!(moved("s3://b/{}", &[]), None);
    let automatic = Container::new("s3://b", "s3://b/{}");
    assert_eq!(moved_template(&automatic, "s3://b", "s3://c").unwrap(), None, "its name says where it is");
}

/// A template below `s3://b/x`, its defaults, and how many arguments it takes.
fn template() -> impl Strategy<Value = (String, BTreeMap<String, String>, usize)> {
    let slots = prop::collection::vec(("[ab/.x]{1,3}", prop::option::weighted(0.3, "[ab/x.]{0,4}")), 0..4);
    ("s3://b|s3://b/x|s3://b/x/y", slots).prop_map(|(head, slots)| {
        let (mut text, mut defaults, mut open) = (head + "/", BTreeMap::new(), 0);
        for (n, (literal, default)) in slots.into_iter().enumerate() {
            text.extend([literal.as_str(), &format!("{{n{n}}}")]);
            match default {
                Some(value) => drop(defaults.insert(format!("n{n}"), value)),
                None => open += 1,
            }
        }
        (text, defaults, open)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(property_cases(4000)))]

    /// All URLs of a template move by their beginning alone, and come back as they were.
    #[test]
    fn a_move_there_and_back_gives_the_same_urls(
        ((text, defaults, open), args) in template().prop_flat_map(|t| { let n = t.2; (Just(t), prop::collection::vec("[ab/x]{0,4}", n)) }),
    ) {
        let before = Container { name: "c".to_owned(), template: text, defaults, options: BTreeMap::new() };
        let Ok(file) = FileKey::new("c", args.iter().map(String::as_str)) else { return Ok(()) };
        let Ok(url) = file.url(std::slice::from_ref(&before)) else { return Ok(()) };
        let there = moved_template(&before, "s3://b/x", "s3://other/z").unwrap();
        let Some(there) = there else {
            let head = before.parsed().unwrap().literal_prefix().to_owned();
            let is_below = head.starts_with("s3://b/x/") || (open == 0 && head == "s3://b/x");
            prop_assert!(!is_below, "{} is not moved", before.template);
            return Ok(());
        };
        let moved = file.url(std::slice::from_ref(&there)).unwrap();
        prop_assert_eq!(moved.strip_prefix("s3://other/z"), url.strip_prefix("s3://b/x"));
        let back = moved_template(&there, "s3://other/z", "s3://b/x").unwrap().expect("it lies below the new place");
        prop_assert_eq!(file.url(std::slice::from_ref(&back)).unwrap(), url);
    }
}
