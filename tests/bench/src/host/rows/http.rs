//! What a write through HTTP costs beside a handler that does nothing.

use strandline_tests::device::Device;

use crate::host::Settings;
use crate::host::compare::{Comparison, Goal, Pair, Part, Unit, interleaved};
use crate::host::echo::Echo;
use crate::host::http_load::rate;
use crate::host::servers::{ours, start};

/// The row `HTTP`.
pub(crate) fn sets(settings: &Settings) -> Comparison {
    let parts = side_by_side(settings).map(|pair| vec![Part { pair, goal: Goal::Reported }]);
    let measure = "HTTP POST /kv/set 64 B, `periodic`, 50 connections that stay open";
    Comparison { id: "HTTP", measure, peer: "axum handler that only echoes", unit: Unit::PerSecond, parts }
}

fn side_by_side(settings: &Settings) -> Result<Pair, String> {
    let device = Device::new()?;
    let server = start(&ours(settings, &device, "periodic")?)?;
    let echo = Echo::start()?;
    for address in [server.http(), echo.address] {
        rate(address, REQUESTS / 5)?;
    }
    interleaved(settings.rounds, || rate(server.http(), REQUESTS), || rate(echo.address, REQUESTS))
}

const REQUESTS: usize = 50_000;
