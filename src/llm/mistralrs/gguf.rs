//! A GGUF file comes in; it leaves unchanged if what it says of itself is possible.
//!
//! mistral.rs believes the lengths in a damaged file and asks for that much memory, which ends the process.
//!
//! # Source
//! The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use super::stage::load_error;
use crate::error::{Error, Result};

/// A key, a name or a vocabulary entry longer than this is damage.
const MAX_TEXT_BYTES: u64 = 16 << 20;
/// Dimensions that a tensor may have.
const MAX_DIMENSIONS: u32 = 8;
/// Arrays in arrays deeper than this are damage.
const MAX_DEPTH: usize = 4;

/// Walks through the header and checks every length against the file's size.
///
/// # Errors
/// - [`Error::Read`] if the file cannot be read; [`Error::ModelLoad`] if it is no GGUF file or damaged.
pub(super) fn check(path: &Path) -> Result<()> {
    let file = File::open(path).map_err(|e| Error::read(path, e))?;
    let bytes = file.metadata().map_err(|e| Error::read(path, e))?.len();
    let mut header = Header { input: BufReader::new(file), left: bytes };
    header
        .walk()
        .map_err(|reason| load_error(path, reason.into(), "the file is no GGUF file, or damaged; download it again"))
}

struct Header {
    input: BufReader<File>,
    /// Bytes of the file that were not read yet.
    left: u64,
}

type Checked<T> = std::result::Result<T, &'static str>;

impl Header {
    fn walk(&mut self) -> Checked<()> {
        if self.take::<4>()? != *b"GGUF" {
            return Err("it does not begin with GGUF");
        }
        if !(2..=3).contains(&self.u32()?) {
            return Err("its version is neither 2 nor 3");
        }
        let (tensors, values) = (self.u64()?, self.u64()?);
        // Each takes at least 12 bytes.
        if tensors.saturating_add(values) > self.left / 12 {
            return Err("it announces more tensors and values than it has room for");
        }
        for _ in 0..values {
            self.skip_text()?;
            let kind = self.u32()?;
            self.skip_value(kind, 0)?;
        }
        for _ in 0..tensors {
            self.skip_text()?;
            let dimensions = self.u32()?;
            if dimensions > MAX_DIMENSIONS {
                return Err("a tensor has too many dimensions");
            }
            let mut elements = 1u64;
            for _ in 0..dimensions {
                elements = elements.checked_mul(self.u64()?).ok_or("a tensor is too large")?;
            }
            let (_kind, offset) = (self.u32()?, self.u64()?);
            // No format takes less than a bit an element.
            if offset > self.left || elements / 8 > self.left {
                return Err("a tensor lies beyond the end of the file: it is cut short");
            }
        }
        Ok(())
    }

    fn skip_value(&mut self, kind: u32, depth: usize) -> Checked<()> {
        match kind {
            0 | 1 | 7 => self.skip(1),
            2 | 3 => self.skip(2),
            4..=6 => self.skip(4),
            10..=12 => self.skip(8),
            8 => self.skip_text(),
            9 if depth < MAX_DEPTH => {
                let (kind, count) = (self.u32()?, self.u64()?);
                if count > self.left {
                    return Err("a list is longer than the file");
                }
                (0..count).try_for_each(|_| self.skip_value(kind, depth + 1))
            }
            _ => Err("a value is of no known kind"),
        }
    }

    fn skip_text(&mut self) -> Checked<()> {
        let length = self.u64()?;
        if length > MAX_TEXT_BYTES.min(self.left) {
            return Err("a text is longer than the file");
        }
        self.skip(length)
    }

    fn skip(&mut self, length: u64) -> Checked<()> {
        let skipped = std::io::copy(&mut self.input.by_ref().take(length), &mut std::io::sink());
        self.left = self.left.saturating_sub(length);
        if skipped.is_ok_and(|skipped| skipped == length) { Ok(()) } else { Err("it is cut short") }
    }

    fn take<const N: usize>(&mut self) -> Checked<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(|_| "it is cut short")?;
        self.left = self.left.saturating_sub(N as u64);
        Ok(bytes)
    }

    fn u32(&mut self) -> Checked<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Checked<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(words: &str) -> Vec<u8> {
        [&(words.len() as u64).to_le_bytes()[..], words.as_bytes()].concat()
    }

    /// A file with one text value, a list of two numbers, and a tensor of eight f32.
    fn whole() -> Vec<u8> {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend(1u64.to_le_bytes().iter().chain(&2u64.to_le_bytes()));
        file.extend([text("general.name"), 8u32.to_le_bytes().to_vec(), text("tiny")].concat());
        file.extend([text("list"), 9u32.to_le_bytes().to_vec(), 4u32.to_le_bytes().to_vec()].concat());
        file.extend([&2u64.to_le_bytes()[..], &[0; 8]].concat());
        file.extend([text("weight"), 1u32.to_le_bytes().to_vec(), 8u64.to_le_bytes().to_vec()].concat());
        file.extend([0u32.to_le_bytes().to_vec(), 0u64.to_le_bytes().to_vec()].concat());
        file.extend([0; 32]);
        file
    }

    #[test]
    fn a_whole_file_passes_and_no_damaged_length_gets_through_to_an_allocation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        std::fs::write(&path, whole()).unwrap();
        check(&path).unwrap();
        for cut in 0..whole().len() - 40 {
            std::fs::write(&path, &whole()[..cut]).unwrap();
            assert!(check(&path).is_err(), "cut at {cut}");
        }
        // The highest byte of each length in turn: of the counts, the first text, the list.
        for at in [15, 23, 31, 55, 67, 87] {
            let mut damaged = whole();
            damaged[at] = 0x7f;
            std::fs::write(&path, damaged).unwrap();
            assert!(check(&path).is_err(), "byte {at}");
        }
    }
}
