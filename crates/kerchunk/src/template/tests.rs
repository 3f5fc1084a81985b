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
    (r#"plain"#, r#"plain"#),
    (r#"{{u}}"#, r#"server.domain/path"#),
    (r#"http://{{ u }}_{{i}}"#, r#"http://server.domain/path_5"#),
    (r#"{{f(c='text')}}"#, r#"text.nc"#),
    (r#"{{ f(c = i) }}"#, r#"5.nc"#),
    (r#"{{g(i=i*2)}}"#, r#"010/11"#),
    (r#"{{(i + 1) * 1000}}"#, r#"6000"#),
    (r#"{{i * 16}}"#, r#"80"#),
    (r#"{{ -i}}x"#, r#"-5x"#),
    (r#"{{ 2 + 3 * 4 - 1 }}"#, r#"13"#),
    (r#"{{ (2 + 3) * 4 }}"#, r#"20"#),
    (r#"{{ i // 2 }}"#, r#"2"#),
    (r#"{{ (0 - i) // 2 }}"#, r#"-3"#),
    (r#"{{ (0 - i) % 3 }}"#, r#"1"#),
    (r#"{{ i % (0 - 3) }}"#, r#"-1"#),
    (r#"{{ - i % 3 }}"#, r#"1"#),
    (r#"{{ 7 - 3 - 2 }}"#, r#"2"#),
    (r#"{{ 100 // 7 // 2 }}"#, r#"7"#),
    (r#"{{ '%03d' % i }}"#, r#"005"#),
    (r#"{{ '%d-%s' % (i, u) }}"#, r#"5-server.domain/path"#),
    (r#"{{ '%5d|%-5d|%+d|% d' % (i, i, i, i) }}"#, r#"    5|5    |+5| 5"#),
    (r#"{{ '%05d' % (0-i) }}"#, r#"-0005"#),
    (r#"{{ '%x %X %o %#x' % (255, 255, 8, 255) }}"#, r#"ff FF 10 0xff"#),
    (r#"{{ '%.3d' % i }}"#, r#"005"#),
    (r#"{{ '%5.2s|' % 'abc' }}"#, r#"   ab|"#),
    (r#"{{ '%-6s|' % 'ab' }}"#, r#"ab    |"#),
    (r#"{{ '%06s|' % 'ab' }}"#, r#"    ab|"#),
    (r#"{{ '100%%' | format() }}"#, r#"100%"#),
    (r#"{{ '%03d' | format(i) }}"#, r#"005"#),
    (r#"{{ "%s_%02d" | format(u, i + 1) }}"#, r#"server.domain/path_06"#),
    (r#"{{ '{:02d}'.format(i) }}"#, r#"05"#),
    (r#"{{ '{0}-{0:03}-{name:>4}'.format(i, name='ab') }}"#, r#"5-005-  ab"#),
    (r#"{{ '{:+d} {:x} {:#X} {:b} {:^7}|'.format(i, 255, 255, 5, i) }}"#, r#"+5 ff 0XFF 101    5   |"#),
    (r#"{{ '{:*<5}|{:*^6}|{:0=5}'.format('ab', 'abc', 0-i) }}"#, r#"ab***|*abc**|-0005"#),
    (r#"{{ '{{{}}}'.format(i) }}"#, r#"{5}"#),
    (r#"{{ '{:.2}'.format('abc') }}"#, r#"ab"#),
    (r#"{{ 'it\'s' }}"#, r#"it's"#),
    (r#"{{ '%d' % (i) }}"#, r#"5"#),
    (r#"{{ '%s' % '}}' }}"#, r#"}}"#),
    (r#"a{b}c{{i}}{"#, r#"a{b}c5{"#),
    (r#"{{ i }}{{ i }}"#, r#"55"#),
    (r#"{{ '%d' | format(3) | format() }}"#, r#"3"#),
    (r#"{{ '%s' % -i }}"#, r#"-5"#),
    (r#"{{ '%d' % i }}"#, r#"5"#),
    (r#"{{ '{:05d}'.format(-5) }}"#, r#"-0005"#),
    (r#"{{ '%+05d' % i }}"#, r#"+0005"#),
    (r#"{{ '% 5d' % i }}"#, r#"    5"#),
    (r#"{{ '%-05d|' % i }}"#, r#"5    |"#),
];

#[test]
fn what_is_understood_gives_what_jinja_gives() {
    for (text, expected) in JINJA {
        assert_eq!(rendered(text).unwrap_or_else(|e| panic!("{text}: {e}")), *expected, "{text}");
    }
}

#[test]
fn everything_else_is_an_error_that_quotes_it() {
    for bad in [
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
    ] {
        let error = rendered(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}: {error}");
        let quoted = bad.split("}}").next().unwrap();
        assert!(error.to_string().contains(&quoted), "{bad}: {error}");
    }
    assert!(rendered(&format!("{{{{ {} }}}}", "(".repeat(100_000))).is_err());
    assert!(rendered(&format!("{{{{ {}1 }}}}", "- ".repeat(100_000))).is_err());
    assert!(rendered(&"{{ '%1000d' % i }}".repeat(17)).unwrap_err().to_string().contains("gives more"));
}

/// An expression of integers, and its value as Python has it, without bounds.
fn arithmetic() -> impl Strategy<Value = (String, Option<i128>)> {
    let leaf = (0_i64..1000).prop_map(|n| (n.to_string(), Some(i128::from(n))));
    leaf.prop_recursive(6, 40, 2, |inner| {
        (inner.clone(), inner, 0..6_usize).prop_map(|((left, a), (right, b), operator)| {
            let value = a.zip(b).and_then(|(a, b)| match operator {
                0 => Some(a + b),
                1 => Some(a - b),
                2 => a.checked_mul(b),
                3 => (b != 0).then(|| a.div_euclid(b) - i128::from(b < 0 && a.rem_euclid(b) != 0)),
                4 => (b != 0).then(|| a.rem_euclid(b) + if b < 0 && a.rem_euclid(b) != 0 { b } else { 0 }),
                _ => Some(-a),
            });
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
