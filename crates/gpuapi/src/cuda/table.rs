//! The table: every function of the CUDA driver API, with what a call means to Polder.

/// Hands the whole table to the macro `$then`, as entries of the form
///
/// ```text
/// class (argument: type, ...) { function since, variant since, ... }
/// class _ { function since, ... }
/// ```
///
/// `class` is a variant of [`Class`](crate::cuda::Class) in lower case. All functions of an entry
/// have its signature and return a `CUresult`; `_` stands for signatures that nothing here needs.
/// `since` is the version of the API that brought the variant, as `cuGetProcAddress` counts:
/// 11030 is 11.3. `_ptsz` and `_ptds` are the variants whose default stream is the thread's own.
#[macro_export]
macro_rules! cuda_table {
    ($then:ident) => {
        $then! {
            device_view (can_access_peer: *mut c_int, dev: CUdevice, peer_dev: CUdevice) {
                cuDeviceCanAccessPeer 4000 }
            device_view (device: *mut CUdevice, ordinal: c_int) { cuDeviceGet 2000 }
            device_view (dev: *mut CUdevice, pci_bus_id: *const c_char) {
                cuDeviceGetByPCIBusId 4010 }
            device_view (count: *mut c_int) { cuDeviceGetCount 2000 }
            device_view (value: *mut c_int, attrib: c_uint, src_device: CUdevice,
                dst_device: CUdevice) { cuDeviceGetP2PAttribute 8000 }
            device_view (bytes: *mut c_uint, dev: CUdevice) { cuDeviceTotalMem 2000 }
            device_view (bytes: *mut usize, dev: CUdevice) { cuDeviceTotalMem_v2 3020 }
            device_view (flags: c_uint) { cuInit 2000 }
            device_view (free: *mut c_uint, total: *mut c_uint) { cuMemGetInfo 2000 }
            device_view (free: *mut usize, total: *mut usize) { cuMemGetInfo_v2 3020 }

            resolves (symbol: *const c_char, pfn: *mut *mut c_void, driver_version: c_int,
                flags: u64) { cuGetProcAddress 11030 }
            resolves (symbol: *const c_char, pfn: *mut *mut c_void, driver_version: c_int,
                flags: u64, symbol_found: *mut c_uint) { cuGetProcAddress_v2 12000 }

            contexts (pctx: *mut CUcontext, flags: c_uint) { cuCtxAttach 2000 }
            contexts (pctx: *mut CUcontext, flags: c_uint, dev: CUdevice) { cuCtxCreate 2000,
                cuCtxCreate_v2 3020 }
            contexts (pctx: *mut CUcontext, params_array: *mut c_void, num_params: c_int,
                flags: c_uint, dev: CUdevice) { cuCtxCreate_v3 11040 }
            contexts (pctx: *mut CUcontext, ctx_create_params: *mut c_void, flags: c_uint,
                dev: CUdevice) { cuCtxCreate_v4 12050 }
            contexts (ctx: CUcontext) { cuCtxDestroy 2000, cuCtxDestroy_v2 4000 }
            contexts (ctx: CUcontext) { cuCtxDetach 2000 }
            contexts (context: *mut CUcontext, ctx: CUgreenCtx) { cuCtxFromGreenCtx 12040 }
            contexts (pctx: *mut CUcontext) { cuCtxPopCurrent 2000, cuCtxPopCurrent_v2 4000 }
            contexts (ctx: CUcontext) { cuCtxPushCurrent 2000, cuCtxPushCurrent_v2 4000 }
            contexts (ctx: CUcontext) { cuCtxSetCurrent 4000 }
            contexts (dev: CUdevice) { cuDevicePrimaryCtxRelease 7000,
                cuDevicePrimaryCtxRelease_v2 11000 }
            contexts (dev: CUdevice) { cuDevicePrimaryCtxReset 7000,
                cuDevicePrimaryCtxReset_v2 11000 }
            contexts (pctx: *mut CUcontext, dev: CUdevice) { cuDevicePrimaryCtxRetain 7000 }
            contexts (dev: CUdevice, flags: c_uint) { cuDevicePrimaryCtxSetFlags 7000,
                cuDevicePrimaryCtxSetFlags_v2 11000 }
            contexts (ph_ctx: *mut CUgreenCtx, desc: CUdevResourceDesc, dev: CUdevice,
                flags: c_uint) { cuGreenCtxCreate 12040 }
            contexts (ctx: CUgreenCtx) { cuGreenCtxDestroy 12040 }

            queries (array_descriptor: *mut CUDA_ARRAY3D_DESCRIPTOR_v1, array: CUarray) {
                cuArray3DGetDescriptor 2000 }
            queries (array_descriptor: *mut CUDA_ARRAY3D_DESCRIPTOR, array: CUarray) {
                cuArray3DGetDescriptor_v2 3020 }
            queries (array_descriptor: *mut CUDA_ARRAY_DESCRIPTOR_v1, array: CUarray) {
                cuArrayGetDescriptor 2000 }
            queries (array_descriptor: *mut CUDA_ARRAY_DESCRIPTOR, array: CUarray) {
                cuArrayGetDescriptor_v2 3020 }
            queries (memory_requirements: *mut c_void, array: CUarray, device: CUdevice) {
                cuArrayGetMemoryRequirements 11060 }
            queries (ctx: CUcontext, version: *mut c_uint) { cuCtxGetApiVersion 3020 }
            queries (pctx: *mut CUcontext) { cuCtxGetCurrent 4000 }
            queries (device: *mut CUdevice) { cuCtxGetDevice 2000 }
            queries (device: *mut CUdevice, ctx: CUcontext) { cuCtxGetDevice_v2 13000 }
            queries (ctx: CUcontext, ctx_id: *mut u64) { cuCtxGetId 12000 }
            queries (pvalue: *mut usize, limit: c_uint) { cuCtxGetLimit 3010 }
            queries (least_priority: *mut c_int, greatest_priority: *mut c_int) {
                cuCtxGetStreamPriorityRange 5050 }
            queries (major: *mut c_int, minor: *mut c_int, dev: CUdevice) {
                cuDeviceComputeCapability 2000 }
            queries (pi: *mut c_int, attrib: c_uint, dev: CUdevice) { cuDeviceGetAttribute 2000 }
            queries (data: *mut c_void, data_size: usize, attribute: c_uint, dev_ptr: CUdeviceptr,
                count: usize) { cuMemRangeGetAttribute 8000 }
            queries (pool_out: *mut CUmemoryPool, dev: CUdevice) { cuDeviceGetDefaultMemPool 11020 }
            queries (pool: *mut CUmemoryPool, dev: CUdevice) { cuDeviceGetMemPool 11020 }
            queries (name: *mut c_char, len: c_int, dev: CUdevice) { cuDeviceGetName 2000 }
            queries (pci_bus_id: *mut c_char, len: c_int, dev: CUdevice) {
                cuDeviceGetPCIBusId 4010 }
            queries (uuid: *mut CUuuid, dev: CUdevice) { cuDeviceGetUuid 9020,
                cuDeviceGetUuid_v2 11040 }
            queries (dev: CUdevice, flags: *mut c_uint, active: *mut c_int) {
                cuDevicePrimaryCtxGetState 7000 }
            queries (driver_version: *mut c_int) { cuDriverGetVersion 2020 }
            queries (pi: *mut c_int, attrib: c_uint, hfunc: CUfunction) { cuFuncGetAttribute 2020 }
            queries (error: c_uint, str: *mut *const c_char) { cuGetErrorName 6000 }
            queries (error: c_uint, str: *mut *const c_char) { cuGetErrorString 6000 }
            queries (graph: CUgraph, nodes: *mut CUgraphNode, num_nodes: *mut usize) {
                cuGraphGetNodes 10000 }
            queries (node: CUgraphNode, node_params: *mut c_void) {
                cuGraphKernelNodeGetParams 10000, cuGraphKernelNodeGetParams_v2 12000 }
            queries (node: CUgraphNode, params_out: *mut CUDA_MEM_ALLOC_NODE_PARAMS) {
                cuGraphMemAllocNodeGetParams 11040 }
            queries (node: CUgraphNode, kind: *mut c_uint) { cuGraphNodeGetType 10000 }
            queries (handle: *mut CUipcMemHandle, dptr: CUdeviceptr) { cuIpcGetMemHandle 4010 }
            queries (pi: *mut c_int, attrib: c_uint, kernel: CUkernel, dev: CUdevice) {
                cuKernelGetAttribute 12000 }
            queries (func: *mut CUfunction, kernel: CUkernel) { cuKernelGetFunction 12000 }
            queries (dptr: *mut CUdeviceptr, bytes: *mut usize, library: CUlibrary,
                name: *const c_char) { cuLibraryGetGlobal 12000 }
            queries (kernel: *mut CUkernel, library: CUlibrary, name: *const c_char) {
                cuLibraryGetKernel 12000 }
            queries (pbase: *mut CUdeviceptr_v1, psize: *mut c_uint, dptr: CUdeviceptr_v1) {
                cuMemGetAddressRange 2000 }
            queries (pbase: *mut CUdeviceptr, psize: *mut usize, dptr: CUdeviceptr) {
                cuMemGetAddressRange_v2 3020 }
            queries (granularity: *mut usize, prop: *const CUmemAllocationProp, option: c_uint) {
                cuMemGetAllocationGranularity 10020 }
            queries (pdptr: *mut CUdeviceptr_v1, p: *mut c_void, flags: c_uint) {
                cuMemHostGetDevicePointer 2020 }
            queries (pdptr: *mut CUdeviceptr, p: *mut c_void, flags: c_uint) {
                cuMemHostGetDevicePointer_v2 3020 }
            queries (flags: *mut c_uint, p: *mut c_void) { cuMemHostGetFlags 2030 }
            queries (pool: CUmemoryPool, attr: c_uint, value: *mut c_void) {
                cuMemPoolGetAttribute 11020 }
            queries (handle: *mut CUmemGenericAllocationHandle, addr: *mut c_void) {
                cuMemRetainAllocationHandle 11000 }
            queries (level_array: *mut CUarray, mipmapped_array: CUmipmappedArray, level: c_uint) {
                cuMipmappedArrayGetLevel 5000 }
            queries (memory_requirements: *mut c_void, mipmap: CUmipmappedArray, device: CUdevice) {
                cuMipmappedArrayGetMemoryRequirements 11060 }
            queries (hfunc: *mut CUfunction, hmod: CUmodule, name: *const c_char) {
                cuModuleGetFunction 2000 }
            queries (dptr: *mut CUdeviceptr_v1, bytes: *mut c_uint, hmod: CUmodule,
                name: *const c_char) { cuModuleGetGlobal 2000 }
            queries (dptr: *mut CUdeviceptr, bytes: *mut usize, hmod: CUmodule, name: *const c_char)
                { cuModuleGetGlobal_v2 3020 }
            queries (mode: *mut c_uint) { cuModuleGetLoadingMode 11070 }
            queries (dynamic_smem_size: *mut usize, func: CUfunction, num_blocks: c_int,
                block_size: c_int) { cuOccupancyAvailableDynamicSMemPerBlock 10020 }
            queries (num_blocks: *mut c_int, func: CUfunction, block_size: c_int,
                dynamic_smem_size: usize) { cuOccupancyMaxActiveBlocksPerMultiprocessor 6050 }
            queries (num_blocks: *mut c_int, func: CUfunction, block_size: c_int,
                dynamic_smem_size: usize, flags: c_uint) {
                cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags 7000 }
            queries (num_clusters: *mut c_int, func: CUfunction, config: *const CUlaunchConfig) {
                cuOccupancyMaxActiveClusters 11070 }
            queries (data: *mut c_void, attribute: c_uint, ptr: CUdeviceptr) {
                cuPointerGetAttribute 4000 }
            queries (num_attributes: c_uint, attributes: *mut c_uint, data: *mut *mut c_void,
                ptr: CUdeviceptr) { cuPointerGetAttributes 7000 }
            queries (stream: CUstream, capture_status_out: *mut c_uint, id_out: *mut u64) {
                cuStreamGetCaptureInfo 10010, cuStreamGetCaptureInfo_ptsz 10010 }
            queries (stream: CUstream, capture_status_out: *mut c_uint, id_out: *mut u64,
                graph_out: *mut CUgraph, dependencies_out: *mut *const CUgraphNode,
                num_dependencies_out: *mut usize) { cuStreamGetCaptureInfo_v2 11030,
                cuStreamGetCaptureInfo_v2_ptsz 11030 }
            queries (stream: CUstream, capture_status_out: *mut c_uint, id_out: *mut u64,
                graph_out: *mut CUgraph, dependencies_out: *mut *const CUgraphNode,
                edge_data_out: *mut *const c_void, num_dependencies_out: *mut usize) {
                cuStreamGetCaptureInfo_v3 12030, cuStreamGetCaptureInfo_v3_ptsz 12030 }
            queries (stream: CUstream, pctx: *mut CUcontext) { cuStreamGetCtx 9020,
                cuStreamGetCtx_ptsz 9020 }
            queries (stream: CUstream, pctx: *mut CUcontext, green_ctx: *mut CUgreenCtx) {
                cuStreamGetCtx_v2 12050, cuStreamGetCtx_v2_ptsz 12050 }
            queries (stream: CUstream, device: *mut CUdevice) { cuStreamGetDevice 12080,
                cuStreamGetDevice_ptsz 12080 }
            queries (stream: CUstream, flags: *mut c_uint) { cuStreamGetFlags 5050,
                cuStreamGetFlags_ptsz 7000 }
            queries (stream: CUstream, priority: *mut c_int) { cuStreamGetPriority 5050,
                cuStreamGetPriority_ptsz 7000 }
            queries (stream: CUstream, capture_status: *mut c_uint) { cuStreamIsCapturing 10000,
                cuStreamIsCapturing_ptsz 10000 }
            queries _ { cuArrayGetPlane 11020, cuArrayGetSparseProperties 11010,
                cuCtxGetCacheConfig 3020, cuCtxGetDevResource 12040, cuCtxGetExecAffinity 11040,
                cuCtxGetFlags 7000, cuCtxGetSharedMemConfig 4020, cuDeviceGetCliqueCount 13040,
                cuDeviceGetCliqueInfo 13040, cuDeviceGetDevResource 12040,
                cuDeviceGetExecAffinitySupport 11040, cuDeviceGetFabricClusterUuid 13040,
                cuDeviceGetHostAtomicCapabilities 13000, cuDeviceGetLuid 10000,
                cuDeviceGetNvSciSyncAttributes 10020, cuDeviceGetP2PAtomicCapabilities 13000,
                cuDeviceGetProperties 2000, cuDeviceGetTexture1DLinearMaxWidth 11010,
                cuFuncGetModule 11000, cuFuncGetName 12030, cuFuncGetParamCount 13020,
                cuFuncGetParamInfo 12040, cuGraphBatchMemOpNodeGetParams 11070,
                cuGraphChildGraphNodeGetGraph 10000, cuGraphDebugDotPrint 11030,
                cuGraphEventRecordNodeGetEvent 11010, cuGraphEventWaitNodeGetEvent 11010,
                cuGraphExecGetFlags 12000, cuGraphExecGetId 13010,
                cuGraphExternalSemaphoresSignalNodeGetParams 11020,
                cuGraphExternalSemaphoresWaitNodeGetParams 11020, cuGraphGetEdges 10000,
                cuGraphGetEdges_v2 12030, cuGraphGetId 13010, cuGraphGetRootNodes 10000,
                cuGraphHostNodeGetParams 10000, cuGraphKernelNodeGetAttribute 11000,
                cuGraphMemFreeNodeGetParams 11040, cuGraphMemcpyNodeGetParams 10000,
                cuGraphMemsetNodeGetParams 10000, cuGraphNodeGetContainingGraph 13010,
                cuGraphNodeGetDependencies 10000, cuGraphNodeGetDependencies_v2 12030,
                cuGraphNodeGetDependentNodes 10000, cuGraphNodeGetDependentNodes_v2 12030,
                cuGraphNodeGetEnabled 11060, cuGraphNodeGetLocalId 13010,
                cuGraphNodeGetParams 13020, cuGraphNodeGetToolsId 13010,
                cuGreenCtxGetDevResource 12040, cuGreenCtxGetId 12090, cuIpcGetEventHandle 4010,
                cuKernelGetLibrary 12050, cuKernelGetName 12030, cuKernelGetParamCount 13020,
                cuKernelGetParamInfo 12040, cuLibraryEnumerateKernels 12040,
                cuLibraryGetKernelCount 12040, cuLibraryGetManaged 12000, cuLibraryGetModule 12000,
                cuLibraryGetUnifiedFunction 12000, cuMemGetAccess 10020,
                cuMemGetAllocationPropertiesFromHandle 10020, cuMemGetDefaultMemPool 13000,
                cuMemGetHandleForAddressRange 11070, cuMemGetLocationInfo 13040,
                cuMemGetMemPool 13000, cuMemPoolGetAccess 11020, cuMemRangeGetAttributes 8000, cuMipmappedArrayGetSparseProperties 11010,
                cuModuleEnumerateFunctions 12040, cuModuleGetFunctionCount 12040,
                cuModuleGetSurfRef 3000, cuModuleGetTexRef 2000, cuMulticastGetGranularity 12010,
                cuOccupancyMaxPotentialBlockSize 6050,
                cuOccupancyMaxPotentialBlockSizeWithFlags 7000,
                cuOccupancyMaxPotentialClusterSize 11070, cuStreamGetAttribute 11000,
                cuStreamGetAttribute_ptsz 11000, cuStreamGetDevResource 13010,
                cuStreamGetDevResource_ptsz 13010, cuStreamGetGreenCtx 12040, cuStreamGetId 12000,
                cuStreamGetId_ptsz 12000, cuSurfObjectGetResourceDesc 5000, cuSurfRefGetArray 3000,
                cuTexObjectGetResourceDesc 5000, cuTexObjectGetResourceViewDesc 5000,
                cuTexObjectGetTextureDesc 5000, cuTexRefGetAddress 2000, cuTexRefGetAddress_v2 3020,
                cuTexRefGetAddressMode 2000, cuTexRefGetArray 2000, cuTexRefGetBorderColor 8000,
                cuTexRefGetFilterMode 2000, cuTexRefGetFlags 2000, cuTexRefGetFormat 2000,
                cuTexRefGetMaxAnisotropy 5000, cuTexRefGetMipmapFilterMode 5000,
                cuTexRefGetMipmapLevelBias 5000, cuTexRefGetMipmapLevelClamp 5000,
                cuTexRefGetMipmappedArray 5000 }

            loads (library: *mut CUlibrary, code: *const c_void, jit_options: *mut c_uint,
                jit_options_values: *mut *mut c_void, num_jit_options: c_uint,
                library_options: *mut c_uint, library_option_values: *mut *mut c_void,
                num_library_options: c_uint) { cuLibraryLoadData 12000 }
            loads (library: CUlibrary) { cuLibraryUnload 12000 }
            loads (module: *mut CUmodule, fname: *const c_char) { cuModuleLoad 2000 }
            loads (module: *mut CUmodule, image: *const c_void) { cuModuleLoadData 2000 }
            loads (module: *mut CUmodule, image: *const c_void, num_options: c_uint,
                options: *mut c_uint, option_values: *mut *mut c_void) { cuModuleLoadDataEx 2010 }
            loads (hmod: CUmodule) { cuModuleUnload 2000 }
            loads _ { cuLibraryLoadFromFile 12000, cuLinkAddData 5050, cuLinkAddData_v2 6050,
                cuLinkAddFile 5050, cuLinkAddFile_v2 6050, cuLinkComplete 5050, cuLinkCreate 5050,
                cuLinkCreate_v2 6050, cuLinkDestroy 5050, cuModuleLoadFatBinary 2000 }

            allocates (handle: *mut CUarray, allocate_array: *const CUDA_ARRAY3D_DESCRIPTOR_v1) {
                cuArray3DCreate 2000 }
            allocates (handle: *mut CUarray, allocate_array: *const CUDA_ARRAY3D_DESCRIPTOR) {
                cuArray3DCreate_v2 3020 }
            allocates (handle: *mut CUarray, allocate_array: *const CUDA_ARRAY_DESCRIPTOR_v1) {
                cuArrayCreate 2000 }
            allocates (handle: *mut CUarray, allocate_array: *const CUDA_ARRAY_DESCRIPTOR) {
                cuArrayCreate_v2 3020 }
            allocates (dptr: *mut CUdeviceptr_v1, bytes: c_uint) { cuMemAlloc 2000 }
            allocates (dptr: *mut CUdeviceptr, bytes: usize) { cuMemAlloc_v2 3020 }
            allocates (dptr: *mut CUdeviceptr, bytes: usize, stream: CUstream) {
                cuMemAllocAsync 11020, cuMemAllocAsync_ptsz 11020 }
            allocates (dptr: *mut CUdeviceptr, bytes: usize, pool: CUmemoryPool, stream: CUstream) {
                cuMemAllocFromPoolAsync 11020, cuMemAllocFromPoolAsync_ptsz 11020 }
            allocates (dptr: *mut CUdeviceptr, bytes: usize, flags: c_uint) {
                cuMemAllocManaged 6000 }
            allocates (dptr: *mut CUdeviceptr_v1, pitch: *mut c_uint, width_in_bytes: c_uint,
                height: c_uint, element_size_bytes: c_uint) { cuMemAllocPitch 2000 }
            allocates (dptr: *mut CUdeviceptr, pitch: *mut usize, width_in_bytes: usize,
                height: usize, element_size_bytes: c_uint) { cuMemAllocPitch_v2 3020 }
            allocates (handle: *mut CUmemGenericAllocationHandle, size: usize,
                prop: *const CUmemAllocationProp, flags: u64) { cuMemCreate 10020 }
            allocates (handle: *mut CUmipmappedArray,
                mipmapped_array_desc: *const CUDA_ARRAY3D_DESCRIPTOR, num_mipmap_levels: c_uint) {
                cuMipmappedArrayCreate 5000 }

            frees (array: CUarray) { cuArrayDestroy 2000 }
            frees (dptr: CUdeviceptr_v1) { cuMemFree 2000 }
            frees (dptr: CUdeviceptr) { cuMemFree_v2 3020 }
            frees (dptr: CUdeviceptr, stream: CUstream) { cuMemFreeAsync 11020,
                cuMemFreeAsync_ptsz 11020 }
            frees (handle: CUmemGenericAllocationHandle) { cuMemRelease 10020 }
            frees (mipmapped_array: CUmipmappedArray) { cuMipmappedArrayDestroy 5000 }

            allocates_host (pp: *mut *mut c_void, bytes: c_uint) { cuMemAllocHost 2000 }
            allocates_host (pp: *mut *mut c_void, bytes: usize) { cuMemAllocHost_v2 3020 }
            allocates_host (pp: *mut *mut c_void, bytes: usize, flags: c_uint) {
                cuMemHostAlloc 2020 }
            allocates_host (p: *mut c_void, bytes: usize, flags: c_uint) { cuMemHostRegister 4000,
                cuMemHostRegister_v2 6050 }

            frees_host (p: *mut c_void) { cuMemFreeHost 2000 }
            frees_host (p: *mut c_void) { cuMemHostUnregister 4000 }

            pools (dev: CUdevice, pool: CUmemoryPool) { cuDeviceSetMemPool 11020 }
            pools (pool: *mut CUmemoryPool, pool_props: *const c_void) { cuMemPoolCreate 11020 }
            pools (pool: CUmemoryPool) { cuMemPoolDestroy 11020 }
            pools (pool: CUmemoryPool, map: *const c_void, count: usize) {
                cuMemPoolSetAccess 11020 }
            pools (pool: CUmemoryPool, attr: c_uint, value: *mut c_void) {
                cuMemPoolSetAttribute 11020 }
            pools (pool: CUmemoryPool, min_bytes_to_keep: usize) { cuMemPoolTrimTo 11020 }
            pools _ { cuMemSetMemPool 13000 }

            maps (ptr: CUdeviceptr, size: usize) { cuMemAddressFree 10020 }
            maps (ptr: *mut CUdeviceptr, size: usize, alignment: usize, addr: CUdeviceptr,
                flags: u64) { cuMemAddressReserve 10020 }
            maps (ptr: CUdeviceptr, size: usize, offset: usize,
                handle: CUmemGenericAllocationHandle, flags: u64) { cuMemMap 10020 }
            maps (ptr: CUdeviceptr, size: usize, desc: *const c_void, count: usize) {
                cuMemSetAccess 10020 }
            maps (ptr: CUdeviceptr, size: usize) { cuMemUnmap 10020 }
            maps _ { cuMemMapArrayAsync 11010, cuMemMapArrayAsync_ptsz 11010,
                cuMulticastAddDevice 12010, cuMulticastBindAddr 12010, cuMulticastBindAddr_v2 13010,
                cuMulticastBindMem 12010, cuMulticastBindMem_v2 13010, cuMulticastCreate 12010,
                cuMulticastUnbind 12010 }

            imports (dptr: CUdeviceptr) { cuIpcCloseMemHandle 4010 }
            imports (pdptr: *mut CUdeviceptr, handle: CUipcMemHandle, flags: c_uint) {
                cuIpcOpenMemHandle 4010, cuIpcOpenMemHandle_v2 11000 }
            imports (shareable_handle: *mut c_void, handle: CUmemGenericAllocationHandle,
                handle_type: c_uint, flags: u64) { cuMemExportToShareableHandle 10020 }
            imports (handle: *mut CUmemGenericAllocationHandle, os_handle: *mut c_void,
                sh_handle_type: c_uint) { cuMemImportFromShareableHandle 10020 }
            imports _ { cuDestroyExternalMemory 10000, cuDestroyExternalSemaphore 10000,
                cuExternalMemoryGetMappedBuffer 10000,
                cuExternalMemoryGetMappedMipmappedArray 10000, cuImportExternalMemory 10000,
                cuImportExternalSemaphore 10000, cuIpcOpenEventHandle 4010,
                cuLogicalEndpointAddDevice 13030, cuLogicalEndpointBindAddr 13030,
                cuLogicalEndpointBindMem 13030, cuLogicalEndpointCreate 13030,
                cuLogicalEndpointDestroy 13030, cuLogicalEndpointExport 13030,
                cuLogicalEndpointGetLimits 13030, cuLogicalEndpointIdRelease 13030,
                cuLogicalEndpointIdReserve 13030, cuLogicalEndpointImport 13030,
                cuLogicalEndpointQuery 13030, cuLogicalEndpointUnbind 13030,
                cuMemPoolExportPointer 11020, cuMemPoolExportToShareableHandle 11020,
                cuMemPoolImportFromShareableHandle 11020, cuMemPoolImportPointer 11020,
                cuSignalExternalSemaphoresAsync 10000, cuSignalExternalSemaphoresAsync_ptsz 10000,
                cuWaitExternalSemaphoresAsync 10000, cuWaitExternalSemaphoresAsync_ptsz 10000 }

            streams (ph_event: *mut CUevent, flags: c_uint) { cuEventCreate 2000 }
            streams (event: CUevent) { cuEventDestroy 2000, cuEventDestroy_v2 4000 }
            streams (ph_stream: *mut CUstream, green_ctx: CUgreenCtx, flags: c_uint,
                priority: c_int) { cuGreenCtxStreamCreate 12050 }
            streams (stream: CUstream, stream2: CUstream) { cuStreamCopyAttributes 11000,
                cuStreamCopyAttributes_ptsz 11000 }
            streams (ph_stream: *mut CUstream, flags: c_uint) { cuStreamCreate 2000 }
            streams (ph_stream: *mut CUstream, flags: c_uint, priority: c_int) {
                cuStreamCreateWithPriority 5050 }
            streams (stream: CUstream) { cuStreamDestroy 2000, cuStreamDestroy_v2 4000 }

            orders (event: CUevent, stream: CUstream) { cuEventRecord 2000,
                cuEventRecord_ptsz 7000 }
            orders (event: CUevent, stream: CUstream, flags: c_uint) { cuEventRecordWithFlags 11010,
                cuEventRecordWithFlags_ptsz 11010 }
            orders (stream: CUstream, event: CUevent, flags: c_uint) { cuStreamWaitEvent 3020,
                cuStreamWaitEvent_ptsz 7000 }
            orders _ { cuCtxRecordEvent 12050, cuCtxWaitEvent 12050,
                cuFlushGPUDirectRDMAWrites 11030, cuGraphUpload 11010, cuGraphUpload_ptsz 11010,
                cuGreenCtxRecordEvent 12040, cuGreenCtxWaitEvent 12040, cuStreamAttachMemAsync 6000,
                cuStreamAttachMemAsync_ptsz 7000, cuStreamBatchMemOp 8000,
                cuStreamBatchMemOp_v2 11070, cuStreamBatchMemOp_ptsz 8000,
                cuStreamBatchMemOp_v2_ptsz 11070, cuStreamWaitValue32 8000,
                cuStreamWaitValue32_v2 11070, cuStreamWaitValue32_ptsz 8000,
                cuStreamWaitValue32_v2_ptsz 11070, cuStreamWaitValue64 9000,
                cuStreamWaitValue64_v2 11070, cuStreamWaitValue64_ptsz 9000,
                cuStreamWaitValue64_v2_ptsz 11070, cuStreamWriteValue32 8000,
                cuStreamWriteValue32_v2 11070, cuStreamWriteValue32_ptsz 8000,
                cuStreamWriteValue32_v2_ptsz 11070, cuStreamWriteValue64 9000,
                cuStreamWriteValue64_v2 11070, cuStreamWriteValue64_ptsz 9000,
                cuStreamWriteValue64_v2_ptsz 11070 }

            synchronises () { cuCtxSynchronize 2000 }
            synchronises (ctx: CUcontext) { cuCtxSynchronize_v2 13000 }
            synchronises (milliseconds: *mut f32, start: CUevent, end: CUevent) {
                cuEventElapsedTime 2000, cuEventElapsedTime_v2 12080 }
            synchronises (event: CUevent) { cuEventQuery 2000 }
            synchronises (event: CUevent) { cuEventSynchronize 2000 }
            synchronises (stream: CUstream) { cuStreamQuery 2000, cuStreamQuery_ptsz 7000 }
            synchronises (stream: CUstream) { cuStreamSynchronize 2000,
                cuStreamSynchronize_ptsz 7000 }

            captures (stream: CUstream) { cuStreamBeginCapture 10000,
                cuStreamBeginCapture_ptsz 10000 }
            captures (stream: CUstream, mode: c_uint) { cuStreamBeginCapture_v2 10010,
                cuStreamBeginCapture_v2_ptsz 10010 }
            captures (stream: CUstream, stream_cig_capture_params: *mut c_void) {
                cuStreamBeginCaptureToCig 13010, cuStreamBeginCaptureToCig_ptsz 13010 }
            captures (stream: CUstream, graph: CUgraph, dependencies: *const CUgraphNode,
                dependency_data: *const c_void, num_dependencies: usize, mode: c_uint) {
                cuStreamBeginCaptureToGraph 12030, cuStreamBeginCaptureToGraph_ptsz 12030 }
            captures (stream: CUstream, ph_graph: *mut CUgraph) { cuStreamEndCapture 10000,
                cuStreamEndCapture_ptsz 10000 }
            captures (stream: CUstream) { cuStreamEndCaptureToCig 13010,
                cuStreamEndCaptureToCig_ptsz 13010 }
            captures (stream: CUstream, dependencies: *mut CUgraphNode, num_dependencies: usize,
                flags: c_uint) { cuStreamUpdateCaptureDependencies 11030,
                cuStreamUpdateCaptureDependencies_ptsz 11030 }
            captures (stream: CUstream, dependencies: *mut CUgraphNode,
                dependency_data: *const c_void, num_dependencies: usize, flags: c_uint) {
                cuStreamUpdateCaptureDependencies_v2 12030,
                cuStreamUpdateCaptureDependencies_v2_ptsz 12030 }
            captures (mode: *mut c_uint) { cuThreadExchangeStreamCaptureMode 10010 }
            captures (stream: CUstream, mode: c_uint, graph: CUgraph, callback: *const c_void,
                user_data: *mut c_void) { cuStreamBeginRecaptureToGraph 13030,
                cuStreamBeginRecaptureToGraph_ptsz 13030 }

            launches (graph: CUgraphExec, stream: CUstream) { cuGraphLaunch 10000 }
            launches (graph_exec: CUgraphExec, stream: CUstream) { cuGraphLaunch_ptsz 10000 }
            launches (f: CUfunction) { cuLaunch 2000 }
            launches (f: CUfunction, grid_dim_x: c_uint, grid_dim_y: c_uint, grid_dim_z: c_uint,
                block_dim_x: c_uint, block_dim_y: c_uint, block_dim_z: c_uint,
                shared_mem_bytes: c_uint, stream: CUstream, kernel_params: *mut *mut c_void) {
                cuLaunchCooperativeKernel 9000, cuLaunchCooperativeKernel_ptsz 9000 }
            launches (launch_params_list: *mut CUDA_LAUNCH_PARAMS, num_devices: c_uint,
                flags: c_uint) { cuLaunchCooperativeKernelMultiDevice 9000 }
            launches (f: CUfunction, grid_width: c_int, grid_height: c_int) { cuLaunchGrid 2000 }
            launches (f: CUfunction, grid_width: c_int, grid_height: c_int, stream: CUstream) {
                cuLaunchGridAsync 2000 }
            launches (f: CUfunction, grid_dim_x: c_uint, grid_dim_y: c_uint, grid_dim_z: c_uint,
                block_dim_x: c_uint, block_dim_y: c_uint, block_dim_z: c_uint,
                shared_mem_bytes: c_uint, stream: CUstream, kernel_params: *mut *mut c_void,
                extra: *mut *mut c_void) { cuLaunchKernel 4000, cuLaunchKernel_ptsz 7000 }
            launches (config: *const CUlaunchConfig, f: CUfunction, kernel_params: *mut *mut c_void,
                extra: *mut *mut c_void) { cuLaunchKernelEx 11060, cuLaunchKernelEx_ptsz 11060 }

            copies (num_ops: usize, op_list: *mut c_void, flags: u64, stream: CUstream) {
                cuFabricCpyBatchAsync 13050, cuFabricCpyBatchAsync_ptsz 13050 }
            copies (params_array: *mut c_void, count: usize, flags: c_uint, error_index: *mut usize,
                stream: CUstream) { cuMemBatchDecompressAsync 12060,
                cuMemBatchDecompressAsync_ptsz 12060 }
            copies (dptrs: *mut CUdeviceptr, sizes: *mut usize, count: usize,
                prefetch_locs: *mut CUmemLocation, prefetch_loc_idxs: *mut usize,
                num_prefetch_locs: usize, flags: u64, stream: CUstream) {
                cuMemDiscardAndPrefetchBatchAsync 13000,
                cuMemDiscardAndPrefetchBatchAsync_ptsz 13000 }
            copies (dptrs: *mut CUdeviceptr, sizes: *mut usize, count: usize, flags: u64,
                stream: CUstream) { cuMemDiscardBatchAsync 13000,
                cuMemDiscardBatchAsync_ptsz 13000 }
            copies (dev_ptr: CUdeviceptr, count: usize, dst_device: CUdevice, stream: CUstream) {
                cuMemPrefetchAsync 8000, cuMemPrefetchAsync_ptsz 8000 }
            copies (dev_ptr: CUdeviceptr, count: usize, location: CUmemLocation, flags: c_uint,
                stream: CUstream) { cuMemPrefetchAsync_v2 12020, cuMemPrefetchAsync_v2_ptsz 12020 }
            copies (dptrs: *mut CUdeviceptr, sizes: *mut usize, count: usize,
                prefetch_locs: *mut CUmemLocation, prefetch_loc_idxs: *mut usize,
                num_prefetch_locs: usize, flags: u64, stream: CUstream) {
                cuMemPrefetchBatchAsync 13000, cuMemPrefetchBatchAsync_ptsz 13000 }
            copies (dst: CUdeviceptr, src: CUdeviceptr, bytes: usize) { cuMemcpy 4000,
                cuMemcpy_ptds 7000 }
            copies (copy: *const CUDA_MEMCPY2D_v1) { cuMemcpy2D 2000 }
            copies (copy: *const CUDA_MEMCPY2D) { cuMemcpy2D_v2 3020, cuMemcpy2D_v2_ptds 7000 }
            copies (copy: *const CUDA_MEMCPY2D_v1, stream: CUstream) { cuMemcpy2DAsync 2000 }
            copies (copy: *const CUDA_MEMCPY2D, stream: CUstream) { cuMemcpy2DAsync_v2 3020,
                cuMemcpy2DAsync_v2_ptsz 7000 }
            copies (copy: *const CUDA_MEMCPY2D_v1) { cuMemcpy2DUnaligned 2000 }
            copies (copy: *const CUDA_MEMCPY2D) { cuMemcpy2DUnaligned_v2 3020,
                cuMemcpy2DUnaligned_v2_ptds 7000 }
            copies (copy: *const CUDA_MEMCPY3D_v1) { cuMemcpy3D 2000 }
            copies (copy: *const CUDA_MEMCPY3D) { cuMemcpy3D_v2 3020, cuMemcpy3D_v2_ptds 7000 }
            copies (copy: *const CUDA_MEMCPY3D_v1, stream: CUstream) { cuMemcpy3DAsync 2000 }
            copies (copy: *const CUDA_MEMCPY3D, stream: CUstream) { cuMemcpy3DAsync_v2 3020,
                cuMemcpy3DAsync_v2_ptsz 7000 }
            copies (num_params: usize, op_list: *mut c_void, fail_idx: *mut usize, flags: u64,
                stream: CUstream) { cuMemcpy3DBatchAsync 12080, cuMemcpy3DBatchAsync_ptsz 12080 }
            copies (num_params: usize, op_list: *mut c_void, flags: u64, stream: CUstream) {
                cuMemcpy3DBatchAsync_v2 13000, cuMemcpy3DBatchAsync_v2_ptsz 13000 }
            copies (copy: *const CUDA_MEMCPY3D_PEER) { cuMemcpy3DPeer 4000,
                cuMemcpy3DPeer_ptds 7000 }
            copies (copy: *const CUDA_MEMCPY3D_PEER, stream: CUstream) { cuMemcpy3DPeerAsync 4000,
                cuMemcpy3DPeerAsync_ptsz 7000 }
            copies (op: *mut c_void, flags: u64, stream: CUstream) {
                cuMemcpy3DWithAttributesAsync 13020, cuMemcpy3DWithAttributesAsync_ptsz 13020 }
            copies (dst: CUdeviceptr, src: CUdeviceptr, bytes: usize, stream: CUstream) {
                cuMemcpyAsync 4000, cuMemcpyAsync_ptsz 7000 }
            copies (dst_array: CUarray, dst_offset: c_uint, src_array: CUarray, src_offset: c_uint,
                bytes: c_uint) { cuMemcpyAtoA 2000 }
            copies (dst_array: CUarray, dst_offset: usize, src_array: CUarray, src_offset: usize,
                bytes: usize) { cuMemcpyAtoA_v2 3020, cuMemcpyAtoA_v2_ptds 7000 }
            copies (dst_device: CUdeviceptr_v1, src_array: CUarray, src_offset: c_uint,
                bytes: c_uint) { cuMemcpyAtoD 2000 }
            copies (dst_device: CUdeviceptr, src_array: CUarray, src_offset: usize, bytes: usize) {
                cuMemcpyAtoD_v2 3020, cuMemcpyAtoD_v2_ptds 7000 }
            copies (dst_host: *mut c_void, src_array: CUarray, src_offset: c_uint, bytes: c_uint) {
                cuMemcpyAtoH 2000 }
            copies (dst_host: *mut c_void, src_array: CUarray, src_offset: usize, bytes: usize) {
                cuMemcpyAtoH_v2 3020, cuMemcpyAtoH_v2_ptds 7000 }
            copies (dst_host: *mut c_void, src_array: CUarray, src_offset: c_uint, bytes: c_uint,
                stream: CUstream) { cuMemcpyAtoHAsync 2000 }
            copies (dst_host: *mut c_void, src_array: CUarray, src_offset: usize, bytes: usize,
                stream: CUstream) { cuMemcpyAtoHAsync_v2 3020, cuMemcpyAtoHAsync_v2_ptsz 7000 }
            copies (dsts: *mut CUdeviceptr, srcs: *mut CUdeviceptr, sizes: *mut usize, count: usize,
                attrs: *mut c_void, attr_idxs: *mut usize, num_attrs: usize, fail_idx: *mut usize,
                stream: CUstream) { cuMemcpyBatchAsync 12080, cuMemcpyBatchAsync_ptsz 12080 }
            copies (dsts: *mut CUdeviceptr, srcs: *mut CUdeviceptr, sizes: *mut usize, count: usize,
                attrs: *mut c_void, attr_idxs: *mut usize, num_attrs: usize, stream: CUstream) {
                cuMemcpyBatchAsync_v2 13000, cuMemcpyBatchAsync_v2_ptsz 13000 }
            copies (dst_array: CUarray, dst_offset: c_uint, src_device: CUdeviceptr_v1,
                bytes: c_uint) { cuMemcpyDtoA 2000 }
            copies (dst_array: CUarray, dst_offset: usize, src_device: CUdeviceptr, bytes: usize) {
                cuMemcpyDtoA_v2 3020, cuMemcpyDtoA_v2_ptds 7000 }
            copies (dst_device: CUdeviceptr_v1, src_device: CUdeviceptr_v1, bytes: c_uint) {
                cuMemcpyDtoD 2000 }
            copies (dst_device: CUdeviceptr, src_device: CUdeviceptr, bytes: usize) {
                cuMemcpyDtoD_v2 3020, cuMemcpyDtoD_v2_ptds 7000 }
            copies (dst_device: CUdeviceptr_v1, src_device: CUdeviceptr_v1, bytes: c_uint,
                stream: CUstream) { cuMemcpyDtoDAsync 3000 }
            copies (dst_device: CUdeviceptr, src_device: CUdeviceptr, bytes: usize,
                stream: CUstream) { cuMemcpyDtoDAsync_v2 3020, cuMemcpyDtoDAsync_v2_ptsz 7000 }
            copies (dst_host: *mut c_void, src_device: CUdeviceptr_v1, bytes: c_uint) {
                cuMemcpyDtoH 2000 }
            copies (dst_host: *mut c_void, src_device: CUdeviceptr, bytes: usize) {
                cuMemcpyDtoH_v2 3020, cuMemcpyDtoH_v2_ptds 7000 }
            copies (dst_host: *mut c_void, src_device: CUdeviceptr_v1, bytes: c_uint,
                stream: CUstream) { cuMemcpyDtoHAsync 2000 }
            copies (dst_host: *mut c_void, src_device: CUdeviceptr, bytes: usize, stream: CUstream)
                { cuMemcpyDtoHAsync_v2 3020, cuMemcpyDtoHAsync_v2_ptsz 7000 }
            copies (dst_array: CUarray, dst_offset: c_uint, src_host: *const c_void, bytes: c_uint)
                { cuMemcpyHtoA 2000 }
            copies (dst_array: CUarray, dst_offset: usize, src_host: *const c_void, bytes: usize) {
                cuMemcpyHtoA_v2 3020, cuMemcpyHtoA_v2_ptds 7000 }
            copies (dst_array: CUarray, dst_offset: c_uint, src_host: *const c_void, bytes: c_uint,
                stream: CUstream) { cuMemcpyHtoAAsync 2000 }
            copies (dst_array: CUarray, dst_offset: usize, src_host: *const c_void, bytes: usize,
                stream: CUstream) { cuMemcpyHtoAAsync_v2 3020, cuMemcpyHtoAAsync_v2_ptsz 7000 }
            copies (dst_device: CUdeviceptr_v1, src_host: *const c_void, bytes: c_uint) {
                cuMemcpyHtoD 2000 }
            copies (dst_device: CUdeviceptr, src_host: *const c_void, bytes: usize) {
                cuMemcpyHtoD_v2 3020, cuMemcpyHtoD_v2_ptds 7000 }
            copies (dst_device: CUdeviceptr_v1, src_host: *const c_void, bytes: c_uint,
                stream: CUstream) { cuMemcpyHtoDAsync 2000 }
            copies (dst_device: CUdeviceptr, src_host: *const c_void, bytes: usize,
                stream: CUstream) { cuMemcpyHtoDAsync_v2 3020, cuMemcpyHtoDAsync_v2_ptsz 7000 }
            copies (dst_device: CUdeviceptr, dst_context: CUcontext, src_device: CUdeviceptr,
                src_context: CUcontext, bytes: usize) { cuMemcpyPeer 4000, cuMemcpyPeer_ptds 7000 }
            copies (dst_device: CUdeviceptr, dst_context: CUcontext, src_device: CUdeviceptr,
                src_context: CUcontext, bytes: usize, stream: CUstream) { cuMemcpyPeerAsync 4000,
                cuMemcpyPeerAsync_ptsz 7000 }
            copies (dst: CUdeviceptr, src: CUdeviceptr, size: usize, attr: *mut c_void,
                stream: CUstream) { cuMemcpyWithAttributesAsync 13020,
                cuMemcpyWithAttributesAsync_ptsz 13020 }
            copies (dst_device: CUdeviceptr_v1, us: u16, n: c_uint) { cuMemsetD16 2000 }
            copies (dst_device: CUdeviceptr, us: u16, n: usize) { cuMemsetD16_v2 3020,
                cuMemsetD16_v2_ptds 7000 }
            copies (dst_device: CUdeviceptr, us: u16, n: usize, stream: CUstream) {
                cuMemsetD16Async 3020, cuMemsetD16Async_ptsz 7000 }
            copies (dst_device: CUdeviceptr_v1, dst_pitch: c_uint, us: u16, width: c_uint,
                height: c_uint) { cuMemsetD2D16 2000 }
            copies (dst_device: CUdeviceptr, dst_pitch: usize, us: u16, width: usize, height: usize)
                { cuMemsetD2D16_v2 3020, cuMemsetD2D16_v2_ptds 7000 }
            copies (dst_device: CUdeviceptr, dst_pitch: usize, us: u16, width: usize, height: usize,
                stream: CUstream) { cuMemsetD2D16Async 3020, cuMemsetD2D16Async_ptsz 7000 }
            copies (dst_device: CUdeviceptr_v1, dst_pitch: c_uint, ui: c_uint, width: c_uint,
                height: c_uint) { cuMemsetD2D32 2000 }
            copies (dst_device: CUdeviceptr, dst_pitch: usize, ui: c_uint, width: usize,
                height: usize) { cuMemsetD2D32_v2 3020, cuMemsetD2D32_v2_ptds 7000 }
            copies (dst_device: CUdeviceptr, dst_pitch: usize, ui: c_uint, width: usize,
                height: usize, stream: CUstream) { cuMemsetD2D32Async 3020,
                cuMemsetD2D32Async_ptsz 7000 }
            copies (dst_device: CUdeviceptr_v1, dst_pitch: c_uint, uc: u8, width: c_uint,
                height: c_uint) { cuMemsetD2D8 2000 }
            copies (dst_device: CUdeviceptr, dst_pitch: usize, uc: u8, width: usize, height: usize)
                { cuMemsetD2D8_v2 3020, cuMemsetD2D8_v2_ptds 7000 }
            copies (dst_device: CUdeviceptr, dst_pitch: usize, uc: u8, width: usize, height: usize,
                stream: CUstream) { cuMemsetD2D8Async 3020, cuMemsetD2D8Async_ptsz 7000 }
            copies (dst_device: CUdeviceptr_v1, ui: c_uint, n: c_uint) { cuMemsetD32 2000 }
            copies (dst_device: CUdeviceptr, ui: c_uint, n: usize) { cuMemsetD32_v2 3020,
                cuMemsetD32_v2_ptds 7000 }
            copies (dst_device: CUdeviceptr, ui: c_uint, n: usize, stream: CUstream) {
                cuMemsetD32Async 3020, cuMemsetD32Async_ptsz 7000 }
            copies (dst_device: CUdeviceptr_v1, uc: u8, n: c_uint) { cuMemsetD8 2000 }
            copies (dst_device: CUdeviceptr, uc: u8, n: usize) { cuMemsetD8_v2 3020,
                cuMemsetD8_v2_ptds 7000 }
            copies (dst_device: CUdeviceptr, uc: u8, n: usize, stream: CUstream) {
                cuMemsetD8Async 3020, cuMemsetD8Async_ptsz 7000 }

            calls_back (stream: CUstream, function: CUhostFn, user_data: *mut c_void) {
                cuLaunchHostFunc 10000, cuLaunchHostFunc_ptsz 10000 }
            calls_back (stream: CUstream, function: CUhostFn, user_data: *mut c_void,
                sync_mode: c_uint) { cuLaunchHostFunc_v2 13010, cuLaunchHostFunc_v2_ptsz 13010 }
            calls_back (stream: CUstream, callback: CUstreamCallback, user_data: *mut c_void,
                flags: c_uint) { cuStreamAddCallback 5000, cuStreamAddCallback_ptsz 7000 }

            graphs (device: CUdevice, attr: c_uint, value: *mut c_void) {
                cuDeviceGetGraphMemAttribute 11040 }
            graphs (device: CUdevice) { cuDeviceGraphMemTrim 11040 }
            graphs (device: CUdevice, attr: c_uint, value: *mut c_void) {
                cuDeviceSetGraphMemAttribute 11040 }
            graphs (graph: CUgraph, from: *const CUgraphNode, to: *const CUgraphNode,
                num_dependencies: usize) { cuGraphAddDependencies 10000 }
            graphs (graph: CUgraph, from: *const CUgraphNode, to: *const CUgraphNode,
                edge_data: *const c_void, num_dependencies: usize) {
                cuGraphAddDependencies_v2 12030 }
            graphs (ph_graph_node: *mut CUgraphNode, graph: CUgraph,
                dependencies: *const CUgraphNode, num_dependencies: usize,
                node_params: *const c_void) { cuGraphAddKernelNode 10000,
                cuGraphAddKernelNode_v2 12000 }
            graphs (ph_graph_node: *mut CUgraphNode, graph: CUgraph,
                dependencies: *const CUgraphNode, num_dependencies: usize,
                node_params: *mut CUDA_MEM_ALLOC_NODE_PARAMS) { cuGraphAddMemAllocNode 11040 }
            graphs (ph_graph_node: *mut CUgraphNode, graph: CUgraph,
                dependencies: *const CUgraphNode, num_dependencies: usize, dptr: CUdeviceptr) {
                cuGraphAddMemFreeNode 11040 }
            graphs (ph_graph_node: *mut CUgraphNode, graph: CUgraph,
                dependencies: *const CUgraphNode, num_dependencies: usize, node_params: *mut c_void)
                { cuGraphAddNode 12020 }
            graphs (ph_graph_node: *mut CUgraphNode, graph: CUgraph,
                dependencies: *const CUgraphNode, dependency_data: *const c_void,
                num_dependencies: usize, node_params: *mut c_void) { cuGraphAddNode_v2 12030,
                cuGraphAddNode_v3 13040 }
            graphs (ph_graph: *mut CUgraph, flags: c_uint) { cuGraphCreate 10000 }
            graphs (graph: CUgraph) { cuGraphDestroy 10000 }
            graphs (graph_exec: CUgraphExec) { cuGraphExecDestroy 10000 }
            graphs (graph_exec: CUgraphExec, graph: CUgraph, error_node_out: *mut CUgraphNode,
                update_result_out: *mut c_uint) { cuGraphExecUpdate 10020 }
            graphs (graph_exec: CUgraphExec, graph: CUgraph, result_info: *mut c_void) {
                cuGraphExecUpdate_v2 12000 }
            graphs (ph_graph_exec: *mut CUgraphExec, graph: CUgraph,
                ph_error_node: *mut CUgraphNode, log_buffer: *mut c_char, buffer_size: usize) {
                cuGraphInstantiate 10000, cuGraphInstantiate_v2 11000 }
            graphs (ph_graph_exec: *mut CUgraphExec, graph: CUgraph, flags: u64) {
                cuGraphInstantiateWithFlags 11040 }
            graphs (ph_graph_exec: *mut CUgraphExec, graph: CUgraph,
                instantiate_params: *mut c_void) { cuGraphInstantiateWithParams 12000,
                cuGraphInstantiateWithParams_ptsz 12000 }
            graphs _ { cuGraphAddBatchMemOpNode 11070, cuGraphAddChildGraphNode 10000,
                cuGraphAddEmptyNode 10000, cuGraphAddEventRecordNode 11010,
                cuGraphAddEventWaitNode 11010, cuGraphAddExternalSemaphoresSignalNode 11020,
                cuGraphAddExternalSemaphoresWaitNode 11020, cuGraphAddHostNode 10000,
                cuGraphAddMemcpyNode 10000, cuGraphAddMemsetNode 10000,
                cuGraphBatchMemOpNodeSetParams 11070, cuGraphClone 10000,
                cuGraphConditionalHandleCreate 12030, cuGraphDestroyNode 10000,
                cuGraphEventRecordNodeSetEvent 11010, cuGraphEventWaitNodeSetEvent 11010,
                cuGraphExecBatchMemOpNodeSetParams 11070, cuGraphExecChildGraphNodeSetParams 11010,
                cuGraphExecEventRecordNodeSetEvent 11010, cuGraphExecEventWaitNodeSetEvent 11010,
                cuGraphExecExternalSemaphoresSignalNodeSetParams 11020,
                cuGraphExecExternalSemaphoresWaitNodeSetParams 11020,
                cuGraphExecHostNodeSetParams 10020, cuGraphExecKernelNodeSetParams 10010,
                cuGraphExecKernelNodeSetParams_v2 12000, cuGraphExecMemcpyNodeSetParams 10020,
                cuGraphExecMemsetNodeSetParams 10020, cuGraphExecNodeSetParams 12020,
                cuGraphExternalSemaphoresSignalNodeSetParams 11020,
                cuGraphExternalSemaphoresWaitNodeSetParams 11020, cuGraphHostNodeSetParams 10000,
                cuGraphKernelNodeCopyAttributes 11000, cuGraphKernelNodeSetAttribute 11000,
                cuGraphKernelNodeSetParams 10000, cuGraphKernelNodeSetParams_v2 12000,
                cuGraphMemcpyNodeSetParams 10000, cuGraphMemsetNodeSetParams 10000,
                cuGraphNodeFindInClone 10000, cuGraphNodeSetEnabled 11060,
                cuGraphNodeSetParams 12020, cuGraphNodeSetParams_v2 13040,
                cuGraphReleaseUserObject 11030, cuGraphRemoveDependencies 10000,
                cuGraphRemoveDependencies_v2 12030, cuGraphRetainUserObject 11030 }

            interop _ { cuEGLStreamConsumerAcquireFrame 7000, cuEGLStreamConsumerConnect 7000,
                cuEGLStreamConsumerConnectWithFlags 8000, cuEGLStreamConsumerDisconnect 7000,
                cuEGLStreamConsumerReleaseFrame 7000, cuEGLStreamProducerConnect 7000,
                cuEGLStreamProducerDisconnect 7000, cuEGLStreamProducerPresentFrame 7000,
                cuEGLStreamProducerReturnFrame 7000, cuEventCreateFromEGLSync 9000,
                cuGLCtxCreate 2000, cuGLCtxCreate_v2 3020, cuGLGetDevices 4010,
                cuGLGetDevices_v2 6050, cuGLInit 2000, cuGLMapBufferObject 2000,
                cuGLMapBufferObject_v2 3020, cuGLMapBufferObject_v2_ptds 7000,
                cuGLMapBufferObjectAsync 2030, cuGLMapBufferObjectAsync_v2 3020,
                cuGLMapBufferObjectAsync_v2_ptsz 7000, cuGLRegisterBufferObject 2000,
                cuGLSetBufferObjectMapFlags 2030, cuGLUnmapBufferObject 2000,
                cuGLUnmapBufferObjectAsync 2030, cuGLUnregisterBufferObject 2000,
                cuGraphicsEGLRegisterImage 7000, cuGraphicsGLRegisterBuffer 3000,
                cuGraphicsGLRegisterImage 3000, cuGraphicsMapResources 3000,
                cuGraphicsMapResources_ptsz 7000, cuGraphicsResourceGetMappedEglFrame 7000,
                cuGraphicsResourceGetMappedMipmappedArray 5000,
                cuGraphicsResourceGetMappedPointer 3000, cuGraphicsResourceGetMappedPointer_v2 3020,
                cuGraphicsResourceSetMapFlags 3000, cuGraphicsResourceSetMapFlags_v2 6050,
                cuGraphicsSubResourceGetMappedArray 3000, cuGraphicsUnmapResources 3000,
                cuGraphicsUnmapResources_ptsz 7000, cuGraphicsUnregisterResource 3000,
                cuGraphicsVDPAURegisterOutputSurface 3010, cuGraphicsVDPAURegisterVideoSurface 3010,
                cuVDPAUCtxCreate 3010, cuVDPAUCtxCreate_v2 3020, cuVDPAUGetDevice 3010 }

            tools (pp_export_table: *mut *const c_void, export_table_id: *const CUuuid) {
                cuGetExportTable 3000 }
            tools (pid: c_int, args: *mut CUcheckpointLockArgs) { cuCheckpointProcessLock 12080 }
            tools (pid: c_int, args: *mut c_void) { cuCheckpointProcessCheckpoint 12080,
                cuCheckpointProcessRestore 12080, cuCheckpointProcessUnlock 12080 }
            tools (pid: c_int, state: *mut c_uint) { cuCheckpointProcessGetState 12080 }
            tools (pid: c_int, tid: *mut c_int) { cuCheckpointProcessGetRestoreThreadId 12080 }
            tools _ { cuCheckpointOperationComplete 13040, cuCoredumpDeregisterCompleteCallback 13020,
                cuCoredumpDeregisterStartCallback 13020, cuCoredumpGetAttribute 12010,
                cuCoredumpGetAttributeGlobal 12010, cuCoredumpRegisterCompleteCallback 13020,
                cuCoredumpRegisterStartCallback 13020, cuCoredumpSetAttribute 12010,
                cuCoredumpSetAttributeGlobal 12010, cuLogsCurrent 12090, cuLogsDumpToFile 12090,
                cuLogsDumpToMemory 12090, cuLogsRegisterCallback 12090,
                cuLogsUnregisterCallback 12090, cuProfilerInitialize 4000, cuProfilerStart 4000,
                cuProfilerStop 4000 }

            pass (config: c_uint) { cuCtxSetCacheConfig 3020 }
            pass (dev_ptr: CUdeviceptr, count: usize, advice: c_uint, device: CUdevice) {
                cuMemAdvise 8000 }
            pass (dev_ptr: CUdeviceptr, count: usize, advice: c_uint, location: CUmemLocation) {
                cuMemAdvise_v2 12020 }
            pass (limit: c_uint, value: usize) { cuCtxSetLimit 3010 }
            pass (hfunc: CUfunction, attrib: c_uint, value: c_int) { cuFuncSetAttribute 9000 }
            pass (hfunc: CUfunction, config: c_uint) { cuFuncSetCacheConfig 3000 }
            pass (attrib: c_uint, val: c_int, kernel: CUkernel, dev: CUdevice) {
                cuKernelSetAttribute 12000 }
            pass _ { cuCtxDisablePeerAccess 4000, cuCtxEnablePeerAccess 4000,
                cuCtxResetPersistingL2Cache 11000, cuCtxSetFlags 12010,
                cuCtxSetSharedMemConfig 4020, cuDevResourceGenerateDesc 12040,
                cuDevSmResourceSplit 13010, cuDevSmResourceSplitByCount 12040,
                cuDeviceRegisterAsyncNotification 12040, cuDeviceUnregisterAsyncNotification 12040,
                cuFuncIsLoaded 12040, cuFuncLoad 12040, cuFuncSetBlockShape 2000,
                cuFuncSetSharedMemConfig 4020, cuFuncSetSharedSize 2000,
                cuKernelSetCacheConfig 12000, cuParamSetSize 2000, cuParamSetTexRef 2000, cuParamSetf 2000, cuParamSeti 2000,
                cuParamSetv 2000, cuPointerSetAttribute 6000, cuStreamSetAttribute 11000,
                cuStreamSetAttribute_ptsz 11000, cuSurfObjectCreate 5000, cuSurfObjectDestroy 5000,
                cuSurfRefSetArray 3000, cuTensorMapEncodeIm2col 12000,
                cuTensorMapEncodeIm2colWide 12080, cuTensorMapEncodeTiled 12000,
                cuTensorMapReplaceAddress 12000, cuTensorMapSetAllocationClass 13050,
                cuTexObjectCreate 5000, cuTexObjectDestroy 5000, cuTexRefCreate 2000,
                cuTexRefDestroy 2000, cuTexRefSetAddress 2000, cuTexRefSetAddress_v2 3020,
                cuTexRefSetAddress2D 2020, cuTexRefSetAddress2D_v2 3020,
                cuTexRefSetAddress2D_v3 4010, cuTexRefSetAddressMode 2000, cuTexRefSetArray 2000,
                cuTexRefSetBorderColor 8000, cuTexRefSetFilterMode 2000, cuTexRefSetFlags 2000,
                cuTexRefSetFormat 2000, cuTexRefSetMaxAnisotropy 5000,
                cuTexRefSetMipmapFilterMode 5000, cuTexRefSetMipmapLevelBias 5000,
                cuTexRefSetMipmapLevelClamp 5000, cuTexRefSetMipmappedArray 5000,
                cuUserObjectCreate 11030, cuUserObjectRelease 11030, cuUserObjectRetain 11030 }
        }
    };
}
