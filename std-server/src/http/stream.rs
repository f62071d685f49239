//! An answer that is made while it is sent.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;

use axum::body::{Bytes, HttpBody};
use hyper::body::Frame;
use tokio::sync::mpsc::Receiver;

/// Pieces as they come; an error breaks the answer off.
pub(super) struct Pieces {
    from: Receiver<io::Result<Bytes>>,
}

impl Pieces {
    pub(super) const fn new(from: Receiver<io::Result<Bytes>>) -> Self {
        Self { from }
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.from.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
