//! Archives that verify and lie: every checksum is right, and one thing is not so.
//!
//! ```text
//!  entries ─► Crafted::of: honest claims, honest blocks ─► a test changes what it likes ─► bytes: laid out, with checksums made last
//! ```
//!
//! What is not changed is what the writer in core writes, to the byte.

use std::fs;
use std::path::{Path, PathBuf};

use strandline::HardwareCheck;
use strandline::core::archive::entry::Entry;
use strandline::core::archive::pack::Pack;
use strandline::core::archive::{BlockRow, Name, ROW_BYTES, Totals, zstd};
use strandline::core::codec::check::{Checksum, Seed};
use strandline::core::types::LogId;

/// An archive that is not made yet.
#[derive(Clone, Debug)]
pub struct Crafted {
    /// The header's map, in order: names and values.
    pub header: Vec<(&'static str, Claim)>,
    /// Number of entries in the prologue.
    pub prologue_entries: u32,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// Bytes of the header's frame, by the seek table, if it is not what they are.
    pub front_bytes: Option<u32>,
}

/// A value of the header.
#[derive(Clone, Debug)]
pub enum Claim {
    /// An integer from 0 up.
    Number(u64),
    /// A string.
    Text(&'static str),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Two digests.
    Digests,
}

/// One block.
#[derive(Clone, Debug)]
pub struct Block {
    /// What its frame holds.
    pub content: Vec<u8>,
    /// Its zstd frame, if it is not an uncompressed one of the content.
    pub frame: Option<Vec<u8>>,
    /// Its row, of which offset, sizes and checksums are made last.
    pub row: BlockRow,
    /// Bytes that the row adds to its offset, its encoded size and its content's size, by lying.
    pub lies: [i64; 3],
    /// LSN of its first entry, and how many follow each other, by its stamps.
    pub stamps: (u64, u32),
    /// Milliseconds past the second, of all its entries.
    pub millis: u32,
    /// The number that its stamps say it has.
    pub number: u32,
}

impl Crafted {
    /// The archive of these entries, so many in a block, whose LSNs follow each other and whose times are all the same.
    #[must_use]
    pub fn of(entries: &[Entry<'_>], in_block: usize) -> Self {
        let mut totals = Totals::NONE;
        entries.iter().for_each(|entry| totals.count(entry));
        let number = |number: u64| Claim::Number(number);
        let header = vec![
            ("magic", Claim::Text("strandline archive")),
            ("format", number(1)),
            ("timeline", number(0)),
            ("epoch", number(1)),
            ("shard", number(0)),
            ("log", number(1)),
            ("entries", number(totals.entries.into())),
            ("start_s", number(totals.timestamps.0)),
            ("end_s", number(totals.timestamps.1)),
            ("earliest_ms", number(totals.times.0.0)),
            ("latest_ms", number(totals.times.1.0)),
            ("first_lsn", number(totals.lsns.0.0)),
            ("last_lsn", number(totals.lsns.1.0)),
            ("largest", number(totals.largest as u64)),
            ("created_ms", number(0)),
            ("prologue_crc", number(0)),
            ("codec", Claim::Text("raw")),
            ("level", number(0)),
            ("store", Claim::Bytes(vec![7; 16])),
            ("digests", Claim::Digests),
            ("writer", Claim::Text("crafted")),
        ];
        let blocks = (0..).zip(entries.chunks(in_block)).map(|(number, entries)| Block::of(number, entries));
        Self { header, prologue_entries: totals.entries, blocks: blocks.collect(), front_bytes: None }
    }

    /// Says something else in the header.
    #[must_use]
    pub fn claiming(mut self, name: &str, claim: Claim) -> Self {
        let field = self.header.iter_mut().find(|(field, _)| *field == name);
        field.expect("a field of the header").1 = claim;
        self
    }

    /// The same with a number.
    #[must_use]
    pub fn numbering(self, name: &str, number: u64) -> Self {
        self.claiming(name, Claim::Number(number))
    }

    fn number(&self, name: &str) -> u64 {
        match self.header.iter().find(|(field, _)| *field == name) {
            Some((_, Claim::Number(number))) => *number,
            _ => 0,
        }
    }

    /// The name that it says it has.
    #[must_use]
    pub fn name(&self) -> String {
        let timestamps = (self.number("start_s"), self.number("end_s"));
        Name { log: LogId(self.number("log")), timestamps }.to_string()
    }

    /// Writes it into a directory under its own name.
    pub fn write(&self, directory: &Path) -> PathBuf {
        let path = directory.join(self.name());
        fs::write(&path, self.bytes()).expect("there is room");
        path
    }

    /// The file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let prologue = frame(&self.prologue());
        let map = self.map(HardwareCheck::extend(0, &prologue));
        let mut file = prologue.clone();
        skippable(&mut file, &[b"SAhd", &map]);
        let front = u32::try_from(file.len() - prologue.len()).expect("small");
        let mut seek = vec![(len(&prologue), 73), (self.front_bytes.unwrap_or(front), 0)];
        let mut rows = Vec::new();
        for block in &self.blocks {
            let row = block.put(&mut file);
            seek.extend([(row.encoded, row.raw), (row.stamps, 0)]);
            rows.extend(encoded(&row));
        }
        let index = file.len();
        let sizes = [len(&map).to_le_bytes(), (len(&rows) / ROW_BYTES as u32).to_le_bytes()];
        skippable(&mut file, &[b"SAix", sizes.as_flattened(), &map, &rows]);
        seek.push((len(&file[index..]), 0));
        let bytes = seek.len() * zstd::SEEK_ROW + zstd::SEEK_FOOT;
        file.extend(zstd::skippable_head(zstd::SEEK_TABLE, u32::try_from(bytes).expect("small")));
        seek.iter().for_each(|(encoded, content)| file.extend(zstd::seek_row(*encoded, *content)));
        file.extend(zstd::seek_foot(u32::try_from(seek.len()).expect("small")));
        file
    }

    /// The nine fields of version 1, in their fixed widths.
    fn prologue(&self) -> Vec<u8> {
        packed(|pack| {
            pack.array(2)?;
            pack.array(9)?;
            pack.uint(1)?;
            for name in ["shard", "log", "start_s", "end_s"] {
                pack.wide(self.number(name))?;
            }
            pack.wide(self.prologue_entries.into())?;
            pack.text("zstd")?;
            pack.wide_signed(0)?;
            pack.wide(self.number("created_ms") / 1000)?;
            pack.array(1)?;
            pack.wide_array(self.prologue_entries)
        })
    }

    fn map(&self, prologue_crc: u32) -> Vec<u8> {
        packed(|pack| {
            pack.map(u16::try_from(self.header.len()).ok()?)?;
            for (name, claim) in &self.header {
                let value = pack.field(name)?;
                match claim {
                    Claim::Number(0) if *name == "prologue_crc" => value.uint(prologue_crc.into())?,
                    Claim::Number(number) => value.uint(*number)?,
                    Claim::Text(text) => value.text(text)?,
                    Claim::Bytes(bytes) => value.bytes(bytes)?,
                    Claim::Digests => {
                        value.array(2)?;
                        value.bytes(&[])?;
                        value.bytes(&[])?;
                    }
                }
            }
            Some(())
        })
    }
}

impl Block {
    fn of(number: u32, entries: &[Entry<'_>]) -> Self {
        let mut content = Vec::new();
        for entry in entries {
            let from = content.len();
            content.resize(from + entry.encoded_bytes(), 0);
            entry.encode(&mut content[from..]).expect("there is room");
        }
        let first = entries[0].stamp;
        let count = u32::try_from(entries.len()).expect("few");
        let row = BlockRow {
            entries: count,
            first: first.lsn,
            earliest: first.time,
            latest: first.time,
            ..BlockRow::default()
        };
        let millis = u32::try_from(first.time.0 % 1000).expect("below 1000");
        Self { content, frame: None, row, lies: [0; 3], stamps: (first.lsn.0, count), millis, number }
    }

    /// Appends its frame and its stamps, and returns its row.
    fn put(&self, file: &mut Vec<u8>) -> BlockRow {
        let frame = self.frame.clone().unwrap_or_else(|| frame(&self.content));
        let offset = file.len() as u64;
        file.extend(&frame);
        let from = file.len();
        let mut rows = Vec::new();
        varint(&mut rows, u64::from(self.millis << 4 | u32::from(self.stamps.1 > 1)));
        if self.stamps.1 > 1 {
            varint(&mut rows, u64::from(self.stamps.1 - 1));
        }
        let numbers = [self.number.to_le_bytes(), self.stamps.1.to_le_bytes()];
        skippable(file, &[b"SAst", numbers.as_flattened(), &self.stamps.0.to_le_bytes(), &rows]);
        let [offset_lie, encoded_lie, raw_lie] = self.lies;
        let narrow = |bytes: usize, lie: i64| u32::try_from(bytes as i64 + lie).expect("32 bits");
        BlockRow {
            offset: offset.wrapping_add_signed(offset_lie),
            encoded: narrow(frame.len(), encoded_lie),
            raw: narrow(self.content.len(), raw_lie),
            stamps: len(&file[from..]),
            raw_crc: HardwareCheck::extend(0, &self.content),
            encoded_crc: HardwareCheck::extend(0, &frame),
            ..self.row
        }
    }
}

/// A zstd frame without compression, of any size.
#[must_use]
pub fn frame(content: &[u8]) -> Vec<u8> {
    let mut out = zstd::raw_head(len(content)).to_vec();
    let pieces: Vec<&[u8]> = content.chunks(zstd::MAX_RAW).collect();
    for (at, piece) in pieces.iter().enumerate() {
        out.extend(zstd::block_head(len(piece), at + 1 == pieces.len()));
        out.extend(*piece);
    }
    out.extend(zstd::checksum(content));
    out
}

/// One of our skippable frames: its checksum starts from its offset.
fn skippable(file: &mut Vec<u8>, parts: &[&[u8]]) {
    let content: Vec<u8> = parts.concat();
    let mut frame = zstd::skippable_head(zstd::SKIPPABLE, len(&content) + 4).to_vec();
    frame.extend(content);
    let crc = HardwareCheck::extend(Seed::HEADER.at(file.len() as u64), &frame);
    frame.extend(crc.to_le_bytes());
    file.extend(frame);
}

fn packed(write: impl Fn(&mut Pack<'_>) -> Option<()>) -> Vec<u8> {
    let mut out = vec![0; 4096];
    let mut pack = Pack::new(&mut out);
    write(&mut pack).expect("there is room");
    let used = pack.used();
    out.truncate(used);
    out
}

fn encoded(row: &BlockRow) -> Vec<u8> {
    let longs = [row.offset, row.first.0, row.earliest.0, row.latest.0];
    let words = [row.encoded, row.raw, row.stamps, row.entries, row.raw_crc, row.encoded_crc];
    let longs = longs.iter().flat_map(|long| long.to_le_bytes());
    longs.chain(words.iter().flat_map(|word| word.to_le_bytes())).collect()
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn len(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("below 4 GiB")
}

/// A way in which an archive lies.
#[derive(Debug)]
pub struct Lie {
    /// What it is.
    pub what: &'static str,
    /// The archive.
    pub archive: Crafted,
    /// The index alone shows it.
    pub is_open: bool,
    /// A part of the error that names it.
    pub named: &'static str,
}

/// Every lie that is known, told by an archive of three blocks with four entries each.
#[must_use]
pub fn lies(entries: &[Entry<'_>]) -> Vec<Lie> {
    let honest = || Crafted::of(entries, 4);
    let with = |change: &dyn Fn(&mut Crafted)| {
        let mut archive = honest();
        change(&mut archive);
        archive
    };
    let open = |what, archive| Lie { what, archive, is_open: true, named: "its index" };
    let first = entries[0].stamp.lsn.0;
    let last = first + entries.len() as u64 - 1;
    let mut all = vec![
        open("more entries in the header", honest().numbering("entries", 13)),
        open("fewer entries in the header", honest().numbering("entries", 11)),
        open("more entries in a row", with(&|it| it.blocks[1].row.entries += 1)),
        open("an LSN before the first", honest().numbering("first_lsn", first - 1)),
        open("an LSN behind the first", honest().numbering("first_lsn", first + 1)),
        open("the last LSN before the last block", honest().numbering("last_lsn", first + 6)),
        open("rows whose LSNs go back", with(&|it| it.blocks[2].row.first = it.blocks[0].row.first)),
        open("a time before all of the rows", honest().numbering("earliest_ms", 1)),
        open("a time behind all of the rows", honest().numbering("latest_ms", u64::MAX)),
        open("a row whose times go back", with(&|it| it.blocks[0].row.latest.0 -= 1)),
        open("timestamps that go back", honest().numbering("start_s", u64::MAX)),
        open("an entry larger than all blocks", honest().numbering("largest", 1 << 40)),
        open("a block of 3 GiB", with(&|it| it.blocks[1].lies[2] = 3 << 30)),
        open("a frame of 3 GiB", with(&|it| it.blocks[1].lies[1] = 3 << 30)),
        open("a block outside of the file", with(&|it| it.blocks[1].lies[0] = 1 << 40)),
        open("a row that points at the block before", with(&|it| it.blocks[1].lies[0] = -150)),
        open("a front of 3 GiB", with(&|it| it.front_bytes = Some(3 << 30))),
        open("a field twice", with(&|it| it.header[19] = it.header[18].clone())),
        open("a field missing", with(&|it| drop(it.header.pop()))),
    ];
    all.extend(hidden(&with, &honest, last));
    all
}

type With<'w> = dyn Fn(&dyn Fn(&mut Crafted)) -> Crafted + 'w;

/// Those that only a block, or all of them, show.
fn hidden(with: &With<'_>, honest: &dyn Fn() -> Crafted, last: u64) -> Vec<Lie> {
    let block = |what, change: &dyn Fn(&mut Crafted)| Lie {
        what,
        archive: with(change),
        is_open: false,
        named: "block 1 at offset",
    };
    let all = |what, archive| Lie { what, archive, is_open: false, named: "header counts" };
    let front = "its front does not agree with its index";
    let bomb = |size: u64| {
        move |it: &mut Crafted| {
            it.header[16].1 = Claim::Text("zstd");
            it.blocks.iter_mut().for_each(|block| block.frame = Some(frame(&block.content)));
            it.blocks[1].frame = Some(rle(size, 1 << 30));
        }
    };
    vec![
        Lie {
            what: "another number of entries in the prologue",
            archive: with(&|it| it.prologue_entries += 1),
            is_open: false,
            named: front,
        },
        block("more stamps than entries, and the header agrees", &|it| {
            (it.blocks[1].row.entries, it.blocks[1].stamps.1, it.prologue_entries) = (5, 5, 13);
            it.header[6].1 = Claim::Number(13);
        }),
        block("fewer stamps than entries, and the header agrees", &|it| {
            (it.blocks[1].row.entries, it.blocks[1].stamps.1, it.prologue_entries) = (3, 3, 11);
            it.header[6].1 = Claim::Number(11);
        }),
        block("the stamps of another block", &|it| it.blocks[1].number = 0),
        block("stamps whose LSNs go back", &|it| it.blocks[1].stamps.0 -= 1),
        block("stamps behind those of the next block", &|it| it.blocks[1].stamps.0 += 4),
        block("times that are not the row's", &|it| it.blocks[1].millis += 1),
        block("a content one byte longer than the block", &|it| it.blocks[1].lies[2] = 1),
        block("a frame that declares another size", &|it| {
            let mut frame = frame(&it.blocks[1].content);
            frame[5] += 1;
            it.blocks[1].frame = Some(frame);
        }),
        block("the content of another block", &|it| {
            it.blocks[1].content = it.blocks[0].content.clone()[1..].to_vec()
        }),
        block("a bomb that declares what it holds", &bomb(1 << 30)),
        block("a bomb that declares a little", &bomb(100)),
        all("an LSN behind all entries", honest().numbering("last_lsn", last + 1)),
        all("the last LSN there is", honest().numbering("last_lsn", u64::MAX)),
        all("a timestamp before all entries", honest().numbering("start_s", 1)),
        all("a smaller largest entry", honest().numbering("largest", 1)),
    ]
}

/// A zstd frame that declares a size and holds another one, of zeros: 128 KiB in each four bytes of it.
#[must_use]
pub fn rle(declared: u64, holds: usize) -> Vec<u8> {
    const REPEATED: u32 = 1;
    let mut frame = zstd::MAGIC.to_le_bytes().to_vec();
    // One segment, eight bytes of content size, no checksum.
    frame.push(0xe0);
    frame.extend(declared.to_le_bytes());
    let blocks = holds / zstd::MAX_RAW;
    for block in 1..=blocks {
        let size = u32::try_from(zstd::MAX_RAW).expect("small");
        let head = size << 3 | REPEATED << 1 | u32::from(block == blocks);
        frame.extend(&head.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}
