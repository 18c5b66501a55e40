//! What files hold: text that compresses like source code, and bytes that do so like programs.

use crate::random::Random;

/// Bytes that are made once; files are pieces of them.
const POOL: usize = 4 << 20;

/// Words of the language that all text is written in.
const WORDS: usize = 800;

/// What a file looks like to a compressor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Binary,
}

/// Where the content of all files is taken from.
pub(super) struct Pools {
    text: Vec<u8>,
    binary: Vec<u8>,
}

impl Pools {
    pub(super) fn new(random: &mut Random) -> Pools {
        Pools {
            text: text(random),
            binary: binary(random),
        }
    }

    /// Puts `size` bytes into `content`, instead of what is there.
    pub(super) fn fill(&self, random: &mut Random, kind: Kind, size: usize, content: &mut Vec<u8>) {
        let pool = match kind {
            Kind::Text => &self.text,
            Kind::Binary => &self.binary,
        };
        content.clear();
        while content.len() < size {
            // Long enough for a compressor to find what it would find in a real file.
            let piece = (8 << 10) + below(random, 56 << 10);
            let start = below(random, pool.len());
            let piece = pool
                .iter()
                .skip(start)
                .take(piece.min(size - content.len()));
            content.extend(piece);
        }
    }
}

/// A number from 0 up to, and without, `end`.
pub(super) fn below(random: &mut Random, end: usize) -> usize {
    (random.fraction() * end as f64) as usize
}

/// Lines of words, the first ones of the language more often than the others.
fn text(random: &mut Random) -> Vec<u8> {
    let words: Vec<String> = (0..WORDS).map(|_| word(random)).collect();
    let mut text = Vec::with_capacity(POOL + 100);
    while text.len() < POOL {
        let indent = below(random, 4) * 4;
        text.extend(std::iter::repeat_n(b' ', indent));
        for _ in 0..2 + below(random, 8) {
            let chosen = (random.fraction().powi(7) * WORDS as f64) as usize;
            text.extend(words.get(chosen).map_or(&b""[..], |word| word.as_bytes()));
            let behind = [" ", " ", " ", ".", "(", ", ", " = ", ": "];
            text.extend(random.choose(&behind).map_or(&b""[..], |s| s.as_bytes()));
        }
        text.push(b'\n');
    }
    text.truncate(POOL);
    text
}

/// A word of a few syllables, which no other need be equal to.
pub(super) fn word(random: &mut Random) -> String {
    const SYLLABLES: [&str; 24] = [
        "ar", "be", "con", "de", "er", "fil", "get", "ho", "in", "ject", "key", "lo", "map",
        "node", "op", "par", "qu", "re", "set", "ta", "ur", "val", "wi", "type",
    ];
    let syllables = 1 + below(random, 4);
    let chosen = (0..syllables).filter_map(|_| random.choose(&SYLLABLES).copied());
    chosen.collect()
}

/// Short sequences that come again, as instructions do, between bytes that do not.
fn binary(random: &mut Random) -> Vec<u8> {
    let sequences: Vec<[u8; 8]> = (0..256).map(|_| random.next().to_le_bytes()).collect();
    let mut bytes = Vec::with_capacity(POOL + 16);
    while bytes.len() < POOL {
        let chosen = (random.fraction().powi(4) * sequences.len() as f64) as usize;
        if let Some(sequence) = sequences.get(chosen) {
            bytes.extend(&sequence[..5 + below(random, 4)]);
        }
        let loose = below(random, 2);
        bytes.extend(random.next().to_le_bytes().iter().take(loose));
    }
    bytes.truncate(POOL);
    bytes
}
