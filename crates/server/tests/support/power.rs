//! A file layer for SQLite that drops what was not synced when the process dies: a power cut.
//!
//! It lies over SQLite's own Unix layer. Writes stay in memory, where every connection of the
//! process sees them; only `xSync` hands them to the kernel. A SIGKILL then leaves in the files
//! exactly what was synced, and, as a disk may, some of what was not, in any order.

#![allow(unsafe_code, reason = "a SQLite VFS is a table of C functions")]

use libsqlite3_sys::{
    SQLITE_ACCESS_EXISTS, SQLITE_IOERR, SQLITE_IOERR_SHORT_READ, SQLITE_OK, sqlite3_file,
    sqlite3_initialize, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs, sqlite3_vfs_find,
    sqlite3_vfs_register,
};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

/// The layer's name.
pub(crate) const NAME: &str = "power-cut";

/// One file as the process sees it.
#[derive(Default)]
struct Image {
    bytes: Vec<u8>,
    /// Ranges that were written since the last sync.
    unsynced: Vec<(usize, usize)>,
    cut: bool,
    loaded: bool,
}

type Shared = Arc<Mutex<Image>>;

static IMAGES: LazyLock<Mutex<BTreeMap<Vec<u8>, Shared>>> = LazyLock::new(Mutex::default);
static BASE: OnceLock<Base> = OnceLock::new();

/// SQLite's own layer.
struct Base(*mut sqlite3_vfs);

// SAFETY: SQLite's own VFS lives as long as the process and may be called from every thread.
unsafe impl Send for Base {}
// SAFETY: as above.
unsafe impl Sync for Base {}

/// What we keep of an open file.
struct Open {
    image: Shared,
    /// The table that SQLite calls: ours.
    ours: sqlite3_io_methods,
    /// The table that the base layer set for this kind of file.
    theirs: sqlite3_io_methods,
}

fn base() -> *mut sqlite3_vfs {
    BASE.get().expect("the layer is registered before it is used").0
}

fn lock(image: &Shared) -> MutexGuard<'_, Image> {
    image.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers the layer under [`NAME`].
pub(crate) fn register() {
    // SAFETY: SQLite may be initialized any number of times; the default VFS always exists.
    let vfs = unsafe {
        assert_eq!(sqlite3_initialize(), SQLITE_OK);
        sqlite3_vfs_find(std::ptr::null())
    };
    assert!(!vfs.is_null());
    assert!(BASE.set(Base(vfs)).is_ok(), "registered twice");
    // SAFETY: `vfs` points to SQLite's own, valid table.
    let mut ours = unsafe { *vfs };
    ours.szOsFile += c_int::try_from(size_of::<*mut Open>()).expect("a pointer is small");
    ours.zName = c"power-cut".as_ptr();
    ours.pNext = std::ptr::null_mut();
    ours.xOpen = Some(open);
    ours.xDelete = Some(delete);
    ours.xAccess = Some(access);
    // SAFETY: the table is leaked, so it lives as long as SQLite may call it.
    let registered = unsafe { sqlite3_vfs_register(Box::leak(Box::new(ours)), 0) };
    assert_eq!(registered, SQLITE_OK);
}

/// Where a file's pointer to what we keep of it is: behind SQLite's own file structure.
unsafe fn slot(file: *mut sqlite3_file) -> *mut *mut Open {
    // SAFETY: `szOsFile` was enlarged by one pointer, and SQLite's own size is a multiple of 8.
    unsafe {
        let size = usize::try_from((*base()).szOsFile).expect("a size");
        file.byte_add(size).cast()
    }
}

/// What we keep of an open file. SQLite uses one file from one thread at a time.
unsafe fn opened<'a>(file: *mut sqlite3_file) -> &'a Open {
    // SAFETY: `open` put a pointer from `Box::into_raw` there, and `close` takes it back last.
    unsafe { &**slot(file) }
}

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gave us its own arguments and room for both structures; the base layer gets
    // what it would have got without us. The methods it sets are valid once it reports success.
    unsafe {
        let opened = (*base()).xOpen.expect("every VFS opens")(base(), name, file, flags, out);
        if opened != SQLITE_OK {
            return opened;
        }
        let theirs = *(*file).pMethods;
        let ours = sqlite3_io_methods {
            iVersion: theirs.iVersion.min(2), // no memory maps: they would bypass the images
            xClose: Some(close),
            xRead: Some(read),
            xWrite: Some(write),
            xTruncate: Some(truncate),
            xSync: Some(sync),
            xFileSize: Some(file_size),
            ..theirs
        };
        let image = if name.is_null() { Shared::default() } else { known(CStr::from_ptr(name)) };
        let open = Box::into_raw(Box::new(Open { image, ours, theirs }));
        *slot(file) = open;
        (*file).pMethods = &raw const (*open).ours;
        load(&*open, file)
    }
}

fn known(name: &CStr) -> Shared {
    let mut images = IMAGES.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(images.entry(name.to_bytes().to_vec()).or_default())
}

/// Reads what the file really holds, once.
unsafe fn load(open: &Open, file: *mut sqlite3_file) -> c_int {
    let mut image = lock(&open.image);
    if std::mem::replace(&mut image.loaded, true) {
        return SQLITE_OK;
    }
    let mut size: sqlite3_int64 = 0;
    // SAFETY: the base layer has opened `file`; the buffer has the size it reported.
    unsafe {
        let sized = open.theirs.xFileSize.expect("set")(file, &raw mut size);
        if sized != SQLITE_OK || size == 0 {
            return sized;
        }
        image.bytes = vec![0; usize::try_from(size).expect("small files")];
        let amount = c_int::try_from(size).expect("small files");
        open.theirs.xRead.expect("set")(file, image.bytes.as_mut_ptr().cast(), amount, 0)
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: `open` put the pointer there; SQLite closes a file once and uses it no more.
    unsafe {
        let open = Box::from_raw(*slot(file));
        open.theirs.xClose.expect("set")(file)
    }
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    to: *mut c_void,
    amount: c_int,
    offset: sqlite3_int64,
) -> c_int {
    let (Ok(amount), Ok(offset)) = (usize::try_from(amount), usize::try_from(offset)) else {
        return SQLITE_IOERR;
    };
    // SAFETY: SQLite gave a buffer of `amount` bytes.
    let (open, to) =
        unsafe { (opened(file), std::slice::from_raw_parts_mut(to.cast::<u8>(), amount)) };
    let image = lock(&open.image);
    let there = image.bytes.get(offset..).unwrap_or_default();
    let there = &there[..amount.min(there.len())];
    to[..there.len()].copy_from_slice(there);
    to[there.len()..].fill(0);
    if there.len() == amount { SQLITE_OK } else { SQLITE_IOERR_SHORT_READ }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    from: *const c_void,
    amount: c_int,
    offset: sqlite3_int64,
) -> c_int {
    let (Ok(length), Ok(start)) = (usize::try_from(amount), usize::try_from(offset)) else {
        return SQLITE_IOERR;
    };
    // SAFETY: SQLite gave `amount` bytes to write.
    let (open, bytes) =
        unsafe { (opened(file), std::slice::from_raw_parts(from.cast::<u8>(), length)) };
    let mut image = lock(&open.image);
    let end = start + length;
    if image.bytes.len() < end {
        image.bytes.resize(end, 0);
    }
    image.bytes[start..end].copy_from_slice(bytes);
    image.unsynced.push((start, end));
    if reaches_the_disk_anyway() {
        // SAFETY: the same arguments, for the layer that opened the file.
        return unsafe { open.theirs.xWrite.expect("set")(file, from, amount, offset) };
    }
    SQLITE_OK
}

/// One write in four reaches the disk before it is synced, as a disk may do it.
fn reaches_the_disk_anyway() -> bool {
    static STATE: Mutex<u64> = Mutex::new(0);
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    if *state == 0 {
        *state = u64::from(std::process::id()) << 20 | 1;
    }
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    state.is_multiple_of(4)
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    let Ok(size) = usize::try_from(size) else { return SQLITE_IOERR };
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    let mut image = lock(&open.image);
    image.bytes.resize(size, 0);
    image.cut = true;
    SQLITE_OK
}

/// Hands everything to the kernel. That is enough: what kills us is a signal, and the kernel
/// keeps what it has been given.
unsafe extern "C" fn sync(file: *mut sqlite3_file, _: c_int) -> c_int {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    let mut image = lock(&open.image);
    let size = image.bytes.len();
    for (start, end) in std::mem::take(&mut image.unsynced) {
        let Some(bytes) = image.bytes.get(start..end.min(size)) else { continue };
        let amount = c_int::try_from(bytes.len()).expect("small writes");
        let offset = sqlite3_int64::try_from(start).expect("small files");
        // SAFETY: the buffer holds `amount` bytes, and the base layer opened the file.
        let written = unsafe {
            open.theirs.xWrite.expect("set")(file, bytes.as_ptr().cast(), amount, offset)
        };
        if written != SQLITE_OK {
            return written;
        }
    }
    if std::mem::take(&mut image.cut) {
        let size = sqlite3_int64::try_from(size).expect("small files");
        // SAFETY: the base layer opened the file.
        return unsafe { open.theirs.xTruncate.expect("set")(file, size) };
    }
    SQLITE_OK
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, size: *mut sqlite3_int64) -> c_int {
    // SAFETY: the file is open, and SQLite gave a place for the size.
    unsafe {
        let open = opened(file);
        *size = sqlite3_int64::try_from(lock(&open.image).bytes.len()).expect("small files");
    }
    SQLITE_OK
}

unsafe extern "C" fn delete(_: *mut sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: SQLite gave a name; the base layer gets the same arguments.
    unsafe {
        let mut images = IMAGES.lock().unwrap_or_else(PoisonError::into_inner);
        images.remove(CStr::from_ptr(name).to_bytes());
        (*base()).xDelete.expect("every VFS deletes")(base(), name, sync)
    }
}

unsafe extern "C" fn access(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gave a name and a place for the answer; the base layer gets the same.
    unsafe {
        let images = IMAGES.lock().unwrap_or_else(PoisonError::into_inner);
        let image = images.get(CStr::from_ptr(name).to_bytes());
        if flags == SQLITE_ACCESS_EXISTS && image.is_some_and(|i| !lock(i).bytes.is_empty()) {
            *out = 1;
            return SQLITE_OK;
        }
        drop(images);
        (*base()).xAccess.expect("every VFS looks")(base(), name, flags, out)
    }
}
