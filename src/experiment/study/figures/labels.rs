//! Where names of points go in a crowd: points and texts come in, places leave that hide no other name.

use super::text_width;

/// Height of the letters.
pub(super) const SIZE: f64 = 14.0;
/// Half the height of a line.
const HALF: i32 = 9;

/// A point with a name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Named {
    /// Where the point is.
    pub at: (i32, i32),
    /// Half its width.
    pub radius: i32,
    /// Its name.
    pub name: String,
}

/// Left, top, right, bottom.
type Area = [i32; 4];

/// Returns where each name begins (left end, middle of the line), or `None` where it would hide another, or any point,
/// or leave `within`, or where so many `names` are placed already.
///
/// Names are tried in order, each right of its point, then left, above and below.
pub(super) fn place(points: &[Named], names: usize, within: Area) -> Vec<Option<(i32, i32)>> {
    let mut taken: Vec<Area> = Vec::new();
    let mut places = Vec::with_capacity(points.len());
    for (number, point) in points.iter().enumerate() {
        let width = text_width(&point.name, SIZE);
        let free = |&(x, y): &(i32, i32)| {
            let area = [x, y - HALF, x + width, y + HALF];
            let hides = |other: &Named| overlap(area, circle(other));
            is_within(area, within)
                && !taken.iter().any(|&other| overlap(area, other))
                && !points.iter().enumerate().any(|(other, named)| other != number && hides(named))
        };
        let place = if taken.len() < names { around(point, width).into_iter().find(free) } else { None };
        taken.extend(place.map(|(x, y)| [x, y - HALF, x + width, y + HALF]));
        places.push(place);
    }
    places
}

fn around(point: &Named, width: i32) -> [(i32, i32); 4] {
    let ((x, y), away) = (point.at, point.radius + 4);
    [(x + away, y), (x - away - width, y), (x - width / 2, y - away - HALF), (x - width / 2, y + away + HALF)]
}

fn circle(point: &Named) -> Area {
    let ((x, y), radius) = (point.at, point.radius);
    [x - radius, y - radius, x + radius, y + radius]
}

fn overlap(a: Area, b: Area) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

fn is_within(inner: Area, outer: Area) -> bool {
    inner[0] >= outer[0] && inner[1] >= outer[1] && inner[2] <= outer[2] && inner[3] <= outer[3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_clear_of_each_other_and_of_the_edge() {
        let named = |x, y| Named { at: (x, y), radius: 5, name: "I25.2".into() };
        // Five letters are 44 wide. The second point stands where the first one's name would go, so that goes left; the
        // third is at the right edge; the fourth is on top of the third, which hides every place around it.
        let places = place(&[named(100, 50), named(120, 50), named(395, 50), named(395, 52)], 4, [0, 0, 400, 100]);
        assert_eq!(places, [Some((47, 50)), Some((129, 50)), Some((342, 50)), None]);
        assert_eq!(place(&[named(100, 50), named(200, 50)], 1, [0, 0, 400, 100]), [Some((109, 50)), None]);
        assert_eq!(place(&[named(5, 50)], 1, [0, 45, 10, 55]), [None]);
    }
}
