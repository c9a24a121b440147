//! Calls of one message and one answer over gRPC, straight from the connection to whoever answers: this is what is asked most.
//! A message is bounded, and one that is too large is for whoever answers, too: an error of the call is something that a proxy
//! may be told to let pass.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::http::header::{HeaderMap, HeaderName, HeaderValue, CONTENT_TYPE};
use axum::http::Response;
use http_body_util::BodyExt;
use prost::bytes::{BufMut, BytesMut};
use prost::Message;
use tonic::Status;

/// Bytes of a message.
const MESSAGE_BYTES: usize = 256 << 10;
/// What stands before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const OK: HeaderValue = HeaderValue::from_static("0");

/// What was sent.
#[derive(Debug, PartialEq)]
pub enum Sent<M> {
    Message(M),
    TooLarge,
}

/// Reads a message, no longer than that, and answers it.
pub async fn unary<B, M, A, F>(
    body: B,
    longest: Duration,
    answer: impl FnOnce(Sent<M>) -> F,
) -> Response<Unary>
where
    B: HttpBody<Data = Bytes>,
    M: Message + Default,
    A: Message,
    F: Future<Output = Result<A, Status>>,
{
    let sent = match tokio::time::timeout(longest, read(body)).await {
        Ok(Ok(None)) => Ok(Sent::TooLarge),
        Ok(Ok(Some(bytes))) => message(&bytes).map(Sent::Message),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::deadline_exceeded("the message took too long")),
    };
    let answered = match sent {
        Ok(sent) => answer(sent).await,
        Err(status) => Err(status),
    };
    match answered {
        Ok(answer) => {
            let mut response = Response::new(Unary::of(&answer));
            response.headers_mut().insert(CONTENT_TYPE, GRPC);
            response
        }
        Err(status) => status.into_http(),
    }
}

/// All of the body, or none where it is too large: then the rest is read and dropped, as who sends it may not listen before.
async fn read<B: HttpBody<Data = Bytes>>(body: B) -> Result<Option<Bytes>, Status> {
    let mut body = std::pin::pin!(body);
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Status::cancelled("the call was cut off"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        length = length.saturating_add(data.len());
        if length > PREFIX + MESSAGE_BYTES {
            (first, whole) = (Bytes::new(), BytesMut::new());
        } else if first.is_empty() && whole.is_empty() {
            first = data; // mostly it is all
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(match length {
        _ if length > PREFIX + MESSAGE_BYTES => None,
        _ if whole.is_empty() => Some(first),
        _ => Some(whole.freeze()),
    })
}

fn message<M: Message + Default>(body: &Bytes) -> Result<M, Status> {
    let Some(([compressed, a, b, c, d], message)) = body.split_first_chunk::<PREFIX>() else {
        return Err(Status::internal("expected one message"));
    };
    if *compressed != 0 {
        return Err(Status::unimplemented("compressed messages are not read"));
    }
    if usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).ok() != Some(message.len()) {
        return Err(Status::internal(
            "expected one message of the length it says",
        ));
    }
    M::decode(message).map_err(|error| Status::internal(format!("not the message: {error}")))
}

/// The answer's message, then its status.
#[derive(Default)]
pub struct Unary {
    message: Option<Bytes>,
    is_answered: bool,
}

impl Unary {
    fn of(answer: &impl Message) -> Self {
        let length = answer.encoded_len();
        let mut bytes = BytesMut::with_capacity(PREFIX + length);
        bytes.put_u8(0);
        bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        // It has as much room as it needs.
        let _ = answer.encode(&mut bytes);
        Self {
            message: Some(bytes.freeze()),
            is_answered: true,
        }
    }
}

impl HttpBody for Unary {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(http_body::Frame::data(message))));
        }
        if !std::mem::take(&mut self.is_answered) {
            return Poll::Ready(None);
        }
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(GRPC_STATUS, OK);
        Poll::Ready(Some(Ok(http_body::Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.message.is_none() && !self.is_answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    struct Chunks(VecDeque<Bytes>);

    impl HttpBody for Chunks {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
            Poll::Ready(
                self.0
                    .pop_front()
                    .map(|chunk| Ok(http_body::Frame::data(chunk))),
            )
        }
    }

    fn framed(flag: u8, length: usize, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(length).unwrap().to_be_bytes();
        [&[flag], length.as_slice(), message].concat()
    }

    /// What came of a body, sent in chunks of so many bytes: what was read of it, or the status; a String is a message, too.
    async fn sent(body: &[u8], chunk: usize) -> Result<Sent<String>, String> {
        let chunks = body.chunks(chunk).map(Bytes::copy_from_slice).collect();
        let mut seen = None;
        let response = unary(Chunks(chunks), Duration::from_secs(10), |sent| {
            seen = Some(sent);
            std::future::ready(Ok("answered".to_owned()))
        })
        .await;
        let status = response.headers().get(GRPC_STATUS).cloned();
        let body = response.into_body().collect().await.unwrap();
        match (seen, status) {
            (Some(sent), None) => {
                assert_eq!(body.trailers().unwrap()[GRPC_STATUS], "0");
                assert_eq!(message::<String>(&body.to_bytes()).unwrap(), "answered");
                Ok(sent)
            }
            (None, Some(status)) => {
                assert!(body.trailers().is_none() && body.to_bytes().is_empty());
                Err(status.to_str().unwrap().to_owned())
            }
            both => panic!("{both:?}"),
        }
    }

    #[tokio::test]
    async fn a_message_arrives_in_any_pieces() {
        let text = "to be limited".to_owned();
        let encoded = text.encode_to_vec();
        let body = framed(0, encoded.len(), &encoded);
        for chunk in 1..=body.len() {
            assert_eq!(sent(&body, chunk).await, Ok(Sent::Message(text.clone())));
        }
        assert_eq!(
            sent(&framed(0, 0, b""), 5).await,
            Ok(Sent::Message(String::new()))
        );
    }

    #[tokio::test]
    async fn a_message_that_is_too_large_is_no_error_of_the_call() {
        for chunk in [16 << 10, 1 << 20] {
            let text = "x".repeat(MESSAGE_BYTES - 4);
            let encoded = text.encode_to_vec();
            assert_eq!(encoded.len(), MESSAGE_BYTES);
            let largest = framed(0, encoded.len(), &encoded);
            assert_eq!(sent(&largest, chunk).await, Ok(Sent::Message(text)));
            let more = framed(0, encoded.len() + 1, &[&encoded[..], b"x"].concat());
            assert_eq!(sent(&more, chunk).await, Ok(Sent::TooLarge));
        }
    }

    #[tokio::test]
    async fn what_is_not_one_message_is_an_error() {
        let good = "a".to_owned().encode_to_vec();
        let internal = Err("13".to_owned());
        assert_eq!(sent(b"", 9).await, internal);
        assert_eq!(sent(&[0, 0, 0], 9).await, internal);
        assert_eq!(sent(&framed(0, good.len() + 1, &good), 9).await, internal);
        assert_eq!(sent(&framed(0, good.len() - 1, &good), 9).await, internal);
        assert_eq!(sent(&framed(0, 2, &[0x0a, 0x09]), 9).await, internal);
        assert_eq!(
            sent(&framed(1, good.len(), &good), 9).await,
            Err("12".to_owned())
        );
    }
}
