use super::super::load;
use super::*;

const FILE: &str = "
domain: d
descriptors:
  - key: path
    value: /api/*
    share_threshold: true
    rate_limit: {unit: minute, requests_per_unit: 1}
  - key: path
    value: /api/v1*x
    rate_limit: {unit: minute, requests_per_unit: 2}
  - key: path
    value: /api/exact
    rate_limit: {unit: minute, requests_per_unit: 3}
  - key: path
    rate_limit: {unit: minute, requests_per_unit: 4}
  - key: number
    value: 123
    rate_limit: {unit: hour, requests_per_unit: 5}
  - key: deep
    descriptors:
      - key: deeper
        value: a*
        share_threshold: true
        detailed_metric: true
        metadata: {plan: gold}
        rate_limit: {unit: day, requests_per_unit: 6}
  - key: white
    value: listed
  - key: white
    rate_limit: {unit: day, requests_per_unit: 7}
  - key: metric
    value_to_metric: true
    rate_limit: {unit: day, requests_per_unit: 8}
";

fn find(entries: &[(&str, &str)]) -> Option<(u32, String)> {
    let config = load(&[("f".into(), FILE.into())], false).unwrap();
    config
        .find("d", entries)
        .map(|found| (found.rule.requests_per_unit, found.metric.join(".")))
}

#[test]
fn exact_before_wildcard_before_bare() {
    assert_eq!(
        find(&[("path", "/api/exact")]),
        Some((3, "d.path_/api/exact".into()))
    );
    // Of two patterns the first of the file.
    assert_eq!(
        find(&[("path", "/api/v1/x")]),
        Some((1, "d.path_/api/*".into()))
    );
    assert_eq!(find(&[("path", "/other")]), Some((4, "d.path".into())));
    assert_eq!(find(&[("path", "")]), Some((4, "d.path".into())));
    assert_eq!(find(&[("number", "123")]), Some((5, "d.number_123".into())));
    assert_eq!(find(&[("number", "124")]), None);
    assert_eq!(find(&[("white", "listed")]), None);
    assert_eq!(find(&[("white", "other")]), Some((7, "d.white".into())));
}

#[test]
fn as_deep_as_the_configuration() {
    assert_eq!(find(&[("deep", "x")]), None);
    assert_eq!(find(&[("deep", "x"), ("deeper", "b")]), None);
    assert_eq!(find(&[("path", "/other"), ("more", "x")]), None);
    assert_eq!(
        find(&[("deep", "x"), ("deeper", "ab")]),
        Some((6, "d.deep_x.deeper_a*".into()))
    );
    assert_eq!(
        find(&[("metric", "seen")]),
        Some((8, "d.metric_seen".into()))
    );
}

#[test]
fn a_shared_pattern_takes_the_values_place() {
    let config = load(&[("f".into(), FILE.into())], false).unwrap();
    let found = config
        .find("d", &[("deep", "x"), ("deeper", "ab")])
        .unwrap();
    assert_eq!(found.patterns, [None, Some("a*".to_owned())]);
    assert_eq!(found.metadata.unwrap().get("plan").unwrap(), "gold");
}

#[test]
fn stars_stand_for_any_text() {
    let matches = |pattern: &str, value: &str| {
        let parts = pattern.split('*').map(str::to_owned).collect();
        Wildcard {
            key: pattern.to_owned(),
            parts,
        }
        .matches(value)
    };
    for (pattern, value, expected) in [
        ("a*", "a", true),
        ("a*", "ab", true),
        ("a*b", "ab", true),
        ("a*a", "a", false),
        ("a*b*c", "axbxc", true),
        ("a*b*c", "acb", false),
        ("a*b*b", "ab", false),
        ("*", "", true),
        ("a**b", "ab", true),
        ("a", "a", true),
        ("a", "b", false),
    ] {
        assert_eq!(matches(pattern, value), expected, "{pattern} {value}");
    }
}
