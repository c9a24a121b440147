//! Names of keys in Redis. Two different lists of parts never make one name, whatever a stranger puts into them, and no
//! part and no name grows beyond a bound: what is longer takes its SHA-256's place.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::limits::Algorithm;

/// Bytes of a part, escaped, and of a whole name.
const PART: usize = 128;
const NAME: usize = 1024;

/// A name under construction: `f/domain/key=value/key=value`, behind its prefix.
pub struct Key {
    text: String,
    prefix: usize,
}

impl Key {
    pub fn new(prefix: &str, algorithm: Algorithm, domain: &str) -> Self {
        let mut text = String::with_capacity(prefix.len() + 96);
        text.push_str(prefix);
        text.push(algorithm.letter());
        text.push('/');
        push(&mut text, domain);
        Self {
            text,
            prefix: prefix.len(),
        }
    }

    pub fn pair(&mut self, key: &str, value: &str) {
        self.text.push('/');
        push(&mut self.text, key);
        self.text.push('=');
        push(&mut self.text, value);
    }

    /// A pair whose value is the configuration's pattern, which no value of a request can be taken for.
    pub fn pattern(&mut self, key: &str, pattern: &str) {
        self.text.push('/');
        push(&mut self.text, key);
        self.text.push_str("=*");
        push(&mut self.text, pattern);
    }

    pub fn finish(mut self) -> String {
        if self.text.len() > self.prefix + NAME {
            let name = self.text.split_off(self.prefix);
            self.text.extend(name.chars().take(2));
            hash(&mut self.text, name.as_bytes());
        }
        self.text
    }
}

fn push(out: &mut String, part: &str) {
    let begin = out.len();
    for c in part.chars() {
        // The escapes' own sign, what divides parts, what marks a pattern or a hash, a cluster's hash tag, and what is
        // not seen in a terminal.
        if matches!(c, '%' | '/' | '=' | '*' | '~' | '{' | '}')
            || c.is_control()
            || c.is_whitespace()
        {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                let _ = write!(out, "%{byte:02x}");
            }
        } else {
            out.push(c);
        }
        if out.len() - begin > PART {
            out.truncate(begin);
            return hash(out, part.as_bytes());
        }
    }
}

fn hash(out: &mut String, bytes: &[u8]) {
    out.push('~');
    for byte in Sha256::digest(bytes) {
        let _ = write!(out, "{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn name(domain: &str, pairs: &[(String, String)]) -> String {
        let mut key = Key::new("p:", Algorithm::Fixed, domain);
        for (k, v) in pairs {
            key.pair(k, v);
        }
        key.finish()
    }

    #[test]
    fn a_name_is_readable() {
        let pairs = [
            ("path".into(), "/a b".into()),
            ("user".into(), "joe@example.org".into()),
        ];
        assert_eq!(
            name("shop", &pairs),
            "p:f/shop/path=%2fa%20b/user=joe@example.org"
        );
    }

    #[test]
    fn a_pattern_is_no_value() {
        let mut pattern = Key::new("", Algorithm::Fixed, "d");
        pattern.pattern("files", "a*");
        let mut value = Key::new("", Algorithm::Fixed, "d");
        value.pair("files", "a*");
        assert_ne!(pattern.finish(), value.finish());
    }

    /// Random parts of an alphabet that is made to collide: one name is made by one list alone, and is bounded.
    #[test]
    fn different_descriptors_never_share_a_name() {
        let alphabet: Vec<char> = "a_/=%*~{}2f \n\u{85}é".chars().collect();
        let mut seed = 88_172_645_463_325_252_u64;
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed >> 33).unwrap() % below
        };
        let mut names: HashMap<String, (String, Vec<(String, String)>)> = HashMap::new();
        for round in 0..60_000 {
            let longest = if round % 50 == 0 { 300 } else { 4 };
            let part = |random: &mut dyn FnMut(usize) -> usize| {
                let length = random(longest);
                (0..length)
                    .map(|_| alphabet[random(alphabet.len())])
                    .collect::<String>()
            };
            let domain = part(&mut random);
            let count = random(3);
            let pairs: Vec<_> = (0..count)
                .map(|_| (part(&mut random), part(&mut random)))
                .collect();
            let made = name(&domain, &pairs);
            assert!(made.len() <= NAME + 2 && !made.contains(char::is_control));
            let other = names
                .entry(made)
                .or_insert_with(|| (domain.clone(), pairs.clone()));
            assert_eq!(*other, (domain, pairs));
        }
    }
}
