use super::*;

fn canonical(text: &str) -> Result<String, Error> {
    Value::parse_new(text.as_bytes(), 3).map(|value| String::from_utf8(value.into()).unwrap())
}

fn is_text(text: &str) -> bool {
    Value::parse(text.as_bytes()) == Value::Text(text.as_bytes())
}

#[test]
fn every_spelling_is_one_value() {
    for (text, expected) in [
        ("1.2.3.4", "1.2.3.4"),
        ("1.2.3.4/32", "1.2.3.4"),
        ("0.0.0.0", "0.0.0.0"),
        ("255.255.255.255", "255.255.255.255"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("::FFFF:102:304", "1.2.3.4"),
        ("0:0:0:0:0:ffff:1.2.3.4", "1.2.3.4"),
        ("::ffff:1.2.3.4/128", "1.2.3.4"),
        (
            "0000:0000:0000:0000:0000:ffff:255.255.255.255/128",
            "255.255.255.255",
        ),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("2001:0db8::0001/128", "2001:db8::1"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::1.2.3.4", "::102:304"),
        ("::", "::"),
        ("::/0", "::/0"),
        ("::fffe:0:0/95", "::fffe:0:0/95"),
    ] {
        assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
        assert!(!is_text(text), "{text}");
        assert_eq!(canonical(expected).as_deref(), Ok(expected));
    }
}

#[test]
fn the_rest_is_text() {
    for text in [
        "alice",
        "12345",
        "1.2.3",
        "1.2.3.4.5",
        "aa:bb:cc:dd:ee:ff",
        "12:34:56",
        "a::b::c::x",
        "10.0.0.7/login",
        "user/42",
        " alice ",
        "alice:80",
        "example.org:80",
        "[alice]",
        "[]",
        "50%",
        "2001:db8::1]:80x",
        "1.2.3.4:80x",
        "2024/10",
        "cafe",
        "a:b/7",
        "/",
        "/8",
        ":",
        ".",
        "1.2.3.4/-1",
        "1.2.3.4/+8",
        "[2001:db8::1]:x",
        "\u{e9}",
    ] {
        assert_eq!(canonical(text).as_deref(), Ok(text));
        assert!(is_text(text), "{text}");
    }
    assert_eq!(
        Value::parse_new(b"\xff\0/8", 3),
        Ok(Value::Text(b"\xff\0/8"))
    );
}

#[test]
fn what_only_looks_like_an_address_is_refused() {
    for text in [
        "010.0.0.1",
        "1.2.3.04",
        "256.1.1.1",
        "1.2.3.1000",
        "1..2.3",
        "...",
        ":::",
        "1::2::3",
        "::12345",
        "::ffff:1.2.3.256",
    ] {
        assert_eq!(canonical(text), Err(Error::NoAddress { at: 3 }), "{text}");
        assert!(is_text(text), "{text}");
    }
    for text in [
        "1.2.3.4/33",
        "1.2.3.4/",
        "1.2.3.4/08",
        "1.2.3.4/00",
        "1.2.3.4/999",
        "10.0/16",
        "10.0.0.0/255.0.0.0",
        "010.0.0.0/8",
        "256.0.0.0/8",
        "::/129",
        "::1/",
        "2001:db8:/32",
        "::1::/64",
        "1.2.3.4/4294967304",
    ] {
        assert_eq!(canonical(text), Err(Error::NoRange { at: 3 }), "{text}");
        assert!(is_text(text), "{text}");
    }
    for (text, meant) in [
        ("10.0.0.1/8", "10.0.0.0/8"),
        ("2001:db8::1/32", "2001:db8::/32"),
        ("::1/0", "::/0"),
        ("1.2.3.4/31", "1.2.3.4/31"),
    ] {
        let host_bits = if text == meant {
            None
        } else {
            Some(format!(
                "ERR argument 3 (value) has bits set past its length: the range would be {meant}"
            ))
        };
        assert_eq!(
            canonical(text).err().map(|error| error.to_string()),
            host_bits,
            "{text}"
        );
    }
    assert_eq!(canonical(""), Err(Error::EmptyValue { at: 3 }));
    assert!(canonical(&"x".repeat(MAX_VALUE_BYTES)).is_ok());
    assert_eq!(
        canonical(&"x".repeat(MAX_VALUE_BYTES + 1)),
        Err(Error::LongValue { at: 3 })
    );
}

/// As sockets and proxies write them: read as the address where they are checked, refused where they are added.
#[test]
fn an_address_as_it_arrives_is_read_but_not_added() {
    for (text, address) in [
        ("192.0.2.7:443", "192.0.2.7"),
        ("192.0.2.7:", "192.0.2.7"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%eth0]:443", "fe80::1"),
        (" 192.0.2.7", "192.0.2.7"),
        ("192.0.2.7\r\n", "192.0.2.7"),
        ("\t2001:db8::1 ", "2001:db8::1"),
        ("[::ffff:192.0.2.7]:443", "192.0.2.7"),
        ("::ffff:192.0.2.7:443", "192.0.2.7"),
        ("[192.0.2.7]", "192.0.2.7"),
    ] {
        assert!(is_text(text), "{text}: as it is written, it is none");
        let arrived = Value::parse_arrived(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(arrived.into()).unwrap(), address);
        let refused = canonical(text).unwrap_err().to_string();
        let expected = format!(
            "ERR argument 3 (value) has spaces, brackets, a port or a zone: write {address}"
        );
        assert_eq!(refused, expected);
    }
    for (text, says) in [
        (" 10.0.0.0/8", "write 10.0.0.0/8"),
        ("[2001:db8::/32]", "write 2001:db8::/32"),
        ("256.1.1.1:80", "looks like an IP address"),
        ("[:::1]:80", "looks like an IP address"),
        (" 10.0.0.1/8", "the range would be 10.0.0.0/8"),
    ] {
        assert_eq!(Value::parse_arrived(text.as_bytes()), None, "{text}");
        let refused = canonical(text).unwrap_err().to_string();
        assert!(refused.contains(says), "{text}: {refused}");
    }
}

/// Whatever the standard library reads as the address of a socket or of a host, with spaces around it.
#[test]
fn every_socket_address_is_read_as_its_host() {
    let mut state = 3;
    let mut read = 0;
    for _ in 0..200_000 {
        let v4 = Ipv4Addr::from_bits(u32::try_from(lcg(&mut state) & 0xffff_ffff).unwrap());
        let groups = [(); 8].map(|()| match lcg(&mut state) % 3 {
            0 => 0,
            _ => u16::try_from(lcg(&mut state) & 0xffff).unwrap(),
        });
        let (v6, port) = (Ipv6Addr::from(groups), lcg(&mut state) % 65_536);
        let mut text = match lcg(&mut state) % 8 {
            0 => v4.to_string(),
            1 => format!("{v4}:{port}"),
            2 => v6.to_string(),
            3 => format!("[{v6}]:{port}"),
            4 => format!("[{v6}%{}]:{port}", port % 9),
            5 => format!("{v6}%eth{}", port % 9),
            6 => format!("::ffff:{v4}"),
            _ => format!("[::ffff:{v4}]:{port}"),
        }
        .into_bytes();
        if lcg(&mut state).is_multiple_of(2) {
            let at = lcg(&mut state) % text.len();
            let byte = b"0123456789.:[]%/ a"[lcg(&mut state) % 18];
            match lcg(&mut state) % 3 {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => drop(text.remove(at)),
            }
        }
        let plain = std::str::from_utf8(&text).unwrap();
        let host = |text: &str| text.parse::<IpAddr>().ok();
        let expected =
            host(plain).or_else(|| plain.parse().ok().map(|it: std::net::SocketAddr| it.ip()));
        let Some(expected) = expected else {
            continue;
        };
        read += 1;
        let text = [b" ", text.as_slice(), b"\t"].concat();
        let expected = Value::range(expected, None);
        assert_eq!(Value::parse_arrived(&text), Some(expected), "{plain}");
        assert!(Value::parse_new(&text, 3).is_err(), "{plain}");
    }
    assert!(read > 100_000, "{read}");
}

#[test]
fn masks_fix_the_leading_bits() {
    for length in 0..=32_u8 {
        assert_eq!(
            (
                u32::mask(length).leading_ones(),
                u32::mask(length).count_ones()
            ),
            (length.into(), length.into())
        );
    }
    for length in 0..=128_u8 {
        assert_eq!(
            (
                u128::mask(length).leading_ones(),
                u128::mask(length).count_ones()
            ),
            (length.into(), length.into())
        );
    }
}

fn lcg(state: &mut u64) -> usize {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*state >> 33).unwrap()
}

/// The reader of IPv6 against the standard library's: texts put together of what addresses are made of.
#[test]
fn reads_ipv6_as_the_standard_library_does() {
    let mut state = 2;
    let (mut right, mut wrong) = (0, 0);
    for _ in 0..400_000 {
        let mut text = String::new();
        let parts = 1 + lcg(&mut state) % 9;
        let gap = lcg(&mut state) % (parts * 2);
        for part in 0..parts {
            if part > 0 {
                text.push(':');
            }
            if part == gap {
                text.push_str(if part == 0 || part + 1 == parts {
                    "::"
                } else {
                    ":"
                });
            }
            match lcg(&mut state) % 40 {
                0 => text.push_str("12345"),
                1 => text.push('g'),
                2 | 3 if part + 1 < parts => {}
                4..=20 if part + 1 == parts => text.push_str("1.22.255.0"),
                5 => text.push_str("1.2.3.4"),
                6..=20 => text.push_str(&format!("{:04x}", lcg(&mut state) & 0xffff)),
                21..=24 => text.push('0'),
                _ => text.push_str(&format!("{:X}", lcg(&mut state) & 0xffff)),
            }
        }
        if lcg(&mut state).is_multiple_of(20) {
            text.push(':');
        }
        let expected = text.parse().ok().map(Ipv6Addr::to_bits);
        assert_eq!(parse_v6(text.as_bytes()), expected, "{text}");
        *(if expected.is_some() {
            &mut right
        } else {
            &mut wrong
        }) += 1;
    }
    assert!(
        right > 50_000 && wrong > 50_000,
        "{right} right, {wrong} wrong"
    );
    for text in [
        "",
        "::",
        ":::",
        "::1",
        "1::",
        ":1",
        "1:",
        "1:2:3:4:5:6:7::",
        "::2:3:4:5:6:7:8",
        "1:2:3:4::5:6:7:8",
        "::1.2.3.4",
        "1:2:3:4:5:6:7:1.2.3.4",
        "1.2.3.4",
        "1:2:3:4:5:6:1.2.3.4",
        "::1.2.3.4:5",
        "1::2::3",
    ] {
        assert_eq!(
            parse_v6(text.as_bytes()),
            text.parse().ok().map(Ipv6Addr::to_bits),
            "{text}"
        );
    }
}

/// The reader of IPv4 against the standard library's, on right addresses and on ones with a byte changed.
#[test]
fn reads_ipv4_as_the_standard_library_does() {
    let mut state = 1_u64;
    let mut random = || lcg(&mut state);
    let mut right = 0;
    for _ in 0..200_000 {
        let mut text: Vec<u8> = Vec::new();
        for octet in 0..4 {
            let number = match random() % 8 {
                0 => random() % 10,
                1 => 250 + random() % 10,
                _ => random() % 256,
            };
            text.extend_from_slice(if octet > 0 { b"." } else { b"" });
            text.extend_from_slice(number.to_string().as_bytes());
        }
        if random() % 2 == 0 {
            let at = random() % text.len();
            let byte = b"0123456789./:a"[random() % 14];
            match random() % 3 {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => drop(text.remove(at)),
            }
        }
        let expected = std::str::from_utf8(&text)
            .unwrap()
            .parse()
            .ok()
            .map(Ipv4Addr::to_bits);
        assert_eq!(
            parse_v4(&text),
            expected,
            "{}",
            String::from_utf8_lossy(&text)
        );
        right += usize::from(expected.is_some());
    }
    assert!(
        right > 100_000 && right < 190_000,
        "{right} right addresses"
    );
}
