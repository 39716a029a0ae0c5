//! The table: every slot of the dispatch table, in order, with what the call means to Polder.

/// Hands the whole table to the macro `$then`, as entries of the form
///
/// ```text
/// class since fn name(argument: type, ...) -> result;
/// ```
///
/// in the order of the dispatch table that every object of the API points to. `class` is a variant
/// of `Class` in lower case, `since` the version that brought the slot (31 would be 3.1). A slot of
/// another system's interop, which has no signature here, returns `Absent`.
#[macro_export]
macro_rules! opencl_table {
    ($then:ident) => {
        $then! {
            device_view 10 fn clGetPlatformIDs(num_entries: cl_uint, platforms: *mut cl_platform_id,
                num_platforms: *mut cl_uint) -> cl_int;
            device_view 10 fn clGetPlatformInfo(platform: cl_platform_id,
                param_name: cl_platform_info, param_value_size: usize, param_value: *mut c_void,
                param_value_size_ret: *mut usize) -> cl_int;
            device_view 10 fn clGetDeviceIDs(platform: cl_platform_id, device_type: cl_device_type,
                num_entries: cl_uint, devices: *mut cl_device_id,
                num_devices: *mut cl_uint) -> cl_int;
            device_view 10 fn clGetDeviceInfo(device: cl_device_id, param_name: cl_device_info,
                param_value_size: usize, param_value: *mut c_void,
                param_value_size_ret: *mut usize) -> cl_int;
            device_view 10 fn clCreateContext(properties: *const cl_context_properties,
                num_devices: cl_uint, devices: *const cl_device_id, pfn_notify: ContextNotify,
                user_data: *mut c_void, errcode_ret: *mut cl_int) -> cl_context;
            device_view 10 fn clCreateContextFromType(properties: *const cl_context_properties,
                device_type: cl_device_type, pfn_notify: ContextNotify, user_data: *mut c_void,
                errcode_ret: *mut cl_int) -> cl_context;
            pass 10 fn clRetainContext(context: cl_context) -> cl_int;
            pass 10 fn clReleaseContext(context: cl_context) -> cl_int;
            queries 10 fn clGetContextInfo(context: cl_context, param_name: cl_context_info,
                param_value_size: usize, param_value: *mut c_void,
                param_value_size_ret: *mut usize) -> cl_int;
            queues 10 fn clCreateCommandQueue(context: cl_context, device: cl_device_id,
                properties: cl_command_queue_properties,
                errcode_ret: *mut cl_int) -> cl_command_queue;
            queues 10 fn clRetainCommandQueue(command_queue: cl_command_queue) -> cl_int;
            queues 10 fn clReleaseCommandQueue(command_queue: cl_command_queue) -> cl_int;
            queries 10 fn clGetCommandQueueInfo(command_queue: cl_command_queue,
                param_name: cl_command_queue_info, param_value_size: usize,
                param_value: *mut c_void, param_value_size_ret: *mut usize) -> cl_int;
            queues 10 fn clSetCommandQueueProperty(command_queue: cl_command_queue,
                properties: cl_command_queue_properties, enable: cl_bool,
                old_properties: *mut cl_command_queue_properties) -> cl_int;
            allocates 10 fn clCreateBuffer(context: cl_context, flags: cl_mem_flags, size: usize,
                host_ptr: *mut c_void, errcode_ret: *mut cl_int) -> cl_mem;
            allocates 10 fn clCreateImage2D(context: cl_context, flags: cl_mem_flags,
                image_format: *const cl_image_format, image_width: usize, image_height: usize,
                image_row_pitch: usize, host_ptr: *mut c_void, errcode_ret: *mut cl_int) -> cl_mem;
            allocates 10 fn clCreateImage3D(context: cl_context, flags: cl_mem_flags,
                image_format: *const cl_image_format, image_width: usize, image_height: usize,
                image_depth: usize, image_row_pitch: usize, image_slice_pitch: usize,
                host_ptr: *mut c_void, errcode_ret: *mut cl_int) -> cl_mem;
            pass 10 fn clRetainMemObject(memobj: cl_mem) -> cl_int;
            frees 10 fn clReleaseMemObject(memobj: cl_mem) -> cl_int;
            queries 10 fn clGetSupportedImageFormats(context: cl_context, flags: cl_mem_flags,
                image_type: cl_mem_object_type, num_entries: cl_uint,
                image_formats: *mut cl_image_format, num_image_formats: *mut cl_uint) -> cl_int;
            queries 10 fn clGetMemObjectInfo(memobj: cl_mem, param_name: cl_mem_info,
                param_value_size: usize, param_value: *mut c_void,
                param_value_size_ret: *mut usize) -> cl_int;
            queries 10 fn clGetImageInfo(image: cl_mem, param_name: cl_image_info,
                param_value_size: usize, param_value: *mut c_void,
                param_value_size_ret: *mut usize) -> cl_int;
            pass 10 fn clCreateSampler(context: cl_context, normalized_coords: cl_bool,
                addressing_mode: cl_addressing_mode, filter_mode: cl_filter_mode,
                errcode_ret: *mut cl_int) -> cl_sampler;
            pass 10 fn clRetainSampler(sampler: cl_sampler) -> cl_int;
            pass 10 fn clReleaseSampler(sampler: cl_sampler) -> cl_int;
            queries 10 fn clGetSamplerInfo(sampler: cl_sampler, param_name: cl_sampler_info,
                param_value_size: usize, param_value: *mut c_void,
                param_value_size_ret: *mut usize) -> cl_int;
            pass 10 fn clCreateProgramWithSource(context: cl_context, count: cl_uint,
                strings: *mut *const c_char, lengths: *const usize,
                errcode_ret: *mut cl_int) -> cl_program;
            pass 10 fn clCreateProgramWithBinary(context: cl_context, num_devices: cl_uint,
                device_list: *const cl_device_id, lengths: *const usize, binaries: *mut *const u8,
                binary_status: *mut cl_int, errcode_ret: *mut cl_int) -> cl_program;
            pass 10 fn clRetainProgram(program: cl_program) -> cl_int;
            pass 10 fn clReleaseProgram(program: cl_program) -> cl_int;
            calls_back 10 fn clBuildProgram(program: cl_program, num_devices: cl_uint,
                device_list: *const cl_device_id, options: *const c_char, pfn_notify: ProgramNotify,
                user_data: *mut c_void) -> cl_int;
            pass 10 fn clUnloadCompiler() -> cl_int;
            queries 10 fn clGetProgramInfo(program: cl_program, param_name: cl_program_info,
                param_value_size: usize, param_value: *mut c_void,
                param_value_size_ret: *mut usize) -> cl_int;
            queries 10 fn clGetProgramBuildInfo(program: cl_program, device: cl_device_id,
                param_name: cl_program_build_info, param_value_size: usize,
                param_value: *mut c_void, param_value_size_ret: *mut usize) -> cl_int;
            pass 10 fn clCreateKernel(program: cl_program, kernel_name: *const c_char,
                errcode_ret: *mut cl_int) -> cl_kernel;
            pass 10 fn clCreateKernelsInProgram(program: cl_program, num_kernels: cl_uint,
                kernels: *mut cl_kernel, num_kernels_ret: *mut cl_uint) -> cl_int;
            pass 10 fn clRetainKernel(kernel: cl_kernel) -> cl_int;
            pass 10 fn clReleaseKernel(kernel: cl_kernel) -> cl_int;
            pass 10 fn clSetKernelArg(kernel: cl_kernel, arg_index: cl_uint, arg_size: usize,
                arg_value: *const c_void) -> cl_int;
            queries 10 fn clGetKernelInfo(kernel: cl_kernel, param_name: cl_kernel_info,
                param_value_size: usize, param_value: *mut c_void,
                param_value_size_ret: *mut usize) -> cl_int;
            queries 10 fn clGetKernelWorkGroupInfo(kernel: cl_kernel, device: cl_device_id,
                param_name: cl_kernel_work_group_info, param_value_size: usize,
                param_value: *mut c_void, param_value_size_ret: *mut usize) -> cl_int;
            synchronises 10 fn clWaitForEvents(num_events: cl_uint,
                event_list: *const cl_event) -> cl_int;
            queries 10 fn clGetEventInfo(event: cl_event, param_name: cl_event_info,
                param_value_size: usize, param_value: *mut c_void,
                param_value_size_ret: *mut usize) -> cl_int;
            events 10 fn clRetainEvent(event: cl_event) -> cl_int;
            events 10 fn clReleaseEvent(event: cl_event) -> cl_int;
            queries 10 fn clGetEventProfilingInfo(event: cl_event, param_name: cl_profiling_info,
                param_value_size: usize, param_value: *mut c_void,
                param_value_size_ret: *mut usize) -> cl_int;
            synchronises 10 fn clFlush(command_queue: cl_command_queue) -> cl_int;
            synchronises 10 fn clFinish(command_queue: cl_command_queue) -> cl_int;
            copies 10 fn clEnqueueReadBuffer(command_queue: cl_command_queue, buffer: cl_mem,
                blocking_read: cl_bool, offset: usize, cb: usize, ptr: *mut c_void,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event) -> cl_int;
            copies 10 fn clEnqueueWriteBuffer(command_queue: cl_command_queue, buffer: cl_mem,
                blocking_write: cl_bool, offset: usize, cb: usize, ptr: *const c_void,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event) -> cl_int;
            copies 10 fn clEnqueueCopyBuffer(command_queue: cl_command_queue, src_buffer: cl_mem,
                dst_buffer: cl_mem, src_offset: usize, dst_offset: usize, cb: usize,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event) -> cl_int;
            copies 10 fn clEnqueueReadImage(command_queue: cl_command_queue, image: cl_mem,
                blocking_read: cl_bool, origin: *const usize, region: *const usize,
                row_pitch: usize, slice_pitch: usize, ptr: *mut c_void,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event) -> cl_int;
            copies 10 fn clEnqueueWriteImage(command_queue: cl_command_queue, image: cl_mem,
                blocking_write: cl_bool, origin: *const usize, region: *const usize,
                input_row_pitch: usize, input_slice_pitch: usize, ptr: *const c_void,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event) -> cl_int;
            copies 10 fn clEnqueueCopyImage(command_queue: cl_command_queue, src_image: cl_mem,
                dst_image: cl_mem, src_origin: *const usize, dst_origin: *const usize,
                region: *const usize, num_events_in_wait_list: cl_uint,
                event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int;
            copies 10 fn clEnqueueCopyImageToBuffer(command_queue: cl_command_queue,
                src_image: cl_mem, dst_buffer: cl_mem, src_origin: *const usize,
                region: *const usize, dst_offset: usize, num_events_in_wait_list: cl_uint,
                event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int;
            copies 10 fn clEnqueueCopyBufferToImage(command_queue: cl_command_queue,
                src_buffer: cl_mem, dst_image: cl_mem, src_offset: usize, dst_origin: *const usize,
                region: *const usize, num_events_in_wait_list: cl_uint,
                event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int;
            copies 10 fn clEnqueueMapBuffer(command_queue: cl_command_queue, buffer: cl_mem,
                blocking_map: cl_bool, map_flags: cl_map_flags, offset: usize, cb: usize,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event, errcode_ret: *mut cl_int) -> *mut c_void;
            copies 10 fn clEnqueueMapImage(command_queue: cl_command_queue, image: cl_mem,
                blocking_map: cl_bool, map_flags: cl_map_flags, origin: *const usize,
                region: *const usize, image_row_pitch: *mut usize, image_slice_pitch: *mut usize,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event, errcode_ret: *mut cl_int) -> *mut c_void;
            copies 10 fn clEnqueueUnmapMemObject(command_queue: cl_command_queue, memobj: cl_mem,
                mapped_ptr: *mut c_void, num_events_in_wait_list: cl_uint,
                event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int;
            launches 10 fn clEnqueueNDRangeKernel(command_queue: cl_command_queue,
                kernel: cl_kernel, work_dim: cl_uint, global_work_offset: *const usize,
                global_work_size: *const usize, local_work_size: *const usize,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event) -> cl_int;
            launches 10 fn clEnqueueTask(command_queue: cl_command_queue, kernel: cl_kernel,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event) -> cl_int;
            launches 10 fn clEnqueueNativeKernel(command_queue: cl_command_queue,
                user_func: NativeKernel, args: *mut c_void, cb_args: usize,
                num_mem_objects: cl_uint, mem_list: *const cl_mem, args_mem_loc: *mut *const c_void,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event) -> cl_int;
            orders 10 fn clEnqueueMarker(command_queue: cl_command_queue,
                event: *mut cl_event) -> cl_int;
            orders 10 fn clEnqueueWaitForEvents(command_queue: cl_command_queue,
                num_events: cl_uint, event_list: *const cl_event) -> cl_int;
            orders 10 fn clEnqueueBarrier(command_queue: cl_command_queue) -> cl_int;
            device_view 10 fn clGetExtensionFunctionAddress(function_name: *const c_char) -> *mut c_void;
            interop 10 fn clCreateFromGLBuffer(context: cl_context, flags: cl_mem_flags,
                bufobj: cl_GLuint, errcode_ret: *mut cl_int) -> cl_mem;
            interop 10 fn clCreateFromGLTexture2D(context: cl_context, flags: cl_mem_flags,
                target: cl_GLenum, miplevel: cl_GLint, texture: cl_GLuint,
                errcode_ret: *mut cl_int) -> cl_mem;
            interop 10 fn clCreateFromGLTexture3D(context: cl_context, flags: cl_mem_flags,
                target: cl_GLenum, miplevel: cl_GLint, texture: cl_GLuint,
                errcode_ret: *mut cl_int) -> cl_mem;
            interop 10 fn clCreateFromGLRenderbuffer(context: cl_context, flags: cl_mem_flags,
                renderbuffer: cl_GLuint, errcode_ret: *mut cl_int) -> cl_mem;
            interop 10 fn clGetGLObjectInfo(memobj: cl_mem, gl_object_type: *mut cl_gl_object_type,
                gl_object_name: *mut cl_GLuint) -> cl_int;
            interop 10 fn clGetGLTextureInfo(memobj: cl_mem, param_name: cl_gl_texture_info,
                param_value_size: usize, param_value: *mut c_void,
                param_value_size_ret: *mut usize) -> cl_int;
            interop 10 fn clEnqueueAcquireGLObjects(command_queue: cl_command_queue,
                num_objects: cl_uint, mem_objects: *const cl_mem, num_events_in_wait_list: cl_uint,
                event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int;
            interop 10 fn clEnqueueReleaseGLObjects(command_queue: cl_command_queue,
                num_objects: cl_uint, mem_objects: *const cl_mem, num_events_in_wait_list: cl_uint,
                event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int;
            interop 10 fn clGetGLContextInfoKHR(properties: *const cl_context_properties,
                param_name: cl_gl_context_info, param_value_size: usize, param_value: *mut c_void,
                param_value_size_ret: *mut usize) -> cl_int;
            interop 10 fn clGetDeviceIDsFromD3D10KHR() -> Absent;
            interop 10 fn clCreateFromD3D10BufferKHR() -> Absent;
            interop 10 fn clCreateFromD3D10Texture2DKHR() -> Absent;
            interop 10 fn clCreateFromD3D10Texture3DKHR() -> Absent;
            interop 10 fn clEnqueueAcquireD3D10ObjectsKHR() -> Absent;
            interop 10 fn clEnqueueReleaseD3D10ObjectsKHR() -> Absent;
            calls_back 11 fn clSetEventCallback(event: cl_event, command_exec_callback_type: cl_int,
                pfn_notify: EventNotify, user_data: *mut c_void) -> cl_int;
            pass 11 fn clCreateSubBuffer(buffer: cl_mem, flags: cl_mem_flags,
                buffer_create_type: cl_buffer_create_type, buffer_create_info: *const c_void,
                errcode_ret: *mut cl_int) -> cl_mem;
            calls_back 11 fn clSetMemObjectDestructorCallback(memobj: cl_mem, pfn_notify: MemNotify,
                user_data: *mut c_void) -> cl_int;
            events 11 fn clCreateUserEvent(context: cl_context,
                errcode_ret: *mut cl_int) -> cl_event;
            events 11 fn clSetUserEventStatus(event: cl_event, execution_status: cl_int) -> cl_int;
            copies 11 fn clEnqueueReadBufferRect(command_queue: cl_command_queue, buffer: cl_mem,
                blocking_read: cl_bool, buffer_origin: *const usize, host_origin: *const usize,
                region: *const usize, buffer_row_pitch: usize, buffer_slice_pitch: usize,
                host_row_pitch: usize, host_slice_pitch: usize, ptr: *mut c_void,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event) -> cl_int;
            copies 11 fn clEnqueueWriteBufferRect(command_queue: cl_command_queue, buffer: cl_mem,
                blocking_read: cl_bool, buffer_origin: *const usize, host_origin: *const usize,
                region: *const usize, buffer_row_pitch: usize, buffer_slice_pitch: usize,
                host_row_pitch: usize, host_slice_pitch: usize, ptr: *const c_void,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event) -> cl_int;
            copies 11 fn clEnqueueCopyBufferRect(command_queue: cl_command_queue,
                src_buffer: cl_mem, dst_buffer: cl_mem, src_origin: *const usize,
                dst_origin: *const usize, region: *const usize, src_row_pitch: usize,
                src_slice_pitch: usize, dst_row_pitch: usize, dst_slice_pitch: usize,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event) -> cl_int;
            pass 11 fn clCreateSubDevicesEXT(in_device: cl_device_id,
                partition_properties: *const cl_device_partition_property_ext, num_entries: cl_uint,
                out_devices: *mut cl_device_id, num_devices: *mut cl_uint) -> cl_int;
            pass 11 fn clRetainDeviceEXT(device: cl_device_id) -> cl_int;
            pass 11 fn clReleaseDeviceEXT(device: cl_device_id) -> cl_int;
            interop 11 fn clCreateEventFromGLsyncKHR(context: cl_context, sync: cl_GLsync,
                errcode_ret: *mut cl_int) -> cl_event;
            pass 12 fn clCreateSubDevices(in_device: cl_device_id,
                partition_properties: *const cl_device_partition_property, num_entries: cl_uint,
                out_devices: *mut cl_device_id, num_devices: *mut cl_uint) -> cl_int;
            pass 12 fn clRetainDevice(device: cl_device_id) -> cl_int;
            pass 12 fn clReleaseDevice(device: cl_device_id) -> cl_int;
            allocates 12 fn clCreateImage(context: cl_context, flags: cl_mem_flags,
                image_format: *const cl_image_format, image_desc: *const cl_image_desc,
                host_ptr: *mut c_void, errcode_ret: *mut cl_int) -> cl_mem;
            pass 12 fn clCreateProgramWithBuiltInKernels(context: cl_context, num_devices: cl_uint,
                device_list: *const cl_device_id, kernel_names: *const c_char,
                errcode_ret: *mut cl_int) -> cl_program;
            calls_back 12 fn clCompileProgram(program: cl_program, num_devices: cl_uint,
                device_list: *const cl_device_id, options: *const c_char,
                num_input_headers: cl_uint, input_headers: *const cl_program,
                header_include_names: *mut *const c_char, pfn_notify: ProgramNotify,
                user_data: *mut c_void) -> cl_int;
            calls_back 12 fn clLinkProgram(context: cl_context, num_devices: cl_uint,
                device_list: *const cl_device_id, options: *const c_char,
                num_input_programs: cl_uint, input_programs: *const cl_program,
                pfn_notify: ProgramNotify, user_data: *mut c_void,
                errcode_ret: *mut cl_int) -> cl_program;
            pass 12 fn clUnloadPlatformCompiler(platform: cl_platform_id) -> cl_int;
            queries 12 fn clGetKernelArgInfo(kernel: cl_kernel, arg_indx: cl_uint,
                param_name: cl_kernel_arg_info, param_value_size: usize, param_value: *mut c_void,
                param_value_size_ret: *mut usize) -> cl_int;
            copies 12 fn clEnqueueFillBuffer(command_queue: cl_command_queue, buffer: cl_mem,
                pattern: *const c_void, pattern_size: usize, offset: usize, cb: usize,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event) -> cl_int;
            copies 12 fn clEnqueueFillImage(command_queue: cl_command_queue, image: cl_mem,
                fill_color: *const c_void, origin: *const usize, region: *const usize,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event) -> cl_int;
            copies 12 fn clEnqueueMigrateMemObjects(command_queue: cl_command_queue,
                num_mem_objects: cl_uint, mem_objects: *const cl_mem, flags: cl_mem_migration_flags,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event) -> cl_int;
            orders 12 fn clEnqueueMarkerWithWaitList(command_queue: cl_command_queue,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event) -> cl_int;
            orders 12 fn clEnqueueBarrierWithWaitList(command_queue: cl_command_queue,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event) -> cl_int;
            device_view 12 fn clGetExtensionFunctionAddressForPlatform(platform: cl_platform_id,
                function_name: *const c_char) -> *mut c_void;
            interop 12 fn clCreateFromGLTexture(context: cl_context, flags: cl_mem_flags,
                target: cl_GLenum, miplevel: cl_GLint, texture: cl_GLuint,
                errcode_ret: *mut cl_int) -> cl_mem;
            interop 12 fn clGetDeviceIDsFromD3D11KHR() -> Absent;
            interop 12 fn clCreateFromD3D11BufferKHR() -> Absent;
            interop 12 fn clCreateFromD3D11Texture2DKHR() -> Absent;
            interop 12 fn clCreateFromD3D11Texture3DKHR() -> Absent;
            interop 12 fn clCreateFromDX9MediaSurfaceKHR() -> Absent;
            interop 12 fn clEnqueueAcquireD3D11ObjectsKHR() -> Absent;
            interop 12 fn clEnqueueReleaseD3D11ObjectsKHR() -> Absent;
            interop 12 fn clGetDeviceIDsFromDX9MediaAdapterKHR() -> Absent;
            interop 12 fn clEnqueueAcquireDX9MediaSurfacesKHR() -> Absent;
            interop 12 fn clEnqueueReleaseDX9MediaSurfacesKHR() -> Absent;
            interop 12 fn clCreateFromEGLImageKHR(context: cl_context, display: CLeglDisplayKHR,
                image: CLeglImageKHR, flags: cl_mem_flags,
                properties: *const cl_egl_image_properties_khr, errcode_ret: *mut cl_int) -> cl_mem;
            interop 12 fn clEnqueueAcquireEGLObjectsKHR(command_queue: cl_command_queue,
                num_objects: cl_uint, mem_objects: *const cl_mem, num_events_in_wait_list: cl_uint,
                event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int;
            interop 12 fn clEnqueueReleaseEGLObjectsKHR(command_queue: cl_command_queue,
                num_objects: cl_uint, mem_objects: *const cl_mem, num_events_in_wait_list: cl_uint,
                event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int;
            interop 12 fn clCreateEventFromEGLSyncKHR(context: cl_context, sync: CLeglSyncKHR,
                display: CLeglDisplayKHR, errcode_ret: *mut cl_int) -> cl_event;
            queues 20 fn clCreateCommandQueueWithProperties(context: cl_context,
                device: cl_device_id, properties: *const cl_queue_properties,
                errcode_ret: *mut cl_int) -> cl_command_queue;
            allocates 20 fn clCreatePipe(context: cl_context, flags: cl_mem_flags,
                pipe_packet_size: cl_uint, pipe_max_packets: cl_uint,
                properties: *const cl_pipe_properties, errcode_ret: *mut cl_int) -> cl_mem;
            queries 20 fn clGetPipeInfo(pipe: cl_mem, param_name: cl_pipe_info,
                param_value_size: usize, param_value: *mut c_void,
                param_value_size_ret: *mut usize) -> cl_int;
            allocates 20 fn clSVMAlloc(context: cl_context, flags: cl_svm_mem_flags, size: usize,
                alignment: cl_uint) -> *mut c_void;
            frees 20 fn clSVMFree(context: cl_context, svm_pointer: *mut c_void) -> ();
            frees 20 fn clEnqueueSVMFree(command_queue: cl_command_queue, num_svm_pointers: cl_uint,
                svm_pointers: *mut *mut c_void, pfn_free_func: SvmFree, user_data: *mut c_void,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event) -> cl_int;
            copies 20 fn clEnqueueSVMMemcpy(command_queue: cl_command_queue, blocking_copy: cl_bool,
                dst_ptr: *mut c_void, src_ptr: *const c_void, size: usize,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event) -> cl_int;
            copies 20 fn clEnqueueSVMMemFill(command_queue: cl_command_queue, svm_ptr: *mut c_void,
                pattern: *const c_void, pattern_size: usize, size: usize,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event) -> cl_int;
            copies 20 fn clEnqueueSVMMap(command_queue: cl_command_queue, blocking_map: cl_bool,
                map_flags: cl_map_flags, svm_ptr: *mut c_void, size: usize,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event) -> cl_int;
            copies 20 fn clEnqueueSVMUnmap(command_queue: cl_command_queue, svm_ptr: *mut c_void,
                num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event,
                event: *mut cl_event) -> cl_int;
            pass 20 fn clCreateSamplerWithProperties(context: cl_context,
                sampler_properties: *const cl_sampler_properties,
                errcode_ret: *mut cl_int) -> cl_sampler;
            pass 20 fn clSetKernelArgSVMPointer(kernel: cl_kernel, arg_index: cl_uint,
                arg_value: *const c_void) -> cl_int;
            pass 20 fn clSetKernelExecInfo(kernel: cl_kernel, param_name: cl_kernel_exec_info,
                param_value_size: usize, param_value: *const c_void) -> cl_int;
            queries 20 fn clGetKernelSubGroupInfoKHR(in_kernel: cl_kernel, in_device: cl_device_id,
                param_name: cl_kernel_sub_group_info, input_value_size: usize,
                input_value: *const c_void, param_value_size: usize, param_value: *mut c_void,
                param_value_size_ret: *mut usize) -> cl_int;
            pass 21 fn clCloneKernel(source_kernel: cl_kernel,
                errcode_ret: *mut cl_int) -> cl_kernel;
            pass 21 fn clCreateProgramWithIL(context: cl_context, il: *const c_void, length: usize,
                errcode_ret: *mut cl_int) -> cl_program;
            copies 21 fn clEnqueueSVMMigrateMem(command_queue: cl_command_queue,
                num_svm_pointers: cl_uint, svm_pointers: *mut *const c_void, sizes: *const usize,
                flags: cl_mem_migration_flags, num_events_in_wait_list: cl_uint,
                event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int;
            queries 21 fn clGetDeviceAndHostTimer(device: cl_device_id,
                device_timestamp: *mut cl_ulong, host_timestamp: *mut cl_ulong) -> cl_int;
            queries 21 fn clGetHostTimer(device: cl_device_id,
                host_timestamp: *mut cl_ulong) -> cl_int;
            queries 21 fn clGetKernelSubGroupInfo(kernel: cl_kernel, device: cl_device_id,
                param_name: cl_kernel_sub_group_info, input_value_size: usize,
                input_value: *const c_void, param_value_size: usize, param_value: *mut c_void,
                param_value_size_ret: *mut usize) -> cl_int;
            pass 21 fn clSetDefaultDeviceCommandQueue(context: cl_context, device: cl_device_id,
                command_queue: cl_command_queue) -> cl_int;
            calls_back 22 fn clSetProgramReleaseCallback(program: cl_program,
                pfn_notify: ProgramNotify, user_data: *mut c_void) -> cl_int;
            pass 22 fn clSetProgramSpecializationConstant(program: cl_program, spec_id: cl_uint,
                spec_size: usize, spec_value: *const c_void) -> cl_int;
            allocates 30 fn clCreateBufferWithProperties(context: cl_context,
                properties: *const cl_mem_properties, flags: cl_mem_flags, size: usize,
                host_ptr: *mut c_void, errcode_ret: *mut cl_int) -> cl_mem;
            allocates 30 fn clCreateImageWithProperties(context: cl_context,
                properties: *const cl_mem_properties, flags: cl_mem_flags,
                image_format: *const cl_image_format, image_desc: *const cl_image_desc,
                host_ptr: *mut c_void, errcode_ret: *mut cl_int) -> cl_mem;
            calls_back 30 fn clSetContextDestructorCallback(context: cl_context,
                pfn_notify: ContextDestroyed, user_data: *mut c_void) -> cl_int;
        }
    };
}
