//! The whole journal, event by event, for whoever replays it elsewhere.

use super::{JournalError, Reader, Storage};
use polder_model::Envelope;
use std::path::Path;

/// Reads a journal, or a backup of one, from its beginning to its end, and gives each event once
/// it is proved. False when the file is absent or empty. Nothing is changed.
///
/// # Errors
/// It is no journal, or an event of it is missing or not as it was written.
pub async fn read_journal(
    path: &Path,
    mut each: impl FnMut(Envelope),
) -> Result<bool, JournalError> {
    let Some(mut reader) = Reader::open(path, &Storage::default()).await? else {
        return Ok(false);
    };
    loop {
        let page = reader.page().await?;
        if page.is_empty() {
            break;
        }
        page.into_iter().for_each(&mut each);
    }
    reader.end().await?;
    Ok(true)
}
