//! Blocks of fields, to read (RFC 7541 §6).

use super::huffman;
use super::table::Table;

/// A block that is none. What follows on the connection cannot be understood any more (RFC 9113
/// §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a block of fields that cannot be decoded")]
pub struct Broken;

/// The largest number that is read: lengths are those of blocks, which are smaller.
const NUMBER_MAX: usize = 1 << 24;

/// Reads the blocks of one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// At the beginning of a connection.
    #[must_use]
    pub fn new() -> Self {
        Self {
            table: Table::new(),
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Reads a whole block and hands over its fields in their order, name and value.
    ///
    /// # Errors
    /// If it is broken. What was handed over is worth nothing then.
    pub fn decode(
        &mut self,
        mut block: &[u8],
        mut field: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Broken> {
        let mut begun = false;
        while let Some(first) = block.first().copied() {
            match first {
                0x80.. => {
                    let index = number(&mut block, 7)?;
                    let (name, value) = self.table.get(index).ok_or(Broken)?;
                    field(name, value);
                }
                0x40.. => {
                    let index = number(&mut block, 6)?;
                    self.literal(index, true, &mut block, &mut field)?;
                }
                0x20.. => {
                    // §4.2: at the beginning of a block only.
                    if begun || !self.table.resize(number(&mut block, 5)?) {
                        return Err(Broken);
                    }
                    continue;
                }
                _ => {
                    let index = number(&mut block, 4)?;
                    self.literal(index, false, &mut block, &mut field)?;
                }
            }
            begun = true;
        }
        // They are as large as the largest value. Few connections need that again.
        for scratch in [&mut self.name, &mut self.value] {
            if scratch.capacity() > 1024 {
                *scratch = Vec::new();
            }
        }
        Ok(())
    }

    fn literal(
        &mut self,
        index: usize,
        keep: bool,
        block: &mut &[u8],
        field: &mut impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Broken> {
        if index > 0 {
            let value = string(block, &mut self.value)?;
            let (name, _) = self.table.get(index).ok_or(Broken)?;
            field(name, value);
            if keep {
                self.table.add_named(index, value).ok_or(Broken)?;
            }
        } else {
            let name = string(block, &mut self.name)?;
            let value = string(block, &mut self.value)?;
            field(name, value);
            if keep {
                self.table.add(name, value);
            }
        }
        Ok(())
    }
}

/// §5.1, with a prefix of so many bits.
fn number(block: &mut &[u8], prefix: u32) -> Result<usize, Broken> {
    let max = (1 << prefix) - 1;
    let first = usize::from(next(block)?) & max;
    if first < max {
        return Ok(first);
    }
    let (mut number, mut shift) = (max, 0);
    loop {
        let byte = usize::from(next(block)?);
        number += (byte & 0x7F) << shift;
        if number > NUMBER_MAX {
            return Err(Broken);
        }
        if byte & 0x80 == 0 {
            return Ok(number);
        }
        shift += 7;
        // Zeros, or it would be too large already.
        if shift > 28 {
            return Err(Broken);
        }
    }
}

/// §5.2. `scratch` is for what has to be decoded.
fn string<'s, 'b: 's>(block: &mut &'b [u8], scratch: &'s mut Vec<u8>) -> Result<&'s [u8], Broken> {
    let encoded = block.first().ok_or(Broken)? & 0x80 != 0;
    let length = number(block, 7)?;
    let (bytes, rest) = block.split_at_checked(length).ok_or(Broken)?;
    *block = rest;
    if !encoded {
        return Ok(bytes);
    }
    scratch.clear();
    huffman::decode(bytes, scratch).map_err(|()| Broken)?;
    Ok(scratch)
}

fn next(block: &mut &[u8]) -> Result<u8, Broken> {
    let (first, rest) = block.split_first().ok_or(Broken)?;
    *block = rest;
    Ok(*first)
}
