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
use core::ops::Range;
use core::time::Duration;
use smallvec::SmallVec;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// Limits of every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// How large a request may be.
    pub request: RequestLimits,
    /// Replies are written as soon as they are this long together.
    pub output_bytes: usize,
    /// A connection that sends nothing for so long is closed.
    pub idle: Option<Duration>,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        let request = RequestLimits { word_bytes: 16 << 20, words: 1 << 20, request_bytes: 64 << 20 };
        Self { request, output_bytes: 1 << 20, idle: None }
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
    let mut connection = Connection {
        engine,
        session: Session::new(engine.clients(), addresses),
        decoder: Decoder::new(limits.request),
        input: BytesMut::new(),
        output: Encoder::default(),
        held: Vec::new(),
        limits,
    };
    loop {
        let pause = connection.execute().await;
        connection.release().await;
        stream.write_all(connection.output.bytes()).await?;
        connection.output.clear();
        match pause {
            Pause::OutputFull => {}
            Pause::NeedsInput => {
                let read = tokio::select! {
                    biased;
                    () = stop.cancelled() => return connection.end(stream).await,
                    read = connection.read(stream) => read?,
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
    /// Executes complete requests, in order.
    async fn execute(&mut self) -> Pause {
        let mut at = 0;
        let pause = loop {
            if self.output.bytes().len() >= self.limits.output_bytes {
                break Pause::OutputFull;
            }
            let input = &self.input[at..];
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
            let start = self.output.bytes().len();
            let outcome = dispatch(self.engine, &mut self.session, &words, &mut self.output).await;
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
            if halted.acknowledged.is_none_or(|acknowledged| *ticket > acknowledged) {
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
        self.session.touch();
        read
    }
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
const READ_BYTES: usize = 16 << 10;
/// An idle connection keeps no larger input buffer.
const KEPT_BYTES: usize = 64 << 10;
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 << 20;
