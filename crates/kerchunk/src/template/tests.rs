//! What templates give, and that everything else is an error.

use firnline::ErrorKind;
use proptest::prelude::*;

use super::*;

/// Names and templates that every case may use.
fn rendered(text: &str) -> Result<String> {
    let mut templates = Templates::default();
    templates.set("u".to_owned(), "server.domain/path".to_owned()).unwrap();
    templates.set("f".to_owned(), "{{c}}.nc".to_owned()).unwrap();
    templates.set("g".to_owned(), "{{'%03d' % i}}/{{i+1}}".to_owned()).unwrap();
    let names = [("i".to_owned(), TemplateValue::Int(5))];
    Template::parse(text)?.render(Scope { names: &names, templates: Some(&templates) })
}

/// What Jinja 3.1 gives for the same texts, names and templates, as `fsspec` calls it.
const JINJA: &[(&str, &str)] = &[
    ("plain", "plain"),
    ("{{u}}", "server.domain/path"),
    ("http://{{ u }}_{{i}}", "http://server.domain/path_5"),
    ("{{f(c='text')}}", "text.nc"),
    ("{{ f(c = i) }}", "5.nc"),
    ("{{g(i=i*2)}}", "010/11"),
    ("{{(i + 1) * 1000}}", "6000"),
    ("{{i * 16}}", "80"),
    ("{{ -i}}x", "-5x"),
    ("{{ 2 + 3 * 4 - 1 }}", "13"),
    ("{{ (2 + 3) * 4 }}", "20"),
    ("{{ i // 2 }}", "2"),
    ("{{ (0 - i) // 2 }}", "-3"),
    ("{{ (0 - i) % 3 }}", "1"),
    ("{{ i % (0 - 3) }}", "-1"),
    ("{{ - i % 3 }}", "1"),
    ("{{ 7 - 3 - 2 }}", "2"),
    ("{{ 100 // 7 // 2 }}", "7"),
    ("{{ '%03d' % i }}", "005"),
    ("{{ '%d-%s' % (i, u) }}", "5-server.domain/path"),
    ("{{ '%5d|%-5d|%+d|% d' % (i, i, i, i) }}", "    5|5    |+5| 5"),
    ("{{ '%05d' % (0-i) }}", "-0005"),
    ("{{ '%x %X %o %#x' % (255, 255, 8, 255) }}", "ff FF 10 0xff"),
    ("{{ '%.3d' % i }}", "005"),
    ("{{ '%5.2s|' % 'abc' }}", "   ab|"),
    ("{{ '%-6s|' % 'ab' }}", "ab    |"),
    ("{{ '%06s|' % 'ab' }}", "    ab|"),
    ("{{ '100%%' | format() }}", "100%"),
    ("{{ '%03d' | format(i) }}", "005"),
    (r#"{{ "%s_%02d" | format(u, i + 1) }}"#, "server.domain/path_06"),
    ("{{ '{:02d}'.format(i) }}", "05"),
    ("{{ '{0}-{0:03}-{name:>4}'.format(i, name='ab') }}", "5-005-  ab"),
    ("{{ '{:+d} {:x} {:#X} {:b} {:^7}|'.format(i, 255, 255, 5, i) }}", "+5 ff 0XFF 101    5   |"),
    ("{{ '{:*<5}|{:*^6}|{:0=5}'.format('ab', 'abc', 0-i) }}", "ab***|*abc**|-0005"),
    ("{{ '{{{}}}'.format(i) }}", "{5}"),
    ("{{ '{:.2}'.format('abc') }}", "ab"),
    (r"{{ 'it\'s' }}", "it's"),
    ("{{ '%d' % (i) }}", "5"),
    ("{{ '%s' % '}}' }}", "}}"),
    ("a{b}c{{i}}{", "a{b}c5{"),
    ("{{ i }}{{ i }}", "55"),
    ("{{ '%d' | format(3) | format() }}", "3"),
    ("{{ '%s' % -i }}", "-5"),
    ("{{ '%d' % i }}", "5"),
    ("{{ '{:05d}'.format(-5) }}", "-0005"),
    ("{{ '%+05d' % i }}", "+0005"),
    ("{{ '% 5d' % i }}", "    5"),
    ("{{ '%-05d|' % i }}", "5    |"),
];

#[test]
fn what_is_understood_gives_what_jinja_gives() {
    for (text, expected) in JINJA {
        assert_eq!(rendered(text).unwrap_or_else(|e| panic!("{text}: {e}")), *expected, "{text}");
    }
}

/// What is not understood.
const REFUSED: &[&str] = &[
    "{{ missing }}",
    "{{ i / 2 }}",
    "{{ i ** 2 }}",
    "{{ i // 0 }}",
    "{{ i % 0 }}",
    "{{ 9223372036854775807 + i }}",
    "{{ 9223372036854775808 }}",
    "{{ 1.5 }}",
    "{{ 007 }}",
    "{{ u + i }}",
    "{{ u }",
    "{{ u",
    "{{ }}",
    "{{ f }}",
    "{{ f() }}",
    "{{ f('x') }}",
    "{{ f(c=1, c=2) }}",
    "{{ u() }}",
    "{{ nothing(c=1) }}",
    "{{ i | upper }}",
    "{{ i | format(1) }}",
    "{{ u.__class__ }}",
    "{{ u.upper() }}",
    "{{ u[0] }}",
    "{{ i if i else 1 }}",
    "{{ i == 1 }}",
    "{{ not i }}",
    "{{ i ~ 1 }}",
    "{{ 'a' 'b' }}",
    "{{ (1, 2) }}",
    "{{ '%d' % 'a' }}",
    "{{ '%d' % (1, 2) }}",
    "{{ '%d %d' % 1 }}",
    "{{ '%q' % 1 }}",
    "{{ '%' % 1 }}",
    "{{ '%(i)d' % i }}",
    "{{ '%99999d' % 1 }}",
    "{{ '{}'.format() }}",
    "{{ '{'.format(1) }}",
    "{{ '{:q}'.format(1) }}",
    "{{ '{:.2}'.format(1) }}",
    "{{ '{:s}'.format(1) }}",
    "{{ '{:d}'.format('a') }}",
    "{{ '{:99999}'.format(1) }}",
    "{{ '{i.real}'.format(i=1) }}",
    "{{ 'a\\x41' }}",
    "{{ 'a }}",
    "{{- i }}",
    "{{ i -}}",
    "{% for j in i %}{{j}}",
    "{# nothing #}{{i}}",
];

#[test]
fn everything_else_is_an_error_that_quotes_it() {
    for bad in REFUSED {
        let error = rendered(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}: {error}");
        let quoted = bad.split("}}").next().unwrap();
        assert!(error.to_string().contains(quoted), "{bad}: {error}");
    }
    assert!(rendered(&format!("{{{{ {} }}}}", "(".repeat(100_000))).is_err());
    assert!(rendered(&format!("{{{{ {}1 }}}}", "- ".repeat(100_000))).is_err());
    assert!(rendered(&"{{ '%1000d' % i }}".repeat(17)).unwrap_err().to_string().contains("gives more"));
}

/// Formats inside of formats, each of which doubles what the inner one gives.
fn doubled(before: &str, after: &str, times: usize) -> String {
    format!("{{{{ {}'a'{} }}}}", before.repeat(times), after.repeat(times))
}

#[test]
fn a_text_that_grows_with_every_format_is_refused_before_it_is_long() {
    assert_eq!(rendered(&doubled("'{0}{0}'.format(", ")", 14)).unwrap().len(), LONGEST);
    let error = rendered(&doubled("'{0}{0}'.format(", ")", 38)).unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("gives more than 16384 bytes"), "{error}");
    let percent = |times| (0..times).fold("'a'".to_owned(), |inner, _| format!("('%s%s' % ({inner}, {inner}))"));
    assert_eq!(rendered(&format!("{{{{ {} }}}}", percent(3))).unwrap(), "aaaaaaaa");
    let before = "x".repeat(15_000);
    for wide in [format!("{{{{ '{before}%1000s%1000s' % (u, u) }}}}"), format!("{{{{ '{before}{{0:1000}}{{0:1000}}'.format(u) }}}}")] {
        assert!(rendered(&wide).unwrap_err().to_string().contains("a format gives more"));
    }

    let mut templates = Templates::default();
    templates.set("long".to_owned(), "a".repeat(LONGEST + 1)).unwrap();
    let scope = Scope { names: &[], templates: Some(&templates) };
    let error = Template::parse("{{ '%.1s' % long }}").unwrap().render(scope).unwrap_err();
    assert!(error.to_string().contains("long is longer than"), "{error}");
}

/// What Python 3.11 gives.
const ALIGNED: &[(&str, &[&str])] = &[
    ("{:>03d}", &["000", "005", "0-7"]),
    ("{:<05d}", &["00000", "50000", "-7000"]),
    ("{:^05d}", &["00000", "00500", "0-700"]),
    ("{:=05d}", &["00000", "00005", "-0007"]),
    ("{:05d}", &["00000", "00005", "-0007"]),
    ("{:+05d}", &["+0000", "+0005", "-0007"]),
    ("{:*>05d}", &["****0", "****5", "***-7"]),
    ("{: >05d}", &["    0", "    5", "   -7"]),
    ("{:0<5d}", &["00000", "50000", "-7000"]),
    ("{:<+05d}", &["+0000", "+5000", "-7000"]),
    ("{:#06x}", &["0x0000", "0x0005", "-0x007"]),
    ("{:<#06x}", &["0x0000", "0x5000", "-0x700"]),
    ("{:>5d}", &["    0", "    5", "   -7"]),
    ("{:=5d}", &["    0", "    5", "-   7"]),
    ("{:05}", &["ab000"]),
    ("{:<05}", &["ab000"]),
    ("{:>05}", &["000ab"]),
    ("{:^05}", &["0ab00"]),
    ("{:05s}", &["ab000"]),
    ("{:*<05}", &["ab***"]),
];

#[test]
fn a_zero_before_the_width_fills_whatever_the_alignment_is() {
    for (spec, expected) in ALIGNED {
        let values: &[&str] = if expected.len() == 3 { &["0", "5", "-7"] } else { &["'ab'"] };
        for (value, expected) in values.iter().zip(*expected) {
            let text = format!("{{{{ '{spec}'.format({value}) }}}}");
            assert_eq!(rendered(&text).unwrap_or_else(|e| panic!("{text}: {e}")), *expected, "{text}");
        }
    }
    assert!(rendered("{{ '{:=05}'.format('ab') }}").is_err());
}

#[test]
fn a_long_chain_of_operators_is_refused_and_not_computed() {
    let chain = |link: &str, times: usize| format!("{{{{ 1{} }}}}", link.repeat(times));
    for link in [" + 1", "*1", "%2", " | format()"] {
        for times in [1_000, 4_000, 8_100] {
            let error = rendered(&chain(link, times)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{link}: {error}");
            assert!(error.to_string().contains("more than 400 words") || error.to_string().contains("longer than"), "{link}: {error}");
        }
    }
    assert!(rendered(&format!("{{{{ 'a'{} }}}}", ".format()".repeat(1_500))).is_err());
    // The longest that is computed, inside of a template that is as long.
    let mut templates = Templates::default();
    templates.set("f".to_owned(), format!("{{{{ c{} }}}}", " + 1".repeat(199))).unwrap();
    let scope = Scope { names: &[], templates: Some(&templates) };
    let text = format!("{{{{ '%s' % (f(c=1{})) }}}}", " + 1".repeat(190));
    assert_eq!(Template::parse(&text).unwrap().render(scope).unwrap(), "390");
}

/// An expression of integers, and its value as Python has it, without bounds.
fn arithmetic() -> impl Strategy<Value = (String, Option<i128>)> {
    let leaf = (0_i64..1000).prop_map(|n| (n.to_string(), Some(i128::from(n))));
    leaf.prop_recursive(6, 40, 2, |inner| {
        (inner.clone(), inner, 0..6_usize).prop_map(|((left, a), (right, b), operator)| {
            let both = a.zip(b).and_then(|(a, b)| match operator {
                0 => Some(a + b),
                1 => Some(a - b),
                2 => a.checked_mul(b),
                _ if b == 0 => None,
                3 => Some(a.div_euclid(b) - i128::from(b < 0 && a.rem_euclid(b) != 0)),
                _ => Some(a.rem_euclid(b) + if b < 0 && a.rem_euclid(b) != 0 { b } else { 0 }),
            });
            let value = if operator == 5 { a.map(|a| -a) } else { both };
            let text = match operator {
                5 => format!("( - {left})"),
                n => format!("({left} {} {right})", ["+", "-", "*", "//", "%"][n]),
            };
            (text, value.filter(|value| i64::try_from(*value).is_ok()))
        })
    })
}

proptest! {
    #[test]
    fn integers_are_computed_as_in_python((text, value) in arithmetic()) {
        match (rendered(&format!("{{{{ {text} }}}}")), value) {
            (Ok(found), Some(value)) => prop_assert_eq!(found, value.to_string()),
            (Err(e), None) => prop_assert_eq!(e.kind(), ErrorKind::Invalid),
            (found, value) => prop_assert!(false, "{} is {:?}, not {:?}", text, found, value),
        }
    }

    #[test]
    fn any_text_gives_a_text_or_an_error(
        parts in proptest::collection::vec(
            prop_oneof![
                proptest::sample::select(vec![
                    "{{", "}}", "{", "}", "{%", "i", "u", "f(c=", "(", ")", "'", "\"", "%", "%03d", "{:02d}", ".format(", "|", "format(",
                    "+", "-", "*", "//", "/", "1", "99", ",", "=", "\\", " ", "°",
                ]).prop_map(str::to_owned),
                any::<String>(),
            ],
            0..30,
        )
    ) {
        if let Err(e) = rendered(&parts.concat()) {
            prop_assert_eq!(e.kind(), ErrorKind::Invalid);
        }
    }
}
