//! Configurations, requests and what is answered: facts of envoyproxy/ratelimit's integration tests and its example.

use super::{ask, Ask, Case, Code, Entries, Hour, Minute, Over, Pass, Second, Settings};

pub const BASIC: &str = "
domain: basic
descriptors:
  - {key: key1, rate_limit: {unit: second, requests_per_unit: 50}}
  - {key: one_per_minute, rate_limit: {unit: minute, requests_per_unit: 1}}
";
pub const ANOTHER: &str = "
domain: another
descriptors:
  - {key: key2, rate_limit: {unit: minute, requests_per_unit: 20}}
  - {key: key3, rate_limit: {unit: hour, requests_per_unit: 10}}
  - {key: key4, rate_limit: {unit: day, requests_per_unit: 20}}
";
const SHARED: &str = "
domain: share-threshold-test
descriptors:
  - {key: files, value: files/*, share_threshold: true, rate_limit: {unit: hour, requests_per_unit: 10}}
  - {key: files_no_share, value: files_no_share/*, rate_limit: {unit: hour, requests_per_unit: 10}}
";
pub const RELOAD: &str = "
domain: reload
descriptors:
  - {key: key1, rate_limit: {unit: second, requests_per_unit: 50}}
  - {key: block, rate_limit: {unit: second, requests_per_unit: 0}}
";
/// The configuration of its example, which its scripts ask through Envoy.
const EXAMPLE: &str = "
domain: rl
descriptors:
  - key: category
    value: account
    rate_limit: {replaces: [{name: bkthomps}, {name: fake_name}], unit: minute, requests_per_unit: 4}
  - key: source_cluster
    value: proxy
    descriptors:
      - {key: destination_cluster, value: bkthomps, rate_limit: {replaces: [{name: bkthomps}], unit: minute, requests_per_unit: 2}}
      - {key: destination_cluster, value: mock, rate_limit: {unit: minute, requests_per_unit: 1}}
      - {key: destination_cluster, value: override, rate_limit: {replaces: [{name: banned_limit}], unit: minute, requests_per_unit: 2}}
      - {key: destination_cluster, value: fake, rate_limit: {name: fake_name, unit: minute, requests_per_unit: 2}}
  - key: foo
    rate_limit: {unit: minute, requests_per_unit: 2}
    descriptors:
      - {key: bar, rate_limit: {unit: minute, requests_per_unit: 3}}
      - {key: bar, value: bkthomps, rate_limit: {name: bkthomps, unit: minute, requests_per_unit: 1}}
      - {key: bar, value: banned, rate_limit: {name: banned_limit, unit: minute, requests_per_unit: 0}}
      - {key: baz, value: not-so-shady, rate_limit: {unit: minute, requests_per_unit: 3}}
      - {key: baz, value: shady, shadow_mode: true, rate_limit: {unit: minute, requests_per_unit: 3}}
      - {key: bay, rate_limit: {unlimited: true}}
  - {key: unspec, detailed_metric: true, rate_limit: {unit: minute, requests_per_unit: 2}}
  - {key: qux, rate_limit: {unlimited: true}}
  - {key: service, value: service_1, quota_mode: true, rate_limit: {unit: minute, requests_per_unit: 1}}
  - {key: service, value: service_2, quota_mode: true, rate_limit: {unit: minute, requests_per_unit: 2}}
";

const CACHED: (&str, &str) = ("LOCAL_CACHE_SIZE_IN_BYTES", "1000");
const STOPPED: (&str, &str) = ("STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT", "true");

/// An unknown domain, a limit a second, one that is passed, and two at once.
fn basic(name: &'static str, settings: Settings) -> Case {
    let is_cached = settings.contains(&CACHED);
    let is_stopped = settings.contains(&STOPPED);
    let cached = |n: u32| if is_cached { n } else { 0 };
    let mut asks = vec![
        ask("foo", &[&[("hello", "world")]], Pass).answered(&[(Pass, None, 0)]),
        ask("basic", &[&[("key1", "foo")]], Pass)
            .answered(&[(Pass, Some((50, Second)), 49)])
            .counted(&[("key1.total_hits", 1), ("key1.within_limit", 1)]),
    ];
    for hits in 1..=25 {
        let code = if hits > 20 { Over } else { Pass };
        let over = u32::saturating_sub(hits, 20);
        asks.push(
            ask("another", &[&[("key2", "one")]], code)
                .answered(&[(code, Some((20, Minute)), u32::saturating_sub(20, hits))])
                .counted(&[
                    ("key2.total_hits", hits),
                    ("key2.within_limit", hits.min(20)),
                    ("key2.near_limit", u32::saturating_sub(hits.min(20), 16)),
                    ("key2.over_limit", over),
                    (
                        "key2.over_limit_with_local_cache",
                        cached(over.saturating_sub(1)),
                    ),
                ]),
        );
    }
    for hits in 1..=15 {
        let code = if hits > 10 { Over } else { Pass };
        let over = u32::saturating_sub(hits, 10);
        let charged = if is_stopped { hits.min(10) } else { hits };
        asks.push(
            ask("another", &[&[("key2", "both")], &[("key3", "both")]], code)
                .answered(&[
                    (Pass, Some((20, Minute)), 20 - charged),
                    (code, Some((10, Hour)), u32::saturating_sub(10, hits)),
                ])
                .counted(&[
                    ("key2.total_hits", 25 + hits),
                    ("key2.over_limit", 5),
                    ("key2.over_limit_with_local_cache", cached(4)),
                    ("key3.total_hits", hits),
                    ("key3.over_limit", over),
                    (
                        "key3.over_limit_with_local_cache",
                        cached(over.saturating_sub(1)),
                    ),
                ]),
        );
    }
    Case {
        name,
        files: &[BASIC, ANOTHER],
        settings,
        asks,
    }
}

/// So many requests, one after the other, of the example's domain.
fn script(name: &'static str, asks: &[(&[Entries], &[Code])]) -> Case {
    let one = |(entries, codes): &(&[Entries], &[Code])| {
        codes
            .iter()
            .map(|code| ask("rl", entries, *code))
            .collect::<Vec<_>>()
    };
    Case {
        name,
        files: &[EXAMPLE],
        settings: &[],
        asks: asks.iter().flat_map(one).collect(),
    }
}

const SERVICES: [Entries; 2] = [&[("service", "service_1")], &[("service", "service_2")]];

/// What two services together may spend: Envoy looks first, and tells afterwards which of them was used.
fn quota_of_two() -> Vec<Ask> {
    let look = |code| ask("rl", &SERVICES, code).each_of(0);
    let used = |service: usize, code| ask("rl", &[SERVICES[service]], code).each_of(1);
    vec![
        look(Pass),
        used(0, Pass),
        look(Pass),
        used(0, Over),
        look(Pass),
        used(1, Pass),
        look(Pass),
        used(1, Pass),
        look(Pass),
        used(1, Over),
        look(Over),
    ]
}

pub fn cases() -> Vec<Case> {
    let no_value: &[Entries] = &[&[("unspec", "unspecified_value")]];
    vec![
        basic(
            "basic limit, per second, another key, over limit, near limit",
            &[],
        ),
        basic("cache key prefix", &[("CACHE_KEY_PREFIX", "prefix:")]),
        basic("local cache", &[CACHED]),
        basic("stop at a limit that is passed", &[STOPPED]),
        basic(
            "stop at a limit that is passed, local cache",
            &[STOPPED, CACHED],
        ),
        Case {
            name: "custom hits addend",
            files: &[ANOTHER],
            settings: &[],
            // There the third, which passes the limit on its way, is 4 near it and 1 over: here it is over.
            asks: [
                (7, 13, 7, 0, 0),
                (7, 6, 14, 0, 0),
                (7, 0, 21, 0, 7),
                (7, 0, 28, 0, 14),
            ]
            .map(|(hits, left, total, near, over)| {
                let code = if over > 0 { Over } else { Pass };
                ask("another", &[&[("key2", "x")]], code)
                    .of(hits)
                    .answered(&[(code, Some((20, Minute)), left)])
                    .counted(&[
                        ("key2.total_hits", total),
                        ("key2.near_limit", near),
                        ("key2.over_limit", over),
                    ])
            })
            .into(),
        },
        Case {
            name: "response headers",
            files: &[ANOTHER],
            settings: &[("LIMIT_RESPONSE_HEADERS_ENABLED", "true")],
            asks: vec![Ask {
                headers: vec![("RateLimit-Limit", "10"), ("RateLimit-Remaining", "9")],
                ..ask("another", &[&[("key2", "x")], &[("key3", "x")]], Pass)
            }],
        },
        Case {
            name: "response headers: names of one's own",
            files: &[ANOTHER],
            settings: &[
                ("LIMIT_RESPONSE_HEADERS_ENABLED", "true"),
                ("LIMIT_LIMIT_HEADER", "A-Limit"),
                ("LIMIT_REMAINING_HEADER", "A-Remaining"),
            ],
            asks: vec![Ask {
                headers: vec![("A-Limit", "20"), ("A-Remaining", "19")],
                ..ask("another", &[&[("key4", "x")]], Pass)
            }],
        },
        Case {
            name: "shadow mode of the service",
            files: &[BASIC],
            settings: &[("SHADOW_MODE", "true")],
            asks: [(Pass, 0), (Over, 1)]
                .map(|(code, over)| {
                    ask("basic", &[&[("one_per_minute", "x")]], Pass)
                        .answered(&[(code, Some((1, Minute)), 0)])
                        .counted(&[("one_per_minute.over_limit", over)])
                })
                .into(),
        },
        Case {
            name: "shared threshold",
            files: &[SHARED],
            settings: &[],
            asks: (0..10)
                .map(|_| ask("share-threshold-test", &[&[("files", "files/a.pdf")]], Pass))
                .chain([
                    ask("share-threshold-test", &[&[("files", "files/b.csv")]], Over)
                        .answered(&[(Over, Some((10, Hour)), 0)]),
                ])
                .collect(),
        },
        Case {
            name: "threshold that is not shared",
            files: &[SHARED],
            settings: &[],
            asks: ["files_no_share/1", "files_no_share/2", "files_no_share/3"]
                .map(|value| Ask {
                    descriptors: vec![(Box::leak(Box::new([("files_no_share", value)])), None)],
                    ..ask("share-threshold-test", &[], Pass).answered(&[(
                        Pass,
                        Some((10, Hour)),
                        9,
                    )])
                })
                .into(),
        },
        script(
            "a limit is passed",
            &[(
                &[&[("foo", "pelle"), ("baz", "not-so-shady")]],
                &[Pass, Pass, Pass, Over, Over],
            )],
        ),
        Case {
            name: "shadow mode of a descriptor",
            files: &[EXAMPLE],
            settings: &[],
            asks: [(2, 0), (1, 0), (0, 0), (0, 1), (0, 2)]
                .map(|(left, over)| {
                    ask("rl", &[&[("foo", "pelle"), ("baz", "shady")]], Pass)
                        .answered(&[(Pass, Some((3, Minute)), left)])
                        .counted(&[
                            ("foo.baz_shady.over_limit", over),
                            ("foo.baz_shady.shadow_mode", over),
                        ])
                })
                .into(),
        },
        Case {
            name: "detailed metric: the value is in its name",
            files: &[EXAMPLE],
            settings: &[],
            asks: [(Pass, 0), (Pass, 0), (Over, 1)]
                .map(|(code, over)| {
                    ask("rl", no_value, code)
                        .counted(&[("unspec_unspecified_value.over_limit", over)])
                })
                .into(),
        },
        script(
            "unlimited",
            &[
                (&[&[("foo", "x"), ("bay", "x")]], &[Pass; 5]),
                (&[&[("qux", "x")]], &[Pass; 5]),
            ],
        ),
        script(
            "replaces: what nothing replaces",
            &[
                (&[&[("foo", "bkthomps"), ("bar", "banned")]], &[Over]),
                (
                    &[
                        &[("foo", "bkthomps"), ("bar", "banned")],
                        &[("source_cluster", "proxy"), ("destination_cluster", "mock")],
                    ],
                    &[Over],
                ),
                (&[&[("foo", "foo_2"), ("bar", "bkthomps")]], &[Pass, Over]),
                (
                    &[
                        &[("foo", "foo_3"), ("bar", "bar_3")],
                        &[("source_cluster", "proxy"), ("destination_cluster", "fake")],
                    ],
                    &[Pass, Pass, Over],
                ),
            ],
        ),
        script(
            "replaces: by a higher limit",
            &[(
                &[
                    &[("foo", "bkthomps"), ("bar", "banned")],
                    &[
                        ("source_cluster", "proxy"),
                        ("destination_cluster", "override"),
                    ],
                ],
                &[Pass, Pass, Over],
            )],
        ),
        script(
            "replaces: only in the request that has both",
            &[
                (
                    &[
                        &[("foo", "my_foo"), ("bar", "bkthomps")],
                        &[
                            ("source_cluster", "proxy"),
                            ("destination_cluster", "bkthomps"),
                        ],
                    ],
                    &[Pass, Pass, Over],
                ),
                (
                    &[
                        &[("foo", "my_foo"), ("bar", "bkthomps")],
                        &[
                            ("source_cluster", "proxy"),
                            ("destination_cluster", "not_bkthomps"),
                        ],
                    ],
                    &[Pass, Over],
                ),
                (
                    &[
                        &[("foo", "my_foo"), ("bar", "bkthomps")],
                        &[
                            ("source_cluster", "proxy"),
                            ("destination_cluster", "bkthomps"),
                        ],
                    ],
                    &[Over],
                ),
            ],
        ),
        script(
            "replaces: two at once",
            &[(
                &[
                    &[("foo", "my_foo"), ("bar", "bkthomps")],
                    &[("source_cluster", "proxy"), ("destination_cluster", "fake")],
                    &[("category", "account")],
                ],
                &[Pass, Pass, Pass, Pass, Over],
            )],
        ),
        script("quota", &[(&SERVICES, &[Pass, Pass, Over])]),
        Case {
            name: "quota: asked before, told after",
            files: &[EXAMPLE],
            settings: &[],
            asks: [
                (0, Pass),
                (1, Pass),
                (0, Pass),
                (1, Pass),
                (0, Pass),
                (1, Over),
                (0, Over),
            ]
            .map(|(hits, code)| ask("rl", &[SERVICES[1]], code).each_of(hits))
            .into(),
        },
        Case {
            name: "quota of two services",
            files: &[EXAMPLE],
            settings: &[],
            asks: quota_of_two(),
        },
    ]
}
