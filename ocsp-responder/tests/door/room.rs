//! Who goes when there is no room.

use std::sync::atomic::Ordering;

use ocsp_responder::door::DoorLimits;
use tokio::io::AsyncWriteExt;

use crate::street::{LIMITS, Street, settle};

#[tokio::test(start_paused = true)]
async fn who_waited_longest_without_a_request_makes_room() {
    // conformance: O26
    let street = Street::open(LIMITS);
    let mut silent = street.come("192.0.2.1").await;
    let mut begun = street.come("192.0.2.2").await;
    assert!(begun.say("GET / HT").await);
    let mut kept = street.come("192.0.2.3").await;
    assert!(kept.is_answered().await);
    assert_eq!(street.counts.open.get(), 3);

    assert!(street.come("192.0.2.4").await.is_answered().await);
    assert!(silent.is_closed().await, "it came first and said nothing");
    assert!(!begun.is_closed().await && !kept.is_closed().await);
    // That one has gone by itself.
    settle().await;
    let mut fifth = street.come("192.0.2.5").await;
    assert_eq!(street.made_room(), 1);
    assert!(street.come("192.0.2.6").await.is_answered().await);
    assert!(begun.is_closed().await, "half a request is none");
    assert!(kept.is_answered().await && fifth.is_answered().await);
    assert_eq!((street.made_room(), street.counts.turned_away.get()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_being_answered_never_ends_for_another() {
    // conformance: O26
    let street = Street::open(LIMITS);
    let mut answered = Vec::new();
    for host in 1..=3 {
        let mut client = street.come(&format!("192.0.2.{host}")).await;
        assert!(client.ask("/gate").await);
        answered.push(client);
    }
    assert_eq!(street.behind.at_gate.load(Ordering::SeqCst), 3);
    for _ in 0..10 {
        assert!(street.come("192.0.2.9").await.is_closed().await, "all places are needed");
    }
    assert_eq!((street.made_room(), street.counts.turned_away.get()), (0, 10));
    street.behind.gate.notify_waiters();
    for client in &mut answered {
        assert!(client.hear().await.ends_with("through the gate"));
    }
    assert!(street.come("192.0.2.9").await.is_answered().await, "one of the three gives up its place");
    assert_eq!(street.made_room(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_on_its_way_keeps_no_place_and_one_that_is_there_does() {
    let street = Street::open(DoorLimits { connections: 2, ..LIMITS });
    let post = "POST /body HTTP/1.1\r\nhost: door\r\ncontent-length: 5\r\n\r\n";
    let mut slow = street.come("192.0.2.1").await;
    assert!(slow.say(post).await && slow.say("12").await);
    let mut whole = street.come("192.0.2.2").await;
    assert!(whole.say(post).await && whole.say("12345").await);
    assert!(whole.hear().await.ends_with("5 octets"));
    assert!(whole.ask("/gate").await);

    assert!(street.come("192.0.2.3").await.is_answered().await);
    assert!(slow.is_closed().await);
    street.behind.gate.notify_waiters();
    assert!(whole.hear().await.ends_with("through the gate"));
}

#[tokio::test(start_paused = true)]
async fn an_address_has_its_share_and_takes_nothing_from_others() {
    let street = Street::open(DoorLimits { connections: 100, connections_per_address: 2, ..LIMITS });
    let mut other = street.come("192.0.2.1").await;
    let mut first = street.come("2001:db8::1").await;
    let mut second = street.come("2001:db8::2").await;
    let mut third = street.come("2001:db8::ffff:0:0:3").await;
    assert!(first.is_closed().await, "the longest of the same /64");
    assert!(second.ask("/gate").await && third.ask("/gate").await);
    assert!(street.come("2001:db8::4").await.is_closed().await, "both are being answered");
    assert!(street.come("2001:db8:0:1::4").await.is_answered().await, "another network");
    assert!(other.is_answered().await, "another address, though it waited longest of all");
    assert_eq!((street.made_room(), street.counts.turned_away.get()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn behind_a_proxy_one_address_may_have_every_place() {
    let street = Street::open(DoorLimits { connections: 4, ..LIMITS });
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(street.come("192.0.2.1").await);
    }
    for client in &mut clients {
        assert!(client.is_answered().await);
    }
    assert_eq!(street.made_room(), 0);
}

#[tokio::test(start_paused = true)]
async fn in_a_flood_good_clients_are_served_and_no_more_is_open_than_may_be() {
    // conformance: O26
    let street = Street::open(DoorLimits { connections: 16, connections_per_address: 4, ..LIMITS });
    let mut kept = street.come("203.0.113.1").await;
    let mut flood = Vec::new();
    for round in 0..2_000_u32 {
        let mut attacker = street.come(&format!("198.51.{}.{}", round % 7, round % 251)).await;
        match round % 4 {
            0 => {}
            1 => drop(attacker.say("GET / HTTP/1.1\r\nx: ").await),
            2 => drop(attacker.say("POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nx").await),
            _ => drop(attacker.ask("/big").await),
        }
        flood.push(attacker);
        if round % 10 == 0 {
            let mut good = street.come("203.0.113.2").await;
            assert!(good.is_answered().await, "a new client, in round {round}");
            assert!(kept.is_answered().await, "one who asks now and then, in round {round}");
        }
    }
    assert!(street.behind.most_served.load(Ordering::SeqCst) <= 16);
    assert!(street.counts.open.get() <= 16);
    assert!(street.made_room() > 1_500, "{:?}", street.counts);
    assert_eq!(street.counts.turned_away.get(), 0);
    drop(flood);
    settle().await;
    assert_eq!(street.counts.open.get(), 1, "nobody is left but the good one");
}

#[tokio::test(start_paused = true)]
async fn who_sends_many_requests_at_once_gives_the_others_their_turn() {
    let street = Street::open(LIMITS);
    let mut greedy = street.come("192.0.2.1").await;
    let mut modest = street.come("192.0.2.2").await;
    let many = "GET /many HTTP/1.1\r\nhost: door\r\n\r\n".repeat(100);
    // Both are there before any of them is looked at.
    greedy.0.write_all(many.as_bytes()).await.unwrap();
    modest.0.write_all(b"GET /one HTTP/1.1\r\nhost: door\r\n\r\n").await.unwrap();
    settle().await;
    let asked = street.behind.asked.lock().unwrap().clone();
    let before = asked.iter().position(|path| path == "/one").unwrap();
    assert!(before <= 5, "{before} came before");
    assert_eq!(asked.len(), 101, "and all of them are answered");
}
