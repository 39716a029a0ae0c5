//! Changes to an input: some blind, some with words from other inputs of the same kind. Pure.

/// A generator that anybody can repeat.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Below `bound`, or 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }
}

/// Longest input that is made.
pub(crate) const INPUT_BYTES_MAX: usize = 16 << 10;
/// Numbers and characters at which programs turn.
const EDGES: [&str; 20] = [
    "0",
    "-1",
    "1",
    "255",
    "256",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "1e-400",
    "NaN",
    "-0.0",
    "\u{0}",
    "\u{202e}",
    "\u{feff}",
    "\r\n",
    "9999999999999999999999999999",
];

/// Changes `input` a few times. `other` is another input of the same kind.
pub(crate) fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let to = (at + 1 + random.below(16)).min(input.len());
        match random.below(10) {
            0 => flip(input, at, random),
            1 => drop(input.drain(at.min(to)..to)),
            2 => repeat(input, at, to, random),
            3 => splice(input, at, other, random),
            4 => number(input, at, random),
            5 => insert(input, at, EDGES[random.below(EDGES.len())].as_bytes()),
            6 => insert(input, at, word(other, random)),
            7 => {
                let from = word_range(input, random);
                let with = word(other, random).to_vec();
                input.splice(from, with);
            }
            8 => {
                let from = word_range(input, random);
                input.splice(from, EDGES[random.below(EDGES.len())].bytes());
            }
            _ => swap_lines(input, random),
        }
        input.truncate(INPUT_BYTES_MAX);
    }
}

fn flip(input: &mut [u8], at: usize, random: &mut Random) {
    if let Some(byte) = input.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}

fn repeat(input: &mut Vec<u8>, at: usize, to: usize, random: &mut Random) {
    let part = input[at.min(to)..to].to_vec();
    let times = 1 << random.below(8);
    insert(input, at, &part.repeat(times));
}

fn splice(input: &mut Vec<u8>, at: usize, other: &[u8], random: &mut Random) {
    let from = random.below(other.len() + 1);
    input.truncate(at);
    input.extend_from_slice(&other[from..]);
}

/// A little-endian number of 1 to 8 bytes, at an edge.
fn number(input: &mut [u8], at: usize, random: &mut Random) {
    let bytes = 1 << random.below(4);
    let edge = [0, 1, 0x7f, 0xff, 0x8000, 0xffff, 1 << 31, u64::from(u32::MAX), u64::MAX];
    let value = edge[random.below(edge.len())].to_le_bytes();
    for (byte, new) in input.iter_mut().skip(at).zip(value).take(bytes) {
        *byte = new;
    }
}

/// Where a word begins and ends: letters, digits and what they are joined by.
fn word_range(input: &[u8], random: &mut Random) -> std::ops::Range<usize> {
    let joins = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
    let at = random.below(input.len() + 1);
    let begin = input[..at].iter().rposition(|byte| !joins(byte)).map_or(0, |at| at + 1);
    let end = input[at..].iter().position(|byte| !joins(byte)).map_or(input.len(), |far| at + far);
    begin..end
}

fn word<'a>(input: &'a [u8], random: &mut Random) -> &'a [u8] {
    &input[word_range(input, random)]
}

fn swap_lines(input: &mut Vec<u8>, random: &mut Random) {
    let mut lines: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
    let (one, two) = (random.below(lines.len()), random.below(lines.len()));
    if one < lines.len() && two < lines.len() {
        lines.swap(one, two);
        *input = lines.concat();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_can_be_changed_and_stays_bounded() {
        let mut random = Random(1);
        let mut input = Vec::new();
        for round in 0..20_000 {
            mutate(&mut input, b"key = \"value\"\n[[table]]\n1,2,3\n", &mut random);
            assert!(input.len() <= INPUT_BYTES_MAX);
            if round % 50 == 0 {
                input.clear();
            }
        }
    }
}
