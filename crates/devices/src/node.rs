//! The machine beside its devices.

use crate::sysfs::Sysfs;
use polder_model::{BitRate, Bytes, Enforcement, MilliCpu, NodeFacts};
use std::collections::BTreeSet;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    num::NonZero,
    path::{Path, PathBuf},
    thread,
};

/// Network interfaces looked at.
const INTERFACES_MAX: usize = 1024;
/// More levels of control groups than this are not followed.
const CGROUP_LEVELS_MAX: usize = 64;

/// The machine's CPUs and memory as far as this process may use them, and its address. `agent` is
/// the agent's version.
#[must_use]
pub fn node_facts(agent: &str) -> NodeFacts {
    // Counts the affinity mask and the control groups' CPU quota, rounded down.
    let cpus = thread::available_parallelism().map_or(1, NonZero::get);
    let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
    NodeFacts {
        address: address().to_string(),
        cpu: MilliCpu(cpus.saturating_mul(1000)),
        memory: memory(&Sysfs::system()),
        nic: nic(&Sysfs::system()),
        agent: agent.to_owned(),
        partitions: BTreeSet::new(),
        labels: BTreeSet::new(),
        enforcement: Enforcement::default(),
        backing: Bytes(0),
    }
}

/// The source address of the default route: what other nodes reach this one by. Connecting a
/// datagram socket to an address reserved for documentation chooses a route and sends nothing.
fn address() -> IpAddr {
    let toward = |local: IpAddr, remote: IpAddr| {
        let socket = UdpSocket::bind(SocketAddr::new(local, 0)).ok()?;
        socket.connect(SocketAddr::new(remote, 9)).ok()?;
        let address = socket.local_addr().ok()?.ip();
        (!address.is_loopback() && !address.is_unspecified()).then_some(address)
    };
    let documentation_v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    toward(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into())
        .or_else(|| toward(Ipv6Addr::UNSPECIFIED.into(), documentation_v6.into()))
        .unwrap_or(Ipv4Addr::LOCALHOST.into())
}

/// What the machine's network cards carry together, as far as their links are up and say how fast
/// they are. Functions of a card that is shared in hardware are left out: they share one link.
pub(crate) fn nic(sysfs: &Sysfs) -> Option<BitRate> {
    let speed = |name: &String| {
        let folder = Path::new("sys/class/net").join(name);
        let is_card = sysfs.is_there(folder.join("device"));
        let is_part = sysfs.is_there(folder.join("device/physfn"));
        let is_up = sysfs.text(folder.join("operstate")).as_deref() == Some("up");
        let speed = sysfs.text(folder.join("speed"))?.parse::<u64>().ok()?;
        (is_card && !is_part && is_up).then_some(speed)
    };
    let names = sysfs.names("sys/class/net", INTERFACES_MAX);
    // In millions of bits a second.
    let sum = names.iter().filter_map(speed).fold(0_u64, u64::saturating_add);
    (sum > 0).then(|| BitRate(sum.saturating_mul(1_000_000)))
}

/// The machine's memory, or less where a control group allows less.
pub(crate) fn memory(sysfs: &Sysfs) -> Bytes {
    let total = sysfs.text("proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    let limits = memory_limit_files(sysfs);
    let limits = limits.iter().filter_map(|path| sysfs.text(path)?.parse::<u64>().ok());
    Bytes(limits.chain(total).min().unwrap_or_default())
}

/// The files that may limit this process's memory: its group's and those of all above it, in both
/// versions of the interface. Not all of them exist.
fn memory_limit_files(sysfs: &Sysfs) -> Vec<PathBuf> {
    let groups = sysfs.text("proc/self/cgroup").unwrap_or_default();
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let (mount, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            names if names.split(',').any(|name| name == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let levels = Path::new(group.trim_start_matches('/')).ancestors();
        files.extend(
            levels.take(CGROUP_LEVELS_MAX).map(|level| Path::new(mount).join(level).join(file)),
        );
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The memory of a machine with 1000 KiB and these files.
    fn check(files: &[(&str, &str)], expect: u64) {
        let root = tempfile::tempdir().unwrap();
        let meminfo = ("proc/meminfo", "MemTotal:        1000 kB\nMemFree: 1 kB\n");
        for (path, text) in files.iter().chain([&meminfo]) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(memory(&Sysfs::at(root.path())), Bytes(expect));
    }

    #[test]
    fn without_limits_it_is_all_the_memory() {
        check(&[], 1_024_000);
        check(&[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "max\n")], 1_024_000);
    }

    #[test]
    fn the_lowest_limit_above_counts() {
        let groups = ("proc/self/cgroup", "0::/pod/agent\n");
        let near = ("sys/fs/cgroup/pod/agent/memory.max", "900000\n");
        let far = ("sys/fs/cgroup/pod/memory.max", "500000\n");
        check(&[groups, near], 900_000);
        check(&[groups, near, far], 500_000);
    }

    #[test]
    fn the_older_interface_counts_too() {
        let groups = ("proc/self/cgroup", "5:cpu:/a\n4:memory:/box\n0::/\n");
        let all = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        let near = ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "4096\n");
        check(&[groups, all], 1_024_000);
        check(&[groups, all, near], 4096);
    }

    #[test]
    fn links_of_cards_that_are_up_are_added() {
        let root = tempfile::tempdir().unwrap();
        let card = |name: &str, state: &str, speed: &str, device: &str| {
            let folder = root.path().join("sys/class/net").join(name);
            fs::create_dir_all(folder.join(device)).unwrap();
            fs::write(folder.join("operstate"), state).unwrap();
            fs::write(folder.join("speed"), speed).unwrap();
        };
        assert_eq!(nic(&Sysfs::at(root.path())), None);
        card("eth0", "up\n", "25000\n", "device");
        card("eth1", "up\n", "25000\n", "device");
        card("eth2", "down\n", "100000\n", "device");
        card("eth3", "up\n", "-1\n", "device");
        card("vf0", "up\n", "25000\n", "device/physfn");
        card("veth7", "up\n", "10000\n", "queues");
        assert_eq!(nic(&Sysfs::at(root.path())), Some(BitRate(50_000_000_000)));
    }

    #[test]
    fn this_machine_has_facts() {
        let facts = node_facts("1.2.3");
        assert!(facts.cpu.0 >= 1000 && facts.memory.0 > 1 << 20);
        assert!(facts.address.parse::<IpAddr>().is_ok());
        assert_eq!(facts.agent, "1.2.3");
    }
}
