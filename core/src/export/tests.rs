//! A device and a host on a link that drops, doubles, delays and flips; both may forget everything at any time.

use proptest::prelude::*;

use super::exporter::{Exporter, Next, Offer, Refused};
use super::receiver::{Event, Failure, Memory, RING_BYTES, Receiver, Taken};
use super::uart::{Deframer, frame, frame_bytes};
use super::{CHUNK_HEAD, KEPT, MIN_MTU, REPLY_BYTES, VERSION};
use crate::codec::check::TableCheck;
use crate::types::{Lsn, StoreId};

const STORE: StoreId = StoreId([9; 16]);

type Device = Exporter<TableCheck>;
type Records = std::collections::BTreeMap<u64, std::vec::Vec<u8>>;

fn records(first: u64, sizes: &[usize]) -> Records {
    let bytes = |lsn: u64, size: usize| (0..size).map(|at| (at as u64 * 7 + lsn * 31) as u8).collect();
    sizes.iter().zip(first..).map(|(size, lsn)| (lsn, bytes(lsn, *size))).collect()
}

fn offer(records: &Records) -> Offer {
    let first = records.keys().next().map_or(1, |lsn| *lsn);
    Offer { first: Lsn(first), last: Lsn(records.keys().last().map_or(first - 1, |lsn| *lsn)) }
}

/// The next chunk of at most `mtu` bytes, records read from `records`.
fn chunk(device: &mut Device, records: &Records, mtu: usize) -> Option<std::vec::Vec<u8>> {
    let mut out = vec![0xee; mtu];
    loop {
        match device.next_chunk(&mut out) {
            Next::Idle => return None,
            Next::Chunk(bytes) => {
                out.truncate(bytes);
                return Some(out);
            }
            Next::Read(lsn) => match records.get(&lsn.0) {
                Some(record) => device.feed(lsn, record, &mut out),
                None => device.gone(offer(records)),
            },
        }
    }
}

/// What the host has got so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct Got {
    records: Records,
    gaps: std::vec::Vec<(u64, u64)>,
    complete: u32,
    failures: std::vec::Vec<Failure>,
}

impl Got {
    fn drain(&mut self, host: &mut Receiver<'_, TableCheck>) {
        loop {
            match host.poll() {
                Event::Idle => return,
                Event::Hello(_) => {}
                Event::Gap { from, until } => self.gaps.push((from.0, until.0)),
                Event::Record { lsn, bytes } => {
                    assert!(self.records.insert(lsn.0, bytes.to_vec()).is_none(), "{lsn} came twice");
                }
                Event::Complete { .. } => self.complete += 1,
                Event::Failed(failure) => self.failures.push(failure),
            }
        }
    }
}

/// In percent of chunks and replies.
#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    drop: u64,
    double: u64,
    delay: u64,
    flip: u64,
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most.max(1)
    }
}

#[derive(Debug, Default)]
struct Counted {
    turns: u64,
    sent: u64,
    again: u64,
    dropped: u64,
    payload: u64,
    overhead: u64,
}

struct Link {
    fate: Fate,
    chance: Chance,
    queue: std::collections::VecDeque<std::vec::Vec<u8>>,
    dropped: u64,
}

impl Link {
    fn new(fate: Fate, seed: u64) -> Self {
        Self { fate, chance: Chance(seed | 1), queue: std::collections::VecDeque::new(), dropped: 0 }
    }

    fn send(&mut self, mut bytes: std::vec::Vec<u8>) {
        let chance = |link: &mut Self, percent| link.chance.below(100) < percent;
        if chance(self, self.fate.drop) {
            self.dropped += 1;
            return;
        }
        if chance(self, self.fate.flip) {
            let bit = self.chance.below(bytes.len() as u64 * 8) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
            self.dropped += 1;
        }
        if chance(self, self.fate.double) {
            self.queue.push_back(bytes.clone());
        }
        let late = chance(self, self.fate.delay) && !self.queue.is_empty();
        let at = if late { self.chance.below(self.queue.len() as u64) as usize } else { self.queue.len() };
        self.queue.insert(at, bytes);
    }
}

/// Runs a transfer to its end: `mtu` and `reboot` are asked before each chunk.
fn transfer(
    records: &Records,
    fate: Fate,
    seed: u64,
    mut mtu: impl FnMut(&mut Chance) -> usize,
    reboot: u64,
) -> (Got, Counted) {
    let (mut ring, mut record) = (vec![0; RING_BYTES], vec![0; 5000]);
    let memory = Memory { ring: &mut ring, record: &mut record };
    let mut host = Receiver::<TableCheck>::resume(Lsn(1), None, memory);
    let mut device = Device::new(STORE, offer(records));
    let (mut down, mut up) = (Link::new(fate, seed), Link::new(fate, seed ^ 0x5555));
    let (mut got, mut counted, mut seen) =
        (Got::default(), Counted::default(), std::collections::HashSet::new());
    let (mut chance, mut silent, mut session) = (Chance(seed | 1), 0, 1);
    host.request(session);
    while got.complete == 0 {
        if reboot > 0 && chance.below(reboot) == 0 {
            device = Device::new(STORE, offer(records));
        }
        let mut moved = false;
        if let Some(chunk) = chunk(&mut device, records, mtu(&mut chance)) {
            counted.sent += 1;
            counted.overhead += CHUNK_HEAD as u64;
            counted.payload += (chunk.len() - CHUNK_HEAD) as u64;
            counted.again += u64::from(!seen.insert((session, [chunk[2], chunk[3]])));
            down.send(chunk);
            moved = true;
        }
        if (!moved || chance.below(4) > 0)
            && let Some(chunk) = down.queue.pop_front()
        {
            if host.take(&chunk) == Taken::New {
                silent = 0;
            }
            got.drain(&mut host);
            assert_eq!(got.failures, [], "seed {seed}");
            moved = true;
        }
        if let Some(reply) = host.reply() {
            up.send(reply.to_vec());
            moved = true;
        }
        if let Some(reply) = up.queue.pop_front() {
            let _ = device.ack(&reply);
            moved = true;
        }
        counted.dropped = down.dropped;
        if !moved {
            silent += 1;
            host.nudge();
        }
        if silent > 40 {
            (silent, session) = (0, session + 1);
            host.request(session);
        }
        counted.turns += 1;
        assert!(counted.turns < 200_000, "seed {seed} goes on for ever: {host:?} {device:?}");
    }
    (got, counted)
}

#[test]
fn a_chunk_is_these_bytes() {
    let mut device = Device::new(STORE, Offer { first: Lsn(5), last: Lsn(6) });
    let records = records(5, &[3, 200]);
    device.begin(0x0102);
    let first = chunk(&mut device, &records, 20).unwrap();
    assert_eq!(first[2..], [0, 0, 2, 1, VERSION, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
    let second = chunk(&mut device, &records, 20).unwrap();
    assert_eq!(second[2..], [16, 0, 9, 9, 9, 9, 5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0]);
    let third = chunk(&mut device, &records, 20).unwrap();
    assert_eq!((third.len(), &third[2..8]), (12, &[32, 0, 0, 0, 0, 0][..]));
    let fourth = chunk(&mut device, &records, 20).unwrap();
    assert_eq!((fourth.len(), &fourth[2..5], fourth[8..10].to_vec()), (20, &[40, 0, 4][..], vec![0xc9, 1]));
}

#[test]
fn every_flipped_bit_of_a_chunk_and_of_a_reply_is_found() {
    for mtu in [MIN_MTU, 20, 21, 64, 247, 4000] {
        let records = records(1, &[300, 5, 4000]);
        let mut device = Device::new(STORE, offer(&records));
        device.begin(7);
        let (mut ring, mut record) = (vec![0; RING_BYTES], vec![0; 5000]);
        let memory = Memory { ring: &mut ring, record: &mut record };
        let mut host = Receiver::<TableCheck>::resume(Lsn(1), Some(STORE), memory);
        let mut got = Got::default();
        while let Some(mut chunk) = chunk(&mut device, &records, mtu) {
            for bit in 0..chunk.len() * 8 {
                chunk[bit / 8] ^= 1 << (bit % 8);
                let taken = host.take(&chunk);
                assert_eq!(taken, Taken::Noise, "mtu {mtu}, bit {bit}");
                chunk[bit / 8] ^= 1 << (bit % 8);
            }
            assert_eq!(host.take(&chunk), Taken::New);
            got.drain(&mut host);
        }
        assert_eq!((got.complete, got.records), (1, records.clone()));
        device
            .ack(&{
                host.request(9);
                host.reply().unwrap()
            })
            .unwrap();
        let mut reply = host.kept();
        for bit in 0..REPLY_BYTES * 8 {
            reply[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(device.ack(&reply), Err(Refused::Noise), "bit {bit}");
            reply[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

/// A reply as a host would make it that has `read` bytes of session 3 and claims a place.
fn reply(kind: u8, lsn: u64, position: u16) -> [u8; REPLY_BYTES] {
    let mut reply = [0; REPLY_BYTES];
    (reply[2], reply[3]) = (kind, 200);
    reply[4..12].copy_from_slice(&lsn.to_le_bytes());
    reply[16..18].copy_from_slice(&position.to_le_bytes());
    let sum = super::check(super::OPEN_SEED ^ 3, &reply[2..]);
    reply[..2].copy_from_slice(&sum.to_le_bytes());
    reply
}

#[test]
fn a_reply_for_what_was_never_sent_is_named_and_changes_nothing() {
    let records = records(10, &[100; 5]);
    let (mut ring, mut record) = (vec![0; RING_BYTES], vec![0; 5000]);
    let memory = Memory { ring: &mut ring, record: &mut record };
    let mut host = Receiver::<TableCheck>::resume(Lsn(10), None, memory);
    let mut device = Device::new(STORE, offer(&records));
    host.request(3);
    device.ack(&host.reply().unwrap()).unwrap();
    let mut got = Got::default();
    for _ in 0..3 {
        assert_eq!(host.take(&chunk(&mut device, &records, 20).unwrap()), Taken::New);
        // What is offered in the middle of a session is for the next one.
        device.offer(Offer { first: Lsn(12), last: Lsn(99) });
    }
    assert_eq!(chunk(&mut device, &records, 20), None, "nothing behind the hello before it is acknowledged");
    got.drain(&mut host);
    device.ack(&host.reply().unwrap()).unwrap();
    (0..8).for_each(|_| assert!(chunk(&mut device, &records, 20).is_some()));
    let before = std::format!("{device:?}");
    for kind in [super::ACK, super::AGAIN, super::REWIND, KEPT] {
        assert_eq!(device.ack(&reply(kind, 12, 100)), Err(Refused::NeverSent), "kind {kind}: LSN");
        assert_eq!(device.ack(&reply(kind, 10, 1000)), Err(Refused::NeverSent), "kind {kind}: position");
    }
    assert_eq!(std::format!("{device:?}"), before);
    assert_eq!(device.ack(&[0; 7]), Err(Refused::Noise));
    device.ack(&reply(KEPT, 11, 100)).unwrap();
    assert_eq!(device.kept(), Lsn(11));
}

#[test]
fn chunks_of_another_store_session_or_place_are_noise() {
    let records = records(1, &[50; 20]);
    let stream = |store, session| {
        let mut device = Device::new(store, offer(&records));
        device.begin(session);
        core::iter::from_fn(|| chunk(&mut device, &records, 20)).collect::<std::vec::Vec<_>>()
    };
    let (ours, session, store) = (stream(STORE, 1), stream(STORE, 2), stream(StoreId([8; 16]), 1));
    let (mut ring, mut record) = (vec![0; RING_BYTES], vec![0; 5000]);
    let memory = Memory { ring: &mut ring, record: &mut record };
    let mut host = Receiver::<TableCheck>::resume(Lsn(1), None, memory);
    let mut got = Got::default();
    ours.iter().take(3).for_each(|chunk| assert_eq!(host.take(chunk), Taken::New));
    got.drain(&mut host);
    for (at, chunk) in ours.iter().enumerate().skip(3) {
        assert_eq!(host.take(&store[at]), Taken::Noise);
        assert_eq!(host.take(&session[at]), Taken::Noise);
        let mut moved = chunk.clone();
        moved[3] ^= 1;
        assert_eq!(host.take(&moved), Taken::Noise);
        assert_eq!(host.take(chunk), Taken::New);
        got.drain(&mut host);
    }
    assert_eq!((got.complete, got.records), (1, records.clone()));
}

fn listen(next: u64, store: Option<StoreId>, chunks: &[std::vec::Vec<u8>]) -> Got {
    let (mut ring, mut record) = (vec![0; RING_BYTES], vec![0; 60]);
    let memory = Memory { ring: &mut ring, record: &mut record };
    let mut host = Receiver::<TableCheck>::resume(Lsn(next), store, memory);
    let mut got = Got::default();
    for chunk in chunks {
        host.take(chunk);
        got.drain(&mut host);
    }
    got
}

#[test]
fn a_link_without_a_way_back_carries_what_is_not_lost() {
    let records = records(5, &[50, 0, 3, 60]);
    let mut device = Device::new(STORE, offer(&records));
    let mut session = |number, mtu| {
        device.begin(number);
        core::iter::from_fn(|| chunk(&mut device, &records, mtu)).collect::<std::vec::Vec<_>>()
    };
    let (first, second) = (session(1, 20), session(2, 33));
    let got = listen(5, None, &first);
    assert_eq!((&got.records, got.complete, got.gaps), (&records, 1, vec![]));
    assert_eq!(listen(3, None, &first).gaps, [(3, 5)]);
    assert_eq!(listen(7, Some(STORE), &first).records.keys().copied().collect::<std::vec::Vec<_>>(), [7, 8]);
    assert_eq!(listen(9, None, &first).complete, 1, "nothing is new");
    assert_eq!(listen(10, None, &first).failures, [Failure::Behind(Lsn(8))]);
    assert_eq!(listen(5, Some(StoreId([1; 16])), &first).failures, [Failure::OtherStore(STORE)]);
    // The device starts again in the middle: each record comes once.
    let twice = [&first[..8], &second[..]].concat();
    let got = listen(5, None, &twice);
    assert_eq!((&got.records, got.complete), (&records, 1));
    let mut lost = first.clone();
    lost.remove(6);
    assert_eq!(listen(5, None, &lost).complete, 0, "a lost chunk is not passed over");
    let large = records_of(&[61]);
    let mut device = Device::new(STORE, offer(&large));
    device.begin(1);
    let chunks: std::vec::Vec<_> = core::iter::from_fn(|| chunk(&mut device, &large, 20)).collect();
    assert_eq!(listen(1, None, &chunks).failures, [Failure::TooLarge(61)]);
}

fn records_of(sizes: &[usize]) -> Records {
    records(1, sizes)
}

#[test]
fn a_wrong_total_is_found() {
    let records = records_of(&[20; 4]);
    let mut device = Device::new(STORE, offer(&records));
    device.begin(1);
    let mut chunks: std::vec::Vec<_> = core::iter::from_fn(|| chunk(&mut device, &records, 20)).collect();
    // A chunk that was changed together with its check, as noise may do once in 65,536 times.
    chunks[4][10] ^= 1;
    let sum = super::check(super::session_seed(STORE, 1), &chunks[4][2..]);
    chunks[4][..2].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(listen(1, None, &chunks).failures, [Failure::Broken]);
}

#[test]
fn records_that_are_gone_are_a_gap() {
    let mut all = records_of(&[30; 20]);
    let (mut ring, mut record) = (vec![0; RING_BYTES], vec![0; 5000]);
    let memory = Memory { ring: &mut ring, record: &mut record };
    let mut host = Receiver::<TableCheck>::resume(Lsn(1), None, memory);
    let mut device = Device::new(STORE, offer(&all));
    let mut got = Got::default();
    for session in 1..3 {
        host.request(session);
        device.ack(&host.reply().unwrap()).unwrap();
        for at in 0..200 {
            if session == 1 && at == 10 {
                all = all.split_off(&15);
            }
            let Some(chunk) = chunk(&mut device, &all, 20) else { break };
            host.take(&chunk);
            got.drain(&mut host);
            host.reply().into_iter().for_each(|reply| device.ack(&reply).unwrap());
        }
    }
    assert_eq!((got.complete, got.failures.len()), (1, 0));
    let [(from, 15)] = got.gaps[..] else { panic!("{:?}", got.gaps) };
    let expected: std::vec::Vec<_> = (1..from).chain(15..21).collect();
    assert_eq!(got.records.keys().copied().collect::<std::vec::Vec<_>>(), expected);
    assert!((2..6).contains(&from));
}

#[test]
fn four_bytes_of_twenty_are_overhead_and_a_drop_costs_one_chunk() {
    let records = records_of(&[100; 500]);
    let (got, counted) = transfer(&records, Fate::default(), 1, |_| 20, 0);
    assert_eq!((&got.records, counted.again), (&records, 0));
    assert_eq!(counted.overhead, counted.sent * 4);
    // The stream itself: 40 bytes of hello, one byte for each record, nine at the end.
    assert_eq!(counted.payload, 40 + 500 * 101 + 9);
    for seed in 1..60 {
        let fate = Fate { drop: seed % 30, ..Fate::default() };
        let (got, counted) = transfer(&records, fate, seed * 77, |_| 20, 0);
        assert_eq!(got.records, records);
        assert!(counted.again <= counted.dropped, "seed {seed}: {counted:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]
    #[test]
    fn whatever_the_link_does_each_record_arrives_once(
        sizes in proptest::collection::vec(prop_oneof![8 => 0..200_usize, 1 => 0..5000_usize], 0..60),
        (drop, double, delay, flip) in (0..30_u64, 0..20_u64, 0..20_u64, 0..5_u64),
        (seed, low, span) in (any::<u64>(), 12..60_usize, 0..200_u64),
        reboot in prop_oneof![Just(0_u64), 50..2000_u64],
    ) {
        let records = records_of(&sizes);
        let fate = Fate { drop, double, delay, flip };
        let mtu = |chance: &mut Chance| low + chance.below(span) as usize;
        let (got, _) = transfer(&records, fate, seed, mtu, reboot);
        prop_assert_eq!(got.records, records);
        prop_assert_eq!(got.gaps, []);
    }

    #[test]
    fn any_chunk_and_any_reply_are_taken_without_a_panic(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..20),
        place in 0..20_usize,
    ) {
        let records = records_of(&[40; 9]);
        let mut device = Device::new(STORE, offer(&records));
        device.begin(1);
        let mut all: std::vec::Vec<_> = core::iter::from_fn(|| chunk(&mut device, &records, 20)).collect();
        for mut bytes in chunks {
            let _ = device.ack(&bytes);
            // The same with a check that is right, behind the place where it lands.
            if let Some(covered) = bytes.get(2..).filter(|covered| covered.len() > 2) {
                let sum = super::check(super::session_seed(STORE, 1), covered).to_le_bytes();
                bytes[..2].copy_from_slice(&sum);
            }
            all.insert(place.min(all.len()), bytes);
        }
        let _ = listen(1, None, &all);
    }

    #[test]
    fn frames_of_a_uart_read_back_from_noise(
        noise: std::vec::Vec<u8>,
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 1..9),
    ) {
        let mut line = noise;
        line.push(0);
        for chunk in &chunks {
            let mut out = vec![0; frame_bytes(chunk.len())];
            let bytes = frame(chunk, &mut out).unwrap();
            prop_assert!(frame(chunk, &mut out[..bytes - 1]).is_none() || bytes < frame_bytes(chunk.len()));
            line.extend(&out[..bytes]);
        }
        let mut deframer = Deframer::new([0; 300]);
        let mut found = vec![];
        for byte in line {
            if let Some(bytes) = deframer.push(byte) {
                found.push(bytes.to_vec());
            }
        }
        prop_assert!(found.ends_with(&chunks));
    }
}
