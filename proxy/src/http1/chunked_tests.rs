use super::{BadChunk, Chunks, Part, push, push_end};

/// Content, trailers, and what was left over.
type Whole = (Vec<u8>, Vec<u8>, Vec<u8>);

/// Reads a body that comes in pieces of that size.
fn read(input: &[u8], piece: usize) -> Result<Whole, BadChunk> {
    let mut chunks = Chunks::default();
    let mut content = Vec::new();
    let mut held: Vec<u8> = Vec::new();
    let mut pieces = input.chunks(piece);
    loop {
        match chunks.next(&held)? {
            Part::Framing(count) => drop(held.drain(..count)),
            Part::Data(count) => content.extend(held.drain(..count)),
            Part::End => {
                held.extend(pieces.flatten());
                return Ok((content, chunks.trailers().to_vec(), held));
            }
            Part::More => match pieces.next() {
                Some(more) => held.extend_from_slice(more),
                None => return Err(BadChunk("it ends early")),
            },
        }
    }
}

#[test]
fn a_body_reads_the_same_however_it_is_cut() {
    let input = b"5\r\nhello\r\n00a ;x=\"y\"\r\n, chunked!\r\n0\r\nX-Sum: 1\r\nContent-Length: 5\r\n\r\nnext";
    for piece in 1..input.len() {
        let (content, trailers, rest) = read(input, piece).expect("a body");
        assert_eq!(content, b"hello, chunked!", "{piece}");
        assert_eq!(trailers, b"X-Sum: 1\r\n", "{piece}");
        assert_eq!(rest, b"next", "{piece}");
    }
}

#[test]
fn what_is_written_is_read_again() {
    let mut out = Vec::new();
    push(&mut out, b"abc");
    push(&mut out, &[b'x'; 300]);
    push_end(&mut out, b"a: b\r\n");
    assert!(out.starts_with(b"3\r\nabc\r\n12c\r\nxxx"));
    let (content, trailers, _) = read(&out, 7).expect("a body");
    assert_eq!(
        (content.len(), trailers.as_slice()),
        (303, &b"a: b\r\n"[..])
    );
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    for bad in [
        "x\r\n",
        "\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\r\nhello\r\n0\r\n\r\n",
        "5\r;x\r\nhello\r\n0\r\n\r\n",
        "0\r\nX-Sum: 1\n\r\n",
        "0\r\nX-Sum: 1\r\n\n",
        "0\r\n\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "5;a\x01\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "1000000000000000\r\n",
        "FFFFFFFFFFFFFFFFF\r\n",
        "0\r\nbad trailer\r\n\r\n",
        "0\r\n: x\r\n\r\n",
        "0\r\n x: folded\r\n\r\n",
    ] {
        for piece in [1, bad.len()] {
            let got = read(bad.as_bytes(), piece);
            assert!(got.is_err(), "{bad:?} in pieces of {piece}: {got:?}");
        }
    }
}

#[test]
fn what_never_ends_is_refused_in_time() {
    let long_extension = format!("5;{}", "x".repeat(2000));
    assert!(read(long_extension.as_bytes(), 100).is_err());
    let long_trailers = format!("0\r\nx: {}", "y".repeat(40_000));
    assert_eq!(
        read(long_trailers.as_bytes(), 100),
        Err(BadChunk("long trailers"))
    );
}

#[test]
fn trailers_that_change_the_message_are_dropped() {
    for name in [
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "Cookie",
        "Authorization",
        "Te",
    ] {
        let input = format!("0\r\n{name}: x\r\nx-stays: 1\r\n\r\n");
        let (_, trailers, _) = read(input.as_bytes(), input.len()).expect("a body");
        assert_eq!(trailers, b"x-stays: 1\r\n", "{name}");
    }
}
