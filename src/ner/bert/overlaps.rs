//! Mentions that share units: found ones come in, those that can stand together leave.

use super::labels::Found;

/// Keeps of two mentions that cannot stand together the more probable: those that cross, those of the same units, and, unless `nested`, those
/// that lie one within the other. Returns them in text order, outer ones first.
pub fn resolve(mut found: Vec<Found>, nested: bool) -> Vec<Found> {
    found.sort_by(|a, b| b.probability.total_cmp(&a.probability).then(a.units.start.cmp(&b.units.start)));
    let mut kept: Vec<Found> = Vec::with_capacity(found.len());
    for one in found {
        let clashes = |other: &Found| {
            let (a, b) = (&one.units, &other.units);
            let apart = a.end <= b.start || b.end <= a.start;
            let within = a != b && (a.start <= b.start && b.end <= a.end || b.start <= a.start && a.end <= b.end);
            !(apart || nested && within)
        };
        if !kept.iter().any(clashes) {
            kept.push(one);
        }
    }
    kept.sort_by_key(|one| (one.units.start, std::cmp::Reverse(one.units.end)));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surest_stand_and_nested_ones_where_wanted() {
        let found = |units, probability| Found { units, kind: 0, probability };
        let all = vec![found(0..4, 0.7), found(1..3, 0.9), found(2..5, 0.8), found(1..3, 0.6), found(5..6, 0.5)];
        let units = |nested| resolve(all.clone(), nested).into_iter().map(|one| one.units).collect::<Vec<_>>();
        assert_eq!(units(true), [0..4, 1..3, 5..6]);
        assert_eq!(units(false), [1..3, 5..6]);
    }
}
