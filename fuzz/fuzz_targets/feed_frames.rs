//! The status feed as it comes over a connection, in pieces of any size.
#![no_main]

use pki::feed::StatusEntry;
use pki::feed::frame::{Frame, FrameDecoder, FrameError, MAX_PAYLOAD};

/// Octets before a frame's payload.
const HEAD: usize = 5;

fn frames(bytes: &[u8], piece: usize) -> (Vec<Frame>, Option<FrameError>) {
    let (mut decoder, mut frames) = (FrameDecoder::default(), Vec::new());
    for piece in bytes.chunks(piece) {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!((decoder.next(), decoder.buffered()), (Err(error), 0), "the stream is lost");
                    return (frames, Some(error));
                }
            }
        }
        assert!(decoder.buffered() < HEAD + MAX_PAYLOAD, "less than one frame is kept");
    }
    (frames, None)
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let (read, error) = frames(bytes, usize::from(*piece) + 1);
    // How the network cuts it says nothing.
    assert_eq!(frames(bytes, bytes.len().max(1)), (read.clone(), error));
    let mut again = Vec::new();
    read.iter().for_each(|frame| frame.encode(&mut again));
    assert!(bytes.starts_with(&again), "frames are written as they were");
    for frame in &read {
        if let Frame::Entry { entry, .. } = frame {
            let _ = StatusEntry::decode(entry);
        }
    }
});
