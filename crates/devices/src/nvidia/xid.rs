//! What the numbers mean under which NVIDIA's driver reports that something went wrong. Pure.
//!
//! The classes follow the vendor's catalogue of immediate actions. A number that is not listed there, or
//! that asks for nothing at once, ends nobody: it is said in the agent's log.

/// Whose an XID is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XidClass {
    /// The program's in which it happened; the device goes on.
    Program,
    /// The device's: nothing that runs on it can be relied upon until somebody has seen to it.
    Device,
    /// Nothing has to be done at once.
    Note,
}

/// Whose it is.
#[must_use]
pub const fn xid_class(number: u32) -> XidClass {
    match number {
        13 | 31 | 43 | 45 | 68 | 94 => XidClass::Program,
        46
        | 48
        | 62
        | 64
        | 74
        | 79
        | 95
        | 109
        | 110
        | 119
        | 120
        | 136
        | 140
        | 143..=150
        | 155
        | 156
        | 158
        | 171
        | 172 => XidClass::Device,
        _ => XidClass::Note,
    }
}

/// What it is, and what to do about it.
#[must_use]
pub const fn xid_words(number: u32) -> (&'static str, &'static str) {
    const RESET: &str =
        "reset the card (nvidia-smi --gpu-reset): it is offered again once it is found healthy";
    match number {
        13 => ("a kernel trapped", "look for an access out of bounds in the program"),
        31 => ("a kernel used an address where nothing is", "look for the access in the program"),
        43 => ("the driver ended the program for a fault of its own", "see the program's output"),
        45 => ("the driver removed the program's work", "see what was reported before it"),
        68 => ("the video processor met a fault", "see the program's output"),
        94 => (
            "memory that cannot be corrected, held to the program that used it",
            "run the program again, and reset the card when it is idle",
        ),
        48 | 171 | 172 => ("memory that cannot be corrected", RESET),
        64 => ("a memory row could not be replaced", RESET),
        95 => ("memory that cannot be corrected, and could not be held to one program", RESET),
        74 | 144..=150 => ("a fault of NVLink", "reset the cards it joins and check the fabric"),
        79 => (
            "the card has fallen off the bus",
            "restart the machine, and have the card replaced if it happens again",
        ),
        109 => ("switching between programs took too long", RESET),
        119 | 120 => ("the card's system processor does not answer", RESET),
        _ => ("a fault of the card", RESET),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_does_is_not_the_devices_fault() {
        for number in [13, 31, 43, 45, 94] {
            assert_eq!(xid_class(number), XidClass::Program, "{number}");
        }
        for number in [48, 64, 74, 79, 95, 119, 144, 150] {
            assert_eq!(xid_class(number), XidClass::Device, "{number}");
        }
        for number in [0, 63, 92, 137, 154, 157, u32::MAX] {
            assert_eq!(xid_class(number), XidClass::Note, "{number}");
        }
    }

    #[test]
    fn every_fault_says_what_to_do() {
        for number in (0..200).filter(|number| xid_class(*number) != XidClass::Note) {
            let (what, action) = xid_words(number);
            assert!(!what.is_empty() && action.contains(' '), "{number}");
        }
    }
}
