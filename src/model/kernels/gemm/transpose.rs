//! Squares of 32-bit values, transposed in registers.
#![expect(clippy::inline_always, reason = "it must be compiled for the processor of the loop it stands in")]

/// Side of a square: eight values are one AVX register.
pub(super) const SIDE: usize = 8;

/// The transposed square.
///
/// Three rounds, each of which exchanges the off-diagonal quarters of squares of half the size (Eklundh
/// 1972): every round moves whole halves of rows, which the compiler turns into shuffles.
#[inline(always)]
pub(super) fn transpose<F: Copy>(square: [[F; SIDE]; SIDE]) -> [[F; SIDE]; SIDE] {
    exchange::<F, 1>(exchange::<F, 2>(exchange::<F, 4>(square)))
}

/// Exchanges the quarters at distance `STEP` from the diagonal.
#[inline(always)]
fn exchange<F: Copy, const STEP: usize>(square: [[F; SIDE]; SIDE]) -> [[F; SIDE]; SIDE] {
    let mut out = square;
    for row in 0..SIDE {
        for column in 0..SIDE {
            // A value whose row and column differ in this bit of their numbers changes places.
            if (row & STEP == 0) != (column & STEP == 0) {
                out[row][column] = square[row ^ STEP][column ^ STEP];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns() {
        let square: [[usize; SIDE]; SIDE] =
            std::array::from_fn(|row| std::array::from_fn(|column| row * SIDE + column));
        let transposed = transpose(square);
        for row in 0..SIDE {
            for column in 0..SIDE {
                assert_eq!(transposed[column][row], square[row][column]);
            }
        }
    }
}
