//! Streams, events and launches. Host functions are called by one thread, as in the driver; what
//! follows one in its stream does not wait for it.

use crate::api::{put, put_if};
use crate::contexts::current;
use crate::graphs::{self, Node};
use crate::state::{client, device, lock, model, tell};
use polder_gpuapi::cuda::consts::*;
use polder_gpuapi::cuda::types::*;
use polder_standin::{Kernel, Length};
use polder_standin_host::{Ask, Client, Mark, STREAMS_MAX};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{c_int, c_uint, c_void};
use std::sync::Mutex;

/// Streams of the process, by number; the default one is zero.
static STREAMS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
static EVENTS: Mutex<BTreeMap<usize, Event>> = Mutex::new(BTreeMap::new());
const STREAM: usize = 0x2000;
const EVENT: usize = 0x10_0000;

/// Where it was recorded, if it was, and whether it knows the time.
#[derive(Clone, Copy)]
struct Event {
    mark: Option<Mark>,
    timed: bool,
}

thread_local! {
    static OWN: Cell<u32> = const { Cell::new(0) };
}

fn create() -> Result<u32, CUresult> {
    let mut streams = lock(&STREAMS);
    let most = u32::try_from(STREAMS_MAX).unwrap_or(2);
    let new = (1..most).find(|number| !streams.contains(number)).ok_or(CUDA_ERROR_OUT_OF_MEMORY)?;
    streams.insert(new);
    Ok(new)
}

/// The number of a stream; `own` says that none means the thread's own.
pub(crate) fn number(stream: CUstream, own: bool) -> Result<u32, CUresult> {
    let value = stream.addr();
    if value == CU_STREAM_PER_THREAD || own && value == 0 {
        let mut number = OWN.get();
        if number == 0 {
            number = create()?;
            OWN.set(number);
        }
        return Ok(number);
    }
    if value == 0 || value == CU_STREAM_LEGACY {
        return Ok(0);
    }
    let number = u32::try_from(value.wrapping_sub(STREAM) / 16).unwrap_or(u32::MAX);
    let known = value >= STREAM && lock(&STREAMS).contains(&number);
    if known { Ok(number) } else { Err(CUDA_ERROR_INVALID_HANDLE) }
}

/// Whether a copy was taken into a capture instead.
pub(crate) fn captured(stream: u32, bytes: usize) -> bool {
    graphs::capture(stream, Node::Copy { bytes: bytes as u64 })
}

/// Waits until all that was put into a stream is over.
pub(crate) fn wait_for(client: &Client, stream: u32) -> Result<(), CUresult> {
    let mark = client.mark(stream).map_err(|_| CUDA_ERROR_UNKNOWN)?;
    client.wait(mark);
    Ok(())
}

/// The same for every stream.
pub(crate) fn wait_for_all(client: &Client) -> Result<(), CUresult> {
    let mut all: Vec<u32> = lock(&STREAMS).iter().copied().collect();
    all.push(0);
    all.into_iter().try_for_each(|stream| wait_for(client, stream))
}

/// What a launch says of itself.
struct Launch {
    function: CUfunction,
    grid: [c_uint; 3],
    block: [c_uint; 3],
    stream: CUstream,
    cooperative: bool,
}

fn launch(what: &Launch, own: bool) -> Result<(), CUresult> {
    current()?;
    let stream = number(what.stream, own)?;
    let length_ns = crate::code::length_of(what.function)?;
    let product = |sides: [c_uint; 3]| {
        sides.into_iter().try_fold(1u32, u32::checked_mul).filter(|it| *it > 0)
    };
    let blocks = product(what.grid).ok_or(CUDA_ERROR_INVALID_VALUE)?;
    let threads = product(what.block).filter(|it| *it <= 1024).ok_or(CUDA_ERROR_INVALID_VALUE)?;
    let client = device()?;
    let cooperative = what.cooperative;
    let kernel = Kernel { blocks, threads, length: Length::Scripted(length_ns), cooperative };
    if !kernel.fits(model(client)) {
        // As the driver says of a cooperative launch that is too large.
        return Err(720);
    }
    if graphs::capture(stream, Node::Kernel { blocks, threads, length_ns }) {
        return Ok(());
    }
    tell(client, Ask::Launch { stream, blocks, threads, length_ns, nodes: 0, cooperative })
}

fn event(event: CUevent) -> Result<Event, CUresult> {
    lock(&EVENTS).get(&event.addr()).copied().ok_or(CUDA_ERROR_INVALID_HANDLE)
}

fn mark_of(of: CUevent) -> Result<Option<Mark>, CUresult> {
    event(of).map(|event| event.mark)
}

fn record(of: CUevent, stream: CUstream, own: bool) -> Result<(), CUresult> {
    let stream = number(stream, own)?;
    let known = event(of)?;
    if graphs::capturing(stream) {
        return Ok(());
    }
    let mark = device()?.mark(stream).map_err(|_| CUDA_ERROR_UNKNOWN)?;
    lock(&EVENTS).insert(of.addr(), Event { mark: Some(mark), ..known });
    Ok(())
}

fn sync(stream: CUstream, own: bool) -> Result<(), CUresult> {
    let stream = number(stream, own)?;
    if graphs::capturing(stream) {
        return Err(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    wait_for(device()?, stream)?;
    device().map(|_| ())
}

fn over(mark: Option<Mark>) -> Result<(), CUresult> {
    let client = device()?;
    match mark {
        Some(mark) if !client.over(mark) => Err(CUDA_ERROR_NOT_READY),
        _ => Ok(()),
    }
}

fn created(out: *mut CUstream) -> Result<(), CUresult> {
    current()?;
    let place = usize::try_from(create()?).unwrap_or(0);
    put(out, std::ptr::without_provenance_mut(STREAM + place * 16))
}

fn elapsed(milliseconds: *mut f32, start: CUevent, end: CUevent) -> Result<(), CUresult> {
    let timed_mark = |of| event(of).map(|event| event.mark.filter(|_| event.timed));
    let marks = (timed_mark(start)?, timed_mark(end)?);
    let (Some(start), Some(end)) = marks else { return Err(CUDA_ERROR_INVALID_HANDLE) };
    over(Some(start))?;
    over(Some(end))?;
    let client = device()?;
    let (start_ns, end_ns) = (client.over_at_ns(start), client.over_at_ns(end));
    let apart = std::time::Duration::from_nanos(end_ns.abs_diff(start_ns)).as_secs_f32() * 1000.0;
    put(milliseconds, if end_ns < start_ns { -apart } else { apart })
}

/// What a thread calls when the stream has come so far.
struct Call {
    function: unsafe extern "C" fn(*mut c_void),
    data: *mut c_void,
}

// SAFETY: the API says that it is called on a thread of the driver's.
unsafe impl Send for Call {}

impl Call {
    fn make(self) {
        // SAFETY: the caller's function with the caller's data.
        unsafe { (self.function)(self.data) };
    }
}

/// Calls that wait for their marks, in the order in which they came; none while no thread sees to
/// them. The number is the process whose thread it is: a child has to start its own.
static CALLS: Mutex<(u32, Vec<(Mark, Call)>)> = Mutex::new((0, Vec::new()));

fn call_later(client: &'static Client, mark: Mark, call: Call) -> Result<(), CUresult> {
    let mut calls = lock(&CALLS);
    calls.1.push((mark, call));
    if calls.0 == std::process::id() {
        // The mark may have been over before the thread could know of it.
        client.nudge();
        return Ok(());
    }
    calls.0 = std::process::id();
    let thread = std::thread::Builder::new().name("standin-calls".into());
    let started = thread.spawn(move || {
        let mut seen = 0;
        loop {
            make_calls(client);
            seen = client.changed(seen);
        }
    });
    started.map(|_| ()).map_err(|_| CUDA_ERROR_OUT_OF_MEMORY)
}

fn make_calls(client: &Client) {
    let due: Vec<(Mark, Call)> =
        lock(&CALLS).1.extract_if(.., |(mark, _)| client.over(*mark)).collect();
    due.into_iter().for_each(|(_, call)| call.make());
}

api! { |own|
    fn cuStreamCreate(out: *mut CUstream, _flags: c_uint) {
        created(out)
    }

    fn cuStreamCreateWithPriority(out: *mut CUstream, _flags: c_uint, _priority: c_int) {
        created(out)
    }

    fn cuStreamDestroy_v2(stream: CUstream) {
        let number = number(stream, false)?;
        wait_for(client()?, number)?;
        lock(&STREAMS).remove(&number);
        Ok(())
    }

    fn cuStreamSynchronize / cuStreamSynchronize_ptsz(stream: CUstream) {
        sync(stream, own)
    }

    fn cuStreamQuery / cuStreamQuery_ptsz(stream: CUstream) {
        let client = device()?;
        over(Some(client.mark(number(stream, own)?).map_err(|_| CUDA_ERROR_UNKNOWN)?))
    }

    fn cuStreamWaitEvent / cuStreamWaitEvent_ptsz(stream: CUstream, event: CUevent, _flags: c_uint) {
        let number = number(stream, own)?;
        let mark = mark_of(event)?;
        if let (Some(mark), false) = (mark, graphs::capturing(number)) {
            device()?.after(number, mark).map_err(|_| CUDA_ERROR_UNKNOWN)?;
        }
        Ok(())
    }

    fn cuStreamGetCtx / cuStreamGetCtx_ptsz(stream: CUstream, pctx: *mut CUcontext) {
        number(stream, own)?;
        put(pctx, std::ptr::without_provenance_mut(current()?))
    }

    fn cuStreamGetFlags / cuStreamGetFlags_ptsz(stream: CUstream, flags: *mut c_uint) {
        number(stream, own)?;
        put(flags, CU_STREAM_NON_BLOCKING)
    }

    fn cuStreamGetPriority / cuStreamGetPriority_ptsz(stream: CUstream, priority: *mut c_int) {
        number(stream, own)?;
        put(priority, 0)
    }

    fn cuEventCreate(out: *mut CUevent, flags: c_uint) {
        current()?;
        let mut events = lock(&EVENTS);
        let new = events.keys().next_back().map_or(EVENT, |last| last + 16);
        let timed = flags & CU_EVENT_DISABLE_TIMING == 0;
        events.insert(new, Event { mark: None, timed });
        put(out, std::ptr::without_provenance_mut(new))
    }

    fn cuEventDestroy_v2(event: CUevent) {
        lock(&EVENTS).remove(&event.addr()).map(|_| ()).ok_or(CUDA_ERROR_INVALID_HANDLE)
    }

    fn cuEventRecord / cuEventRecord_ptsz(event: CUevent, stream: CUstream) {
        record(event, stream, own)
    }

    fn cuEventRecordWithFlags / cuEventRecordWithFlags_ptsz(event: CUevent, stream: CUstream, _flags: c_uint) {
        record(event, stream, own)
    }

    fn cuEventQuery(event: CUevent) {
        over(mark_of(event)?)
    }

    fn cuEventSynchronize(event: CUevent) {
        let client = device()?;
        if let Some(mark) = mark_of(event)? {
            client.wait(mark);
        }
        device().map(|_| ())
    }

    fn cuEventElapsedTime(milliseconds: *mut f32, start: CUevent, end: CUevent) {
        elapsed(milliseconds, start, end)
    }

    fn cuEventElapsedTime_v2(milliseconds: *mut f32, start: CUevent, end: CUevent) {
        elapsed(milliseconds, start, end)
    }

    fn cuLaunchKernel / cuLaunchKernel_ptsz(f: CUfunction, gx: c_uint, gy: c_uint, gz: c_uint, bx: c_uint, by: c_uint, bz: c_uint, _shared: c_uint, stream: CUstream, _params: *mut *mut c_void, _extra: *mut *mut c_void) {
        let (grid, block) = ([gx, gy, gz], [bx, by, bz]);
        launch(&Launch { function: f, grid, block, stream, cooperative: false }, own)
    }

    fn cuLaunchKernelEx / cuLaunchKernelEx_ptsz(config: *const CUlaunchConfig, f: CUfunction, _params: *mut *mut c_void, _extra: *mut *mut c_void) {
        // SAFETY: the caller's configuration, if it is one.
        let config = unsafe { config.as_ref() }.ok_or(CUDA_ERROR_INVALID_VALUE)?;
        let grid = [config.gridDimX, config.gridDimY, config.gridDimZ];
        let block = [config.blockDimX, config.blockDimY, config.blockDimZ];
        launch(&Launch { function: f, grid, block, stream: config.hStream, cooperative: false }, own)
    }

    fn cuLaunchCooperativeKernel / cuLaunchCooperativeKernel_ptsz(f: CUfunction, gx: c_uint, gy: c_uint, gz: c_uint, bx: c_uint, by: c_uint, bz: c_uint, _shared: c_uint, stream: CUstream, _params: *mut *mut c_void) {
        let (grid, block) = ([gx, gy, gz], [bx, by, bz]);
        launch(&Launch { function: f, grid, block, stream, cooperative: true }, own)
    }

    fn cuLaunchHostFunc / cuLaunchHostFunc_ptsz(stream: CUstream, function: CUhostFn, data: *mut c_void) {
        let function = function.ok_or(CUDA_ERROR_INVALID_VALUE)?;
        let client = device()?;
        let mark = client.mark(number(stream, own)?).map_err(|_| CUDA_ERROR_UNKNOWN)?;
        call_later(client, mark, Call { function, data })
    }

    fn cuThreadExchangeStreamCaptureMode(mode: *mut c_uint) {
        put(mode, 0)
    }

    fn cuStreamIsCapturing / cuStreamIsCapturing_ptsz(stream: CUstream, status: *mut c_uint) {
        put(status, graphs::capturing(number(stream, own)?).into())
    }

    fn cuStreamGetCaptureInfo_v2 / cuStreamGetCaptureInfo_v2_ptsz(stream: CUstream, status: *mut c_uint, id: *mut u64, graph: *mut CUgraph, dependencies: *mut *const CUgraphNode, count: *mut usize) {
        let number = number(stream, own)?;
        put(status, graphs::capturing(number).into())?;
        put_if(id, u64::from(number) + 1);
        put_if(graph, std::ptr::null_mut());
        put_if(dependencies, std::ptr::null());
        put_if(count, 0);
        Ok(())
    }

    fn cuStreamGetCaptureInfo_v3 / cuStreamGetCaptureInfo_v3_ptsz(stream: CUstream, status: *mut c_uint, id: *mut u64, graph: *mut CUgraph, dependencies: *mut *const CUgraphNode, edges: *mut *const c_void, count: *mut usize) {
        let number = number(stream, own)?;
        put(status, graphs::capturing(number).into())?;
        put_if(id, u64::from(number) + 1);
        put_if(graph, std::ptr::null_mut());
        put_if(dependencies, std::ptr::null());
        put_if(edges, std::ptr::null());
        put_if(count, 0);
        Ok(())
    }
}
