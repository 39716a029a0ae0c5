//! The extensions that a platform or device names: those whose functions would resolve to nothing
//! are left out, for a program that reads a name calls what belongs to it.

use crate::paged;
use polder_gpuapi::opencl::{EXTENSIONS_HIDDEN, consts::*, types::*};

/// Longest list of extensions that is looked through.
const BYTES_MAX: usize = 1 << 20;
/// The extension that cannot be had where buffers are moved.
const COMMAND_BUFFERS: &[u8] = b"cl_khr_command_buffer";
/// A name with its version: four bytes and sixty-four.
const NAMED_BYTES: usize = 68;
const NAME_AT: usize = 4;

/// How a list of extensions is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    /// Names with spaces between and a NUL behind.
    Text,
    /// Fixed records of version and name.
    Versions,
}

/// How the answer to a platform's question lists extensions, if it does.
pub(crate) fn of_platform(question: cl_platform_info) -> Option<List> {
    match question {
        CL_PLATFORM_EXTENSIONS => Some(List::Text),
        CL_PLATFORM_EXTENSIONS_WITH_VERSION => Some(List::Versions),
        _ => None,
    }
}

/// How the answer to a device's question lists extensions, if it does.
pub(crate) fn of_device(question: cl_device_info) -> Option<List> {
    match question {
        CL_DEVICE_EXTENSIONS => Some(List::Text),
        CL_DEVICE_EXTENSIONS_WITH_VERSION => Some(List::Versions),
        _ => None,
    }
}

fn is_hidden(name: &[u8]) -> bool {
    // What was recorded names buffers where they were then.
    let moves = paged::is_on() && name.starts_with(COMMAND_BUFFERS);
    moves || EXTENSIONS_HIDDEN.iter().any(|hidden| name.starts_with(hidden.as_bytes()))
}

impl List {
    /// The list without what is hidden.
    fn filter(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Text => {
                let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
                let names = bytes[..end].split(|byte| *byte == b' ');
                let shown: Vec<_> =
                    names.filter(|name| !name.is_empty() && !is_hidden(name)).collect();
                [shown.join(&b' ').as_slice(), &[0]].concat()
            }
            Self::Versions => bytes
                .chunks_exact(NAMED_BYTES)
                .filter(|named| !is_hidden(&named[NAME_AT..]))
                .flatten()
                .copied()
                .collect(),
        }
    }

    /// The vendor's answer without what is hidden. `ask` has the form of the API's questions: size
    /// of the room, the room, and where to put the answer's size.
    pub(crate) fn answer(
        self,
        ask: impl Fn(usize, *mut u8, *mut usize) -> cl_int,
    ) -> Result<Vec<u8>, cl_int> {
        let mut size = 0;
        match ask(0, std::ptr::null_mut(), &raw mut size) {
            CL_SUCCESS if size <= BYTES_MAX => {}
            CL_SUCCESS => return Err(CL_OUT_OF_HOST_MEMORY),
            error => return Err(error),
        }
        let mut bytes = vec![0; size];
        match ask(size, bytes.as_mut_ptr(), std::ptr::null_mut()) {
            CL_SUCCESS => Ok(self.filter(&bytes)),
            error => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_names_are_left_out_of_both_forms() {
        let names = [
            "cl_khr_fp64",
            "cl_khr_command_buffer_mutable_dispatch",
            "cl_khr_gl_sharing",
            "cl_khr_icd",
        ];
        let text = format!(" {}  \0", names.join("  "));
        assert_eq!(List::Text.filter(text.as_bytes()), b"cl_khr_fp64 cl_khr_icd\0");
        let named = |name: &str| {
            let mut bytes = vec![1, 2, 3, 4];
            bytes.extend(name.as_bytes());
            bytes.resize(NAMED_BYTES, 0);
            bytes
        };
        let all: Vec<u8> = names.iter().flat_map(|name| named(name)).collect();
        let shown = [named("cl_khr_fp64"), named("cl_khr_icd")].concat();
        assert_eq!(List::Versions.filter(&all), shown);
        assert_eq!(List::Text.filter(b""), b"\0");
    }
}
