//! Measures of an order: probabilities come in, precision among the likeliest leaves. Equal probabilities have no
//! order.

use super::Judged;

/// Returns the share of right ones among the `k` likeliest classes of a record, in `0..=1`.
///
/// Where equally likely classes stand on both sides of the cut, each is within it by the same chance, so the share is
/// what is expected. Classes beyond the last count as wrong: with 2 classes the greatest share among 5 is 2 / 5.
pub(super) fn precision_at(record: &Judged, k: usize) -> f64 {
    let mut sorted = record.probabilities.clone();
    let cut = match sorted.len() {
        0 => return 0.0,
        classes => *sorted.select_nth_unstable_by(k.min(classes) - 1, |a, b| b.total_cmp(a)).1,
    };
    let above = record.probabilities.iter().filter(|one| one.total_cmp(&cut).is_gt()).count();
    let level = record.probabilities.iter().filter(|one| one.total_cmp(&cut).is_eq()).count();
    let right = record.gold.iter().filter_map(|&class| record.probabilities.get(class as usize));
    let (right_above, right_level) = right.fold((0, 0), |(above, level), one| {
        let order = one.total_cmp(&cut);
        (above + usize::from(order.is_gt()), level + usize::from(order.is_eq()))
    });
    let places = (k - above).min(level) as f64;
    (right_above as f64 + right_level as f64 * places / level as f64) / k as f64
}

/// The records of one class in order of its probability, down to the last for which the class is right.
#[derive(Debug)]
pub(super) struct Ranked {
    /// A record's number times 2, plus 1 if the class is right for it.
    places: Vec<u32>,
    /// Where each step ends: after all records of a probability that some record has for which the class is right.
    ends: Vec<u32>,
}

impl Ranked {
    /// Ranks records by `probabilities` (one a record); `right` are those for which the class is right, ascending.
    pub(super) fn new(probabilities: &[f32], right: &[u32]) -> Self {
        let is_right = |record: u32| right.binary_search(&record).is_ok();
        let mut order: Vec<u32> = (0..probabilities.len() as u32).collect();
        let value = |record: u32| probabilities[record as usize];
        order.sort_unstable_by(|&a, &b| value(b).total_cmp(&value(a)).then(a.cmp(&b)));
        let (mut places, mut ends) = (Vec::new(), Vec::new());
        for equal in order.chunk_by(|&a, &b| value(a).total_cmp(&value(b)).is_eq()) {
            places.extend(equal.iter().map(|&record| record * 2 + u32::from(is_right(record))));
            if equal.iter().any(|&record| is_right(record)) {
                ends.push(places.len() as u32);
            }
        }
        places.truncate(ends.last().map_or(0, |&end| end as usize));
        Self { places, ends }
    }

    /// Returns the average precision where each record occurs so many `times`; `None` where the class is right for
    /// none.
    pub(super) fn average_precision(&self, times: &[u32]) -> Option<f64> {
        let (mut start, mut seen, mut right, mut sum) = (0, 0, 0, 0.0);
        for &end in &self.ends {
            let before = right;
            for &place in &self.places[start..end as usize] {
                let occurs = times[(place / 2) as usize];
                seen += occurs;
                right += occurs * (place % 2);
            }
            start = end as usize;
            if right > before {
                sum += f64::from(right - before) * f64::from(right) / f64::from(seen);
            }
        }
        (right > 0).then(|| sum / f64::from(right))
    }
}
