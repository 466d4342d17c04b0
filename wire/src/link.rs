//! Messages and gRPC service of the agent link, and what both of its ends have to agree on.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstDecoder, ProstEncoder};

pub use crate::generated::tepui::link::v1::*;

/// What each direction of a link has as its buffer from the beginning, in bytes: most of its messages are pings. Larger
/// ones make it grow.
const BUFFER: usize = 512;
/// Bytes of small messages that leave together.
const TOGETHER: usize = 32 << 10;

/// Protobuf, in buffers that suit links: a master has one of them for each of its agents.
#[derive(Clone, Copy, Debug)]
pub struct LinkCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for LinkCodec<T, U> {
    fn default() -> Self {
        LinkCodec(PhantomData)
    }
}

impl<T: Message + 'static, U: Message + Default + 'static> Codec for LinkCodec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstEncoder::new(BufferSettings::new(BUFFER, TOGETHER))
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstDecoder::new(BufferSettings::new(BUFFER, TOGETHER))
    }
}

/// Version of the link's messages. Fields are only added, so both ends of different versions understand each
/// other within one version; it changes when that ends. Each side says it in its first message (`protocol`).
pub const PROTOCOL_VERSION: u32 = 1;

/// The other end of a link speaks a version of the messages that this end does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the other end speaks version {0} of the agent link, this one version {PROTOCOL_VERSION}; run releases of tepui \
     that belong together"
)]
pub struct OtherProtocol(pub u32);

/// Checks the `protocol` of a first message. One that is unset was written before there was such a field: version 1.
///
/// # Errors
/// Another version than ours: the link must not be used.
pub fn check_protocol(protocol: u32) -> Result<(), OtherProtocol> {
    match protocol {
        0 | PROTOCOL_VERSION => Ok(()),
        other => Err(OtherProtocol(other)),
    }
}

/// Largest message from an agent, in bytes: a [`Reregister`] carries all of its tasks.
pub const MAX_FROM_AGENT: usize = 64 << 20;

/// Largest message from a master, in bytes: a [`RunTask`] carries a task and its framework.
pub const MAX_FROM_MASTER: usize = 16 << 20;

/// Most ended tasks that an agent tells a master of.
pub const MAX_COMPLETED: usize = 200;
/// Bytes of them, at most.
pub const MAX_COMPLETED_BYTES: usize = 256 << 10;

impl FromMaster {
    /// What the master of this epoch says.
    pub fn new(epoch: u64, body: impl Into<from_master::Body>) -> Self {
        FromMaster { epoch, body: Some(body.into()) }
    }
}

/// Lets each message of a direction be put into its envelope with `into()`.
macro_rules! bodies {
    ($module:ident: $($message:ident),+) => {
        $(impl From<$message> for $module::Body {
            fn from(message: $message) -> Self {
                $module::Body::$message(message.into())
            }
        })+
    };
}

bodies!(from_agent: Register, Reregister, Status, Pong, Unregister);
bodies!(from_master: Registered, Refused, RunTask, KillTask, Acknowledge, Ping);
bodies!(from_master: UpdateFramework, ShutdownFramework, ReconcileTasks, Shutdown);

impl<B: Into<from_agent::Body>> From<B> for FromAgent {
    fn from(body: B) -> Self {
        FromAgent { body: Some(body.into()) }
    }
}
