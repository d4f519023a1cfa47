//! User space's leave to copy the map types in and out of the kernel.
#![expect(unsafe_code, reason = "aya::Pod is an unsafe trait")]

use crate::decision::{Budget, Decision};
use crate::endpoint::{EndpointKey, EndpointValue};
use crate::flow::{FlowKey, FlowValue, SocketMark};
use crate::pod::{PodKey, PodValue};
use crate::service::{ServiceKey, ServiceValue};

macro_rules! pod {
    ($($type:ty),+) => {$(
        // SAFETY: `repr(C)`, `Copy`, integers only and no padding: `layout::abi` states and asserts it.
        unsafe impl aya::Pod for $type {}
    )+};
}

pod!(Budget, Decision, EndpointKey, EndpointValue, FlowKey, FlowValue, SocketMark);
pod!(PodKey, PodValue, ServiceKey, ServiceValue);
