//! Which order holds at which hour.

use polder_model::{Micros, Order, Policy, TimeRule, Timestamp, Weekday};

const MINUTE: u64 = 60_000_000;
const DAY_MINUTES: u64 = 24 * 60;
/// Days from 1970-01-01 on, which was a Thursday.
const WEEKDAYS: [Weekday; 7] = [
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
];

/// The order that holds at a moment.
pub(crate) fn order(policy: &Policy, at: Timestamp) -> &Order {
    if policy.times.is_empty() {
        return &policy.order;
    }
    let local = local_minute(policy, at);
    let rule = policy.times.iter().find(|rule| covers(rule, local));
    rule.map_or(&policy.order, |rule| &rule.order)
}

/// The first moment after `after` at which another order may hold: the next minute at which a
/// rule begins or ends.
pub(crate) fn next_switch(policy: &Policy, after: Timestamp) -> Option<Timestamp> {
    let minute = after.0 / MINUTE;
    let local = local_minute(policy, after) % DAY_MINUTES;
    let edges = policy.times.iter().flat_map(|rule| [rule.from.minute(), rule.until.minute()]);
    let waits = edges.map(|edge| {
        let wait = (u64::from(edge) + DAY_MINUTES - local) % DAY_MINUTES;
        if wait == 0 { DAY_MINUTES } else { wait }
    });
    let first = waits.min()?;
    Some(Timestamp(minute * MINUTE).after(Micros((first).saturating_mul(MINUTE))))
}

/// Minutes since 1970 in local time.
fn local_minute(policy: &Policy, at: Timestamp) -> u64 {
    (at.0 / MINUTE).saturating_add_signed(policy.utc_offset_minutes.into())
}

fn covers(rule: &TimeRule, local: u64) -> bool {
    let (minute, day) = (local % DAY_MINUTES, local / DAY_MINUTES);
    let (from, until) = (u64::from(rule.from.minute()), u64::from(rule.until.minute()));
    let begins_on = |day: u64| {
        let weekday = WEEKDAYS.get(usize::try_from(day % 7).unwrap_or(0));
        rule.days.is_empty() || weekday.is_some_and(|day| rule.days.contains(day))
    };
    if from < until {
        return (from..until).contains(&minute) && begins_on(day);
    }
    // Over midnight: it began today, or yesterday and is not over.
    (minute >= from && begins_on(day)) || (minute < until && begins_on(day.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use polder_model::Term;

    const WEEK: [Weekday; 5] =
        [Weekday::Monday, Weekday::Tuesday, Weekday::Wednesday, Weekday::Thursday, Weekday::Friday];

    fn rule(from: &str, until: &str, days: &[Weekday], term: Term) -> TimeRule {
        TimeRule {
            from: from.to_owned().try_into().unwrap(),
            until: until.to_owned().try_into().unwrap(),
            days: days.iter().copied().collect(),
            order: Order { by: vec![term], ..Order::default() },
        }
    }

    /// Day 4 is 1970-01-05, a Monday.
    fn moment(day: u64, hour: u64, minute: u64) -> Timestamp {
        Timestamp(((day * 24 + hour) * 60 + minute) * MINUTE)
    }

    fn check(policy: &Policy, at: Timestamp, expect: &Term) {
        assert_eq!(order(policy, at).by.first(), Some(expect), "{at:?}");
    }

    #[test]
    fn by_day_and_by_night() {
        let day = rule("08:00", "20:00", &WEEK, Term::Shortest);
        let night = rule("22:00", "06:00", &[Weekday::Friday], Term::LeastService);
        let policy = Policy { times: vec![day, night], ..Policy::default() };
        check(&policy, moment(4, 7, 59), &Term::Priority);
        check(&policy, moment(4, 8, 0), &Term::Shortest);
        check(&policy, moment(4, 20, 0), &Term::Priority);
        // Friday night until Saturday morning, and no other night.
        check(&policy, moment(8, 23, 0), &Term::LeastService);
        check(&policy, moment(9, 5, 59), &Term::LeastService);
        check(&policy, moment(9, 6, 0), &Term::Priority);
        check(&policy, moment(9, 12, 0), &Term::Priority);
        check(&policy, moment(9, 23, 0), &Term::Priority);
        let east = Policy { utc_offset_minutes: 60, ..policy };
        check(&east, moment(4, 7, 0), &Term::Shortest);
    }

    #[test]
    fn a_whole_day_is_held_from_midnight_to_midnight() {
        let weekend = &[Weekday::Saturday, Weekday::Sunday];
        let rules = vec![rule("00:00", "24:00", weekend, Term::LeastService)];
        let policy = Policy { times: rules, ..Policy::default() };
        // Day 9 is a Saturday.
        check(&policy, moment(8, 23, 59), &Term::Priority);
        for (day, hour) in [(9, 0), (9, 12), (9, 23), (10, 0), (10, 23)] {
            check(&policy, moment(day, hour, 59 * (hour % 2)), &Term::LeastService);
        }
        check(&policy, moment(11, 0, 0), &Term::Priority);
        assert_eq!(next_switch(&policy, moment(8, 12, 0)), Some(moment(9, 0, 0)));
    }

    #[test]
    fn the_order_changes_only_at_its_switches() {
        let rules = vec![
            rule("08:00", "20:00", &WEEK, Term::Shortest),
            rule("23:00", "05:00", &[], Term::LeastService),
        ];
        let policy = Policy { times: rules, utc_offset_minutes: -330, ..Policy::default() };
        let mut at = moment(4, 0, 0);
        let mut changes = 0;
        while at < moment(14, 0, 0) {
            let next = next_switch(&policy, at).unwrap();
            assert!(next > at);
            let before = order(&policy, at).clone();
            let mut minute = Timestamp((at.0 / MINUTE + 1) * MINUTE);
            while minute < next {
                assert_eq!(*order(&policy, minute), before, "{minute:?}");
                minute = minute.after(Micros(MINUTE));
            }
            changes += u32::from(*order(&policy, next) != before);
            at = next;
        }
        assert!(changes > 20);
        assert_eq!(next_switch(&Policy::default(), at), None);
    }
}
