//! What of an ask tells its history apart.

use polder_model::{Ask, Micros};
use serde::{Deserialize, Serialize};

/// What of a job is known before it runs and may tell how it will behave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traits<'a> {
    /// Who asked.
    pub user: &'a str,
    /// What they call it.
    pub name: Option<&'a str>,
    /// What it asks for, as one number (see [`digest`]).
    pub shape: u64,
    /// Its time limit: users choose it by what they are about to run.
    pub limit: Option<Micros>,
    /// Its command or script, as one number.
    pub script: Option<u64>,
    /// How large its model is, in whatever unit the ask gives.
    pub model_size: Option<u64>,
    /// Which data it reads.
    pub data_set: Option<&'a str>,
}

/// How alike the jobs of a history are, the most alike first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Everything is equal.
    Same,
    /// Model size and data set, of one user.
    Model,
    /// Command or script, of one user.
    Script,
    /// Name without its digits, of one user.
    Name,
    /// Shape and time limit, of one user.
    Shape,
    /// One user.
    User,
    /// Anybody with this shape and limit.
    AnybodysShape,
    /// Anybody.
    Anybody,
}

/// A job's place in history: the key of each history it belongs to, most alike first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub(super) keys: Vec<(Level, u64)>,
}

/// Some numbers as one: FNV-1a over their bytes. The same on every machine and for ever.
#[must_use]
pub fn digest(parts: impl IntoIterator<Item = u64>) -> u64 {
    bytes(parts.into_iter().flat_map(u64::to_le_bytes))
}

fn bytes(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, step)
}

fn text(text: &str) -> u64 {
    bytes(text.bytes())
}

/// A name without its digits: `train-17` and `train-18` are the same work.
fn stem(name: &str) -> u64 {
    bytes(name.bytes().filter(|byte| !byte.is_ascii_digit()))
}

impl<'a> Traits<'a> {
    /// What an ask tells.
    #[must_use]
    pub fn of(ask: &'a Ask) -> Self {
        let (devices, gang) = (&ask.devices, ask.gang);
        let models = devices.models.iter().map(|model| text(model));
        let shape = [
            devices.count.into(),
            devices.whole.into(),
            devices.compute.0.into(),
            devices.memory.0,
            gang.min.into(),
            gang.max.into(),
        ];
        Self {
            user: ask.user.as_str(),
            name: ask.name.as_deref(),
            shape: digest(shape.into_iter().chain(models)),
            limit: ask.when.time_limit,
            script: Some(match &ask.hints.script {
                Some(script) => text(script),
                None => digest(ask.work.command.iter().map(|word| text(word))),
            }),
            model_size: ask.hints.model_parameters,
            data_set: ask.hints.data_set.as_deref(),
        }
    }

    /// What it runs, whoever runs it, as one number.
    #[must_use]
    pub fn kind(&self) -> u64 {
        let some = |value: Option<u64>| value.map_or(0, |value| value.wrapping_add(1));
        let parts = [self.script, self.model_size, self.data_set.map(text)];
        digest(parts.map(some))
    }

    /// The histories that this job belongs to.
    #[must_use]
    pub fn subject(&self) -> Subject {
        let some = |value: Option<u64>| value.map_or(0, |value| value.wrapping_add(1));
        let user = text(self.user);
        let limit = some(self.limit.map(|limit| limit.0));
        let data = self.data_set.map(text);
        let name = self.name.map(text);
        let model = [some(self.model_size), some(data)];
        let mut keys = Vec::new();
        let mut push = |level: Level, parts: &[u64]| {
            let parts = std::iter::once(level as u64).chain(parts.iter().copied());
            keys.push((level, digest(parts)));
        };
        let [size, set] = model;
        let script = some(self.script);
        push(Level::Same, &[user, some(name), script, size, set, self.shape, limit]);
        if model != [0, 0] {
            push(Level::Model, &[user, size, set]);
        }
        if self.script.is_some() {
            push(Level::Script, &[user, script]);
        }
        if let Some(name) = self.name {
            push(Level::Name, &[user, stem(name)]);
        }
        push(Level::Shape, &[user, self.shape, limit]);
        push(Level::User, &[user]);
        push(Level::AnybodysShape, &[self.shape, limit]);
        push(Level::Anybody, &[]);
        Subject { keys }
    }
}
