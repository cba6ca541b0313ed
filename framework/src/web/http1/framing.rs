//! The end of each request in the bytes of an HTTP/1 connection (RFC 9112, sections 6 and 7).
//!
//! This is no parser: actix judges each request, and closes the connection if it is malformed. What
//! matters is that a request never ends later here than there, because what follows its end is held
//! back. So everything that is doubtful ends the request, or the connection.

/// Bytes of a header line that are kept: enough for the two headers that frame a body.
const LINE_BYTES: usize = 64;

/// Position in the current request.
#[derive(Debug, Default)]
pub(super) struct Framing {
    part: Part,
    line: Line,
    is_http_1_1: bool,
    content_length: u64,
    is_chunked: bool,
}

#[derive(Debug, Default, PartialEq)]
enum Part {
    #[default]
    RequestLine,
    Headers,
    /// This many bytes of the body are to come.
    Body(u64),
    ChunkSize,
    /// This many bytes of the chunk and of the line end behind it are to come.
    Chunk(u64),
    Trailers,
    /// No request can follow.
    Broken,
}

/// The line that is being read: its first and last bytes.
#[derive(Debug, Default)]
struct Line {
    first: Vec<u8>,
    last: [u8; 8],
    length: usize,
}

impl Line {
    fn push(&mut self, byte: u8) {
        if byte == b'\r' {
            return; // it precedes the line feed, or actix refuses the line
        }
        if self.first.len() < LINE_BYTES {
            self.first.push(byte);
        }
        self.last.rotate_left(1);
        self.last[7] = byte;
        self.length += 1;
    }

    fn clear(&mut self) {
        self.first.clear();
        self.length = 0;
    }

    /// The value of this header, if the line is one.
    fn value(&self, name: &str) -> Option<&str> {
        let (key, value) = std::str::from_utf8(&self.first).ok()?.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    }
}

impl Framing {
    /// Number of `bytes` that belong to the current request, and whether it ends with them. Zero
    /// means that no request can follow.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut taken = 0;
        while taken < bytes.len() && self.part != Part::Broken {
            if let Part::Body(left) | Part::Chunk(left) = &mut self.part {
                let step = (*left).min((bytes.len() - taken) as u64);
                *left -= step;
                taken += step as usize; // at most the length of `bytes`
                if *left > 0 {
                    break;
                }
                if let Part::Body(_) = self.part {
                    *self = Self::default();
                    return (taken, true);
                }
                self.part = Part::ChunkSize;
                continue;
            }
            let byte = bytes[taken];
            taken += 1;
            if byte != b'\n' {
                self.line.push(byte);
            } else if self.line_ended() {
                *self = Self::default();
                return (taken, true);
            }
        }
        (taken, false)
    }

    /// Returns true if the request ends with the line.
    fn line_ended(&mut self) -> bool {
        let is_empty = self.line.length == 0;
        let ends = match self.part {
            // Empty lines before a request are skipped (section 2.2).
            Part::RequestLine if is_empty => false,
            Part::RequestLine => {
                self.is_http_1_1 = &self.line.last == b"HTTP/1.1";
                self.part = Part::Headers;
                false
            }
            Part::Headers if is_empty => self.head_ended(),
            Part::Headers => {
                self.header();
                false
            }
            Part::ChunkSize => {
                self.part = self.chunk();
                false
            }
            Part::Trailers => is_empty,
            Part::Body(_) | Part::Chunk(_) | Part::Broken => false,
        };
        self.line.clear();
        ends
    }

    fn header(&mut self) {
        if let Some(length) = self.line.value("content-length") {
            // actix refuses what is no number.
            self.content_length = length.parse().unwrap_or(0);
        }
        if let Some(coding) = self.line.value("transfer-encoding") {
            // HTTP/1.0 has no chunks, and actix ignores the header there.
            self.is_chunked = self.is_http_1_1 && coding.eq_ignore_ascii_case("chunked");
        }
    }

    fn head_ended(&mut self) -> bool {
        self.part = match (self.is_chunked, self.content_length) {
            (true, _) => Part::ChunkSize,
            (false, 0) => return true,
            (false, length) => Part::Body(length),
        };
        false
    }

    fn chunk(&self) -> Part {
        let line = &self.line.first;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = std::str::from_utf8(&line[..digits]).ok();
        match size.and_then(|size| u64::from_str_radix(size, 16).ok()) {
            Some(0) => Part::Trailers,
            Some(size) if size < u64::MAX - 2 => Part::Chunk(size + 2),
            _ => Part::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The requests in these bytes, however they are cut, and what is left.
    fn split(bytes: &[u8], piece: usize) -> (Vec<String>, String) {
        let (mut framing, mut requests, mut current) = (Framing::default(), vec![], vec![]);
        for mut piece in bytes.chunks(piece) {
            while !piece.is_empty() {
                let (taken, ended) = framing.take(piece);
                if taken == 0 {
                    return (requests, "broken".to_owned());
                }
                current.extend_from_slice(&piece[..taken]);
                piece = &piece[taken..];
                if ended {
                    requests.push(String::from_utf8(std::mem::take(&mut current)).unwrap());
                }
            }
        }
        (requests, String::from_utf8(current).unwrap())
    }

    #[test]
    fn requests_end_where_they_end_however_the_bytes_are_cut() {
        let requests = [
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "\r\n\nGET /a HTTP/1.0\n\n",
            "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-LENGTH:10\r\nx: y\r\n\r\nGET / HTTP",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n\r\n\r\r\n1A;x=y\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\r\n0\r\nx: y\r\n\r\n",
            "GET / HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
        ];
        let all = requests.concat();
        for piece in 1..all.len() {
            assert_eq!(
                split(all.as_bytes(), piece),
                (requests.map(str::to_owned).into(), String::new())
            );
        }
    }

    #[test]
    fn a_body_that_actix_does_not_see_hides_no_request() {
        let chunks = "5\r\nGET /\r\n0\r\n\r\n";
        let head = "GET / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n";
        let (requests, _) = split(format!("{head}{chunks}").as_bytes(), 4096);
        assert_eq!(requests[0], head);
        let head = "GET / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n";
        let (requests, _) = split(format!("{head}{chunks}").as_bytes(), 4096);
        assert_eq!(requests[0], head);
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(100_000));
        assert_eq!(split(long.as_bytes(), 999).0, std::slice::from_ref(&long));
    }

    #[test]
    fn nothing_follows_a_chunk_without_a_size() {
        for size in ["", "x", "-1", "fffffffffffffffff", "ffffffffffffffff"] {
            let head = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
            let (requests, rest) =
                split(format!("{head}{size}\r\nGET / HTTP/1.1\r\n\r\n").as_bytes(), 7);
            assert_eq!((requests, rest.as_str()), (vec![], "broken"), "{size}");
        }
    }
}
