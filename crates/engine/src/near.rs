//! Gangs whose tasks had better be near each other: where they go together, and on which rails.

use crate::fleet::{Demand, Device, Fleet, NONE, Node, NodeIx, Spot};
use crate::topology::{DEVICES_EXACT_MAX, Site, Wish, rails, sites};

/// In which rack and block a node is, by number; nodes of which that is not known have one each.
pub(crate) type Where = (u32, u32);

/// Places all `want` tasks of a gang near each other and takes what they need; `None` if there is not
/// room for all of them.
///
/// The narrowest tier that has room is taken, a node, a rack, a block or the pool; of several the one
/// with least room; in it the fewest nodes. Where each node carries as many tasks and none takes all
/// devices of its node, they take the rails that most of the nodes have free.
pub(crate) fn place(
    fleet: &mut Fleet,
    demand: &Demand,
    lies: impl Fn(NodeIx) -> Where,
    want: u32,
) -> Option<Vec<Spot>> {
    fleet.settle();
    let (mut nodes, mut open) = (Vec::new(), Vec::new());
    for (ix, node) in fleet.nodes() {
        let room = demand.tasks_in(node).min(want.into());
        if room > 0 {
            let (rack, block) = lies(ix);
            nodes.push(ix);
            open.push(Site { room: u32::try_from(room).unwrap_or(u32::MAX), rack, block });
        }
    }
    let given = sites(&open, want, None, None)?;
    let given = nodes.into_iter().zip(given).filter(|(_, tasks)| *tasks > 0);
    let given: Vec<(NodeIx, u32)> = given.collect();
    let mark = fleet.begin();
    let mask = common(fleet, demand, &given);
    let mut spots = Vec::new();
    for (ix, tasks) in given {
        let railed = mask.and_then(|mask| on_rails(fleet, demand, (ix, tasks), mask));
        spots.extend(railed.unwrap_or_else(|| fleet.place_on(ix, demand, tasks)));
    }
    if u32::try_from(spots.len()) == Ok(want) {
        fleet.keep(mark);
        return Some(spots);
    }
    fleet.rollback(mark);
    None
}

/// The rails that all of a gang's nodes had better use, as a mask.
fn common(fleet: &Fleet, demand: &Demand, given: &[(NodeIx, u32)]) -> Option<u32> {
    let (_, tasks) = given.first()?;
    let alike = given.iter().all(|(_, other)| other == tasks);
    let wanted = demand.count.checked_mul(*tasks)?;
    if given.len() < 2 || !alike || wanted == 0 || demand.wish != Wish::default() {
        return None;
    }
    let free = given.iter().map(|(ix, _)| {
        let node = fleet.node(*ix)?;
        Some(open_rails(node, demand).fold(0, |mask, (bit, _)| mask | bit))
    });
    rails(&free.collect::<Option<Vec<u32>>>()?, wanted).map(|(mask, _)| mask)
}

/// Devices that a task could take, with the bit of the rail of each.
fn open_rails<'n>(node: &'n Node, demand: &'n Demand) -> impl Iterator<Item = (u32, u16)> + 'n {
    let bit = |device: &Device| {
        let rail = device.spec.rail;
        let known = rail != NONE && usize::from(rail) < DEVICES_EXACT_MAX;
        known.then(|| 1_u32 << rail)
    };
    let devices = (0u16..).zip(&node.devices).filter(|(_, device)| demand.fits_on(device));
    devices.filter_map(move |(place, device)| Some((bit(device)?, place)))
}

/// Places the tasks of one node on the rails of a mask; nothing is taken if not all can be.
fn on_rails(
    fleet: &mut Fleet,
    demand: &Demand,
    (ix, tasks): (NodeIx, u32),
    mask: u32,
) -> Option<Vec<Spot>> {
    let node = fleet.node(ix)?;
    let mut devices: Vec<(u32, u16)> =
        open_rails(node, demand).filter(|(bit, _)| mask & bit != 0).collect();
    devices.sort_unstable();
    devices.dedup_by_key(|(bit, _)| *bit);
    let count = usize::try_from(demand.count).ok()?;
    let mark = fleet.begin();
    let mut spots = Vec::new();
    for task in devices.chunks_exact(count.max(1)).take(usize::try_from(tasks).ok()?) {
        let mut devices: Vec<u16> = task.iter().map(|(_, place)| *place).collect();
        devices.sort_unstable();
        spots.extend(fleet.put_on(ix, demand, devices));
    }
    if u32::try_from(spots.len()) == Ok(tasks) {
        fleet.keep(mark);
        return Some(spots);
    }
    fleet.rollback(mark);
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{DeviceSpec, NodeSpec, Rule};

    /// Nodes of four devices on four rails.
    fn pool(nodes: u32) -> Fleet {
        let mut fleet = Fleet::default();
        let device = |rail| DeviceSpec { memory: 8, rail, healthy: true, ..DeviceSpec::default() };
        let devices: Vec<DeviceSpec> = (0..4).map(device).collect();
        for ix in 0..nodes {
            fleet.set(NodeIx(ix), &NodeSpec { devices: devices.clone(), ..NodeSpec::default() });
        }
        fleet
    }

    fn whole(count: u32) -> Demand {
        Demand { count, compute: 1000, whole: true, ..Demand::default() }
    }

    fn take(fleet: &mut Fleet, node: u32, device: u16) {
        fleet.put_on(NodeIx(node), &whole(1), vec![device]).unwrap();
    }

    /// Two nodes in a rack, two racks in a block.
    fn lies(ix: NodeIx) -> Where {
        (ix.0 / 2, ix.0 / 4)
    }

    fn show(spots: &[Spot]) -> Vec<String> {
        spots.iter().map(|spot| format!("{}:{:?}", spot.node.0, spot.devices)).collect()
    }

    #[test]
    fn a_gang_is_in_one_rack_where_one_has_room() {
        let mut fleet = pool(6);
        take(&mut fleet, 0, 0);
        let spots = place(&mut fleet, &whole(4), lies, 2).unwrap();
        assert_eq!(show(&spots), ["2:[0, 1, 2, 3]", "3:[0, 1, 2, 3]"]);
        let spots = place(&mut fleet, &whole(4), lies, 3).unwrap();
        let nodes: Vec<u32> = spots.iter().map(|spot| spot.node.0).collect();
        assert_eq!(nodes, [1, 4, 5], "no block has room: the pool has");
        assert_eq!(place(&mut fleet, &whole(4), lies, 1), None);
    }

    #[test]
    fn nodes_of_a_gang_use_the_same_rails() {
        let mut fleet = pool(2);
        take(&mut fleet, 0, 0);
        take(&mut fleet, 1, 2);
        let spots = place(&mut fleet, &whole(2), lies, 2).unwrap();
        assert_eq!(show(&spots), ["0:[1, 3]", "1:[1, 3]"]);
    }

    #[test]
    fn what_does_not_fit_leaves_no_trace() {
        let mut fleet = pool(2);
        let before = fleet.clone();
        assert_eq!(place(&mut fleet, &whole(3), lies, 3), None);
        assert_eq!(fleet, before);
        let rule = fleet.rule(Rule::Tightest);
        assert_eq!(fleet.place(&whole(3), rule, 3).len(), 2);
    }
}
