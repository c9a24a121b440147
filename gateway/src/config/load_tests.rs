use super::*;

fn load_one(name: &str, text: &str) -> Result<Config, String> {
    load(&[(name.to_owned(), text.to_owned())], false)
}

/// What envoyproxy/ratelimit says of the same faults, word for word.
#[test]
fn faults_are_told_in_the_words_that_operators_know() {
    let limit = "rate_limit: {unit: day, requests_per_unit: 5}";
    let cases = [
        ("descriptors:\n", "config file cannot have empty domain"),
        ("domain: d\ndescriptors:\n  - value: v\n", "descriptor has empty key"),
        (
            "domain: d\ndescriptors:\n  - {key: a, value: b}\n  - {key: a, value: b}\n",
            "duplicate descriptor composite key 'd.a_b'",
        ),
        (
            "domain: d\ndescriptors:\n  - key: a\n    descriptors: [{key: x}, {key: x}]\n",
            "duplicate descriptor composite key 'd.a.x'",
        ),
        ("domain: d\ndescriptors: [{key: a, rate_limit: {unit: foo, requests_per_unit: 5}}]\n", "invalid rate limit unit 'foo'"),
        ("domain: d\ndescriptors: [{key: a, rate_limit: {requests_per_unit: 5}}]\n", "invalid rate limit unit ''"),
        (
            "domain: d\ndescriptors: [{key: a, rate_limit: {unlimited: true, unit: day}}]\n",
            "should not specify rate limit unit when unlimited",
        ),
        (
            "domain: d\ndescriptors: [{key: a, rate_limit: {unit: day, name: n, replaces: [{name: n}]}}]\n",
            "replaces should not contain name of same descriptor",
        ),
        (
            "domain: d\ndescriptors: [{key: a, rate_limit: {unit: day, name: n, replaces: [{name: }]}}]\n",
            "should not have an empty replaces entry",
        ),
        ("domain: d\ndescriptors:\n  - key: a\n    ratelimit: {unit: day}\n", "config error, unknown key 'ratelimit'"),
        (
            "domain: d\ndescriptors: [{key: a, rate_limit: {unit: day, requestsperunit: 5}}]\n",
            "config error, unknown key 'requestsperunit'",
        ),
        ("0.25: d\ndescriptors: []\n", "config error, key is not of type string: 0.25"),
        ("domain: d\ndescriptors: [a, b]\n", "config error, yaml file contains list of type other than map: a"),
        ("domain: d\ndescriptors: [{key: a, value: 1.5}]\n", "error checking config"),
        (
            "domain: d\ndescriptors: [{key: a, value: b, share_threshold: true}]\n",
            "share_threshold can only be used with wildcard values (containing '*'), but found key 'a_b'",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(
            load_one("f.yaml", text).unwrap_err(),
            format!("f.yaml: {expected}"),
            "{text}"
        );
    }
    let broken = load_one("f.yaml", "'''\n").unwrap_err();
    assert!(
        broken.starts_with("f.yaml: error loading config file: yaml: line "),
        "{broken}"
    );
    let valid = format!("domain: d\ndescriptors:\n  - key: a\n    {limit}\n");
    assert!(load_one("f.yaml", &valid).is_ok());
}

#[test]
fn a_domain_is_one_files_unless_they_are_to_be_merged() {
    let file = |key: &str| {
        format!("domain: d\ndescriptors: [{{key: {key}, rate_limit: {{unit: day, requests_per_unit: 5}}}}]\n")
    };
    let two = |a: &str, b: &str| {
        [
            ("a.yaml".to_owned(), file(a)),
            ("b.yaml".to_owned(), file(b)),
        ]
    };
    assert_eq!(
        load(&two("x", "y"), false).unwrap_err(),
        "b.yaml: duplicate domain 'd' in config file"
    );
    let merged = load(&two("x", "y"), true).unwrap();
    assert!(merged.find("d", &[("x", "1")]).is_some() && merged.find("d", &[("y", "1")]).is_some());
    assert_eq!(
        load(&two("x", "x"), true).unwrap_err(),
        "b.yaml: duplicate descriptor composite key 'd.x'"
    );
}

#[test]
fn our_own_words() {
    let text = "
domain: d
descriptors:
  - key: login
    rate_limit:
      algorithm: sliding
      limits:
        - {requests_per_unit: 5, window: 15m}
        - {requests_per_unit: 20, unit: day}
      block: [15m, 1h, 1d]
      policy: ['login:{login}', login]
      deny: bad-guys
  - key: burst
    rate_limit: {algorithm: bucket, requests_per_unit: 10, window: 1s, burst: 100}
";
    let config = load_one("f.yaml", text).unwrap();
    let limits = config
        .find("d", &[("login", "joe")])
        .unwrap()
        .rule
        .limits
        .clone()
        .unwrap();
    assert_eq!(
        (limits.algorithm, limits.describe().as_str()),
        (Algorithm::Sliding, "5 per 15m, 20 per 1d, sliding")
    );
    assert_eq!(
        (
            limits.block.len(),
            limits.policies.len(),
            limits.deny.as_deref()
        ),
        (3, 2, Some("bad-guys"))
    );
    let mut words = Vec::new();
    config
        .find("d", &[("burst", "x")])
        .unwrap()
        .rule
        .limits
        .clone()
        .unwrap()
        .words(&mut words);
    assert_eq!(words, ["100", "10", "1s"]);
}

#[test]
fn our_own_words_are_checked_too() {
    let with = |limit: &str| {
        load_one(
            "f.yaml",
            &format!("domain: d\ndescriptors:\n  - key: a\n    rate_limit: {limit}\n"),
        )
    };
    for (limit, expected) in [
        (
            "{algorithm: leaky, unit: day}",
            "line 4: invalid algorithm 'leaky'",
        ),
        (
            "{window: 5, requests_per_unit: 1}",
            "line 4: invalid duration '5'",
        ),
        (
            "{window: 5m, unit: day}",
            "should not specify both unit and window",
        ),
        ("{unit: day, burst: 5}", "burst is a bucket's"),
        (
            "{algorithm: sliding, window: '1d@05:00'}",
            "calendar windows are for FIXED",
        ),
        ("{limits: []}", "expected at least one limit"),
        ("{unit: day, limits: [{unit: hour}]}", "beside limits"),
        (
            "{limits: [{unit: hour}, {unit: hour}]}",
            "must differ from the window of every other limit",
        ),
        (
            "{unit: day, requests_per_unit: -5}",
            "'-5' is not a whole number",
        ),
        (
            "{unit: day, requests_per_unit: many}",
            "'many' is not a whole number",
        ),
        ("{unit: day, policy: 'api:{x'}", "a { without its }"),
        ("{unit: day, deny: ''}", "expected the name of a deny list"),
        ("5", "rate_limit must be a map"),
    ] {
        let error = with(limit).unwrap_err();
        assert!(error.contains(expected), "{limit}: {error}");
    }
}

/// Any file: a configuration or an error, never a panic. Made of pieces that get far into the reader.
#[test]
fn any_file_is_answered() {
    let pieces = [
        "domain: d\n",
        "descriptors:\n",
        "  - key: a\n",
        "    value: 'b*'\n",
        "    rate_limit:\n",
        "      unit: day\n",
        "      requests_per_unit: 5\n",
        "      limits: [{unit: day}]\n",
        "    descriptors:\n",
        "      - key: x\n",
        "&a ",
        "*a\n",
        "<<: ",
        "{",
        "}",
        "[",
        "]",
        ": ",
        "- ",
        "\n",
        "    ",
        "shadow_mode: yes\n",
        "    metadata: {a: [1, {b: c}]}\n",
        "    share_threshold: true\n",
        "      block: [1m]\n",
        "      policy: '{a}'\n",
        "\u{feff}",
        "\0",
        "é",
        "? ",
        "|\n",
        ">-\n",
    ];
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let (mut good, mut bad) = (0, 0);
    for _ in 0..20_000 {
        let mut text = String::from("domain: d\ndescriptors:\n  - key: a\n");
        for _ in 0..8 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            text.push_str(pieces[usize::try_from(seed >> 33).unwrap() % pieces.len()]);
        }
        match load_one("f.yaml", &text) {
            Ok(config) => {
                good += 1;
                let _ = config.find("d", &[("a", "b"), ("x", "y")]);
            }
            Err(_) => bad += 1,
        }
    }
    assert!(good > 20 && bad > 1_000, "{good} good, {bad} bad");
}
