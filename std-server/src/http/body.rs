//! The body of a request: whole, bounded in size and in time.

use axum::body::{Bytes, HttpBody as _};
use axum::extract::{FromRequest, Request};
use serde::Deserialize;

use super::Site;
use super::problem::{Kind, Problem};

/// A body that has arrived.
pub(super) struct Body(Bytes);

impl Body {
    /// Reads it as JSON; the value may borrow from it.
    pub(super) fn json<'b, T: Deserialize<'b>>(&'b self) -> Result<T, Problem> {
        Ok(serde_json::from_slice(&self.0)?)
    }
}

impl FromRequest<Site> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, site: &Site) -> Result<Self, Problem> {
        // Before it has arrived: whoever waits for `100 Continue` then keeps it to himself.
        let announced = request.body().size_hint().lower();
        if announced > site.limits.body_bytes as u64 {
            let text = format!("the body is longer than {} bytes", site.limits.body_bytes);
            return Err(Kind::BodyTooLarge.says(text));
        }
        let limit = site.limits.body_time;
        match tokio::time::timeout(limit, Bytes::from_request(request, site)).await {
            Ok(body) => Ok(Self(body?)),
            Err(_) => {
                let text = format!("the body was not whole within {} s", limit.as_secs());
                Err(Kind::RequestTimeout.says(text))
            }
        }
    }
}
