//! Tested, but not at its bounds.

/// Its test tries no bound, so `<=` for `<` goes unnoticed.
pub fn is_within(number: u64, bound: u64) -> bool {
    number < bound
}

/// Has no test.
pub fn twice(number: u64) -> u64 {
    number * 2
}

/// That the loop ends is noticed.
pub fn digits(mut number: u64) -> u64 {
    let mut digits = 1;
    while number > 9 {
        number /= 10;
        digits += 1;
    }
    digits
}

/// A mutant of this does not compile.
pub fn kind(number: u64) -> Kind {
    match number {
        0 => Kind(0),
        number if number > 9 => Kind(2),
        _ => Kind(1),
    }
}

/// Has no default.
#[derive(Debug, PartialEq)]
pub struct Kind(u8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_less_is_within() {
        assert!(is_within(1, 3));
        assert!(!is_within(3, 1));
    }

    #[test]
    fn counts_digits() {
        assert_eq!([0, 9, 10, 99, 100].map(digits), [1, 1, 2, 2, 3]);
    }

    #[test]
    fn kinds_differ() {
        assert_eq!([0, 8, 10].map(kind), [Kind(0), Kind(1), Kind(2)]);
    }
}
