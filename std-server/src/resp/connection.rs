//! One connection: reads what has come, executes every complete request, then writes all replies at once.
//!
//! ```text
//!   ┌────────────► read ──► execute until input or output room ends ──► wait for the newest ticket ──► write ─┐
//!   └─────────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Bounded in both directions: nothing is read while replies wait to be written, so that a client that does not
//! read its replies is not served further; and no reply leaves before the records it speaks of are acknowledged.

use super::decode::{Decoded, Decoder, RequestLimits};
use super::encode::Encoder;
use crate::command::{Addresses, Engine, Halted, Next, Replies, Reply, Session, Ticket, dispatch};
use bytes::{Buf, BytesMut};
use core::future::poll_fn;
use core::ops::Range;
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use smallvec::SmallVec;
use std::io;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// Limits of every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// How large a request may be.
    pub request: RequestLimits,
    /// Replies are written as soon as they are this long together.
    pub output_bytes: usize,
    /// A connection whose replies to one command are longer is cut.
    pub reply_bytes: usize,
    /// A connection that takes nothing of its replies for so long is cut.
    pub stall: Option<Duration>,
    /// A connection that sends nothing for so long is closed.
    pub idle: Option<Duration>,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        let request = RequestLimits { word_bytes: 16 << 20, words: 1 << 20, request_bytes: 64 << 20 };
        Self { request, output_bytes: 1 << 20, reply_bytes: 256 << 20, stall: None, idle: None }
    }
}

/// Serves one client until it leaves, errs, is idle for too long, or `stop` is cancelled; then
/// every request that was read is still answered.
///
/// # Errors
/// The stream failed.
pub async fn serve_connection<S, E>(
    stream: &mut S,
    addresses: Addresses,
    engine: &E,
    limits: ConnectionLimits,
    stop: &CancellationToken,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    E: Engine,
{
    let asks = !engine.credentials().is_empty();
    let mut connection = Connection {
        engine,
        session: Session::new(engine.clients(), addresses, asks),
        decoder: Decoder::new(limits.request),
        input: BytesMut::new(),
        output: Encoder::limited(limits.reply_bytes),
        held: Vec::new(),
        limits,
    };
    let ended = connection.session.ended();
    tokio::select! {
        biased;
        () = ended.cancelled() => Ok(()),
        served = connection.serve(stream, stop) => served,
    }
}

/// Why execution paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    NeedsInput,
    OutputFull,
    Close,
    Malformed,
}

struct Connection<'e, E> {
    engine: &'e E,
    session: Session,
    decoder: Decoder,
    input: BytesMut,
    output: Encoder,
    held: Vec<Held>,
    limits: ConnectionLimits,
}

/// A reply in the output that must wait for a ticket.
struct Held {
    ticket: Ticket,
    reply: Range<usize>,
}

impl<E: Engine> Connection<'_, E> {
    async fn serve<S>(&mut self, stream: &mut S, stop: &CancellationToken) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut stopped = pin!(stop.cancelled());
        loop {
            let pause = self.execute().await;
            self.release().await;
            self.session.holds(self.input.capacity(), self.output.bytes().len());
            if !self.write(stream).await? {
                self.session.overran();
                return Ok(());
            }
            match pause {
                Pause::OutputFull => {}
                Pause::NeedsInput => {
                    let read = tokio::select! {
                        biased;
                        () = &mut stopped => return self.end(stream).await,
                        read = self.read(stream) => read?,
                    };
                    if read == 0 {
                        return Ok(());
                    }
                }
                Pause::Close => return stream.shutdown().await,
                Pause::Malformed => return linger(stream).await,
            }
        }
    }

    /// Writes what there is; false if it is not complete, or nobody takes it.
    async fn write(&mut self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<bool> {
        if self.output.has_overrun() {
            return Ok(false);
        }
        let mut left = self.output.bytes();
        while !left.is_empty() {
            let mut write = pin!(stream.write(left));
            let at_once = poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await;
            let written = match (at_once, self.limits.stall) {
                (Poll::Ready(written), _) => written?,
                (Poll::Pending, None) => write.await?,
                (Poll::Pending, Some(stall)) => match tokio::time::timeout(stall, write).await {
                    Ok(written) => written?,
                    Err(_) => return Ok(false),
                },
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            left = &left[written..];
        }
        if !self.output.bytes().is_empty() {
            self.session.sent(self.output.bytes().len());
            self.output.clear();
            self.session.holds(self.input.capacity(), 0);
        }
        Ok(true)
    }

    /// Executes complete requests, in order.
    async fn execute(&mut self) -> Pause {
        let (mut at, mut warm) = (0, 0);
        let mut begun = Instant::now();
        let pause = loop {
            if self.output.bytes().len() >= self.limits.output_bytes {
                break Pause::OutputFull;
            }
            let input = &self.input[at..];
            self.decoder.is_for_stranger(!self.session.is_trusted());
            let bytes = match self.decoder.decode(input) {
                Ok(Decoded::Incomplete) => break Pause::NeedsInput,
                Ok(Decoded::Request { bytes }) => bytes,
                Err(error) => {
                    self.output.reply(Reply::Refused(error.into()));
                    break Pause::Malformed;
                }
            };
            let words: SmallVec<[&[u8]; WORDS_INLINE]> = self.decoder.words(input).collect();
            at += bytes;
            if words.is_empty() {
                continue;
            }
            if at > warm && at < self.input.len() {
                warm = at + look_ahead(self.engine, self.limits.request, &self.input[at..]);
            }
            let start = self.output.begin();
            let (session, output) = (&mut self.session, &mut self.output);
            let (outcome, ended) = dispatch(self.engine, session, &words, output, begun).await;
            begun = ended;
            let codes = output.take_codes();
            if !codes.is_empty() {
                session.refused(codes.into_iter());
            }
            if outcome.silent {
                output.truncate(start);
            }
            if let Some(ticket) = outcome.ticket {
                self.held.push(Held { ticket, reply: start..self.output.bytes().len() });
            }
            if outcome.next == Next::Close {
                break Pause::Close;
            }
        };
        self.input.advance(at);
        pause
    }

    /// Waits for the newest ticket; what can no longer be acknowledged is not answered but refused.
    async fn release(&mut self) {
        if let Some(newest) = self.held.iter().map(|held| held.ticket).max()
            && let Err(halted) = self.engine.acknowledged(newest).await
        {
            self.take_back(&halted);
        }
        self.held.clear();
    }

    fn take_back(&mut self, halted: &Halted) {
        let written = self.output.bytes().to_vec();
        self.output.truncate(0);
        let mut copied = 0;
        for Held { ticket, reply } in &self.held {
            let is_heard = !reply.is_empty();
            if is_heard && halted.acknowledged.is_none_or(|acknowledged| *ticket > acknowledged) {
                self.output.raw(&written[copied..reply.start]);
                self.output.reply(Reply::Refused(halted.refusal.clone()));
                copied = reply.end;
            }
        }
        self.output.raw(&written[copied..]);
    }

    /// Ends a connection between two requests; one that is still sending must not lose its last replies.
    async fn end(&mut self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
        let is_sending = tokio::time::timeout(Duration::ZERO, self.read(stream)).await;
        if matches!(is_sending, Ok(Ok(1..))) { linger(stream).await } else { stream.shutdown().await }
    }

    /// Reads once; 0 at the end of the stream, or after too long a silence.
    async fn read(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        if self.input.is_empty() && self.input.capacity() > KEPT_BYTES {
            self.input = BytesMut::new();
        }
        if self.input.capacity() - self.input.len() < READ_BYTES / 2 {
            self.input.reserve(READ_BYTES.max(self.input.len()));
        }
        let read = stream.read_buf(&mut self.input);
        let read = match self.limits.idle {
            None => read.await,
            Some(idle) => tokio::time::timeout(idle, read).await.unwrap_or(Ok(0)),
        };
        self.session.touch(*read.as_ref().unwrap_or(&0));
        read
    }
}

/// Tells the engine which keys the next requests name; returns how many bytes of `input` were looked at.
fn look_ahead(engine: &impl Engine, limits: RequestLimits, input: &[u8]) -> usize {
    let mut decoder = Decoder::new(limits);
    let (mut at, mut keys) = (0, SmallVec::<[&[u8]; KEYS_AHEAD]>::new());
    while keys.len() < KEYS_AHEAD
        && let Ok(Decoded::Request { bytes }) = decoder.decode(&input[at..])
    {
        keys.extend(decoder.place(KEY).and_then(|key| input[at..].get(key)));
        at += bytes;
    }
    if !keys.is_empty() {
        engine.warm(&keys);
    }
    at
}

/// Closes without losing what was just written: a close while bytes are still coming would reset the connection
/// before the client has read it.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<()> {
    stream.shutdown().await?;
    let mut sink = [0; READ_BYTES / 4];
    let drain = async {
        let mut left = LINGER_BYTES;
        while left > 0 {
            match stream.read(&mut sink).await {
                Ok(0) | Err(_) => break,
                Ok(read) => left = left.saturating_sub(read),
            }
        }
    };
    let drained = tokio::time::timeout(LINGER, drain).await;
    drained.or(Ok(()))
}

/// Commands with fewer words need no allocation for them.
const WORDS_INLINE: usize = 8;
/// Which word of most commands is a key.
const KEY: usize = 1;
/// So many keys of a pipeline are fetched at once.
const KEYS_AHEAD: usize = 16;
const READ_BYTES: usize = 16 << 10;
/// An idle connection keeps no larger input buffer.
const KEPT_BYTES: usize = 64 << 10;
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 << 20;
