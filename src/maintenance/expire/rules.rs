//! Which versions of a line are kept: the latest, the young, and the last of each hour, day, week, month or year.

use std::fmt;
use std::time::Duration;

use crate::time::{CalendarPeriod, Timestamp};

/// For how many periods, or for how long, the last version of each is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeepFor {
    /// Of so many periods, counted from the latest version back; periods without versions do not count.
    Count(u64),
    /// Of those in which a version was committed that is no older than this.
    Within(Duration),
    /// Of all.
    Ever,
}

/// Which versions of a line are kept. A version stays if any rule keeps it; without a rule none stays but the tip.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KeepRules {
    /// So many, the latest.
    pub(super) last: Option<u64>,
    /// Those that are no older.
    pub(super) within: Option<Duration>,
    /// The last one of each such period.
    pub(super) periods: Vec<(CalendarPeriod, KeepFor)>,
}

impl KeepRules {
    /// Whether they keep nothing, whatever the line is: a rule that keeps none, or none at all.
    pub(super) fn is_empty(&self) -> bool {
        let keeps = |keep_for: &KeepFor| !matches!(keep_for, KeepFor::Count(0) | KeepFor::Within(Duration::ZERO));
        self.last.unwrap_or(0) == 0
            && self.within.unwrap_or(Duration::ZERO).is_zero()
            && !self.periods.iter().any(|(_, keep_for)| keeps(keep_for))
    }

    /// Whether a version of that age stays, whatever its line is.
    pub(super) fn keeps_age(&self, time: Timestamp, now: Timestamp) -> bool {
        self.within.is_some_and(|within| time >= now.minus(within))
    }

    /// By which rule each version of a line stays, given when they were committed, the latest first; `None` for those that do not.
    pub(super) fn choose(&self, line: &[Timestamp], now: Timestamp) -> Vec<Option<&'static str>> {
        let mut chosen: Vec<Option<&'static str>> = line
            .iter()
            .zip(0_u64..)
            .map(|(time, n)| {
                let is_last = self.last.is_some_and(|last| n < last);
                is_last.then_some("last").or_else(|| self.keeps_age(*time, now).then_some("within"))
            })
            .collect();
        for (period, keep_for) in &self.periods {
            let (mut seen, mut count) = (None, 0);
            for (time, chosen) in line.iter().zip(&mut chosen) {
                let number = time.period(*period);
                if seen.replace(number) == Some(number) {
                    continue;
                }
                let keeps = match keep_for {
                    KeepFor::Count(n) => count < *n,
                    KeepFor::Within(span) => *time >= now.minus(*span),
                    KeepFor::Ever => true,
                };
                if keeps {
                    count += 1;
                    chosen.get_or_insert(period.word());
                }
            }
        }
        chosen
    }
}

/// In the words of the command line.
impl fmt::Display for KeepRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        words.extend(self.last.map(|n| format!("last {n}")));
        words.extend(self.within.map(|span| format!("within {}", shown(span))));
        words.extend(self.periods.iter().map(|(period, keep_for)| match keep_for {
            KeepFor::Count(n) => format!("{} {n}", period.word()),
            KeepFor::Within(span) => format!("{} {}", period.word(), shown(*span)),
            KeepFor::Ever => format!("{} all", period.word()),
        }));
        f.write_str(&words.join(", "))
    }
}

/// A span in the largest unit that measures it exactly.
pub(super) fn shown(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [(24 * 3600, "d"), (3600, "h"), (60, "m")];
    let unit = units.iter().find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{seconds}s"), |(unit, letter)| format!("{}{letter}", seconds / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Every six hours for 100 days, the latest first.
    fn line() -> Vec<Timestamp> {
        (0..400).map(|n| at("2025-04-10T18:00:00Z").minus(6 * HOUR * n)).collect()
    }

    fn kept(rules: &KeepRules) -> Vec<String> {
        let (line, now) = (line(), at("2025-04-10T20:00:00Z"));
        let chosen = rules.choose(&line, now);
        assert_eq!(chosen.len(), line.len());
        line.iter().zip(chosen).filter(|(_, why)| why.is_some()).map(|(time, _)| time.to_string()[..13].to_owned()).collect()
    }

    #[test]
    fn the_latest_and_the_young_stay() {
        assert_eq!(kept(&KeepRules { last: Some(2), ..KeepRules::default() }), ["2025-04-10T18", "2025-04-10T12"]);
        assert_eq!(kept(&KeepRules { within: Some(8 * HOUR), ..KeepRules::default() }), ["2025-04-10T18", "2025-04-10T12"]);
        assert_eq!(kept(&KeepRules::default()), [""; 0]);
    }

    #[test]
    fn the_last_of_each_period_stays() {
        let of = |period, keep_for| kept(&KeepRules { periods: vec![(period, keep_for)], ..KeepRules::default() });
        assert_eq!(of(CalendarPeriod::Day, KeepFor::Count(3)), ["2025-04-10T18", "2025-04-09T18", "2025-04-08T18"]);
        assert_eq!(of(CalendarPeriod::Day, KeepFor::Within(30 * HOUR)), ["2025-04-10T18", "2025-04-09T18"]);
        assert_eq!(of(CalendarPeriod::Month, KeepFor::Ever), ["2025-04-10T18", "2025-03-31T18", "2025-02-28T18", "2025-01-31T18"]);
        assert_eq!(of(CalendarPeriod::Week, KeepFor::Count(2)), ["2025-04-10T18", "2025-04-06T18"]);
        assert_eq!(of(CalendarPeriod::Hour, KeepFor::Count(2)), ["2025-04-10T18", "2025-04-10T12"]);
        assert_eq!(of(CalendarPeriod::Year, KeepFor::Ever), ["2025-04-10T18"]);
    }

    #[test]
    fn rules_that_keep_nothing_are_none() {
        let periods = vec![(CalendarPeriod::Day, KeepFor::Count(0)), (CalendarPeriod::Year, KeepFor::Within(Duration::ZERO))];
        let nothing = KeepRules { last: Some(0), within: Some(Duration::ZERO), periods };
        assert!(nothing.is_empty() && KeepRules::default().is_empty());
        assert!(!KeepRules { last: Some(1), ..nothing.clone() }.is_empty());
        assert!(!KeepRules { within: Some(HOUR), ..nothing.clone() }.is_empty());
        assert!(!KeepRules { periods: vec![(CalendarPeriod::Day, KeepFor::Ever)], ..nothing }.is_empty());
    }

    #[test]
    fn rules_add_up_and_are_told_in_words() {
        let rules = KeepRules {
            last: Some(1),
            within: Some(36 * HOUR),
            periods: vec![(CalendarPeriod::Day, KeepFor::Count(2)), (CalendarPeriod::Month, KeepFor::Ever)],
        };
        assert_eq!(rules.to_string(), "last 1, within 36h, daily 2, monthly all");
        let all = kept(&rules);
        for time in ["2025-04-10T18", "2025-04-09T12", "2025-01-31T18"] {
            assert!(all.iter().any(|kept| kept == time), "{time}: {all:?}");
        }
        assert_eq!(shown(48 * HOUR), "2d");
        assert_eq!((shown(Duration::ZERO), shown(Duration::from_secs(90))), ("0s".to_owned(), "90s".to_owned()));
    }

    /// The definition, one version at a time.
    fn is_kept(rules: &KeepRules, line: &[Timestamp], at: usize, now: Timestamp) -> bool {
        let time = line[at];
        let is_old = |span: Duration| time < now.minus(span);
        rules.last.is_some_and(|n| (at as u64) < n)
            || rules.within.is_some_and(|span| !is_old(span))
            || rules.periods.iter().any(|(period, keep_for)| {
                let ends = |at: usize| at == 0 || line[at - 1].period(*period) != line[at].period(*period);
                let later = (0..at).filter(|at| ends(*at)).count() as u64;
                ends(at)
                    && match keep_for {
                        KeepFor::Count(n) => later < *n,
                        KeepFor::Within(span) => !is_old(*span),
                        KeepFor::Ever => true,
                    }
            })
    }

    #[test]
    fn random_rules_choose_what_their_definition_says() {
        let mut state = 7_u64;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..200 {
            let mut time = at("2025-04-10T18:00:00Z");
            let mut line = Vec::new();
            for _ in 0..draw(60) {
                line.push(time);
                time = time.minus(Duration::from_mins(1 + draw(60 * 24 * 9)));
            }
            let periods = [CalendarPeriod::Hour, CalendarPeriod::Day, CalendarPeriod::Week, CalendarPeriod::Month, CalendarPeriod::Year];
            let last = (draw(2) == 0).then(|| draw(5));
            let within = (draw(2) == 0).then(|| HOUR * u32::try_from(draw(24 * 60)).unwrap());
            let mut rules = KeepRules { last, within, periods: Vec::new() };
            for period in periods {
                match draw(5) {
                    0 => rules.periods.push((period, KeepFor::Count(draw(6)))),
                    1 => rules.periods.push((period, KeepFor::Within(HOUR * u32::try_from(draw(24 * 90)).unwrap()))),
                    2 => rules.periods.push((period, KeepFor::Ever)),
                    _ => {}
                }
            }
            let now = at("2025-04-11T00:00:00Z");
            let chosen: Vec<_> = rules.choose(&line, now).iter().map(Option::is_some).collect();
            let expected: Vec<_> = (0..line.len()).map(|at| is_kept(&rules, &line, at, now)).collect();
            assert_eq!(chosen, expected, "{rules}: {line:?}");
        }
    }
}
