//! The command line: what to serve, or a question that is answered at once. No secret is ever said here: other users of a
//! machine can read it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use lexopt::prelude::{Long, Short, Value, ValueExt};

use crate::rules::request::{self, Request};
use crate::rules::{self, explain, Rules};
use crate::{config, yaml};

const HELP: &str = "\
ratelimit-gateway: rate limits without code, decided by the ratelimit module in Redis

  ratelimit-gateway [--rules FILE] [--shadow]
      serves: the environment says where and how (gateway/README.md lists its names);
      --rules names rules.yaml (RULES_FILE), --shadow lets it only count
  ratelimit-gateway explain FILE --request 'METHOD /path' [--host NAME] [--header 'NAME: VALUE']...
                    [--address IP] [--shadow]
      says which rules act on a request, by which key, at what cost; asks nobody
  ratelimit-gateway check FILE...
      reads configurations, rules or descriptors, and says what is wrong with them
";

pub enum Asked {
    Serve {
        rules: Option<PathBuf>,
        shadow: bool,
    },
    Print(String),
}

pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Asked, String> {
    let mut parser = lexopt::Parser::from_iter(args);
    let mut words: Vec<String> = Vec::new();
    let (mut rules, mut shadow, mut asked) = (None, false, None);
    let (mut host, mut address) = (String::new(), None);
    let mut headers = HeaderMap::new();
    let told = |error: lexopt::Error| error.to_string();
    while let Some(arg) = parser.next().map_err(told)? {
        match arg {
            Short('h') | Long("help") => return Ok(Asked::Print(HELP.to_owned())),
            Short('V') | Long("version") => {
                let version = env!("CARGO_PKG_VERSION");
                return Ok(Asked::Print(format!("ratelimit-gateway {version}\n")));
            }
            Long("rules") => rules = Some(PathBuf::from(parser.value().map_err(told)?)),
            Long("shadow") => shadow = true,
            Long("request") => asked = Some(text(&mut parser)?),
            Long("host") => host = text(&mut parser)?,
            Long("address") => {
                let text = text(&mut parser)?;
                let parsed = request::parse(&text);
                address = Some(parsed.ok_or_else(|| format!("--address {text}: no address"))?);
            }
            Long("header") => {
                let text = text(&mut parser)?;
                let pair = text.split_once(':').and_then(|(name, value)| {
                    let name = name.trim().parse::<HeaderName>().ok()?;
                    Some((name, value.trim().parse::<HeaderValue>().ok()?))
                });
                let wrong = || format!("--header {text}: expected 'NAME: VALUE'");
                let (name, value) = pair.ok_or_else(wrong)?;
                headers.append(name, value);
            }
            Value(word) => words.push(word.string().map_err(told)?),
            arg => return Err(format!("{} (--help lists what there is)", arg.unexpected())),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => Ok(Asked::Serve { rules, shadow }),
        ["explain", file] => {
            let asked = asked.ok_or("explain asks for --request 'METHOD /path'")?;
            let (method, uri) = asked.split_once(' ').unwrap_or(("GET", &asked));
            let request = Request::new(method, &host, uri.trim(), headers, address)
                .map_err(|error| format!("--request {asked}: {error}"))?;
            let rules = load_rules(file, shadow)?;
            let prefix = std::env::var("CACHE_KEY_PREFIX").unwrap_or_default();
            Ok(Asked::Print(explain::explain(&rules, &request, &prefix)))
        }
        ["check", files @ ..] if !files.is_empty() => {
            let checked = files.iter().map(|file| check(file));
            Ok(Asked::Print(
                checked.collect::<Result<Vec<_>, _>>()?.concat(),
            ))
        }
        _ => Err("unknown words on the command line (--help lists what there is)".to_owned()),
    }
}

fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser
        .value()
        .and_then(|value| value.string())
        .map_err(|error| error.to_string())
}

fn read_file(file: &str) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))
}

fn load_rules(file: &str, shadow: bool) -> Result<Rules, String> {
    rules::load(&read_file(file)?, shadow).map_err(|fault| format!("{file}: {fault}"))
}

/// Rules are told from descriptors by their first words.
fn check(file: &str) -> Result<String, String> {
    let text = read_file(file)?;
    let is_rules = yaml::read(&text).is_ok_and(|root| root.get("rules").is_some());
    if is_rules {
        let rules = load_rules(file, false)?;
        return Ok(format!("{file}: {} rules\n", rules.rules.len()));
    }
    let name = Path::new(file)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    config::load(&[(name, text)], false)?;
    Ok(format!("{file}: descriptors\n"))
}
