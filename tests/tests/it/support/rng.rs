//! Reproducible random numbers: SplitMix64 (Steele, Lea and Flood, 2014), seeded by the test or by `MODEL_SEED`.

/// Another seed for every test: a number, or `random`.
const SEED: &str = "MODEL_SEED";
/// How many operations a model test does, in place of its own number.
const OPERATIONS: &str = "MODEL_OPERATIONS";

/// A source of numbers that is the same for the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 on, below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n).unwrap()).unwrap()
    }

    /// True so many times of a hundred.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Puts items into a random order (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }

    pub(crate) fn octets(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// The seed of a test: its own, so that a run is like the last one, unless the environment says otherwise.
pub(crate) fn seed(own: u64) -> u64 {
    match std::env::var(SEED).as_deref() {
        Err(_) => own,
        Ok("random") => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            own ^ u64::from(now.subsec_nanos()) ^ (now.as_secs() << 30)
        }
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{SEED} is a number or `random`, not {text}")),
    }
}

/// How many operations, unless the environment says otherwise.
pub(crate) fn operations(own: usize) -> usize {
    std::env::var(OPERATIONS).map_or(own, |text| text.parse().unwrap())
}
