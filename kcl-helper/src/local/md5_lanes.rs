//! MD5 of several messages at a time.
//!
//! One message's 64 steps wait for each other; those of several do not, and vector registers do eight
//! of them at once. `compress` is written so that the compiler sees it: one loop over the lanes of
//! a register, without a branch, around all steps. Two registers' lanes stand side by side in its
//! body, so that one works while the other waits. RFC 1321 is the source of all numbers.

/// How many messages are hashed together.
const LANES: usize = REGISTERS * WIDTH;
const REGISTERS: usize = 2;
const WIDTH: usize = 8;

const BLOCK: usize = 64;

/// One word of each message.
type Words = [[u32; WIDTH]; REGISTERS];
/// The same lane of each register.
type Side = [u32; REGISTERS];

const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The whole part of 2^32 * |sin(n)|, n from 1.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

/// The hash of each message, as a number whose first byte is the highest, as Kinesis compares them.
pub(crate) fn hash(messages: &[&[u8]]) -> Vec<u128> {
    let mut hashes = vec![0; messages.len()];
    // Side by side stand messages that end together, or nearly so.
    let mut order: Vec<usize> = (0..messages.len()).collect();
    order.sort_unstable_by_key(|index| blocks(messages[*index]));
    for group in order.chunks(LANES) {
        // Free lanes hash the last message again.
        let lanes = std::array::from_fn(|lane| messages[group[lane.min(group.len() - 1)]]);
        for (index, hash) in group.iter().zip(hash_lanes(&lanes)) {
            hashes[*index] = hash;
        }
    }
    hashes
}

/// How many blocks a message has, with its padding.
fn blocks(message: &[u8]) -> usize {
    // A byte that ends the message and eight for its length.
    (message.len() + 8) / BLOCK + 1
}

fn hash_lanes(messages: &[&[u8]; LANES]) -> [u128; LANES] {
    let ends = messages.map(blocks);
    let mut hashes = [0; LANES];
    let mut state = START.map(|word| [[word; WIDTH]; REGISTERS]);
    for block in 1..=ends.into_iter().max().unwrap_or(0) {
        let blocks = messages.map(|message| words_of(message, block - 1));
        compress(&mut state, &blocks);
        for (lane, hash) in hashes.iter_mut().enumerate().filter(|(lane, _)| ends[*lane] == block) {
            let word = |word: &Words| u128::from(word[lane / WIDTH][lane % WIDTH].swap_bytes());
            *hash = state.iter().fold(0, |hash, next| hash << 32 | word(next));
        }
    }
    hashes
}

/// This block of the message, with its padding.
fn words_of(message: &[u8], block: usize) -> [u32; 16] {
    let start = BLOCK * block;
    let rest = message.get(start..).unwrap_or_default();
    if let Some(whole) = rest.first_chunk() {
        return words(whole);
    }
    let mut padded = [0; BLOCK];
    padded[..rest.len()].copy_from_slice(rest);
    if start <= message.len() {
        padded[rest.len()] = 0x80;
    }
    if block + 1 == blocks(message) {
        padded[BLOCK - 8..].copy_from_slice(&(message.len() as u64 * 8).to_le_bytes());
    }
    words(&padded)
}

fn words(block: &[u8; BLOCK]) -> [u32; 16] {
    let mut words = [0; 16];
    for (word, four) in words.iter_mut().zip(block.as_chunks().0) {
        *word = u32::from_le_bytes(*four);
    }
    words
}

// For the widest registers that this processor has. Not a part of its caller, in whose midst the
// compiler might not see the loop for what it is.
#[multiversion::multiversion(targets("x86_64+avx2+avx512f+avx512vl", "x86_64+avx2"))]
#[inline(never)]
fn compress(state: &mut [Words; 4], blocks: &[[u32; 16]; LANES]) {
    for lane in 0..WIDTH {
        let word = |n: usize| [blocks[lane][n], blocks[lane + WIDTH][n]];
        let side = |words: &Words| [words[0][lane], words[1][lane]];
        let [mut a, mut b, mut c, mut d] = [0, 1, 2, 3].map(|word| side(&state[word]));
        // A macro, as in a loop over the steps the compiler would take that one for the vectors'.
        macro_rules! steps {
            ($mix:expr, $which:expr, [$($n:literal)*], $r1:literal $r2:literal $r3:literal $r4:literal) => {
                $(
                    a = step($mix, a, b, c, d, word($which($n) % 16), SINES[$n], $r1);
                    d = step($mix, d, a, b, c, word($which($n + 1) % 16), SINES[$n + 1], $r2);
                    c = step($mix, c, d, a, b, word($which($n + 2) % 16), SINES[$n + 2], $r3);
                    b = step($mix, b, c, d, a, word($which($n + 3) % 16), SINES[$n + 3], $r4);
                )*
            };
        }
        steps!(|x, y, z| z ^ (x & (y ^ z)), |n: usize| n, [0 4 8 12], 7 12 17 22);
        steps!(|x, y, z| y ^ (z & (x ^ y)), |n: usize| 5 * n + 1, [16 20 24 28], 5 9 14 20);
        steps!(|x, y, z| x ^ y ^ z, |n: usize| 3 * n + 5, [32 36 40 44], 4 11 16 23);
        steps!(|x, y, z| y ^ (x | !z), |n: usize| 7 * n, [48 52 56 60], 6 10 15 21);
        for (sum, side) in state.iter_mut().zip([a, b, c, d]) {
            sum[0][lane] = sum[0][lane].wrapping_add(side[0]);
            sum[1][lane] = sum[1][lane].wrapping_add(side[1]);
        }
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "what RFC 1321 calls [abcd k s i]")]
fn step(
    mix: impl Fn(u32, u32, u32) -> u32,
    a: Side,
    b: Side,
    c: Side,
    d: Side,
    word: Side,
    sine: u32,
    rotate: u32,
) -> Side {
    let one = |n: usize| {
        let sum = a[n].wrapping_add(mix(b[n], c[n], d[n]));
        sum.wrapping_add(word[n]).wrapping_add(sine).rotate_left(rotate).wrapping_add(b[n])
    };
    [one(0), one(1)]
}

#[cfg(test)]
mod tests {
    use md5::{Digest, Md5};
    use proptest::prelude::*;

    use super::*;

    fn oracle(message: &[u8]) -> u128 {
        u128::from_be_bytes(Md5::digest(message).into())
    }

    #[test]
    fn every_length_gives_what_the_library_gives() {
        let bytes: Vec<u8> = (0..1200u32).map(|n| ((n * n) >> 3) as u8).collect();
        for length in 0..=1100 {
            let messages: Vec<&[u8]> = (0..LANES).map(|lane| &bytes[lane..lane + length]).collect();
            let expected: Vec<_> = messages.iter().map(|message| oracle(message)).collect();
            assert_eq!(hash(&messages), expected, "{length}");
        }
    }

    proptest! {
        /// However many messages there are, and of whatever lengths.
        #[test]
        fn lanes_do_not_mix(
            bytes in prop::collection::vec(any::<u8>(), 500),
            lengths in prop::collection::vec(prop_oneof![0..500usize, 50..60usize], 0..100),
        ) {
            let messages: Vec<_> = lengths.iter().map(|length| &bytes[500 - length..]).collect();
            let expected: Vec<_> = messages.iter().map(|message| oracle(message)).collect();
            prop_assert_eq!(hash(&messages), expected);
        }
    }
}
