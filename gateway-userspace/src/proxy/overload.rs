//! Pure: who gives way when there is no room for more.

/// What becomes of a connection that comes while there are as many as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtLimit {
    /// It gets the place of an idle connection of whoever holds most.
    Replace,
    /// Whoever opened it holds most, or as good as: it is refused.
    Refuse,
}

/// Decides by what the newcomer's side holds already, and by what the largest holder has. Nobody is
/// brought below whom he makes room for, so the one who takes most is the one who is refused.
pub const fn at_limit(newcomer: usize, largest: usize) -> AtLimit {
    if newcomer + 2 <= largest { AtLimit::Replace } else { AtLimit::Refuse }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Connects in this order against a limit; what each holder has in the end, and who was refused.
    fn run(connects: &[usize], limit: usize) -> ([usize; 4], Vec<usize>) {
        let (mut held, mut refused) = ([0; 4], Vec::new());
        for &who in connects {
            let largest = (0..4).max_by_key(|i| held[*i]).unwrap();
            if held.iter().sum::<usize>() < limit {
                held[who] += 1;
            } else if at_limit(held[who], held[largest]) == AtLimit::Replace {
                held[largest] -= 1;
                held[who] += 1;
            } else {
                refused.push(who);
            }
        }
        (held, refused)
    }

    proptest! {
        #[test]
        fn who_asks_for_less_than_an_equal_share_always_gets_it(
            connects in prop::collection::vec(0..4_usize, 0..300),
            limit in 8..64_usize,
        ) {
            let (held, refused) = run(&connects, limit);
            prop_assert!(held.iter().sum::<usize>() <= limit);
            for (who, held) in held.into_iter().enumerate() {
                let asked = connects.iter().filter(|c| **c == who).count();
                if asked < limit / 4 {
                    prop_assert_eq!(held, asked);
                    prop_assert!(!refused.contains(&who));
                }
            }
        }
    }
}
