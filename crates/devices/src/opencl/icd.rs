//! Which ICD libraries there are: the folder of `.icd` files that every loader reads.

use crate::Problem;
use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Where drivers put their `.icd` files.
pub const VENDOR_FOLDER: &str = "/etc/OpenCL/vendors";
/// Part of the file name of Polder's own ICD, which must never be taken for a vendor's.
pub const OWN_LIBRARY: &str = "libpolder_opencl";
/// More `.icd` files than this are a mistake; the first in name order are read.
const ICD_FILES_MAX: usize = 64;
/// An `.icd` file is one line: a library's name.
const ICD_BYTES_MAX: u64 = 4096;

/// Why the ICD libraries could not be listed.
#[derive(Debug, Error)]
pub enum IcdError {
    /// The folder is there but cannot be read.
    #[error("cannot list the OpenCL drivers in {}: {source}", folder.display())]
    Folder {
        /// The folder of `.icd` files.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The folder loaders read: `OCL_ICD_VENDORS` when that is a folder, as with every loader.
pub(crate) fn vendor_folder(from_environment: Option<OsString>) -> PathBuf {
    from_environment
        .map(PathBuf::from)
        .filter(|path| path.is_dir())
        .unwrap_or_else(|| PathBuf::from(VENDOR_FOLDER))
}

/// Whether a library is Polder's own ICD, by its file name.
pub(crate) fn is_own(library: &str) -> bool {
    Path::new(library).file_name().is_some_and(|name| name.to_string_lossy().contains(OWN_LIBRARY))
}

/// The vendors' libraries named in `folder`, sorted, each once, and the files that name none.
pub(crate) fn icd_libraries(folder: &Path) -> Result<(Vec<String>, Vec<Problem>), IcdError> {
    let failed = |source| IcdError::Folder { folder: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // No folder is how a machine without OpenCL looks.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "icd") {
            files.push(path);
        }
    }
    files.sort();
    let mut problems = Vec::new();
    if files.len() > ICD_FILES_MAX {
        let what = format!("more than {ICD_FILES_MAX} .icd files: the rest is not read");
        problems.push(Problem::new(folder.display(), what));
        files.truncate(ICD_FILES_MAX);
    }
    let mut libraries = Vec::new();
    for path in files {
        match library_of(&path) {
            Ok(library) if is_own(&library) => {}
            Ok(library) => libraries.push(library),
            Err(what) => problems.push(Problem::new(path.display(), what)),
        }
    }
    libraries.sort();
    libraries.dedup();
    Ok((libraries, problems))
}

/// The library that an `.icd` file names.
fn library_of(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(ICD_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| format!("cannot be read: {error}"))?;
    match text.lines().next().map(str::trim) {
        Some(library) if !library.is_empty() => Ok(library.to_owned()),
        _ => Err("names no library: its first line must be an OpenCL driver's path".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `files` into a folder and lists it.
    fn check(files: &[(&str, &str)], expect: &[&str], problems: usize) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let (libraries, found) = icd_libraries(folder.path()).unwrap();
        assert_eq!(libraries, expect);
        assert_eq!(found.len(), problems, "{found:?}");
    }

    #[test]
    fn libraries_are_sorted_and_named_once() {
        check(
            &[("b.icd", "libb.so.1\n"), ("a.icd", "  /opt/z.so \r\n"), ("c.icd", "libb.so.1")],
            &["/opt/z.so", "libb.so.1"],
            0,
        );
    }

    #[test]
    fn polders_own_icd_is_never_a_vendors() {
        check(
            &[
                ("polder.icd", "/usr/lib/polder/libpolder_opencl.so\n"),
                ("plain.icd", "libpolder_opencl.so.1\n"),
                ("pocl.icd", "/opt/libpolder_opencl/libpocl.so\n"),
            ],
            &["/opt/libpolder_opencl/libpocl.so"],
            0,
        );
    }

    #[test]
    fn files_that_name_nothing_are_told() {
        check(&[("empty.icd", ""), ("blank.icd", "\n x"), ("readme.txt", "x")], &[], 2);
    }

    #[test]
    fn no_folder_means_no_driver() {
        let (libraries, problems) = icd_libraries(Path::new("/nonexistent/vendors")).unwrap();
        assert!(libraries.is_empty() && problems.is_empty());
    }

    #[test]
    fn a_path_that_is_no_folder_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = icd_libraries(file.path()).unwrap_err().to_string();
        assert!(error.contains(&file.path().display().to_string()), "{error}");
    }

    #[test]
    fn the_variable_counts_only_when_it_is_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(vendor_folder(Some(folder.path().into())), folder.path());
        assert_eq!(vendor_folder(Some("/etc/hostname".into())), Path::new(VENDOR_FOLDER));
        assert_eq!(vendor_folder(None), Path::new(VENDOR_FOLDER));
    }
}
