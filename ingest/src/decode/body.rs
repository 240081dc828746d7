//! From the bytes of a request to the text of its events: compression, and data whose event came apart from it.

use std::{borrow::Cow, io::Read};

use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value, value::RawValue};
use zstd::stream::read::Decoder as ZstdDecoder;

use super::{Malformed, without_mark};

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Identity,
    Gzip,
    Zstd,
}

/// The window that a decoder of the zstd content coding must offer, and may refuse to exceed (RFC 9659): 8 MiB.
/// Without it, a frame of a few bytes could claim 2 GiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

impl Coding {
    /// Parses the value of a `Content-Encoding`; `None` when it is not one of ours.
    pub fn parse(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Self::Identity),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Decompresses a body, and stops at `bytes_max`: a bomb never takes more memory than an honest body.
    pub fn unpack(self, body: &[u8], bytes_max: usize) -> Result<Cow<'_, [u8]>, Malformed> {
        match self {
            Self::Identity if body.len() > bytes_max => Err(Malformed::TooLarge(bytes_max)),
            Self::Identity => Ok(Cow::Borrowed(body)),
            Self::Gzip => read(MultiGzDecoder::new(body), body.len(), bytes_max).map(Cow::Owned),
            Self::Zstd => {
                let compressed = |error: std::io::Error| Malformed::Compressed(error.to_string());
                let mut decoder = ZstdDecoder::with_buffer(body).map_err(compressed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(compressed)?;
                read(decoder, body.len(), bytes_max).map(Cow::Owned)
            }
        }
    }
}

fn read(decoder: impl Read, packed: usize, bytes_max: usize) -> Result<Vec<u8>, Malformed> {
    let mut text = Vec::with_capacity(packed.saturating_mul(4).min(bytes_max + 1));
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    decoder
        .take(most)
        .read_to_end(&mut text)
        .map_err(|error| Malformed::Compressed(error.to_string()))?;
    if text.len() > bytes_max { Err(Malformed::TooLarge(bytes_max)) } else { Ok(text) }
}

/// One event in JSON, from its members and its data, which came apart: the binary mode of CloudEvents. The data
/// is one JSON value, or nothing.
pub fn enclose(members: &Map<String, Value>, data: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut members = members.clone();
    members.remove("data");
    let mut event = Value::Object(members).to_string();
    if !data.trim_ascii().is_empty() {
        // Data that is more than one value could otherwise speak for the members.
        let data = std::str::from_utf8(data).map_err(|e| Malformed::Encoding(e.valid_up_to()))?;
        let data = without_mark(data);
        let data: &RawValue =
            serde_json::from_str(data).map_err(|error| Malformed::Json(error.to_string()))?;
        event.pop();
        if event.len() > 1 {
            event.push(',');
        }
        event += "\"data\":";
        event += data.get();
        event.push('}');
    }
    Ok(event.into_bytes())
}

/// Levels of an event's JSON, more than any event of ours needs.
pub(super) const DEPTH_MAX: usize = 32;

/// Whether JSON is nested deeper than [`DEPTH_MAX`]. Says no of most texts after counting their brackets.
pub(super) fn is_too_deep(json: &str) -> bool {
    if json.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count() <= DEPTH_MAX {
        return false;
    }
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return true;
                }
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        zstd::encode_all(text, 3).unwrap()
    }

    #[test]
    fn names_of_codings() {
        for (name, coding) in [
            ("gzip", Some(Coding::Gzip)),
            (" GZIP ", Some(Coding::Gzip)),
            ("zstd", Some(Coding::Zstd)),
            ("identity", Some(Coding::Identity)),
            ("", Some(Coding::Identity)),
            ("br", None),
            ("gzip, zstd", None),
        ] {
            assert_eq!(Coding::parse(name), coding, "{name}");
        }
    }

    #[test]
    fn bodies_are_unpacked_up_to_their_limit() {
        let text = b"one line\nand another\n".repeat(50);
        for (coding, packed) in [
            (Coding::Identity, text.clone()),
            (Coding::Gzip, gzip(&text)),
            (Coding::Zstd, zstd(&text)),
            // Members and frames that follow each other are one body.
            (Coding::Gzip, [gzip(&text[..400]), gzip(&text[400..])].concat()),
            (Coding::Zstd, [zstd(&text[..400]), zstd(&text[400..])].concat()),
        ] {
            assert_eq!(*coding.unpack(&packed, text.len()).unwrap(), text, "{coding:?}");
            let less = text.len() - 1;
            assert_eq!(coding.unpack(&packed, less), Err(Malformed::TooLarge(less)), "{coding:?}");
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let zeros = vec![0; 64 << 20];
        for (coding, packed) in [(Coding::Gzip, gzip(&zeros)), (Coding::Zstd, zstd(&zeros))] {
            assert!(packed.len() < 1 << 20, "{coding:?}");
            assert_eq!(coding.unpack(&packed, 1 << 20), Err(Malformed::TooLarge(1 << 20)));
        }
    }

    #[test]
    fn damaged_bodies_are_told_apart_from_large_ones() {
        let text = b"one line\n".repeat(500);
        for (coding, packed) in [(Coding::Gzip, gzip(&text)), (Coding::Zstd, zstd(&text))] {
            for bad in [&packed[..packed.len() - 2], &packed[1..], b"", b"no such thing"] {
                // An empty zstd body holds no frame, and so no event.
                if let Ok(unpacked) = coding.unpack(bad, 10_000) {
                    assert!(unpacked.is_empty() && bad.is_empty(), "{coding:?} {bad:?}");
                }
            }
        }
    }

    #[test]
    fn a_wide_zstd_window_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(27).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(&[7; 1000]).unwrap();
        encoder.flush().unwrap();
        encoder.write_all(&[7; 1000]).unwrap();
        let packed = encoder.finish().unwrap();
        assert!(matches!(Coding::Zstd.unpack(&packed, 10_000), Err(Malformed::Compressed(_))));
    }

    #[test]
    fn data_is_enclosed_and_speaks_for_nothing_else() {
        let Value::Object(members) = json!({"id": "1", "source": "/s \"x\""}) else { return };
        let enclosed = |data: &str| {
            let event = enclose(&members, data.as_bytes())?;
            Ok::<Value, Malformed>(serde_json::from_slice(&event).unwrap())
        };
        let whole = json!({"id": "1", "source": "/s \"x\"", "data": {"model": "m"}});
        assert_eq!(enclosed("{\"model\":\"m\"}").unwrap(), whole);
        assert_eq!(enclosed("\u{feff}{\"model\":\"m\"}").unwrap(), whole);
        assert_eq!(enclosed(" \n").unwrap(), Value::Object(members.clone()));
        for bad in ["{", "1,\"id\":\"2\"", "{} {}", "nul"] {
            assert!(matches!(enclosed(bad), Err(Malformed::Json(_))), "{bad}");
        }
        assert_eq!(enclose(&Map::new(), b"7").unwrap(), b"{\"data\":7}");
        assert_eq!(enclose(&members, b"\"\xff\""), Err(Malformed::Encoding(1)));
    }

    #[test]
    fn depth_is_counted_outside_of_texts() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(!is_too_deep(&nested(DEPTH_MAX)));
        assert!(is_too_deep(&nested(DEPTH_MAX + 1)));
        assert!(is_too_deep(&"{\"a\":".repeat(DEPTH_MAX + 1)));
        assert!(!is_too_deep(&"[],".repeat(1000)), "many, but not deep");
        assert!(!is_too_deep(&format!("[\"{}\"]", "[{".repeat(1000))), "in a text");
        assert!(!is_too_deep(&format!("[\"\\\"{}\"]", "[{".repeat(1000))), "behind an escape");
    }
}
