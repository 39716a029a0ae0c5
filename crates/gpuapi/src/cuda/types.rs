//! The API's types, under its own names.
#![allow(non_camel_case_types, non_snake_case, missing_docs)] // the API's own names

use std::ffi::{c_int, c_uint, c_void};

/// Result of every call; the numbers are in [`consts`](super::consts).
pub type CUresult = u32;
/// A device by its ordinal.
pub type CUdevice = c_int;
/// An address on the device.
pub type CUdeviceptr = u64;
/// An address on the device, as before 3.2.
pub type CUdeviceptr_v1 = c_uint;
/// Physical memory without an address.
pub type CUmemGenericAllocationHandle = u64;

macro_rules! handles {
    ($($object:ident $handle:ident;)*) => {$(
        #[derive(Debug)]
        #[repr(C)]
        pub struct $object {
            _private: [u8; 0],
        }
        pub type $handle = *mut $object;
    )*};
}
handles! {
    Context CUcontext;
    Stream CUstream;
    Event CUevent;
    Module CUmodule;
    Func CUfunction;
    Library CUlibrary;
    Kernel CUkernel;
    Array CUarray;
    MipmappedArray CUmipmappedArray;
    Graph CUgraph;
    GraphExec CUgraphExec;
    GraphNode CUgraphNode;
    MemoryPool CUmemoryPool;
    GreenCtx CUgreenCtx;
    DevResourceDesc CUdevResourceDesc;
}

pub type CUhostFn = Option<unsafe extern "C" fn(*mut c_void)>;
pub type CUstreamCallback = Option<unsafe extern "C" fn(CUstream, CUresult, *mut c_void)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct CUuuid {
    pub bytes: [u8; 16],
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CUipcMemHandle {
    pub reserved: [u8; 64],
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CUDA_ARRAY_DESCRIPTOR {
    pub Width: usize,
    pub Height: usize,
    pub Format: c_uint,
    pub NumChannels: c_uint,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CUDA_ARRAY_DESCRIPTOR_v1 {
    pub Width: c_uint,
    pub Height: c_uint,
    pub Format: c_uint,
    pub NumChannels: c_uint,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CUDA_ARRAY3D_DESCRIPTOR {
    pub Width: usize,
    pub Height: usize,
    pub Depth: usize,
    pub Format: c_uint,
    pub NumChannels: c_uint,
    pub Flags: c_uint,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CUDA_ARRAY3D_DESCRIPTOR_v1 {
    pub Width: c_uint,
    pub Height: c_uint,
    pub Depth: c_uint,
    pub Format: c_uint,
    pub NumChannels: c_uint,
    pub Flags: c_uint,
}

/// Where memory lies: what kind of place, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct CUmemLocation {
    pub kind: c_uint,
    pub id: c_int,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CUmemAllocationProp {
    pub kind: c_uint,
    pub requestedHandleTypes: c_uint,
    pub location: CUmemLocation,
    pub win32HandleMetaData: *mut c_void,
    pub compressionType: u8,
    pub gpuDirectRDMACapable: u8,
    pub usage: u16,
    pub reserved: [u8; 4],
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CUmemPoolProps {
    pub allocType: c_uint,
    pub handleTypes: c_uint,
    pub location: CUmemLocation,
    pub win32SecurityAttributes: *mut c_void,
    pub maxSize: usize,
    pub usage: u16,
    pub reserved: [u8; 54],
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CUDA_MEM_ALLOC_NODE_PARAMS {
    pub poolProps: CUmemPoolProps,
    pub accessDescs: *const c_void,
    pub accessDescCount: usize,
    pub bytesize: usize,
    pub dptr: CUdeviceptr,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CUDA_MEMCPY2D {
    pub srcXInBytes: usize,
    pub srcY: usize,
    pub srcMemoryType: c_uint,
    pub srcHost: *const c_void,
    pub srcDevice: CUdeviceptr,
    pub srcArray: CUarray,
    pub srcPitch: usize,
    pub dstXInBytes: usize,
    pub dstY: usize,
    pub dstMemoryType: c_uint,
    pub dstHost: *mut c_void,
    pub dstDevice: CUdeviceptr,
    pub dstArray: CUarray,
    pub dstPitch: usize,
    pub WidthInBytes: usize,
    pub Height: usize,
}

/// As before 3.2; only its extents are read.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CUDA_MEMCPY2D_v1 {
    pub srcXInBytes: c_uint,
    pub srcY: c_uint,
    pub srcMemoryType: c_uint,
    pub srcHost: *const c_void,
    pub srcDevice: CUdeviceptr_v1,
    pub srcArray: CUarray,
    pub srcPitch: c_uint,
    pub dstXInBytes: c_uint,
    pub dstY: c_uint,
    pub dstMemoryType: c_uint,
    pub dstHost: *mut c_void,
    pub dstDevice: CUdeviceptr_v1,
    pub dstArray: CUarray,
    pub dstPitch: c_uint,
    pub WidthInBytes: c_uint,
    pub Height: c_uint,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CUDA_MEMCPY3D {
    pub srcXInBytes: usize,
    pub srcY: usize,
    pub srcZ: usize,
    pub srcLOD: usize,
    pub srcMemoryType: c_uint,
    pub srcHost: *const c_void,
    pub srcDevice: CUdeviceptr,
    pub srcArray: CUarray,
    pub reserved0: *mut c_void,
    pub srcPitch: usize,
    pub srcHeight: usize,
    pub dstXInBytes: usize,
    pub dstY: usize,
    pub dstZ: usize,
    pub dstLOD: usize,
    pub dstMemoryType: c_uint,
    pub dstHost: *mut c_void,
    pub dstDevice: CUdeviceptr,
    pub dstArray: CUarray,
    pub reserved1: *mut c_void,
    pub dstPitch: usize,
    pub dstHeight: usize,
    pub WidthInBytes: usize,
    pub Height: usize,
    pub Depth: usize,
}

/// As before 3.2; nothing of it is read.
pub type CUDA_MEMCPY3D_v1 = c_void;

/// Like [`CUDA_MEMCPY3D`], with contexts where the reserved words are.
pub type CUDA_MEMCPY3D_PEER = CUDA_MEMCPY3D;

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CUlaunchConfig {
    pub gridDimX: c_uint,
    pub gridDimY: c_uint,
    pub gridDimZ: c_uint,
    pub blockDimX: c_uint,
    pub blockDimY: c_uint,
    pub blockDimZ: c_uint,
    pub sharedMemBytes: c_uint,
    pub hStream: CUstream,
    pub attrs: *mut c_void,
    pub numAttrs: c_uint,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CUDA_LAUNCH_PARAMS {
    pub function: CUfunction,
    pub gridDimX: c_uint,
    pub gridDimY: c_uint,
    pub gridDimZ: c_uint,
    pub blockDimX: c_uint,
    pub blockDimY: c_uint,
    pub blockDimZ: c_uint,
    pub sharedMemBytes: c_uint,
    pub hStream: CUstream,
    pub kernelParams: *mut *mut c_void,
}

const _: () = {
    assert!(size_of::<CUDA_MEMCPY2D>() == 128 && size_of::<CUDA_MEMCPY3D>() == 200);
    assert!(size_of::<CUlaunchConfig>() == 56 && size_of::<CUDA_LAUNCH_PARAMS>() == 56);
    assert!(size_of::<CUmemAllocationProp>() == 32 && size_of::<CUmemPoolProps>() == 88);
    assert!(size_of::<CUDA_MEM_ALLOC_NODE_PARAMS>() == 120);
    assert!(size_of::<CUDA_ARRAY3D_DESCRIPTOR>() == 40);
};

/// How long a process may take until what it has begun is over.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct CUcheckpointLockArgs {
    /// Milliseconds; zero waits for as long as it takes.
    pub timeoutMs: c_uint,
    pub reserved0: c_uint,
    pub reserved1: [u64; 7],
}
