//! The lines of a text file as UTF-8, whatever its encoding, with their numbers.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use anyhow::{Context, bail};
use encoding_rs::{Decoder, Encoding, UTF_8};
use flate2::read::MultiGzDecoder;

/// More than any row: a line, or a field in quotes.
pub(super) const LENGTH_MAX: usize = 16 << 20;

/// A byte that no UTF-8 has: it stands for what its encoding does not know.
const UNREADABLE: u8 = 0xff;

pub(super) struct Lines {
    reader: Box<dyn BufRead + Send>,
    line: Vec<u8>,
    number: u64,
}

impl Lines {
    /// A mark at the beginning (BOM) tells more than what is `declared`.
    pub(super) fn open(path: &Path, declared: &'static Encoding) -> anyhow::Result<Self> {
        let mut file = BufReader::with_capacity(1 << 20, unpacked(path)?);
        let (encoding, mark) = Encoding::for_bom(file.fill_buf()?).unwrap_or((declared, 0));
        file.consume(mark);
        let reader: Box<dyn BufRead + Send> = if encoding == UTF_8 {
            Box::new(file)
        } else {
            let decoder = encoding.new_decoder_without_bom_handling();
            let text = Decoded { file, decoder, is_done: false };
            Box::new(BufReader::with_capacity(1 << 20, text))
        };
        Ok(Self { reader, line: Vec::new(), number: 0 })
    }

    /// Reads the next line. At the end there is none.
    pub(super) fn advance(&mut self) -> anyhow::Result<bool> {
        self.line.clear();
        let number = self.number + 1;
        let mut reader = (&mut self.reader).take(LENGTH_MAX as u64 + 1);
        reader.read_until(b'\n', &mut self.line).with_context(|| format!("line {number}"))?;
        if self.line.is_empty() {
            return Ok(false);
        }
        self.number = number;
        if self.line.len() > LENGTH_MAX {
            bail!("line {number} is longer than {} MiB", LENGTH_MAX >> 20);
        }
        Ok(true)
    }

    /// The number of the line that was read last, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The line that was read last, without its end.
    pub(super) fn line(&self) -> &[u8] {
        &self.line[..self.line.len() - self.end().len()]
    }

    /// The characters that end the line.
    pub(super) fn end(&self) -> &'static [u8] {
        match self.line.as_slice() {
            [.., b'\r', b'\n'] => b"\r\n",
            [.., b'\n'] => b"\n",
            _ => b"",
        }
    }
}

type Bytes = Box<dyn Read + Send>;

/// The bytes of a file, unpacked as its name says.
pub(super) fn unpacked(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    Ok(match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Box::new(MultiGzDecoder::new(file)),
        Some("zst") => Box::new(zstd::Decoder::new(file)?),
        _ => Box::new(file),
    })
}

/// A file that is not UTF-8.
struct Decoded {
    file: BufReader<Bytes>,
    decoder: Decoder,
    is_done: bool,
}

impl Read for Decoded {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // One place is kept for what cannot be read.
        let Some(room) = out.len().checked_sub(1) else { return Ok(0) };
        while !self.is_done {
            let source = self.file.fill_buf()?;
            let is_last = source.is_empty();
            let (result, read, mut written) =
                self.decoder.decode_to_utf8_without_replacement(source, &mut out[..room], is_last);
            self.file.consume(read);
            match result {
                encoding_rs::DecoderResult::InputEmpty => self.is_done = is_last,
                encoding_rs::DecoderResult::OutputFull => {}
                encoding_rs::DecoderResult::Malformed(..) => {
                    out[written] = UNREADABLE;
                    written += 1;
                }
            }
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }
}
