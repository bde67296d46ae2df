//! The documents of a page: values come in, blocks leave that a browser unpacks when they are looked at.
//!
//! A block is JSON, compressed (gzip) and written in base64 within a `<script>` that is not run. The page stays small to open however many
//! documents it holds, and nothing in a text can be taken for HTML.

use std::io::{self, Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use serde::Serialize;

/// Documents of a block.
pub(super) const CHUNK: usize = 200;

/// Writes blocks of one kind.
pub(super) struct Chunks<'a, W: Write> {
    page: &'a mut W,
    /// What the names of the blocks begin with.
    prefix: String,
    /// The block on its way: a JSON array without its end.
    block: Vec<u8>,
    items: usize,
    blocks: usize,
}

impl<'a, W: Write> Chunks<'a, W> {
    pub fn new(page: &'a mut W, prefix: String) -> Self {
        Self { page, prefix, block: Vec::new(), items: 0, blocks: 0 }
    }

    /// Adds the next item.
    pub fn push(&mut self, item: &impl Serialize) -> io::Result<()> {
        self.block.push(if self.items == 0 { b'[' } else { b',' });
        serde_json::to_writer(&mut self.block, item)?;
        self.items += 1;
        if self.items == CHUNK { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        self.block.push(b']');
        block(self.page, &format!("{}{}", self.prefix, self.blocks), &self.block)?;
        self.block.clear();
        (self.items, self.blocks) = (0, self.blocks + 1);
        Ok(())
    }

    /// Writes what is left.
    pub fn finish(mut self) -> io::Result<()> {
        if self.items > 0 { self.write() } else { Ok(()) }
    }
}

/// Writes one block under a name.
pub(super) fn block(page: &mut impl Write, name: &str, json: &[u8]) -> io::Result<()> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(json)?;
    writeln!(page, "<script type=\"text/plain\" id=\"{name}\">{}</script>", STANDARD.encode(packed.finish()?))
}
