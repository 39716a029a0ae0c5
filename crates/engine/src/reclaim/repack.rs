//! Moves within one card: instances that lie badly change their places, so that one more fits.
//!
//! For one task of one instance. The card is packed anew by exact search ([`Layouts::repack`]): fewest
//! instances move. Of several cards the one is taken where that costs least. A job moves only if the
//! instance is all that it holds; whatever else is on a card stays where it is.

use super::chosen::value;
use super::cost::Value;
use super::moves::Moves;
use super::right::Right;
use super::room::{Constraint, Demand, part};
use super::running::MemberFacts;
use super::select::{Ending, Place, Victim};
use super::trial::Trial;
use crate::mig::{Layouts, Set, Tenancy};

/// Most cards packed anew for one job: of more, those of the first nodes.
const CARDS_MAX: usize = 256;

/// Finds the cheapest card on which a task fits if others change their places there. Leaves the trial
/// as it was.
pub(crate) fn find(
    right: &Right,
    trial: &Trial<'_>,
    demand: &Demand,
    to: &impl Constraint,
    most: usize,
) -> Option<Moves> {
    if demand.cut.is_none() || demand.tasks != 1 || demand.devices != 1 {
        return None;
    }
    let mut best: Option<Moves> = None;
    let mut cards = 0;
    for node in (0..trial.running.nodes.len()).filter(|node| to.takes(*node)) {
        trial.step(1);
        let rooms = trial.free(node);
        if demand.beside(&rooms) == 0 {
            continue;
        }
        for (device, room) in rooms.devices.iter().enumerate() {
            if room.card().is_none() || to.lie(node, device).is_none() {
                continue;
            }
            cards += 1;
            if cards > CARDS_MAX {
                return best;
            }
            let card = Card { trial, right, demand, node, device };
            let Some(moves) = card.repack(to).filter(|m| m.ending.victims.len() <= most) else {
                continue;
            };
            if best.as_ref().is_none_or(|best| moves.ending.value < best.ending.value) {
                best = Some(moves);
            }
        }
    }
    best
}

/// A card that could be packed anew.
struct Card<'t, 'a> {
    trial: &'t Trial<'a>,
    right: &'t Right,
    demand: &'t Demand,
    node: usize,
    device: usize,
}

impl Card<'_, '_> {
    fn repack(&self, to: &impl Constraint) -> Option<Moves> {
        let room = *self.trial.free(self.node).devices.get(self.device)?;
        let (layouts, _) = room.card()?;
        // By place of its table: who may move it.
        let mut here: Vec<(u32, Option<usize>)> = Vec::new();
        let mut known = 0;
        for place in &self.trial.running.nodes.get(self.node)?.members {
            self.trial.step(1);
            let Some(member) = self.trial.running.member(*place) else { continue };
            let pieces = &member.facts.slices;
            let Some(piece) = pieces.iter().find(|piece| piece.device == self.device) else {
                continue;
            };
            if self.trial.is_gone(*place) {
                continue;
            }
            let alone = pieces.len() == 1;
            here.push((piece.cut, self.may_move(to, member.gang).filter(|_| alone)));
            known |= piece.cut;
        }
        // What others were promised in this pass stays.
        let promised = room.cut() & !known;
        let bits = (0..u32::BITS).map(|bit| 1 << bit).filter(|bit| promised & bit != 0);
        here.extend(bits.map(|bit| (bit, None)));
        here.sort_unstable();
        let tenancy = |gang: &Option<usize>| match gang {
            Some(_) => Tenancy::Running,
            None => Tenancy::Fixed,
        };
        let instances =
            here.iter().map(|(bit, gang)| Some((layouts.instance(*bit)?, tenancy(gang))));
        let instances = instances.collect::<Option<Vec<_>>>()?;
        let wants = self.demand.cut.as_ref()?;
        for profile in layouts.table().sufficient(wants) {
            let found = layouts.repack(&instances, Set::of(profile, 1)).ok()?;
            if let Some(found) = found.filter(|found| !found.moved.is_empty()) {
                let placed = found.placed.first().copied()?;
                let moved = found.moved.iter().filter_map(|(at, instance)| {
                    let gang = here.get(*at)?.1?;
                    Some((gang, *instance))
                });
                return self.moves(layouts, placed, &moved.collect::<Vec<_>>());
            }
        }
        None
    }

    /// The gang, if it may move and holds nothing else.
    fn may_move(&self, to: &impl Constraint, gang: usize) -> Option<usize> {
        let running = self.trial.running;
        let facts = running.gang(gang)?;
        self.right.ground(running, gang, facts)?;
        let stays = to.lie_of_job(facts.facts.job, self.node, self.device).is_none();
        (facts.members.len() == 1 && !stays).then_some(gang)
    }

    fn moves(
        &self,
        layouts: &Layouts,
        placed: crate::mig::Instance,
        moved: &[(usize, crate::mig::Instance)],
    ) -> Option<Moves> {
        let running = self.trial.running;
        let mut victims: Vec<(Victim, Vec<MemberFacts>)> = Vec::new();
        let mut sum = Value::NOTHING;
        for (place, instance) in moved {
            let gang = running.gang(*place)?;
            let member = *gang.members.first()?;
            let facts = &running.member(member)?.facts;
            let slices = vec![part(layouts, self.device, *instance)];
            sum += value(self.trial, self.right, *place, &[member]);
            let victim = Victim {
                gang: *place,
                job: gang.facts.job,
                ground: self.right.ground(running, *place, gang)?,
                members: vec![member],
                whole: true,
            };
            victims.push((victim, vec![MemberFacts { slices, ..facts.clone() }]));
        }
        victims.sort_by_key(|(victim, _)| victim.job);
        let (victims, again) = victims.into_iter().unzip();
        let pieces = vec![part(layouts, self.device, placed)];
        let places = vec![Place { node: self.node, pieces }];
        Some(Moves { ending: Ending { victims, places, value: sum }, again })
    }
}
