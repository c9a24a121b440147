//! Charges with many clauses at once.

use super::*;

#[test]
fn a_charge_of_a_new_origin_is_read_back_whatever_else_it_says() {
    let shared = HitOptions {
        here: here("eu", u64::MAX),
        at_ms: Some(NOW_MS - 1),
        ..HitOptions::NONE
    };
    let stamped = HitOptions {
        stamp: true,
        ..shared
    };
    let november = [november()];
    let dated = HitOptions {
        windows: &november,
        ..shared
    };
    let month = Span::parse(b"1mo@15,Europe/Berlin").unwrap();
    let month = Limit::spanning(1_000, month).unwrap();
    let [bucket, _] = buckets();
    for (algorithm, limit, options) in [
        (Algorithm::Sliding, hour(100), shared),
        (Algorithm::Bucket, bucket, stamped),
        (Algorithm::Fixed, month, dated),
    ] {
        let limits = [limit];
        let hit = Hit {
            options: &options,
            ..Hit::new(algorithm, &limits, 1)
        };
        let bytes = encode_change(&hit, Change::Charge(2), NOW_MS, true);
        let Some(Effect::Charge(charge)) = decode(&bytes) else {
            panic!("{algorithm:?} is not read back");
        };
        assert_eq!((charge.cost, charge.now_ms), (2, NOW_MS));
        let read = charge.options();
        assert_eq!((read.here, read.at_ms), (options.here, options.at_ms));
        assert_eq!((read.stamp, read.windows), (options.stamp, options.windows));
    }
}
