//! Where a process stands among the jobs of a shell: its parent, group and session.
//!
//! Read from `/proc`, not asked of the kernel by call: a group or session led from outside this pid
//! namespace, as in a container that was entered, has the number 0 there, which no `Pid` can hold.

/// Ancestors that are looked at, at most.
const ANCESTORS_MAX: usize = 64;

/// The numbers of one process; 0 is a process that this pid namespace cannot see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) parent: u32,
    pub(super) group: u32,
    pub(super) session: u32,
}

impl Standing {
    /// That of this process.
    pub(super) fn own() -> Option<Self> {
        read("self")
    }

    /// That of another one.
    pub(super) fn of(pid: u32) -> Option<Self> {
        read(&pid.to_string())
    }

    /// Whether the first of its ancestors outside its process group is of its session, as a shell with
    /// jobs is. A SIGTSTP to a group without such an ancestor is void.
    pub(super) fn is_a_job_of_somebody(self, of: impl Fn(u32) -> Option<Self>) -> bool {
        let mut ancestor = self.parent;
        for _ in 0..ANCESTORS_MAX {
            let Some(standing) = of(ancestor) else { return false };
            if standing.session != self.session {
                return false;
            }
            if standing.group != self.group {
                return true;
            }
            ancestor = standing.parent;
        }
        false
    }
}

fn read(process: &str) -> Option<Standing> {
    parse(&std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

/// The name of a process may hold anything, so what counts begins behind its last parenthesis.
fn parse(stat: &str) -> Option<Standing> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut numbers = rest.split(' ').skip(1).map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(Standing { parent: next()?, group: next()?, session: next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(parent: u32, group: u32, session: u32) -> Standing {
        Standing { parent, group, session }
    }

    #[test]
    fn a_name_cannot_forge_the_numbers() {
        let stat = "7 (a) S 1 1 1) S 4 0 0 34816 7 4194304";
        assert_eq!(parse(stat), Some(standing(4, 0, 0)));
        for stat in ["", "7 (a)", "7 (a) S 4 x 0", "7 (a) S 4 -1 0", "7 (a) S 4 7"] {
            assert_eq!(parse(stat), None, "{stat}");
        }
    }

    #[test]
    fn this_process_stands_somewhere() {
        let own = Standing::own().unwrap();
        assert_eq!(own.parent, std::os::unix::process::parent_id());
        assert_eq!(Standing::of(std::process::id()), Some(own));
    }

    #[test]
    fn somebody_outside_the_group_and_of_the_session_continues_it() {
        let shell = |pid| (pid == 5).then_some(standing(1, 5, 5));
        assert!(standing(5, 9, 5).is_a_job_of_somebody(shell));
        // A session of its own, its parent gone, a parent of the same group whose parent is gone.
        assert!(!standing(5, 9, 9).is_a_job_of_somebody(shell));
        assert!(!standing(6, 9, 5).is_a_job_of_somebody(shell));
        assert!(!standing(5, 5, 5).is_a_job_of_somebody(shell));
    }

    #[test]
    fn a_session_led_from_outside_the_namespace_is_a_session() {
        let entered = |pid| (pid == 5).then_some(standing(0, 0, 0));
        assert!(standing(5, 9, 0).is_a_job_of_somebody(entered));
        assert!(!standing(5, 9, 9).is_a_job_of_somebody(entered));
        assert!(!standing(5, 0, 0).is_a_job_of_somebody(entered));
    }

    #[test]
    fn a_line_of_ancestors_without_end_is_not_followed_to_it() {
        assert!(!standing(5, 9, 9).is_a_job_of_somebody(|_| Some(standing(5, 9, 9))));
    }
}
