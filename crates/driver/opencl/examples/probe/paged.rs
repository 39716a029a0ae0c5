//! A program whose buffers are more than its lease has of the device: whatever it does to them, they
//! hold what it computes beside.

use super::common::{Cl, call, check};
use super::{hear, say};
use polder_gpuapi::opencl::{consts::*, types::*};
use std::ptr::{null, null_mut};

/// Words of one buffer: 64 KiB.
const WORDS: usize = 1 << 14;
const BYTES: usize = WORDS * 4;
/// Words that one work item changes.
const STRIDE: usize = 64;
/// Buffers of all threads together.
const BUFFERS: usize = 24;
/// Steps of one thread.
const STEPS: usize = 150;

const SOURCE: &str = "__kernel void blend(__global const uint *a, __global uint *b, uint x) {
    for (uint i = 0; i < 64; i++) {
        size_t at = get_global_id(0) * 64 + i;
        b[at] = b[at] * 3u + a[at] + x;
    }
}";

/// Numbers that look drawn.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }
    fn word(&mut self) -> u32 {
        u32::try_from(self.below(1 << 30)).expect("30 bits")
    }
}

/// A buffer and what must be in it.
struct Mirror {
    buffer: cl_mem,
    words: Vec<u32>,
}

struct Worker<'c> {
    cl: &'c Cl,
    queue: cl_command_queue,
    kernel: cl_kernel,
    mirrors: Vec<Mirror>,
    draw: Draw,
}

impl Worker<'_> {
    fn read(&self, which: usize) -> Vec<u32> {
        let mut back = vec![0_u32; WORDS];
        let (buffer, at) = (self.mirrors[which].buffer, back.as_mut_ptr().cast());
        check(call!(
            self.cl,
            clEnqueueReadBuffer(self.queue, buffer, CL_TRUE, 0, BYTES, at, 0, null(), null_mut())
        ));
        back
    }

    fn verify(&self, which: usize) {
        assert!(self.read(which) == self.mirrors[which].words, "buffer {which} is otherwise");
    }

    /// One of the things that programs do, to two buffers that differ.
    fn step(&mut self) {
        let number = self.mirrors.len();
        let from = self.draw.below(number);
        let to = (from + 1 + self.draw.below(number - 1)) % number;
        let x = self.draw.word();
        let source = self.mirrors[from].words.clone();
        let (a, b) = (self.mirrors[from].buffer, self.mirrors[to].buffer);
        let (cl, queue) = (self.cl, self.queue);
        match self.draw.below(6) {
            0 | 1 => {
                // The arguments of last time stay where they need no change.
                cl.arg(self.kernel, 0, &a);
                cl.arg(self.kernel, 1, &b);
                cl.arg(self.kernel, 2, &x);
                let event = cl.launch(queue, self.kernel, WORDS / STRIDE, &[]);
                cl.release(event);
                for (word, add) in self.mirrors[to].words.iter_mut().zip(source) {
                    *word = word.wrapping_mul(3).wrapping_add(add).wrapping_add(x);
                }
            }
            2 => {
                let half = BYTES / 2;
                check(call!(
                    cl,
                    clEnqueueCopyBuffer(queue, a, b, 0, half, half, 0, null(), null_mut())
                ));
                self.mirrors[to].words[WORDS / 2..].copy_from_slice(&source[..WORDS / 2]);
            }
            3 => {
                let at = (&raw const x).cast();
                check(call!(
                    cl,
                    clEnqueueFillBuffer(queue, b, at, 4, 4096, 4096, 0, null(), null_mut())
                ));
                self.mirrors[to].words[1024..2048].fill(x);
            }
            4 => {
                let mut error = 0;
                let flags = CL_MAP_READ | CL_MAP_WRITE;
                let mapped = call!(
                    cl,
                    clEnqueueMapBuffer(
                        queue,
                        b,
                        CL_TRUE,
                        flags,
                        0,
                        BYTES,
                        0,
                        null(),
                        null_mut(),
                        &mut error
                    )
                );
                check(error);
                let mirror = &mut self.mirrors[to].words;
                // SAFETY: the driver has mapped so many words, and nothing is queued for them.
                let words = unsafe { std::slice::from_raw_parts_mut(mapped.cast::<u32>(), WORDS) };
                assert!(words == &mirror[..], "mapped otherwise");
                for word in words.iter_mut().chain(mirror.iter_mut()).skip(7).step_by(WORDS) {
                    *word ^= x;
                }
                check(call!(cl, clEnqueueUnmapMemObject(queue, b, mapped, 0, null(), null_mut())));
            }
            _ => self.verify(to),
        }
    }
}

/// `threads` threads, each with its own queue and part of the buffers.
pub(crate) fn mirrored(threads: usize) {
    let cl = Cl::load();
    let device = cl.devices(cl.platforms()[0])[0];
    let context = cl.context(&[device]);
    let mut draw = Draw(7);
    let mut workers: Vec<Worker> = (0..threads)
        .map(|thread| Worker {
            cl: &cl,
            queue: cl.queue(context, device, 0),
            kernel: cl.kernel(context, SOURCE, "blend"),
            mirrors: (0..BUFFERS / threads).map(|_| mirror(&cl, context, &mut draw)).collect(),
            draw: Draw(u64::try_from(thread).expect("few") + 1),
        })
        .collect();
    say(&"made");
    hear();
    std::thread::scope(|scope| {
        for worker in &mut workers {
            let worker = Shared(worker);
            scope.spawn(move || {
                let worker = worker;
                (0..STEPS).for_each(|_| worker.0.step());
                (0..worker.0.mirrors.len()).for_each(|which| worker.0.verify(which));
            });
        }
    });
    say(&"as computed");
    hear();
    for worker in &workers {
        for mirror in &worker.mirrors {
            check(call!(cl, clReleaseMemObject(mirror.buffer)));
        }
        cl.finish(worker.queue);
    }
    say(&"released");
}

/// `threads` threads take buffers at the same time until none is to be had, half of them as memory
/// that stays where it is; what they got can all be used.
pub(crate) fn greedy(threads: usize) {
    let cl = Cl::load();
    let device = cl.devices(cl.platforms()[0])[0];
    let context = cl.context(&[device]);
    let queue = cl.queue(context, device, 0);
    let (begin, context, loader) = (std::sync::Barrier::new(threads), Handle(context), &cl);
    let taken: Vec<Handle<cl_mem>> = std::thread::scope(|scope| {
        let take = |thread: usize| {
            let (begin, context) = (&begin, &context);
            move || {
                begin.wait();
                let fixed = if thread.is_multiple_of(2) { 0 } else { CL_MEM_ALLOC_HOST_PTR };
                let flags = CL_MEM_READ_WRITE | fixed;
                let more = || {
                    let mut error = 0;
                    let made = call!(
                        loader,
                        clCreateBuffer(context.0, flags, BYTES, null_mut(), &mut error)
                    );
                    (error == CL_SUCCESS).then_some(Handle(made))
                };
                std::iter::from_fn(more).collect::<Vec<_>>()
            }
        };
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(take(thread))).collect();
        all.into_iter().flat_map(|one| one.join().expect("it took what it could")).collect()
    });
    for round in 0..3_u32 {
        for buffer in &taken {
            let at = (&raw const round).cast();
            check(call!(
                cl,
                clEnqueueFillBuffer(queue, buffer.0, at, 4, 0, BYTES, 0, null(), null_mut())
            ));
        }
    }
    cl.finish(queue);
    say(&"all can be used");
}

/// A handle that any thread may use.
struct Handle<T>(T);

// SAFETY: as the API says of its handles.
unsafe impl<T> Send for Handle<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Handle<T> {}

/// Handles of the API may be used by any thread.
struct Shared<'w, 'c>(&'w mut Worker<'c>);

// SAFETY: as above; one thread has it.
unsafe impl Send for Shared<'_, '_> {}

/// A buffer that the driver fills from the program's memory.
fn mirror(cl: &Cl, context: cl_context, draw: &mut Draw) -> Mirror {
    let words: Vec<u32> = (0..WORDS).map(|_| draw.word()).collect();
    let (mut error, flags) = (0, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR);
    let at = words.as_ptr().cast_mut().cast();
    let buffer = call!(cl, clCreateBuffer(context, flags, BYTES, at, &mut error));
    check(error);
    Mirror { buffer, words }
}

/// What a program may ask and do about a buffer that is on the host just then, and what it may not have.
pub(crate) fn asked() {
    let cl = Cl::load();
    let device = cl.devices(cl.platforms()[0])[0];
    let context = cl.context(&[device]);
    let queue = cl.queue(context, device, 0);
    say(&format_args!("global {}", cl.device_u64(device, CL_DEVICE_GLOBAL_MEM_SIZE)));
    say(&format_args!("largest {}", cl.device_u64(device, CL_DEVICE_MAX_MEM_ALLOC_SIZE)));
    let mut draw = Draw(3);
    let mirrors: Vec<Mirror> = (0..BUFFERS).map(|_| mirror(&cl, context, &mut draw)).collect();
    let number = |object: cl_mem, what: cl_mem_info| {
        let mut value = 0_u64;
        let at = (&raw mut value).cast();
        check(call!(cl, clGetMemObjectInfo(object, what, 8, at, null_mut())));
        value
    };
    // The first of them is on the host by now.
    let first = mirrors[0].buffer;
    check(call!(cl, clRetainMemObject(first)));
    assert_eq!(number(first, CL_MEM_SIZE), 65_536);
    assert_eq!(number(first, CL_MEM_TYPE), u64::from(CL_MEM_OBJECT_BUFFER));
    assert_eq!(number(first, CL_MEM_REFERENCE_COUNT), 2);
    assert_eq!(number(first, CL_MEM_CONTEXT), context.addr() as u64);
    let short =
        call!(cl, clGetMemObjectInfo(first, CL_MEM_SIZE, 2, (&raw mut draw).cast(), null_mut()));
    let none = call!(cl, clGetMemObjectInfo(first, 1, 8, (&raw mut draw).cast(), null_mut()));
    let image = call!(cl, clGetImageInfo(first, 0x1110, 8, (&raw mut draw).cast(), null_mut()));
    say(&format_args!("refused {short} {none} {image}"));
    check(call!(cl, clReleaseMemObject(first)));
    // A part of it keeps it on the device, whatever else is wanted there.
    let (mut error, region) = (0, [0_usize, 4096]);
    let part = call!(
        cl,
        clCreateSubBuffer(
            first,
            CL_MEM_READ_WRITE,
            CL_BUFFER_CREATE_TYPE_REGION,
            region.as_ptr().cast(),
            &mut error
        )
    );
    check(error);
    let mut back = vec![0_u32; 1024];
    for mirror in &mirrors {
        let at = back.as_mut_ptr().cast();
        for (buffer, expect) in [(mirror.buffer, &mirror.words), (part, &mirrors[0].words)] {
            check(call!(
                cl,
                clEnqueueReadBuffer(queue, buffer, CL_TRUE, 0, 4096, at, 0, null(), null_mut())
            ));
            assert!(back == expect[..1024], "otherwise");
        }
    }
    let error = cl.buffer(context, 1 << 20).expect_err("more than the two sides can hold");
    let wrong =
        cl.buffer(context, (1 << 20) + 1).expect_err("no one buffer is larger than the device's");
    say(&format_args!("past {error}, wrong {wrong}"));
    check(call!(cl, clReleaseMemObject(part)));
    mirrors.iter().for_each(|mirror| check(call!(cl, clReleaseMemObject(mirror.buffer))));
    say(&"released");
}
