//! The API's types, under its own names.
#![allow(non_camel_case_types, missing_docs)] // the API's own names

use std::ffi::{c_char, c_void};

macro_rules! handles {
    ($($object:ident $handle:ident;)*) => {
        $(
            #[derive(Debug)]
            #[repr(C)]
            pub struct $object {
                dispatch: *const super::Dispatch,
            }
            pub type $handle = *mut $object;
        )*
    };
}
handles! {
    Platform cl_platform_id;
    Device cl_device_id;
    Context cl_context;
    CommandQueue cl_command_queue;
    Mem cl_mem;
    Sampler cl_sampler;
    Program cl_program;
    Kernel cl_kernel;
    Event cl_event;
    CommandBuffer cl_command_buffer_khr;
}

/// A slot whose signature another system's headers define.
pub type Absent = ();

pub type cl_int = i32;
pub type cl_uint = u32;
pub type cl_ulong = u64;
pub type cl_bool = cl_uint;
pub type cl_bitfield = cl_ulong;
pub type cl_properties = cl_ulong;
pub type cl_addressing_mode = cl_uint;
pub type cl_buffer_create_type = cl_uint;
pub type cl_command_queue_info = cl_uint;
pub type cl_context_info = cl_uint;
pub type cl_device_info = cl_uint;
pub type cl_event_info = cl_uint;
pub type cl_filter_mode = cl_uint;
pub type cl_image_info = cl_uint;
pub type cl_kernel_arg_info = cl_uint;
pub type cl_kernel_exec_info = cl_uint;
pub type cl_kernel_info = cl_uint;
pub type cl_kernel_sub_group_info = cl_uint;
pub type cl_kernel_work_group_info = cl_uint;
pub type cl_mem_info = cl_uint;
pub type cl_mem_object_type = cl_uint;
pub type cl_pipe_info = cl_uint;
pub type cl_platform_info = cl_uint;
pub type cl_profiling_info = cl_uint;
pub type cl_program_build_info = cl_uint;
pub type cl_program_info = cl_uint;
pub type cl_sampler_info = cl_uint;
pub type cl_gl_context_info = cl_uint;
pub type cl_gl_object_type = cl_uint;
pub type cl_gl_texture_info = cl_uint;
pub type cl_channel_order = cl_uint;
pub type cl_channel_type = cl_uint;
pub type cl_command_queue_properties = cl_bitfield;
pub type cl_device_type = cl_bitfield;
pub type cl_map_flags = cl_bitfield;
pub type cl_mem_flags = cl_bitfield;
pub type cl_mem_migration_flags = cl_bitfield;
pub type cl_svm_mem_flags = cl_bitfield;
pub type cl_queue_properties = cl_properties;
pub type cl_mem_properties = cl_properties;
pub type cl_sampler_properties = cl_properties;
pub type cl_context_properties = isize;
pub type cl_device_partition_property = isize;
pub type cl_pipe_properties = isize;
pub type cl_egl_image_properties_khr = isize;
pub type cl_device_partition_property_ext = cl_ulong;
pub type cl_GLuint = u32;
pub type cl_GLenum = u32;
pub type cl_GLint = i32;
pub type CLeglDisplayKHR = *mut c_void;
pub type CLeglImageKHR = *mut c_void;
pub type CLeglSyncKHR = *mut c_void;
pub type cl_GLsync = *mut c_void;

pub type ContextNotify =
    Option<unsafe extern "C" fn(*const c_char, *const c_void, usize, *mut c_void)>;
pub type ContextDestroyed = Option<unsafe extern "C" fn(cl_context, *mut c_void)>;
pub type ProgramNotify = Option<unsafe extern "C" fn(cl_program, *mut c_void)>;
pub type EventNotify = Option<unsafe extern "C" fn(cl_event, cl_int, *mut c_void)>;
pub type MemNotify = Option<unsafe extern "C" fn(cl_mem, *mut c_void)>;
pub type NativeKernel = Option<unsafe extern "C" fn(*mut c_void)>;
pub type SvmFree =
    Option<unsafe extern "C" fn(cl_command_queue, cl_uint, *mut *mut c_void, *mut c_void)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct cl_image_format {
    pub image_channel_order: cl_channel_order,
    pub image_channel_data_type: cl_channel_type,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct cl_image_desc {
    pub image_type: cl_mem_object_type,
    pub image_width: usize,
    pub image_height: usize,
    pub image_depth: usize,
    pub image_array_size: usize,
    pub image_row_pitch: usize,
    pub image_slice_pitch: usize,
    pub num_mip_levels: cl_uint,
    pub num_samples: cl_uint,
    /// A buffer or image that this one is a view of.
    pub mem_object: cl_mem,
}
