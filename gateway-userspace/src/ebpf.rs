//! The kernel half, as the rest of the gateway sees it. Only `ebpf*` knows aya.
//!
//! With no object embedded, or where the kernel or the privileges do not allow it, `Datapath::open`
//! says why and what to do; the proxy serves its gateway listeners all the same.
