//! Which mentions come together: bundles of mentions that share candidates, so that these are encoded once.

use std::collections::HashMap;

/// Divides the items `0..wants.len()` into bundles of `size`, the last one smaller. `wants` lists what each item needs; each bundle grows
/// by the item that needs the most of what its items need already, of equals the first. Items that need nothing come last.
pub fn bundle(wants: &[Vec<u32>], size: usize) -> Vec<Vec<usize>> {
    let size = size.max(1);
    if size == 1 {
        return (0..wants.len()).map(|item| vec![item]).collect();
    }
    let mut wanted_by: HashMap<u32, Vec<usize>> = HashMap::new();
    for (item, wants) in wants.iter().enumerate() {
        wants.iter().for_each(|&want| wanted_by.entry(want).or_default().push(item));
    }
    let mut free: Vec<bool> = wants.iter().map(|wants| !wants.is_empty()).collect();
    let mut order = Vec::with_capacity(wants.len());
    let mut shared = vec![0usize; wants.len()];
    let mut next_free = 0;
    while let Some(first) = (next_free..wants.len()).find(|&item| free[item]) {
        next_free = first;
        let mut touched: Vec<usize> = Vec::new();
        let mut had: Vec<u32> = Vec::new();
        let mut next = Some(first);
        for _ in 0..size {
            let Some(item) = next else { break };
            free[item] = false;
            order.push(item);
            for want in &wants[item] {
                if !had.contains(want) {
                    had.push(*want);
                    for &other in wanted_by.get(want).into_iter().flatten().filter(|&&other| free[other]) {
                        shared[other] += 1;
                        touched.push(other);
                    }
                }
            }
            let most = touched.iter().copied().filter(|&other| free[other]);
            next = most.max_by_key(|&other| (shared[other], std::cmp::Reverse(other)));
        }
        touched.into_iter().for_each(|other| shared[other] = 0);
    }
    order.extend((0..wants.len()).filter(|&item| wants[item].is_empty()));
    order.chunks(size).map(<[usize]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_that_share_the_most_come_together_and_none_is_lost() {
        let wants = [vec![1, 2, 3], vec![7, 8, 9], vec![], vec![2, 3, 4], vec![8, 9, 1]];
        assert_eq!(bundle(&wants, 2), [vec![0, 3], vec![1, 4], vec![2]]);
        assert_eq!(bundle(&wants, 1).len(), 5);
        assert_eq!(bundle(&wants, 9), [vec![0, 3, 4, 1, 2]]);
        assert!(bundle(&[], 4).is_empty());
    }
}
