//! Output of tasks for the server, read from the files that shims write.

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use hyper::body::Bytes;
use polder_agent::StatePaths;
use polder_agent::shim::{
    LogPart, PLAN_FILE, ShimPhase, Stream, log_lost, log_range, read_log, read_status,
};
use polder_server::api::Stream as Wanted;
use polder_server::{LogOutput, LogRequest, Logs, LogsError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes in one piece.
const CHUNK_BYTES: u64 = 64 * 1024;
/// How often output is looked for while none comes.
const POLL: Duration = Duration::from_millis(100);

/// The output that the shims of a state folder keep.
#[derive(Debug, Clone)]
pub(super) struct ShimLogs(pub(super) StatePaths);

impl Logs for ShimLogs {
    fn open(&self, request: LogRequest) -> BoxFuture<'static, Result<LogOutput, LogsError>> {
        let dir = self.0.lease(request.lease);
        Box::pin(async move {
            let (reader, dropped) = Reader::open(dir, &request)?;
            let (offset, lost) = (reader.offset, log_lost(&reader.dir, reader.stream));
            let chunks = stream::unfold(reader, Reader::next).boxed();
            Ok(LogOutput { chunks, offset, dropped, lost })
        })
    }
}

/// A place in one stream of one task.
struct Reader {
    dir: PathBuf,
    stream: Stream,
    offset: u64,
    follow: bool,
    failed: bool,
}

impl Reader {
    /// A reader where it is to begin, and how many bytes from there on are not kept any more.
    fn open(dir: PathBuf, request: &LogRequest) -> Result<(Self, u64), LogsError> {
        // A lease that has only just been granted has no folder yet; one whose logs were removed
        // to make room has none any more.
        if !dir.exists() && !request.follow {
            let lease = request.lease;
            return Err(LogsError::NotFound(format!("no output of lease {lease} is kept")));
        }
        let stream = match request.stream {
            Wanted::Stdout => Stream::Output,
            Wanted::Stderr => Stream::Error,
        };
        let kept = log_range(&dir, stream)
            .map_err(|source| LogsError::Io { subject: dir.display().to_string(), source })?;
        let wanted = match request.tail {
            Some(tail) => kept.end.saturating_sub(tail),
            None => request.offset.unwrap_or(0),
        };
        let offset = wanted.max(kept.start);
        let reader = Self { dir, stream, offset, follow: request.follow, failed: false };
        Ok((reader, offset - wanted))
    }

    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        while !self.failed {
            // Looked at before the read: what was written until the end is then read after it.
            let over = !self.follow || over(&self.dir);
            match self.read().await {
                Ok(part) if !part.bytes.is_empty() => {
                    self.offset = part.offset + part.bytes.len() as u64;
                    return Some((Ok(part.bytes.into()), self));
                }
                Ok(_) if over => return None,
                Ok(_) => tokio::time::sleep(POLL).await,
                Err(error) => {
                    self.failed = true;
                    return Some((Err(error), self));
                }
            }
        }
        None
    }

    async fn read(&self) -> io::Result<LogPart> {
        let (dir, stream, offset) = (self.dir.clone(), self.stream, self.offset);
        let read = move || read_log(&dir, stream, offset, CHUNK_BYTES);
        match tokio::task::spawn_blocking(read).await {
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                Ok(LogPart { offset, bytes: Vec::new() })
            }
            Ok(read) => read,
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// Whether nothing more can come: the task has ended, or nothing but its logs is left.
fn over(dir: &Path) -> bool {
    match read_status(dir) {
        Ok(Some(status)) => matches!(status.phase, ShimPhase::Ended { .. }),
        _ => dir.exists() && !dir.join(PLAN_FILE).exists(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_model::LeaseId;
    use std::fs;

    fn request(follow: bool, tail: Option<u64>) -> LogRequest {
        LogRequest {
            lease: LeaseId(1),
            node: "n".parse().unwrap(),
            stream: Wanted::Stdout,
            follow,
            tail,
            offset: None,
        }
    }

    async fn check(files: &[(&str, &str)], request: LogRequest, expect: Result<&str, &str>) {
        let state = tempfile::tempdir().unwrap();
        let paths = StatePaths(state.path().to_owned());
        for (name, text) in files {
            fs::create_dir_all(paths.lease(LeaseId(1))).unwrap();
            fs::write(paths.lease(LeaseId(1)).join(name), text).unwrap();
        }
        match (ShimLogs(paths).open(request).await, expect) {
            (Ok(output), Ok(expect)) => {
                let read: Vec<_> =
                    output.chunks.map(|chunk| chunk.unwrap().to_vec()).collect().await;
                assert_eq!(String::from_utf8(read.concat()).unwrap(), expect);
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, _) => panic!("{:?}", got.map(drop)),
        }
    }

    #[tokio::test]
    async fn what_was_written_is_read_from_the_start_or_the_end() {
        let files = [("stdout.log", "one two"), ("stderr.log", "bad")];
        check(&files, request(false, None), Ok("one two")).await;
        check(&files, request(false, Some(3)), Ok("two")).await;
        check(&files, request(false, Some(100)), Ok("one two")).await;
        check(&files, request(true, None), Ok("one two")).await;
        let later = LogRequest { offset: Some(4), ..request(true, None) };
        check(&files, later, Ok("two")).await;
        // One whose task has not begun is waited for from its end too.
        check(&[("end.json", "")], request(true, Some(9)), Ok("")).await;
    }

    #[tokio::test]
    async fn nothing_written_and_nothing_kept_differ() {
        check(&[("stderr.log", "")], request(false, None), Ok("")).await;
        check(&[], request(false, None), Err("no output of lease L1 is kept")).await;
    }
}
