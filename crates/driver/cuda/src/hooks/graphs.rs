//! Memory that graphs allocate: each executable graph is charged for all its allocating nodes. The
//! driver may place nodes over each other; the sum is what it can take at most.
#![allow(unsafe_code)] // functions called from C
#![allow(non_snake_case)] // the API's own names

use crate::memory::Name;
use crate::real::real;
use crate::{own, view};
use polder_driver::inside;
use polder_driver::memory::Charge;
use polder_driver::state;
use polder_gpuapi::cuda::{consts::*, types::*};
use std::ffi::{c_char, c_void};
use std::ptr::null_mut;

/// Most nodes of a graph that are looked at.
const NODES_MAX: usize = 1 << 20;

/// Bytes that the nodes of `graph` allocate.
fn allocated(graph: CUgraph) -> u64 {
    let mut count = 0;
    if real!(cuGraphGetNodes(graph, null_mut(), &raw mut count)) != CUDA_SUCCESS || count == 0 {
        return 0;
    }
    let mut nodes: Vec<CUgraphNode> = vec![null_mut(); count.min(NODES_MAX)];
    let mut room = nodes.len();
    if real!(cuGraphGetNodes(graph, nodes.as_mut_ptr(), &raw mut room)) != CUDA_SUCCESS {
        return 0;
    }
    let bytes = |node: &CUgraphNode| {
        let mut kind = 0;
        if real!(cuGraphNodeGetType(*node, &raw mut kind)) != CUDA_SUCCESS
            || kind != CU_GRAPH_NODE_TYPE_MEM_ALLOC
        {
            return 0;
        }
        let mut wishes = std::mem::MaybeUninit::<CUDA_MEM_ALLOC_NODE_PARAMS>::zeroed();
        let known = real!(cuGraphMemAllocNodeGetParams(*node, wishes.as_mut_ptr()));
        // SAFETY: all zero is a value of the type, whatever the driver has written over it.
        let wishes = unsafe { wishes.assume_init() };
        if known == CUDA_SUCCESS { super::memory::wide(wishes.bytesize) } else { 0 }
    };
    nodes.iter().take(room).map(bytes).fold(0, u64::saturating_add)
}

fn instantiate(at: *mut CUgraphExec, graph: CUgraph, call: impl FnOnce() -> CUresult) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let bytes = inside::accounted(|| allocated(graph));
        let device = view::current().filter(|_| bytes > 0);
        let charge = match device {
            None => None,
            Some(device) => match Charge::reserve(state::get(), &[device], bytes) {
                None => return CUDA_ERROR_OUT_OF_MEMORY,
                charge => charge,
            },
        };
        let result = inside::accounted(call);
        if let (CUDA_SUCCESS, Some(charge), false) = (result, charge, at.is_null()) {
            // SAFETY: the driver has just written there.
            let made = unsafe { at.read() };
            own::get().memory.keep(Name::Graph(made.addr()), charge, view::context());
        }
        result
    })
}

pub(super) unsafe extern "C" fn cuGraphExecDestroy(graph: CUgraphExec) -> CUresult {
    inside::guard(CUDA_ERROR_UNKNOWN, || {
        let name = Name::Graph(graph.addr());
        let taken = own::get().memory.take(name);
        let result = inside::accounted(|| real!(cuGraphExecDestroy(graph)));
        if let (Some(taken), true) = (taken, result != CUDA_SUCCESS) {
            own::get().memory.put_back(name, taken);
        }
        result
    })
}

macro_rules! hooks {
    ($($name:ident($($arg:ident: $ty:ty),*);)*) => {$(
        pub(super) unsafe extern "C" fn $name(
            at: *mut CUgraphExec,
            graph: CUgraph,
            $($arg: $ty),*
        ) -> CUresult {
            instantiate(at, graph, || real!($name(at, graph, $($arg),*)))
        }
    )*};
}
hooks! {
    cuGraphInstantiate(node: *mut CUgraphNode, log: *mut c_char, room: usize);
    cuGraphInstantiate_v2(node: *mut CUgraphNode, log: *mut c_char, room: usize);
    cuGraphInstantiateWithFlags(flags: u64);
    cuGraphInstantiateWithParams(wishes: *mut c_void);
    cuGraphInstantiateWithParams_ptsz(wishes: *mut c_void);
}
