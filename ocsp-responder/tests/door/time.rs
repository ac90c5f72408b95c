//! What a client may take its time for, and what it is told at the end of it.

use std::time::Duration;

use ocsp_responder::door::DoorLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::street::{BIG, LIMITS, Street, settle};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn silence_ends_a_connection_before_a_request_and_between_two() {
    let street = Street::open(LIMITS);
    for asks in [false, true] {
        let mut client = street.come("192.0.2.1").await;
        assert!(!asks || client.is_answered().await);
        let begin = Instant::now();
        assert_eq!(client.hear_all().await, "");
        let took = begin.elapsed();
        assert!((LIMITS.request - SECOND..LIMITS.request + SECOND).contains(&took), "{took:?}");
    }
    assert_eq!(street.counts.too_slow.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_in_drops_has_a_time_for_all_of_it() {
    for request in
        ["GET / HTTP/1.1\r\nx: 0123456789012345", "POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n01234"]
    {
        let street = Street::open(LIMITS);
        let mut client = street.come("192.0.2.1").await;
        // Each drop comes long before a silence would be too long.
        tokio::time::sleep(8 * SECOND).await;
        let begin = Instant::now();
        let (first, drops) = request.split_at(request.len() - 15);
        assert!(client.say(first).await);
        let mut drops = drops.chars();
        while let Some(drop) = drops.next().filter(|_| street.counts.too_slow.get() == 0) {
            client.say(&drop.to_string()).await;
            tokio::time::sleep(SECOND).await;
        }
        assert!(begin.elapsed() < LIMITS.request + 3 * SECOND, "{request}");
        assert!(client.hear_all().await.starts_with("HTTP/1.1 408 "), "{request}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_its_answer_unread_is_let_go_and_a_slow_reader_is_not() {
    let street = Street::open(LIMITS);
    let mut lost = street.come("192.0.2.1").await;
    let mut slow = street.come("192.0.2.2").await;
    assert!(lost.ask("/big").await && slow.ask("/big").await);
    // The slow one takes a little, well within the time, and so for longer than the other has in all.
    let mut read = 0;
    let mut some = [0; 8 * 1024];
    while read < BIG {
        tokio::time::sleep(10 * SECOND).await;
        let took = slow.0.read(&mut some).await.unwrap();
        assert!(took > 0, "after {read} octets");
        read += took;
    }
    assert_eq!(street.counts.unread.get(), 1);
    assert!(lost.hear_all().await.len() < BIG);
    assert!(slow.hear().await.len() < 1024 && slow.is_answered().await, "its connection goes on");
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_nothing_gives_up_its_place_before_it_is_let_go() {
    let street = Street::open(DoorLimits { connections: 1, ..LIMITS });
    let mut lost = street.come("192.0.2.1").await;
    assert!(lost.ask("/big").await);
    assert!(street.come("192.0.2.2").await.is_answered().await);
    assert_eq!((street.made_room(), street.counts.unread.get()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_made_slowly_are_waited_for() {
    let street = Street::open(LIMITS);
    let mut client = street.come("192.0.2.1").await;
    assert!(client.ask("/gate").await);
    tokio::time::sleep(100 * LIMITS.unread).await;
    street.behind.gate.notify_waiters();
    assert!(client.hear().await.ends_with("through the gate"));
    assert!(client.is_answered().await);
}

#[tokio::test(start_paused = true)]
async fn a_first_line_without_end_is_refused_as_too_long_and_the_client_reads_it() {
    // conformance: H4
    let street = Street::open(LIMITS);
    for (begin, more, status) in [
        ("GET /", "M", "414 "),
        ("GET / HTTP/1.1\r\nx: ", "x", "431 "),
        ("GET / HTTP/1.1\r\n", "x: y\r\n", "431 "),
        ("\u{0}\r\n", "\u{1}", "400 "),
    ] {
        let client = street.come("192.0.2.1").await;
        let (mut reading, mut writing) = tokio::io::split(client.0);
        // Twenty times what may be sent, whether anybody listens or not.
        let flood = format!("{begin}{}", more.repeat(20 * LIMITS.header_bytes / more.len()));
        let flood = async {
            let _ = writing.write_all(flood.as_bytes()).await;
            let _ = writing.shutdown().await;
        };
        let mut heard = String::new();
        let heard = async {
            let _ = reading.read_to_string(&mut heard).await;
            heard
        };
        let ((), heard) = tokio::join!(flood, heard);
        assert!(heard.starts_with(&format!("HTTP/1.1 {status}")), "{begin:?}: {heard:?}");
    }
    settle().await;
    assert_eq!(street.counts.open.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_read_by_a_client_that_goes_on_sending() {
    // conformance: H5
    let street = Street::open(LIMITS);
    let mut client = street.come("192.0.2.1").await;
    assert!(client.say("POST /refused HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n").await);
    for _ in 0..10 {
        assert!(client.say(&"x".repeat(10_000)).await, "it is listened to");
    }
    assert!(client.hear_all().await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test(start_paused = true)]
async fn at_a_stop_what_is_in_flight_is_finished_and_who_waits_goes_at_once() {
    let street = Street::open(LIMITS);
    let mut silent = street.come("192.0.2.1").await;
    let mut kept = street.come("192.0.2.2").await;
    assert!(kept.is_answered().await);
    let mut busy = street.come("192.0.2.3").await;
    assert!(busy.ask("/gate").await);
    street.stop().await;
    assert!(silent.is_closed().await && kept.is_closed().await);
    assert!(!busy.is_closed().await);
    street.behind.gate.notify_waiters();
    let begin = Instant::now();
    assert!(busy.hear_all().await.ends_with("through the gate"));
    drop(busy);
    street.closed().await;
    assert!(begin.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_stop_takes_no_longer_than_it_may() {
    let street = Street::open(LIMITS);
    let mut busy = street.come("192.0.2.1").await;
    assert!(busy.ask("/gate").await);
    let begin = Instant::now();
    street.stop().await;
    let counts = std::sync::Arc::clone(&street.counts);
    street.closed().await;
    assert!((LIMITS.shutdown..LIMITS.shutdown + SECOND).contains(&begin.elapsed()));
    assert!(busy.is_closed().await && counts.open.get() == 0);
}
