//! The two kinds of driver as one: what an operation of the log needs of them.

use core::pin::pin;
use core::task::{Context, Poll, Waker};

use embedded_storage::nor_flash::NorFlash;

/// A NOR flash driver. Addresses and lengths are multiples of its sizes.
pub(crate) trait Medium {
    type Error;

    const READ_SIZE: usize;
    const WRITE_SIZE: usize;
    const ERASE_SIZE: usize;

    fn capacity(&self) -> usize;
    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error>;
    async fn program(&mut self, address: u32, bytes: &[u8]) -> Result<(), Self::Error>;
    async fn read(&mut self, address: u32, bytes: &mut [u8]) -> Result<(), Self::Error>;
}

/// A driver that blocks: its futures are ready at once.
#[derive(Debug)]
pub(crate) struct Blocking<F>(pub(crate) F);

impl<F: NorFlash> Medium for Blocking<F> {
    type Error = F::Error;

    const READ_SIZE: usize = F::READ_SIZE;
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), F::Error> {
        self.0.erase(from, to)
    }

    async fn program(&mut self, address: u32, bytes: &[u8]) -> Result<(), F::Error> {
        self.0.write(address, bytes)
    }

    async fn read(&mut self, address: u32, bytes: &mut [u8]) -> Result<(), F::Error> {
        self.0.read(address, bytes)
    }
}

/// Runs an operation over a [`Blocking`] driver, where nothing is ever waited for.
pub(crate) fn now<T>(operation: impl Future<Output = T>) -> T {
    let mut operation = pin!(operation);
    loop {
        if let Poll::Ready(value) = operation.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
}

/// A driver that waits.
#[cfg(feature = "async")]
#[derive(Debug)]
pub(crate) struct Waiting<F>(pub(crate) F);

#[cfg(feature = "async")]
impl<F: embedded_storage_async::nor_flash::NorFlash> Medium for Waiting<F> {
    type Error = F::Error;

    const READ_SIZE: usize = F::READ_SIZE;
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn erase(&mut self, from: u32, to: u32) -> impl Future<Output = Result<(), F::Error>> {
        self.0.erase(from, to)
    }

    fn program(&mut self, address: u32, bytes: &[u8]) -> impl Future<Output = Result<(), F::Error>> {
        self.0.write(address, bytes)
    }

    fn read(&mut self, address: u32, bytes: &mut [u8]) -> impl Future<Output = Result<(), F::Error>> {
        self.0.read(address, bytes)
    }
}
