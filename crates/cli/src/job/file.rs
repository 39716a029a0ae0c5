//! Job files: TOML or YAML, the same keys in both.

use super::origin::{Origin, Places};
use super::scalar::{Plain, Size, Spelled};
use super::{Draft, Tasks, Terms};
use crate::failure::Failure;
use polder_model::{BitRate, Micros, MilliCpu, Permille, TenantPath};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Longest job file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What every job file error ends with.
const HELP: &str = "`polder submit --help` shows every key of a job file";

/// Reads a job file; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<Draft, Failure> {
    let name = if path == Path::new("-") { "standard input" } else { &path.to_string_lossy() };
    let fail = |why: &dyn std::fmt::Display| Failure::usage(format!("job file {name}: {why}"));
    let mut bytes = Vec::new();
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path).map_err(|error| fail(&error))?)
    };
    source.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| fail(&error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(fail(&format!("longer than {} MiB", FILE_BYTES_MAX >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|_| fail(&"not UTF-8"))?;
    let language = Language::of(path, &text);
    let alone = parse(name, &text, language)?;
    let origin = Origin { file: name.to_owned(), lines: lines(&text, language), alone };
    Ok(Draft { origin: Some(Box::new(origin.clone())), ..origin.alone })
}

/// The language a job file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Toml,
    Yaml,
}

impl Language {
    /// By the name's ending, else by the first line that says something.
    fn of(path: &Path, text: &str) -> Self {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("toml") => return Self::Toml,
            Some("yaml" | "yml" | "json") => return Self::Yaml,
            _ => {}
        }
        let first = text.lines().map(str::trim).find(|l| !l.is_empty() && !l.starts_with('#'));
        let equals = first.and_then(|line| line.find('='));
        let colon = first.and_then(|line| line.find(':'));
        match (equals, colon) {
            (Some(equals), Some(colon)) if equals < colon => Self::Toml,
            (Some(_), None) => Self::Toml,
            _ if first.is_some_and(|line| line.starts_with('[')) => Self::Toml,
            _ => Self::Yaml,
        }
    }
}

fn parse(name: &str, text: &str, language: Language) -> Result<Draft, Failure> {
    let parsed = match language {
        Language::Toml => toml::from_str::<JobFile>(text).map_err(|error| {
            let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
            (line.map(|line| line as u64), error.message().to_owned())
        }),
        Language::Yaml => serde_saphyr::from_str::<JobFile>(text).map_err(|error| {
            let line = error.location().map(|location| location.line());
            (line, yaml_words(error.without_snippet()))
        }),
    };
    parsed.map(JobFile::into_draft).map_err(|(line, message)| {
        let at = line.map_or_else(String::new, |line| format!(", line {line}"));
        let message = message
            .replace("unknown field", "unknown key")
            .replace("expected string scalar", "a text is expected")
            .replace("invalid i32", "not a whole number")
            .replace("invalid u32", "not a whole number from 0")
            .replace("expected i32", "expected a whole number")
            .replace("expected u32", "expected a whole number from 0");
        Failure::usage(format!("job file {name}{at}: {}", message.trim_end())).help(HELP)
    })
}

/// The line of each key of a text that [`parse`] takes.
fn lines(text: &str, language: Language) -> BTreeMap<String, u64> {
    match language {
        Language::Toml => {
            let places = toml::from_str::<Places<toml::Spanned<IgnoredAny>>>(text);
            let line = |place: toml::Spanned<IgnoredAny>| {
                let before = text.get(..place.span().start).unwrap_or_default();
                1 + before.bytes().filter(|byte| *byte == b'\n').count() as u64
            };
            places.map(|places| places.lines(line)).unwrap_or_default()
        }
        Language::Yaml => {
            let places = serde_saphyr::from_str::<Places<serde_saphyr::Spanned<IgnoredAny>>>(text);
            let line = |place: serde_saphyr::Spanned<IgnoredAny>| place.referenced.line();
            places.map(|places| places.lines(line)).unwrap_or_default()
        }
    }
}

/// What is wrong, in words for whoever wrote the file and not for who reads it in a program.
fn yaml_words(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("duplicate key `{key}`"),
        Error::DuplicateMappingKey { key: None, .. } => "duplicate key".to_owned(),
        Error::MultipleDocuments { .. } => {
            "a second document begins (`---`): a job file holds one job".to_owned()
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "an alias (`*name`) lies within what it stands for: write the value out".to_owned()
        }
        // Only its first line: the rest draws the place, which the number of the line tells.
        error => {
            let words = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
            let words = words.lines().next().unwrap_or_default();
            let place = error.location().map(|at| (at.line(), at.column()));
            let place = place.map(|(line, column)| format!(" at line {line}, column {column}"));
            let bare = place.and_then(|place| words.strip_suffix(&place));
            bare.unwrap_or(words).to_owned()
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct JobFile {
    name: Option<String>,
    tenant: Option<TenantPath>,
    command: Vec<Plain>,
    image: Option<String>,
    directory: Option<String>,
    environment: BTreeMap<String, Plain>,
    tasks: Option<Spelled<Tasks>>,
    devices: DeviceTable,
    host: HostTable,
    when: WhenTable,
    yields: YieldsTable,
    terms: Terms,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DeviceTable {
    count: Option<u32>,
    whole: Option<bool>,
    compute: Option<Spelled<Permille>>,
    compute_max: Option<Spelled<Permille>>,
    memory: Option<Spelled<Size>>,
    models: Vec<String>,
    features: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HostTable {
    cpu: Option<Spelled<MilliCpu>>,
    memory: Option<Spelled<Size>>,
    nic: Option<Spelled<BitRate>>,
    pids: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WhenTable {
    time_limit: Option<Spelled<Micros>>,
    priority: Option<i32>,
    priority_for: Option<Spelled<Micros>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct YieldsTable {
    grace: Option<Spelled<Micros>>,
    retries: Option<u32>,
}

impl JobFile {
    fn into_draft(self) -> Draft {
        fn value<T>(spelled: Option<Spelled<T>>) -> Option<T> {
            spelled.map(|spelled| spelled.0)
        }
        Draft {
            tenant: self.tenant,
            name: self.name,
            command: self.command.into_iter().map(|word| word.0).collect(),
            image: self.image,
            directory: self.directory,
            environment: self.environment.into_iter().map(|(key, text)| (key, text.0)).collect(),
            tasks: value(self.tasks),
            devices: self.devices.count,
            whole: self.devices.whole,
            compute: value(self.devices.compute),
            compute_max: value(self.devices.compute_max),
            memory: value(self.devices.memory).map(|size| size.0),
            models: self.devices.models,
            features: self.devices.features,
            cpu: value(self.host.cpu),
            host_memory: value(self.host.memory).map(|size| size.0),
            nic: value(self.host.nic),
            pids: self.host.pids,
            time_limit: value(self.when.time_limit),
            priority: self.when.priority,
            priority_for: value(self.when.priority_for),
            grace: value(self.yields.grace),
            retries: self.yields.retries,
            terms: self.terms,
            origin: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_model::Bytes;

    const TOML: &str = "\
name = \"train\"
command = [\"python\", \"train.py\"]
tasks = \"2..4\"
[environment]
EPOCHS = 3
[devices]
compute = \"30%\"
memory = \"1GiB\"
features = [\"fp64\"]
[host]
cpu = 1.5
[when]
time_limit = \"2h\"
priority = -5
priority_for = \"10m\"
[yields]
retries = 2
";

    const YAML: &str = "\
name: train
command: [python, train.py]
tasks: 2..4
environment:
  EPOCHS: 3
devices:
  compute: 30%
  memory: 1GiB
  features: [fp64]
host:
  cpu: 1.5
when:
  time_limit: 2h
  priority: -5
  priority_for: 10m
yields:
  retries: 2
";

    fn expected() -> Draft {
        Draft {
            name: Some("train".into()),
            command: vec!["python".into(), "train.py".into()],
            tasks: Some(Tasks { min: 2, max: 4 }),
            environment: [("EPOCHS".to_owned(), "3".to_owned())].into(),
            compute: Some(Permille(300)),
            memory: Some(Bytes(1 << 30)),
            features: vec!["fp64".into()],
            cpu: Some(MilliCpu(1500)),
            time_limit: Some(Micros::from_secs(7200)),
            priority: Some(-5),
            priority_for: Some(Micros::from_secs(600)),
            retries: Some(2),
            ..Draft::default()
        }
    }

    #[test]
    fn both_languages_say_the_same() {
        assert_eq!(parse("job", TOML, Language::Toml).unwrap(), expected());
        assert_eq!(parse("job", YAML, Language::Yaml).unwrap(), expected());
    }

    fn check(text: &str, language: Language, expect: &[&str]) {
        let failure = parse("job", text, language).unwrap_err();
        for part in expect {
            assert!(failure.message.contains(part), "{part:?} is not in {:?}", failure.message);
        }
        assert_eq!(failure.exit, crate::failure::Exit::Usage);
    }

    /// Blindly, for this build has no counters; the readers that `cargo xtask fuzz` feeds lie elsewhere.
    #[test]
    fn no_text_breaks_it() {
        let feed = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            for language in [Language::Toml, Language::Yaml] {
                if let Err(failure) = parse("job", &text, language) {
                    assert!(failure.message.contains("job"), "{}", failure.message);
                }
            }
            let _ = Language::of(Path::new("job"), &text);
        };
        let target = polder_fuzz::targets::Target { name: "job", feed };
        let seeds = vec![TOML.as_bytes().to_vec(), YAML.as_bytes().to_vec()];
        let told = polder_fuzz::hunt::hunt(&target, seeds, std::time::Duration::from_secs(3), 7);
        assert_eq!(told.broken, None);
        assert!(told.fed > 100, "{} inputs", told.fed);
    }

    #[test]
    fn unknown_keys_are_named_with_their_line_and_the_known_ones() {
        let expect = ["job, line 3", "unknown key", "gpus", "compute_max"];
        check("name = \"x\"\n[devices]\ngpus = 1\n", Language::Toml, &expect);
        check("name: x\ndevices:\n  gpus: 1\n", Language::Yaml, &expect);
        let expect = ["job, line 1", "unknown key", "nam", "environment"];
        check("nam = \"x\"\n", Language::Toml, &expect);
        check("nam: x\n", Language::Yaml, &expect);
    }

    #[test]
    fn values_that_make_no_sense_are_named_with_their_line() {
        let expect = ["line 2", "\"150%\" is out of range"];
        check("[devices]\ncompute = \"150%\"\n", Language::Toml, &expect);
        check("devices:\n  compute: 150%\n", Language::Yaml, &expect);
        check("[devices]\nmemory = \"1G\"\n", Language::Toml, &["line 2", "two things"]);
        check("[devices]\nmemory = 1\n", Language::Toml, &["line 2", "1GiB or 1B"]);
        check("[devices]\nmemory = -1\n", Language::Toml, &["line 2", "not a size"]);
        check("tasks: 0x\n", Language::Yaml, &["line 1", "not a number of tasks"]);
        check("name = \"x\"\nname = \"y\"\n", Language::Toml, &["line 2", "duplicate key"]);
        check("name: x\nname: y\n", Language::Yaml, &["line 2: duplicate key `name`"]);
        check("name: x\n---\nname: y\n", Language::Yaml, &["a job file holds one job"]);
        check("command: &a [*a]\n", Language::Yaml, &["line 1", "write the value out"]);
        check("name = \n", Language::Toml, &["line 1"]);
        check("a: [\n", Language::Yaml, &["job"]);
        check("when:\n  priority: lots\n", Language::Yaml, &["line 2: not a whole number"]);
        check("[when]\npriority = \"lots\"\n", Language::Toml, &["expected a whole number"]);
        check("name: [a]\n", Language::Yaml, &["line 1: a text is expected"]);
    }

    #[test]
    fn the_line_is_said_once() {
        for text in
            ["nam: x\n", "devices:\n  compute: 150%\n", "name: \"x\n", "- a: [\n", "tasks: 0x\n"]
        {
            let message = parse("job", text, Language::Yaml).unwrap_err().message;
            assert_eq!(message.matches("line ").count(), 1, "{message}");
        }
    }

    #[test]
    fn the_language_of_a_pipe_is_guessed() {
        let check = |text: &str, expect| {
            assert_eq!(Language::of(Path::new("-"), text), expect, "{text}");
        };
        check("# a job\n[devices]\n", Language::Toml);
        check("name = \"a: b\"\n", Language::Toml);
        check("---\nname: x\n", Language::Yaml);
        check("command: [a, b=c]\n", Language::Yaml);
        check("{\"name\": \"x\"}", Language::Yaml);
        check("", Language::Yaml);
        assert_eq!(Language::of(Path::new("a.toml"), "a: b"), Language::Toml);
    }

    #[test]
    fn an_empty_file_says_nothing() {
        assert_eq!(parse("job", "", Language::Toml).unwrap(), Draft::default());
        assert_eq!(parse("job", "", Language::Yaml).unwrap_or_default(), Draft::default());
    }
}
