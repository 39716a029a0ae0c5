//! Clears an NVIDIA card's memory: takes all that nobody has, and writes zeroes over it.
//!
//! CUDA leaves undefined what new memory holds. A card on which no lease is left is cleared before the
//! next one comes, by a child of its own, because the vendor's library never enters the agent. What
//! others have on the card meanwhile is theirs and stays as it is.
#![allow(unsafe_code)] // calls to the vendor

use libloading::Library;
use polder_gpuapi::cuda::{consts::*, pfn, types::*};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use thiserror::Error;

/// Taken at once to begin with, bytes; halved where that is not there in one piece...
const PIECE_BYTES: usize = 4 << 30;
/// ...down to this, the least that drivers allocate.
const PIECE_BYTES_MIN: usize = 2 << 20;
/// No machine has more.
const CARDS_MAX: i32 = 256;

/// What the agent asks of the child; recognised by its first field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClearRequest {
    /// The card, by UUID.
    pub(crate) clear_nvidia: String,
    /// The vendor's `libcuda.so.1`.
    pub(crate) library: PathBuf,
}

/// What a child says that has cleared a card, or could not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClearAnswer {
    /// So many bytes.
    Cleared(u64),
    /// Why not.
    NotCleared(String),
}

/// Why the child could not.
#[derive(Debug, Error)]
enum Fault {
    #[error("{}: {source}", library.display())]
    Library { library: PathBuf, source: libloading::Error },
    #[error("{call} answered {code}")]
    Call { call: &'static str, code: CUresult },
    #[error("CUDA shows no card {0}")]
    NoSuchCard(String),
}

/// A function of the library, called; anything but success is a fault.
macro_rules! call {
    ($library:expr, $name:ident($($arg:expr),*)) => {{
        let name = stringify!($name);
        // SAFETY: the export of this name has this type.
        let found = unsafe { $library.get::<pfn::$name>(name.as_bytes()) };
        let missing = |source| Fault::Library { library: name.into(), source };
        let function = found.map_err(missing)?;
        // SAFETY: arguments as the API wants them, which outlive the call.
        match unsafe { function($($arg),*) } {
            CUDA_SUCCESS => Ok(()),
            code => Err(Fault::Call { call: name, code }),
        }
    }};
}

/// Clears the card that `request` names. Called only in a child.
pub(crate) fn clear(request: &ClearRequest) -> ClearAnswer {
    match clear_card(&request.library, &request.clear_nvidia) {
        Ok(bytes) => ClearAnswer::Cleared(bytes),
        Err(fault) => ClearAnswer::NotCleared(fault.to_string()),
    }
}

/// Prints the answer, as one line.
pub(crate) fn tell(answer: &ClearAnswer) {
    // Whoever asked and reads no more needs no answer; numbers and texts can always be written.
    if let Ok(line) = serde_json::to_string(answer) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

fn clear_card(path: &Path, uuid: &str) -> Result<u64, Fault> {
    // SAFETY: the vendor's library, in a process that exists to load it.
    let library = unsafe { Library::new(path) }
        .map_err(|source| Fault::Library { library: path.to_owned(), source })?;
    call!(library, cuInit(0))?;
    let card = find(&library, uuid)?;
    let mut context = null_mut();
    call!(library, cuDevicePrimaryCtxRetain(&raw mut context, card))?;
    call!(library, cuCtxSetCurrent(context))?;
    let cleared = take_and_clear(&library)?;
    call!(library, cuCtxSynchronize())?;
    // The process ends now, and gives everything back.
    Ok(cleared)
}

fn find(library: &Library, uuid: &str) -> Result<CUdevice, Fault> {
    let mut count = 0;
    call!(library, cuDeviceGetCount(&raw mut count))?;
    for ordinal in 0..count.min(CARDS_MAX) {
        let (mut card, mut own) = (0, CUuuid { bytes: [0; 16] });
        call!(library, cuDeviceGet(&raw mut card, ordinal))?;
        call!(library, cuDeviceGetUuid(&raw mut own, card))?;
        if is_named(uuid, own.bytes) {
            return Ok(card);
        }
    }
    Err(Fault::NoSuchCard(uuid.to_owned()))
}

/// Whether `GPU-01234567-89ab-...` are these bytes.
fn is_named(uuid: &str, bytes: [u8; 16]) -> bool {
    let digits = uuid.strip_prefix("GPU-").unwrap_or(uuid).chars().filter(|digit| *digit != '-');
    digits.eq(bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).map(char::from))
}

/// Takes pieces, ever smaller, until there is nothing to take, and orders zeroes over each.
fn take_and_clear(library: &Library) -> Result<u64, Fault> {
    let (mut piece, mut cleared) = (PIECE_BYTES, 0);
    while piece >= PIECE_BYTES_MIN {
        let mut at = 0;
        match call!(library, cuMemAlloc_v2(&raw mut at, piece)) {
            Ok(()) => {
                call!(library, cuMemsetD8Async(at, 0, piece, null_mut()))?;
                cleared += piece as u64;
            }
            Err(Fault::Call { code: CUDA_ERROR_OUT_OF_MEMORY, .. }) => piece /= 2,
            Err(fault) => return Err(fault),
        }
    }
    Ok(cleared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_known_by_its_whole_uuid() {
        let bytes = *b"stand-in device0";
        assert!(is_named("GPU-7374616e-642d-696e-2064-657669636530", bytes));
        for other in ["GPU-7374616e-642d-696e-2064-657669636531", "GPU-7374616e", "", "MIG-7374"] {
            assert!(!is_named(other, bytes), "{other}");
        }
    }

    #[test]
    fn what_cannot_be_cleared_says_why() {
        let library = PathBuf::from("/nowhere/libcuda.so.1");
        let answer = clear(&ClearRequest { clear_nvidia: "GPU-1".into(), library });
        let ClearAnswer::NotCleared(why) = &answer else { panic!("{answer:?}") };
        assert!(why.contains("/nowhere/libcuda.so.1"), "{why}");
        let line = serde_json::to_string(&answer).unwrap();
        assert!(line.starts_with(r#"{"not_cleared":""#), "{line}");
    }
}
