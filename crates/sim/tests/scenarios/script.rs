//! The words of a scenario: one command a line, `#` begins a remark.
//!
//! ```text
//! node NAME CARDS MODEL MEMORY [cpus=N] [memory=SIZE] [nic=RATE]   a node joins
//!     [mig] [island=N] [numa=N] [rail=N] [rack=NAME] [block=NAME]
//!                                             its hardware cuts; N cards of each lie together
//! tenant PATH [devices=N] [compute=PERMILLE] [memory=SIZE]
//! policy TOML                                           `;` ends a line; later: a live change
//! reserve NAME NODE,... from=T until=T [tenant=PATH]    unreserve NAME
//! slowdown PARTS                                        neighbours cost; before the first node
//! delays [prepare=T] [start=T] [stop=T] [silent=T]   before the first node
//! submit LABEL [KEY=VALUE ...] [whole | mig] [runs=T]   without `runs` it runs until `end`
//! at T | wait T                                         time passes
//! end LABEL [succeeded | failed CODE | signal N]        its tasks end by themselves
//! member LABEL RANK [succeeded | failed CODE | signal N]  one task of a gang ends by itself
//! cancel LABEL
//! crash | restore | cut | reach | stick | unstick NODE
//! lose | heal NODE/DEVICE
//! clock back T
//! explain LABEL     queue     held
//! expect LABEL STATE                                    fails the test when it is otherwise
//! ```

use std::collections::BTreeMap;

/// One line of a scenario.
#[derive(Debug)]
pub(crate) struct Command {
    /// As written.
    pub(crate) text: String,
    /// What to do.
    pub(crate) verb: String,
    /// Words that are not `KEY=VALUE`.
    pub(crate) words: Vec<String>,
    /// Words that are.
    pub(crate) keys: BTreeMap<String, String>,
}

/// The commands of a text; remarks and empty lines stay as commands without a verb.
pub(crate) fn parse(text: &str) -> Vec<Command> {
    text.lines().map(line).collect()
}

fn line(text: &str) -> Command {
    let text = text.trim();
    let mut words = Vec::new();
    let mut keys = BTreeMap::new();
    for word in split(text.split('#').next().unwrap_or("")) {
        match word.split_once('=') {
            Some((key, value)) => {
                keys.insert(key.to_owned(), value.to_owned());
            }
            _ => words.push(word),
        }
    }
    let verb = if words.is_empty() { String::new() } else { words.remove(0) };
    Command { text: text.to_owned(), verb, words, keys }
}

/// Words apart at spaces, except within double quotes.
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted) = (String::new(), false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            c => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}
