//! Graphs: lists of nodes that are run one after the other, as one launch.

use crate::api::{put, put_if};
use crate::state::{device, lock, tell};
use crate::streams::number;
use polder_gpuapi::cuda::consts::*;
use polder_gpuapi::cuda::types::*;
use polder_standin::{Copy, Direction};
use polder_standin_host::Ask;
use std::collections::BTreeMap;
use std::ffi::{c_char, c_uint, c_void};
use std::sync::Mutex;

/// Most nodes of a graph.
const NODES_MAX: usize = 1 << 20;
const GRAPH: usize = 0x4000;

/// One node.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Node {
    /// A kernel.
    Kernel {
        /// Blocks of its grid.
        blocks: u32,
        /// Threads of a block.
        threads: u32,
        /// Nanoseconds.
        length_ns: u64,
    },
    /// A copy.
    Copy {
        /// Bytes.
        bytes: u64,
    },
}

static CAPTURES: Mutex<BTreeMap<u32, Vec<Node>>> = Mutex::new(BTreeMap::new());
/// Graphs and instances of them.
static GRAPHS: Mutex<BTreeMap<usize, Vec<Node>>> = Mutex::new(BTreeMap::new());

/// Whether a stream is being captured.
pub(crate) fn capturing(stream: u32) -> bool {
    lock(&CAPTURES).contains_key(&stream)
}

/// Takes work into a stream's capture; false when there is none.
pub(crate) fn capture(stream: u32, node: Node) -> bool {
    let mut captures = lock(&CAPTURES);
    let Some(nodes) = captures.get_mut(&stream) else { return false };
    if nodes.len() < NODES_MAX {
        nodes.push(node);
    }
    true
}

fn keep(nodes: Vec<Node>) -> usize {
    let mut graphs = lock(&GRAPHS);
    let new = graphs.keys().next_back().map_or(GRAPH, |last| last + 16);
    graphs.insert(new, nodes);
    new
}

fn nodes_of(graph: usize) -> Result<Vec<Node>, CUresult> {
    lock(&GRAPHS).get(&graph).cloned().ok_or(CUDA_ERROR_INVALID_HANDLE)
}

fn forget(graph: usize) -> Result<(), CUresult> {
    lock(&GRAPHS).remove(&graph).map(|_| ()).ok_or(CUDA_ERROR_INVALID_HANDLE)
}

fn instantiated(out: *mut CUgraphExec, graph: CUgraph) -> Result<(), CUresult> {
    put(out, std::ptr::without_provenance_mut(keep(nodes_of(graph.addr())?)))
}

/// The graph as one piece of work: as many nodes as it has, each of their mean length.
fn run(graph: usize, stream: CUstream, own: bool) -> Result<(), CUresult> {
    let client = device()?;
    let (stream, nodes) = (number(stream, own)?, nodes_of(graph)?);
    let Ok(count @ 1..) = u32::try_from(nodes.len()) else { return Ok(()) };
    let (mut shape, mut total_ns) = ((1, 32), 0u64);
    for node in &nodes {
        total_ns = total_ns.saturating_add(match *node {
            Node::Kernel { blocks, threads, length_ns } => {
                shape = (blocks, threads);
                length_ns
            }
            Node::Copy { bytes } => {
                Copy { bytes, direction: Direction::Within }.length_ns(crate::state::model(client))
            }
        });
    }
    let (blocks, threads) = shape;
    let length_ns = total_ns / u64::from(count);
    tell(
        client,
        Ask::Launch { stream, blocks, threads, length_ns, nodes: count, cooperative: false },
    )
}

api! { |own|
    fn cuStreamBeginCapture_v2 / cuStreamBeginCapture_v2_ptsz(stream: CUstream, _mode: c_uint) {
        let number = number(stream, own)?;
        let mut captures = lock(&CAPTURES);
        if number == 0 || captures.contains_key(&number) {
            return Err(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        }
        captures.insert(number, Vec::new());
        Ok(())
    }

    fn cuStreamEndCapture / cuStreamEndCapture_ptsz(stream: CUstream, out: *mut CUgraph) {
        let nodes = lock(&CAPTURES).remove(&number(stream, own)?);
        let nodes = nodes.ok_or(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED)?;
        put(out, std::ptr::without_provenance_mut(keep(nodes)))
    }

    fn cuGraphCreate(out: *mut CUgraph, _flags: c_uint) {
        put(out, std::ptr::without_provenance_mut(keep(Vec::new())))
    }

    fn cuGraphAddKernelNode_v2(out: *mut CUgraphNode, graph: CUgraph, _dependencies: *const CUgraphNode, _count: usize, params: *const c_void) {
        // The parameters begin with the function and the six sides of grid and block.
        // SAFETY: the caller's parameters, if they are there.
        let params = unsafe { params.cast::<(CUfunction, [c_uint; 6])>().as_ref() };
        let &(function, sides) = params.ok_or(CUDA_ERROR_INVALID_VALUE)?;
        let product = |sides: &[c_uint]| sides.iter().try_fold(1u32, |sum, it| sum.checked_mul(*it));
        let blocks = product(&sides[..3]).ok_or(CUDA_ERROR_INVALID_VALUE)?;
        let threads = product(&sides[3..]).ok_or(CUDA_ERROR_INVALID_VALUE)?;
        let length_ns = crate::code::length_of(function)?;
        let mut graphs = lock(&GRAPHS);
        let nodes = graphs.get_mut(&graph.addr()).ok_or(CUDA_ERROR_INVALID_HANDLE)?;
        nodes.push(Node::Kernel { blocks, threads, length_ns });
        put(out, std::ptr::without_provenance_mut(graph.addr() << 24 | nodes.len()))
    }

    fn cuGraphGetNodes(graph: CUgraph, nodes: *mut CUgraphNode, count: *mut usize) {
        let there = nodes_of(graph.addr())?.len();
        if !nodes.is_null() {
            // SAFETY: the caller's count of how many may be written.
            let room = unsafe { count.as_ref() }.copied().unwrap_or(0);
            for index in 0..there.min(room) {
                let node = std::ptr::without_provenance_mut(graph.addr() << 24 | (index + 1));
                // SAFETY: below the room that the caller says there is.
                unsafe { nodes.add(index).write(node) };
            }
        }
        put(count, there)
    }

    fn cuGraphNodeGetType(node: CUgraphNode, kind: *mut c_uint) {
        let nodes = nodes_of(node.addr() >> 24)?;
        let place = (node.addr() & 0xff_ffff).wrapping_sub(1);
        put(kind, match nodes.get(place).ok_or(CUDA_ERROR_INVALID_HANDLE)? {
            Node::Kernel { .. } => CU_GRAPH_NODE_TYPE_KERNEL,
            Node::Copy { .. } => CU_GRAPH_NODE_TYPE_MEMCPY,
        })
    }

    fn cuGraphInstantiateWithFlags(out: *mut CUgraphExec, graph: CUgraph, _flags: u64) {
        instantiated(out, graph)
    }

    fn cuGraphInstantiate_v2(out: *mut CUgraphExec, graph: CUgraph, error: *mut CUgraphNode, _log: *mut c_char, _size: usize) {
        put_if(error, std::ptr::null_mut());
        instantiated(out, graph)
    }

    fn cuGraphLaunch / cuGraphLaunch_ptsz(graph: CUgraphExec, stream: CUstream) {
        run(graph.addr(), stream, own)
    }

    fn cuGraphExecDestroy(graph: CUgraphExec) {
        forget(graph.addr())
    }

    fn cuGraphDestroy(graph: CUgraph) {
        forget(graph.addr())
    }
}
