//! The body of a request: whole, bounded in size and in time.

use core::fmt;
use core::marker::PhantomData;

use axum::body::{Bytes, HttpBody as _};
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Site;
use super::problem::{Kind, Problem};

/// A body that has arrived.
pub(super) struct Body(Bytes);

impl Body {
    /// Reads it as a JSON object; the value may borrow from it.
    pub(super) fn json<'b, T: Deserialize<'b>>(&'b self) -> Result<T, Problem> {
        let Object(value) = serde_json::from_slice(&self.0)?;
        Ok(value)
    }
}

/// What stands between braces: a struct alone would also be read from an array of its members.
pub(super) struct Object<T>(pub(super) T);

impl<'b, T: Deserialize<'b>> Deserialize<'b> for Object<T> {
    fn deserialize<D: Deserializer<'b>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'b, T: Deserialize<'b>> Visitor<'b> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'b>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}

/// A body that has arrived, of a page that takes longer ones than others.
pub(super) struct Whole(pub(super) Bytes);

impl FromRequest<Site> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, site: &Site) -> Result<Self, Problem> {
        Whole::read(request, site, site.limits.body_bytes).await.map(|Whole(body)| Self(body))
    }
}

impl Whole {
    /// Reads a body of at most so many bytes.
    pub(super) async fn read(mut request: Request, site: &Site, most: usize) -> Result<Self, Problem> {
        // Before it has arrived: whoever waits for `100 Continue` then keeps it to himself.
        let announced = request.body().size_hint().lower();
        if announced > most as u64 {
            let text = format!("the body is longer than {most} bytes");
            return Err(Kind::BodyTooLarge.says(text));
        }
        DefaultBodyLimit::max(most).apply(&mut request);
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
