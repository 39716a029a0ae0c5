//! Whose processes a task's are: the lease's user as the operating system knows it.
#![allow(unsafe_code)] // the C library alone knows the machine's users, wherever they are kept

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;

/// Room for one entry of the user list; what does not fit is a broken list.
const ENTRY_BYTES_MAX: usize = 64 * 1024;
/// A user without a name is spelled with this and a number.
const NUMBER_PREFIX: &str = "uid-";

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    /// Its number.
    pub(crate) uid: u32,
    /// Its first group.
    pub(crate) gid: u32,
    /// Its name; absent for a number that has none here.
    pub(crate) name: Option<String>,
}

impl Account {
    /// The account of a lease's user: a name, or `uid-N`. Asks the C library, and so whatever
    /// directory the machine uses: call it in a process that may block and will soon exit.
    ///
    /// # Errors
    /// Words that name the user and say what to do.
    pub(crate) fn find(user: &str) -> Result<Self, String> {
        let number = user.strip_prefix(NUMBER_PREFIX).and_then(|text| text.parse::<u32>().ok());
        let found = match number {
            Some(uid) => by_number(uid),
            None => by_name(user),
        };
        match (found, number) {
            (Ok(Some(account)), _) => Ok(account),
            (Ok(None), Some(uid)) => Ok(Self { uid, gid: uid, name: None }),
            (Ok(None), None) => Err(format!(
                "user {user:?} is not known on this node: add the user here, or ask as one who is"
            )),
            (Err(error), _) => Err(format!("looking up user {user:?} on this node: {error}")),
        }
    }

    /// Makes the calling process this user's, for good.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn become_it(&self) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        match &self.name {
            Some(name) => {
                let name = CString::new(name.as_str())?;
                // SAFETY: `name` is a C string that lives through the call; the process has one
                // thread, so nobody reads the credentials meanwhile.
                if unsafe { libc::initgroups(name.as_ptr(), self.gid) } != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            None => set_thread_groups(&[gid])?,
        }
        // The process has one thread, so setting the thread's is setting the process's.
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        Ok(())
    }
}

/// Calls a re-entrant look-up of the C library with a buffer that is large enough.
fn look_up(
    call: impl Fn(*mut libc::passwd, *mut libc::c_char, usize, *mut *mut libc::passwd) -> i32,
) -> io::Result<Option<Account>> {
    let mut entry = MaybeUninit::<libc::passwd>::uninit();
    let mut buffer = vec![0; ENTRY_BYTES_MAX];
    let mut found = std::ptr::null_mut();
    let code = call(entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &raw mut found);
    // These codes mean "no such user" in one C library or another.
    if found.is_null() && matches!(code, 0 | libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM)
    {
        return Ok(None);
    }
    if found.is_null() {
        return Err(io::Error::from_raw_os_error(code));
    }
    // SAFETY: the call succeeded and so filled `entry`; its strings lie in `buffer`, which lives.
    let (entry, name) = unsafe {
        let entry = entry.assume_init();
        (entry, CStr::from_ptr(entry.pw_name))
    };
    let name = name.to_str().ok().map(str::to_owned);
    Ok(Some(Account { uid: entry.pw_uid, gid: entry.pw_gid, name }))
}

fn by_name(user: &str) -> io::Result<Option<Account>> {
    let name = CString::new(user)?;
    look_up(|entry, buffer, length, found| {
        // SAFETY: all pointers are valid for the call and `length` is the buffer's.
        unsafe { libc::getpwnam_r(name.as_ptr(), entry, buffer, length, found) }
    })
}

fn by_number(uid: u32) -> io::Result<Option<Account>> {
    look_up(|entry, buffer, length, found| {
        // SAFETY: all pointers are valid for the call and `length` is the buffer's.
        unsafe { libc::getpwuid_r(uid, entry, buffer, length, found) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(user: &str, expect: Result<(u32, u32, Option<&str>), &str>) {
        match (Account::find(user), expect) {
            (Ok(got), Ok((uid, gid, name))) => {
                assert_eq!((got.uid, got.gid, got.name.as_deref()), (uid, gid, name));
            }
            (Err(got), Err(words)) => assert!(got.contains(words), "{got}"),
            (got, expect) => panic!("{user}: {got:?}, not {expect:?}"),
        }
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        check("root", Ok((0, 0, Some("root"))));
        check("uid-0", Ok((0, 0, Some("root"))));
        check("uid-3999999", Ok((3_999_999, 3_999_999, None)));
        check("nobody-of-that-name", Err("is not known on this node"));
        check("uid-x", Err("\"uid-x\" is not known"));
    }
}
