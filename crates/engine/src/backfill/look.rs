//! The future as one moment sees it.

use super::{Ends, Space, Span};
use polder_model::Timestamp;
use std::collections::BTreeMap;

/// Most changes of the future that one search for an earliest start looks at.
pub const SWEEP_MAX: usize = 1 << 18;

/// A part of the pool that is held for somebody, or not there, for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window<P> {
    /// Its first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub to: Timestamp,
    /// What it takes.
    pub spots: P,
}

/// The future as one moment sees it: what runs, windows, and what was started and reserved since.
#[derive(Clone)]
pub struct Lookahead<'a, S: Space, K> {
    now: Timestamp,
    ends: &'a Ends<S::Spots, K>,
    /// Free now.
    space: S,
    /// What changes when, beside what ran already.
    changes: BTreeMap<(Timestamp, Sign, usize), Change<S::Spots>>,
    /// Low points, if everything ends when expected.
    expected: Dips<S>,
    /// Low points at windows, if everything takes as long as it may.
    latest: Dips<S>,
}

/// At one moment what ends gives back before what begins takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sign {
    Give,
    Take,
}

#[derive(Clone)]
struct Change<P> {
    spots: P,
    is_window: bool,
}

/// Moments at which something is taken, by time. Free capacity has its minima there and now.
#[derive(Clone)]
struct Dips<S: Space>(Vec<Dip<S>>);

#[derive(Clone)]
struct Dip<S: Space> {
    at: Timestamp,
    /// What is free then.
    state: S,
    /// At each spot, the least that is free from now up to and including then.
    floor: S,
    spots: S::Spots,
}

/// One change of the future, in order of time.
struct Step<'s, P> {
    at: Timestamp,
    sign: Sign,
    spots: &'s P,
    is_window: bool,
}

impl<P> Copy for Step<'_, P> {}

impl<P> Clone for Step<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

/// What runs gives back, merged with all other changes: both by time, each one step ahead.
#[derive(Clone)]
struct Steps<'s, P, A, B> {
    ends: A,
    changes: B,
    end: Option<Step<'s, P>>,
    change: Option<Step<'s, P>>,
}

impl<'s, P, A, B> Iterator for Steps<'s, P, A, B>
where
    A: Iterator<Item = Step<'s, P>>,
    B: Iterator<Item = Step<'s, P>>,
{
    type Item = Step<'s, P>;

    fn next(&mut self) -> Option<Self::Item> {
        let is_end = match (&self.end, &self.change) {
            (Some(end), Some(change)) => (end.at, end.sign) <= (change.at, change.sign),
            (end, _) => end.is_some(),
        };
        if is_end {
            std::mem::replace(&mut self.end, self.ends.next())
        } else {
            std::mem::replace(&mut self.change, self.changes.next())
        }
    }
}

impl<P> Step<'_, P> {
    fn apply<S: Space<Spots = P>>(&self, space: &mut S) {
        match self.sign {
            Sign::Give => space.give(self.spots),
            Sign::Take => space.take(self.spots),
        }
    }
}

impl<S: Space> Dips<S> {
    /// The dips before a moment.
    fn before(&self, at: Timestamp) -> &[Dip<S>] {
        self.0.get(..self.0.partition_point(|dip| dip.at < at)).unwrap_or_default()
    }

    /// Something takes these spots over `at..until`: `state` is what is free at `at` then.
    fn insert(&mut self, now: &S, at: Timestamp, until: Timestamp, state: S, spots: S::Spots) {
        let place = self.0.partition_point(|dip| dip.at <= at);
        let before = place.checked_sub(1).and_then(|place| self.0.get(place));
        let floor = before.map_or(now, |dip| &dip.floor).clone();
        self.0.insert(place, Dip { at, state, floor, spots: spots.clone() });
        self.take(now, at, until, &spots, Some(place));
    }

    /// Something takes these spots over `from..until`, which the dip at `known` knows already.
    fn take(
        &mut self,
        now: &S,
        from: Timestamp,
        until: Timestamp,
        spots: &S::Spots,
        known: Option<usize>,
    ) {
        let first = self.0.partition_point(|dip| dip.at < from);
        let (before, after) = self.0.split_at_mut(first);
        let mut below = before.last().map_or(now, |dip| &dip.floor);
        for (place, dip) in after.iter_mut().enumerate() {
            if dip.at < until && known != Some(first + place) {
                dip.state.take(spots);
            }
            dip.floor.copy(below, spots);
            dip.floor.meet(&dip.state, spots);
            below = &dip.floor;
        }
    }
}

impl<'a, S: Space, K: Ord + Copy> Lookahead<'a, S, K> {
    /// The future at `now`: `space` is what nothing that runs holds.
    #[must_use]
    pub fn new(
        now: Timestamp,
        space: S,
        ends: &'a Ends<S::Spots, K>,
        windows: &[Window<S::Spots>],
    ) -> Self {
        let mut look = Self {
            now,
            ends,
            space,
            changes: BTreeMap::new(),
            expected: Dips(Vec::new()),
            latest: Dips(Vec::new()),
        };
        for window in windows.iter().filter(|window| window.to > now && window.from < window.to) {
            if window.from <= now {
                look.space.take(&window.spots);
            } else {
                look.change(window.from, Sign::Take, window.spots.clone(), true);
            }
            look.change(window.to, Sign::Give, window.spots.clone(), true);
        }
        look.expected = look.dips(ends.expected());
        look.latest = look.dips(ends.latest());
        look
    }

    /// Room for a job that would start now, if it touches nothing that is promised to others.
    #[must_use]
    pub fn find_now(&self, need: &S::Need, span: Span) -> Option<S::Spots> {
        let floor = self.expected.before(self.now.after(span.expected)).last();
        let floor = floor.map_or(&self.space, |dip| &dip.floor);
        let ahead = self.latest.before(self.now.after(span.latest));
        let Some(lowest) = ahead.last() else { return floor.find(need) };
        let mut both = floor.clone();
        for dip in ahead {
            both.meet(&lowest.floor, &dip.spots);
        }
        both.find(need)
    }

    /// What is promised to others while a job that starts now could still run.
    pub fn touched(&self, span: Span) -> impl Iterator<Item = &S::Spots> {
        let expected = self.expected.before(self.now.after(span.expected));
        let latest = self.latest.before(self.now.after(span.latest));
        expected.iter().chain(latest).map(|dip| &dip.spots)
    }

    /// Something starts now where `find_now` said.
    pub fn start(&mut self, spots: &S::Spots, span: Span) {
        self.space.take(spots);
        let (expected, latest) = (self.now.after(span.expected), self.now.after(span.latest));
        self.expected.take(&self.space, self.now, expected, spots, None);
        self.latest.take(&self.space, self.now, latest, spots, None);
        self.change(expected, Sign::Give, spots.clone(), false);
    }

    /// The earliest start, if everything ends when expected; `None` when there is none among the
    /// next [`SWEEP_MAX`] changes.
    #[must_use]
    pub fn earliest(&self, need: &S::Need, span: Span) -> Option<(Timestamp, S::Spots)> {
        self.slot(need, span).map(|(at, spots, _)| (at, spots))
    }

    /// Promises a job its earliest start: from here on nothing is found that would delay it.
    pub fn reserve(&mut self, need: &S::Need, span: Span) -> Option<(Timestamp, S::Spots)> {
        let (at, spots, mut state) = self.slot(need, span)?;
        self.hold(at, &mut state, &spots, span);
        Some((at, spots))
    }

    /// Tells every state of the future what has become known of free capacity itself.
    pub fn each_space(&mut self, mut tell: impl FnMut(&mut S)) {
        tell(&mut self.space);
        for dip in self.expected.0.iter_mut().chain(&mut self.latest.0) {
            tell(&mut dip.state);
            tell(&mut dip.floor);
        }
    }

    /// Free now.
    #[must_use]
    pub fn space(&self) -> &S {
        &self.space
    }

    fn hold(&mut self, at: Timestamp, state: &mut S, spots: &S::Spots, span: Span) {
        let until = at.after(span.expected);
        state.take(spots);
        self.expected.insert(&self.space, at, until, state.clone(), spots.clone());
        self.change(at, Sign::Take, spots.clone(), false);
        self.change(until, Sign::Give, spots.clone(), false);
    }

    /// When, where, and what is free then.
    fn slot(&self, need: &S::Need, span: Span) -> Option<(Timestamp, S::Spots, S)> {
        if let Some(spots) = self.find_now(need, span) {
            return Some((self.now, spots, self.space.clone()));
        }
        let mut state = self.space.clone();
        let mut steps = self.steps(self.ends.expected());
        let mut next = steps.next();
        // No start at or before this moment can succeed.
        let mut blocked = self.now;
        let mut looked = 0usize;
        while let Some(Step { at, .. }) = next {
            let mut gave = false;
            while let Some(step) = next.filter(|step| step.at == at) {
                step.apply(&mut state);
                gave |= step.sign == Sign::Give;
                next = steps.next();
                looked += 1;
            }
            if looked > SWEEP_MAX {
                return None;
            }
            if !gave || at <= blocked {
                continue;
            }
            match self.over(need, span, at, &state, next.into_iter().chain(steps.clone())) {
                Ok(spots) => return Some((at, spots, state)),
                Err(until) => blocked = until,
            }
        }
        None
    }

    /// Room from `at` over a whole span, or the moment up to which no start can succeed.
    fn over<'s>(
        &self,
        need: &S::Need,
        span: Span,
        at: Timestamp,
        state: &S,
        steps: impl Iterator<Item = Step<'s, S::Spots>>,
    ) -> Result<S::Spots, Timestamp>
    where
        S::Spots: 's,
    {
        let spots = state.find(need).ok_or(at)?;
        let (expected, latest) = (at.after(span.expected), at.after(span.latest));
        if latest <= at {
            return Ok(spots);
        }
        let touches = |step_at: Timestamp, sign: Sign, is_window: bool| {
            sign == Sign::Take && (step_at < expected || is_window && step_at < latest)
        };
        let ahead = self.changes.range((at, Sign::Take, usize::MAX)..(latest, Sign::Give, 0));
        let mut ahead = ahead.rev().filter(|((at, sign, _), c)| touches(*at, *sign, c.is_window));
        let Some(((last, ..), _)) = ahead.next() else { return Ok(spots) };
        let (mut floor, mut later) = (state.clone(), state.clone());
        for step in steps.take_while(|step| step.at <= *last) {
            step.apply(&mut later);
            if touches(step.at, step.sign, step.is_window) {
                floor.meet(&later, step.spots);
                if floor.find(need).is_none() {
                    return Err(if later.find(need).is_none() { step.at } else { at });
                }
            }
        }
        floor.find(need).ok_or(at)
    }

    /// Everything that changes after now, given when what runs ends.
    fn steps<'s>(
        &'s self,
        ends: impl Iterator<Item = (Timestamp, &'s S::Spots)> + Clone,
    ) -> impl Iterator<Item = Step<'s, S::Spots>> + Clone {
        // What has outlived its end gives back at any moment: the next one.
        let soon = Timestamp(self.now.0.saturating_add(1));
        let mut ends = ends.map(move |(at, spots)| Step {
            at: at.max(soon),
            sign: Sign::Give,
            spots,
            is_window: false,
        });
        let mut changes = self.changes.iter().map(|((at, sign, _), change)| Step {
            at: *at,
            sign: *sign,
            spots: &change.spots,
            is_window: change.is_window,
        });
        let (end, change) = (ends.next(), changes.next());
        Steps { ends, changes, end, change }
    }

    /// The low points of what is known so far.
    fn dips<'s>(
        &'s self,
        ends: impl Iterator<Item = (Timestamp, &'s S::Spots)> + Clone,
    ) -> Dips<S> {
        let mut dips = Dips(Vec::new());
        let Some(((last, ..), _)) =
            self.changes.iter().rfind(|((_, sign, _), _)| *sign == Sign::Take)
        else {
            return dips;
        };
        let mut state = self.space.clone();
        for step in self.steps(ends).take_while(|step| step.at <= *last) {
            step.apply(&mut state);
            if step.sign == Sign::Take {
                dips.insert(&self.space, step.at, step.at, state.clone(), step.spots.clone());
            }
        }
        dips
    }

    fn change(&mut self, at: Timestamp, sign: Sign, spots: S::Spots, is_window: bool) {
        // What never ends gives nothing back.
        if at < Timestamp(u64::MAX) {
            self.changes.insert((at, sign, self.changes.len()), Change { spots, is_window });
        }
    }
}
