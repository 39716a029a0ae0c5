//! The table: every function of NVML, with what a call means to Polder.

/// Hands the whole table to the macro `$then`, as entries of the form
///
/// ```text
/// class (argument: type, ...) { function seen, variant seen, ... }
/// class _ { function seen, ... }
/// ```
///
/// `class` is a variant of [`Class`](crate::nvml::Class) in lower case. All functions of an entry
/// have its signature and return an `nvmlReturn_t`; `_` stands for signatures that nothing here
/// needs. `seen` is the CUDA release (12020 is 12.2) in whose lists the function was first seen; it
/// may be older.
#[macro_export]
macro_rules! nvml_table {
    ($then:ident) => {
        $then! {
            device_view (device_count: *mut c_uint) { nvmlDeviceGetCount 12020,
                nvmlDeviceGetCount_v2 12020 }
            device_view (mig_device: nvmlDevice_t, device: *mut nvmlDevice_t) {
                nvmlDeviceGetDeviceHandleFromMigDeviceHandle 12020 }
            device_view (index: c_uint, device: *mut nvmlDevice_t) {
                nvmlDeviceGetHandleByIndex 12020, nvmlDeviceGetHandleByIndex_v2 12020 }
            device_view (pci_bus_id: *const c_char, device: *mut nvmlDevice_t) {
                nvmlDeviceGetHandleByPciBusId 12020, nvmlDeviceGetHandleByPciBusId_v2 12020 }
            device_view (serial: *const c_char, device: *mut nvmlDevice_t) {
                nvmlDeviceGetHandleBySerial 12020 }
            device_view (uuid: *const c_char, device: *mut nvmlDevice_t) {
                nvmlDeviceGetHandleByUUID 12020 }
            device_view (uuid: *const c_void, device: *mut nvmlDevice_t) {
                nvmlDeviceGetHandleByUUIDV 12090 }
            device_view (device: nvmlDevice_t, index: *mut c_uint) { nvmlDeviceGetIndex 12020 }
            device_view (device1: nvmlDevice_t, device2: nvmlDevice_t, p2p_index: c_uint,
                p2p_status: *mut c_uint) { nvmlDeviceGetP2PStatus 12020 }
            device_view (device1: nvmlDevice_t, device2: nvmlDevice_t, path_info: *mut c_uint) {
                nvmlDeviceGetTopologyCommonAncestor 12020 }
            device_view (device: nvmlDevice_t, level: c_uint, count: *mut c_uint,
                device_array: *mut nvmlDevice_t) { nvmlDeviceGetTopologyNearestGpus 12020 }
            device_view (device1: nvmlDevice_t, device2: nvmlDevice_t, on_same_board: *mut c_int) {
                nvmlDeviceOnSameBoard 12020 }
            device_view () { nvmlInit 12020, nvmlInit_v2 12020 }
            device_view (flags: c_uint) { nvmlInitWithFlags 12020 }
            device_view () { nvmlShutdown 12020 }
            device_view (cpu_number: c_uint, count: *mut c_uint, device_array: *mut nvmlDevice_t) {
                nvmlSystemGetTopologyGpuSet 12020 }

            memory (device: nvmlDevice_t, bar1_memory: *mut nvmlBAR1Memory_t) {
                nvmlDeviceGetBAR1MemoryInfo 12020 }
            memory (device: nvmlDevice_t, mem_info: *mut c_void) {
                nvmlDeviceGetConfComputeMemSizeInfo 12020 }
            memory (device: nvmlDevice_t, memory: *mut nvmlMemory_t) {
                nvmlDeviceGetMemoryInfo 12020 }
            memory (device: nvmlDevice_t, memory: *mut nvmlMemory_v2_t) {
                nvmlDeviceGetMemoryInfo_v2 12020 }

            processes (device: nvmlDevice_t, count: *mut c_uint, pids: *mut c_uint) {
                nvmlDeviceGetAccountingPids 12020 }
            processes (device: nvmlDevice_t, pid: c_uint, stats: *mut c_void) {
                nvmlDeviceGetAccountingStats 12020 }
            processes (device: nvmlDevice_t, stats: *mut c_void) {
                nvmlDeviceGetAccountingStats_v2 13050 }
            processes (device: nvmlDevice_t, info_count: *mut c_uint,
                infos: *mut nvmlProcessInfo_v1_t) { nvmlDeviceGetComputeRunningProcesses 12020 }
            processes (device: nvmlDevice_t, info_count: *mut c_uint,
                infos: *mut nvmlProcessInfo_v2_t) { nvmlDeviceGetComputeRunningProcesses_v2 12020 }
            processes (device: nvmlDevice_t, info_count: *mut c_uint, infos: *mut nvmlProcessInfo_t)
                { nvmlDeviceGetComputeRunningProcesses_v3 12020 }
            processes (device: nvmlDevice_t, info_count: *mut c_uint,
                infos: *mut nvmlProcessInfo_v1_t) { nvmlDeviceGetGraphicsRunningProcesses 12020 }
            processes (device: nvmlDevice_t, info_count: *mut c_uint,
                infos: *mut nvmlProcessInfo_v2_t) { nvmlDeviceGetGraphicsRunningProcesses_v2 12020 }
            processes (device: nvmlDevice_t, info_count: *mut c_uint, infos: *mut nvmlProcessInfo_t)
                { nvmlDeviceGetGraphicsRunningProcesses_v3 12020 }
            processes (device: nvmlDevice_t, info_count: *mut c_uint,
                infos: *mut nvmlProcessInfo_v1_t) { nvmlDeviceGetMPSComputeRunningProcesses 12020 }
            processes (device: nvmlDevice_t, info_count: *mut c_uint,
                infos: *mut nvmlProcessInfo_v2_t) {
                nvmlDeviceGetMPSComputeRunningProcesses_v2 12020 }
            processes (device: nvmlDevice_t, info_count: *mut c_uint, infos: *mut nvmlProcessInfo_t)
                { nvmlDeviceGetMPSComputeRunningProcesses_v3 12020 }
            processes (device: nvmlDevice_t, plist: *mut c_void) {
                nvmlDeviceGetRunningProcessDetailList 12020 }
            processes (pid: c_uint, name: *mut c_char, length: c_uint) {
                nvmlSystemGetProcessName 12020 }

            utilisation (device: nvmlDevice_t, utilization: *mut c_uint,
                sampling_period_us: *mut c_uint) { nvmlDeviceGetDecoderUtilization 12020 }
            utilisation (device: nvmlDevice_t, p_dynamic_pstates_info: *mut c_void) {
                nvmlDeviceGetDynamicPstatesInfo 12020 }
            utilisation (device: nvmlDevice_t, encoder_query_type: c_uint,
                encoder_capacity: *mut c_uint) { nvmlDeviceGetEncoderCapacity 12020 }
            utilisation (device: nvmlDevice_t, session_count: *mut c_uint,
                session_infos: *mut c_void) { nvmlDeviceGetEncoderSessions 12020 }
            utilisation (device: nvmlDevice_t, session_count: *mut c_uint, average_fps: *mut c_uint,
                average_latency: *mut c_uint) { nvmlDeviceGetEncoderStats 12020 }
            utilisation (device: nvmlDevice_t, utilization: *mut c_uint,
                sampling_period_us: *mut c_uint) { nvmlDeviceGetEncoderUtilization 12020 }
            utilisation (device: nvmlDevice_t, session_count: *mut c_uint,
                session_info: *mut c_void) { nvmlDeviceGetFBCSessions 12020 }
            utilisation (device: nvmlDevice_t, fbc_stats: *mut c_void) {
                nvmlDeviceGetFBCStats 12020 }
            utilisation (device: nvmlDevice_t, utilization: *mut c_uint,
                sampling_period_us: *mut c_uint) { nvmlDeviceGetJpgUtilization 12020 }
            utilisation (device: nvmlDevice_t, utilization: *mut c_uint,
                sampling_period_us: *mut c_uint) { nvmlDeviceGetOfaUtilization 12020 }
            utilisation (device: nvmlDevice_t, utilization: *mut nvmlProcessUtilizationSample_t,
                process_samples_count: *mut c_uint, last_seen_time_stamp: u64) {
                nvmlDeviceGetProcessUtilization 12020 }
            utilisation (device: nvmlDevice_t, proceses_util_info: *mut c_void) {
                nvmlDeviceGetProcessesUtilizationInfo 12040 }
            utilisation (device: nvmlDevice_t, kind: c_uint, last_seen_time_stamp: u64,
                sample_val_type: *mut c_uint, sample_count: *mut c_uint, samples: *mut c_void) {
                nvmlDeviceGetSamples 12020 }
            utilisation (device: nvmlDevice_t, utilization: *mut nvmlUtilization_t) {
                nvmlDeviceGetUtilizationRates 12020 }
            utilisation (metrics_get: *mut c_void) { nvmlGpmMetricsGet 12020 }
            utilisation (device: nvmlDevice_t, gpu_instance_id: c_uint, gpm_sample: nvmlGpmSample_t)
                { nvmlGpmMigSampleGet 12020 }
            utilisation (device: nvmlDevice_t, gpm_support: *mut c_void) {
                nvmlGpmQueryDeviceSupport 12020 }
            utilisation (device: nvmlDevice_t, state: *mut c_uint) {
                nvmlGpmQueryIfStreamingEnabled 12020 }
            utilisation (gpm_sample: *mut nvmlGpmSample_t) { nvmlGpmSampleAlloc 12020 }
            utilisation (gpm_sample: nvmlGpmSample_t) { nvmlGpmSampleFree 12020 }
            utilisation (device: nvmlDevice_t, gpm_sample: nvmlGpmSample_t) {
                nvmlGpmSampleGet 12020 }

            queries (compute_instance: nvmlComputeInstance_t, info: *mut c_void) {
                nvmlComputeInstanceGetInfo 12020, nvmlComputeInstanceGetInfo_v2 12020 }
            queries (device: nvmlDevice_t, api_type: c_uint, is_restricted: *mut c_uint) {
                nvmlDeviceGetAPIRestriction 12020 }
            queries (device: nvmlDevice_t, buffer_size: *mut c_uint) {
                nvmlDeviceGetAccountingBufferSize 12020 }
            queries (device: nvmlDevice_t, mode: *mut c_uint) { nvmlDeviceGetAccountingMode 12020 }
            queries (device: nvmlDevice_t, adaptive_clock_status: *mut c_uint) {
                nvmlDeviceGetAdaptiveClockInfoStatus 12020 }
            queries (device: nvmlDevice_t, info: *mut c_void) {
                nvmlDeviceGetAdaptiveTgpModeInfo_v1 13050 }
            queries (device: nvmlDevice_t, mode: *mut c_void) { nvmlDeviceGetAddressingMode 13050 }
            queries (device: nvmlDevice_t, clock_type: c_uint, clock_mhz: *mut c_uint) {
                nvmlDeviceGetApplicationsClock 12020 }
            queries (device: nvmlDevice_t, arch: *mut c_uint) { nvmlDeviceGetArchitecture 12020 }
            queries (device: nvmlDevice_t, attributes: *mut c_void) { nvmlDeviceGetAttributes 12020,
                nvmlDeviceGetAttributes_v2 12020 }
            queries (device: nvmlDevice_t, is_enabled: *mut c_uint, default_is_enabled: *mut c_uint)
                { nvmlDeviceGetAutoBoostedClocksEnabled 12020 }
            queries (device: nvmlDevice_t, time_data: *mut c_void) {
                nvmlDeviceGetBBXTimeData_v1 13050 }
            queries (device: nvmlDevice_t, p_bank_remapper_status: *mut c_void) {
                nvmlDeviceGetBankRemapperStatus_v1 13050 }
            queries (device: nvmlDevice_t, board_id: *mut c_uint) { nvmlDeviceGetBoardId 12020 }
            queries (device: nvmlDevice_t, part_number: *mut c_char, length: c_uint) {
                nvmlDeviceGetBoardPartNumber 12020 }
            queries (device: nvmlDevice_t, kind: *mut c_uint) { nvmlDeviceGetBrand 12020 }
            queries (device: nvmlDevice_t, bridge_hierarchy: *mut c_void) {
                nvmlDeviceGetBridgeChipInfo 12020 }
            queries (device: nvmlDevice_t, kind: *mut c_uint) { nvmlDeviceGetBusType 12020 }
            queries (device: nvmlDevice_t, c2c_mode_info: *mut c_void) {
                nvmlDeviceGetC2cModeInfoV 12040 }
            queries (device: nvmlDevice_t, caps: *mut c_void) { nvmlDeviceGetCapabilities 12090 }
            queries (device: nvmlDevice_t, status: *mut c_void) { nvmlDeviceGetClkMonStatus 12020 }
            queries (device: nvmlDevice_t, clock_type: c_uint, clock_id: c_uint,
                clock_mhz: *mut c_uint) { nvmlDeviceGetClock 12020 }
            queries (device: nvmlDevice_t, kind: c_uint, clock: *mut c_uint) {
                nvmlDeviceGetClockInfo 12020 }
            queries (device: nvmlDevice_t, info: *mut c_void) { nvmlDeviceGetClockOffsets 12090 }
            queries (device: nvmlDevice_t, id: *mut c_uint) { nvmlDeviceGetComputeInstanceId 12020 }
            queries (device: nvmlDevice_t, mode: *mut c_uint) { nvmlDeviceGetComputeMode 12020 }
            queries (device: nvmlDevice_t, gpu_atst_report: *mut c_void) {
                nvmlDeviceGetConfComputeGpuAttestationReport 12020 }
            queries (device: nvmlDevice_t, gpu_cert: *mut c_void) {
                nvmlDeviceGetConfComputeGpuCertificate 12020 }
            queries (device: nvmlDevice_t, memory: *mut nvmlMemory_t) {
                nvmlDeviceGetConfComputeProtectedMemoryUsage 12020 }
            queries (device: nvmlDevice_t, cooler_info: *mut c_void) {
                nvmlDeviceGetCoolerInfo 12090 }
            queries (device: nvmlDevice_t, cpu_set_size: c_uint, cpu_set: *mut c_ulong) {
                nvmlDeviceGetCpuAffinity 12020 }
            queries (device: nvmlDevice_t, cpu_set_size: c_uint, cpu_set: *mut c_ulong,
                scope: c_uint) { nvmlDeviceGetCpuAffinityWithinScope 12020 }
            queries (device: nvmlDevice_t, major: *mut c_int, minor: *mut c_int) {
                nvmlDeviceGetCudaComputeCapability 12020 }
            queries (device: nvmlDevice_t, curr_link_gen: *mut c_uint) {
                nvmlDeviceGetCurrPcieLinkGeneration 12020 }
            queries (device: nvmlDevice_t, curr_link_width: *mut c_uint) {
                nvmlDeviceGetCurrPcieLinkWidth 12020 }
            queries (device: nvmlDevice_t, current_clock_freqs: *mut c_void) {
                nvmlDeviceGetCurrentClockFreqs 12090 }
            queries (device: nvmlDevice_t, clocks_event_reasons: *mut u64) {
                nvmlDeviceGetCurrentClocksEventReasons 12020 }
            queries (device: nvmlDevice_t, clocks_throttle_reasons: *mut u64) {
                nvmlDeviceGetCurrentClocksThrottleReasons 12020 }
            queries (device: nvmlDevice_t, clock_type: c_uint, clock_mhz: *mut c_uint) {
                nvmlDeviceGetDefaultApplicationsClock 12020 }
            queries (device: nvmlDevice_t, default_mode: *mut c_uint) {
                nvmlDeviceGetDefaultEccMode 12020 }
            queries (device: nvmlDevice_t, error_type: c_uint, counter_type: c_uint,
                ecc_counts: *mut c_void) { nvmlDeviceGetDetailedEccErrors 12020 }
            queries (device: nvmlDevice_t, is_active: *mut c_uint) {
                nvmlDeviceGetDisplayActive 12020 }
            queries (device: nvmlDevice_t, display: *mut c_uint) { nvmlDeviceGetDisplayMode 12020 }
            queries (device: nvmlDevice_t, current: *mut c_void, pending: *mut c_void) {
                nvmlDeviceGetDramEncryptionMode 12090 }
            queries (device: nvmlDevice_t, current: *mut c_uint, pending: *mut c_uint) {
                nvmlDeviceGetDriverModel 12020, nvmlDeviceGetDriverModel_v2 12090 }
            queries (device: nvmlDevice_t, current: *mut c_uint, pending: *mut c_uint) {
                nvmlDeviceGetEccMode 12020 }
            queries (device: nvmlDevice_t, limit: *mut c_uint) {
                nvmlDeviceGetEnforcedPowerLimit 12020 }
            queries (device: nvmlDevice_t, fan: c_uint, policy: *mut c_void) {
                nvmlDeviceGetFanControlPolicy_v2 12020 }
            queries (device: nvmlDevice_t, speed: *mut c_uint) { nvmlDeviceGetFanSpeed 12020 }
            queries (device: nvmlDevice_t, fan_speed: *mut c_void) {
                nvmlDeviceGetFanSpeedRPM 12090 }
            queries (device: nvmlDevice_t, fan: c_uint, speed: *mut c_uint) {
                nvmlDeviceGetFanSpeed_v2 12020 }
            queries (device: nvmlDevice_t, values_count: c_int, values: *mut c_void) {
                nvmlDeviceGetFieldValues 12020 }
            queries (device: nvmlDevice_t, min_offset: *mut c_int, max_offset: *mut c_int) {
                nvmlDeviceGetGpcClkMinMaxVfOffset 12020 }
            queries (device: nvmlDevice_t, offset: *mut c_int) { nvmlDeviceGetGpcClkVfOffset 12020 }
            queries (device: nvmlDevice_t, gpu_fabric_info: *mut c_void) {
                nvmlDeviceGetGpuFabricInfo 12020, nvmlDeviceGetGpuFabricInfo_v4 13050 }
            queries (device: nvmlDevice_t, gpu_fabric_info: *mut c_void) {
                nvmlDeviceGetGpuFabricInfoV 12040 }
            queries (device: nvmlDevice_t, id: c_uint, gpu_instance: *mut nvmlGpuInstance_t) {
                nvmlDeviceGetGpuInstanceById 12020 }
            queries (device: nvmlDevice_t, id: *mut c_uint) { nvmlDeviceGetGpuInstanceId 12020 }
            queries (device: nvmlDevice_t, profile_id: c_uint, placements: *mut c_void,
                count: *mut c_uint) { nvmlDeviceGetGpuInstancePossiblePlacements 12020,
                nvmlDeviceGetGpuInstancePossiblePlacements_v2 12020 }
            queries (device: nvmlDevice_t, profile: c_uint, info: *mut c_void) {
                nvmlDeviceGetGpuInstanceProfileInfo 12020 }
            queries (device: nvmlDevice_t, profile_id: c_uint, info: *mut c_void) {
                nvmlDeviceGetGpuInstanceProfileInfoByIdV 13050 }
            queries (device: nvmlDevice_t, profile: c_uint, info: *mut c_void) {
                nvmlDeviceGetGpuInstanceProfileInfoV 12020 }
            queries (device: nvmlDevice_t, profile_id: c_uint, count: *mut c_uint) {
                nvmlDeviceGetGpuInstanceRemainingCapacity 12020 }
            queries (device: nvmlDevice_t, profile_id: c_uint,
                gpu_instances: *mut nvmlGpuInstance_t, count: *mut c_uint) {
                nvmlDeviceGetGpuInstances 12020 }
            queries (device: nvmlDevice_t, max_link_gen_device: *mut c_uint) {
                nvmlDeviceGetGpuMaxPcieLinkGeneration 12020 }
            queries (device: nvmlDevice_t, current: *mut c_uint, pending: *mut c_uint) {
                nvmlDeviceGetGpuOperationMode 12020 }
            queries (device: nvmlDevice_t, uptime: *mut c_void) { nvmlDeviceGetGpuUptime_v1 13050 }
            queries (device: nvmlDevice_t, is_enabled: *mut c_uint, default_mode: *mut c_uint) {
                nvmlDeviceGetGspFirmwareMode 12020 }
            queries (device: nvmlDevice_t, version: *mut c_char) {
                nvmlDeviceGetGspFirmwareVersion 12020 }
            queries (device: nvmlDevice_t, hostname: *mut c_void) { nvmlDeviceGetHostname_v1 13050 }
            queries (device: nvmlDevice_t, checksum: *mut c_uint) {
                nvmlDeviceGetInforomConfigurationChecksum 12020 }
            queries (device: nvmlDevice_t, version: *mut c_char, length: c_uint) {
                nvmlDeviceGetInforomImageVersion 12020 }
            queries (device: nvmlDevice_t, object: c_uint, version: *mut c_char, length: c_uint) {
                nvmlDeviceGetInforomVersion 12020 }
            queries (device: nvmlDevice_t, irq_num: *mut c_uint) { nvmlDeviceGetIrqNum 12020 }
            queries (device: nvmlDevice_t, timestamp: *mut u64, duration_us: *mut c_ulong) {
                nvmlDeviceGetLastBBXFlushTime 12020 }
            queries (device: nvmlDevice_t, margin_temp_info: *mut c_void) {
                nvmlDeviceGetMarginTemperature 12090 }
            queries (device: nvmlDevice_t, kind: c_uint, clock: *mut c_uint) {
                nvmlDeviceGetMaxClockInfo 12020 }
            queries (device: nvmlDevice_t, clock_type: c_uint, clock_mhz: *mut c_uint) {
                nvmlDeviceGetMaxCustomerBoostClock 12020 }
            queries (device: nvmlDevice_t, count: *mut c_uint) {
                nvmlDeviceGetMaxMigDeviceCount 12020 }
            queries (device: nvmlDevice_t, max_link_gen: *mut c_uint) {
                nvmlDeviceGetMaxPcieLinkGeneration 12020 }
            queries (device: nvmlDevice_t, max_link_width: *mut c_uint) {
                nvmlDeviceGetMaxPcieLinkWidth 12020 }
            queries (device: nvmlDevice_t, min_offset: *mut c_int, max_offset: *mut c_int) {
                nvmlDeviceGetMemClkMinMaxVfOffset 12020 }
            queries (device: nvmlDevice_t, offset: *mut c_int) { nvmlDeviceGetMemClkVfOffset 12020 }
            queries (device: nvmlDevice_t, node_set_size: c_uint, node_set: *mut c_ulong,
                scope: c_uint) { nvmlDeviceGetMemoryAffinity 12020 }
            queries (device: nvmlDevice_t, bus_width: *mut c_uint) {
                nvmlDeviceGetMemoryBusWidth 12020 }
            queries (device: nvmlDevice_t, error_type: c_uint, counter_type: c_uint,
                location_type: c_uint, count: *mut u64) { nvmlDeviceGetMemoryErrorCounter 12020 }
            queries (device: nvmlDevice_t, limits: *mut c_void) {
                nvmlDeviceGetMemoryLimits_v1 13050 }
            queries (device: nvmlDevice_t, index: c_uint, mig_device: *mut nvmlDevice_t) {
                nvmlDeviceGetMigDeviceHandleByIndex 12020 }
            queries (device: nvmlDevice_t, current_mode: *mut c_uint, pending_mode: *mut c_uint) {
                nvmlDeviceGetMigMode 12020 }
            queries (device: nvmlDevice_t, kind: c_uint, pstate: c_uint, min_clock_mhz: *mut c_uint,
                max_clock_mhz: *mut c_uint) { nvmlDeviceGetMinMaxClockOfPState 12020 }
            queries (device: nvmlDevice_t, min_speed: *mut c_uint, max_speed: *mut c_uint) {
                nvmlDeviceGetMinMaxFanSpeed 12020 }
            queries (device: nvmlDevice_t, minor_number: *mut c_uint) {
                nvmlDeviceGetMinorNumber 12020 }
            queries (device: nvmlDevice_t, module_id: *mut c_uint) { nvmlDeviceGetModuleId 12020 }
            queries (device: nvmlDevice_t, multi_gpu_bool: *mut c_uint) {
                nvmlDeviceGetMultiGpuBoard 12020 }
            queries (device: nvmlDevice_t, name: *mut c_char, length: c_uint) {
                nvmlDeviceGetName 12020 }
            queries (device: nvmlDevice_t, num_fans: *mut c_uint) { nvmlDeviceGetNumFans 12020 }
            queries (device: nvmlDevice_t, num_cores: *mut c_uint) {
                nvmlDeviceGetNumGpuCores 12020 }
            queries (device: nvmlDevice_t, node: *mut c_uint) { nvmlDeviceGetNumaNodeId 12040 }
            queries (device: nvmlDevice_t, link: c_uint, capability: c_uint,
                cap_result: *mut c_uint) { nvmlDeviceGetNvLinkCapability 12020 }
            queries (device: nvmlDevice_t, link: c_uint, counter: c_uint, counter_value: *mut u64) {
                nvmlDeviceGetNvLinkErrorCounter 12020 }
            queries (device: nvmlDevice_t, info: *mut c_void) { nvmlDeviceGetNvLinkInfo 13050,
                nvmlDeviceGetNvLinkInfo_v3 13050 }
            queries (device: nvmlDevice_t, link: c_uint, p_nv_link_device_type: *mut c_uint) {
                nvmlDeviceGetNvLinkRemoteDeviceType 12020 }
            queries (device: nvmlDevice_t, link: c_uint, pci: *mut nvmlPciInfo_t) {
                nvmlDeviceGetNvLinkRemotePciInfo 12020, nvmlDeviceGetNvLinkRemotePciInfo_v2 12020 }
            queries (device: nvmlDevice_t, link: c_uint, is_active: *mut c_uint) {
                nvmlDeviceGetNvLinkState 12020 }
            queries (device: nvmlDevice_t, samples: *mut c_void) {
                nvmlDeviceGetNvLinkTelemetrySamples_v1 13050 }
            queries (device: nvmlDevice_t, link: c_uint, counter: c_uint, control: *mut c_void) {
                nvmlDeviceGetNvLinkUtilizationControl 12020 }
            queries (device: nvmlDevice_t, link: c_uint, counter: c_uint, rxcounter: *mut u64,
                txcounter: *mut u64) { nvmlDeviceGetNvLinkUtilizationCounter 12020 }
            queries (device: nvmlDevice_t, link: c_uint, version: *mut c_uint) {
                nvmlDeviceGetNvLinkVersion 12020 }
            queries (device: nvmlDevice_t, get_bw_mode: *mut c_void) {
                nvmlDeviceGetNvlinkBwMode 12090 }
            queries (device: nvmlDevice_t, private_info: *mut c_void) {
                nvmlDeviceGetNvlinkNvlePrivateInfo_v1 13050 }
            queries (device: nvmlDevice_t, remap_table_info: *mut c_void) {
                nvmlDeviceGetNvlinkRemapTableInfo_v1 13050 }
            queries (device: nvmlDevice_t, supported_bw_mode: *mut c_void) {
                nvmlDeviceGetNvlinkSupportedBwModes 12090 }
            queries (device: nvmlDevice_t, pci: *mut nvmlPciInfo_t) { nvmlDeviceGetPciInfo 12020,
                nvmlDeviceGetPciInfo_v2 12020, nvmlDeviceGetPciInfo_v3 12020 }
            queries (device: nvmlDevice_t, pci: *mut c_void) { nvmlDeviceGetPciInfoExt 12040 }
            queries (device: nvmlDevice_t, max_speed: *mut c_uint) {
                nvmlDeviceGetPcieLinkMaxSpeed 12020 }
            queries (device: nvmlDevice_t, value: *mut c_uint) {
                nvmlDeviceGetPcieReplayCounter 12020 }
            queries (device: nvmlDevice_t, pcie_speed: *mut c_uint) { nvmlDeviceGetPcieSpeed 12020 }
            queries (device: nvmlDevice_t, counter: c_uint, value: *mut c_uint) {
                nvmlDeviceGetPcieThroughput 12020 }
            queries (device: nvmlDevice_t, pdi: *mut c_void) { nvmlDeviceGetPdi 13050 }
            queries (device: nvmlDevice_t, perf_modes: *mut c_void) {
                nvmlDeviceGetPerformanceModes 12090 }
            queries (device: nvmlDevice_t, p_state: *mut c_uint) {
                nvmlDeviceGetPerformanceState 12020 }
            queries (device: nvmlDevice_t, mode: *mut c_uint) { nvmlDeviceGetPersistenceMode 12020 }
            queries (device: nvmlDevice_t, pgpu_metadata: *mut c_char, buffer_size: *mut c_uint) {
                nvmlDeviceGetPgpuMetadataString 12020 }
            queries (device: nvmlDevice_t, platform_info: *mut c_void) {
                nvmlDeviceGetPlatformInfo 12090 }
            queries (device: nvmlDevice_t, default_limit: *mut c_uint) {
                nvmlDeviceGetPowerManagementDefaultLimit 12020 }
            queries (device: nvmlDevice_t, limit: *mut c_uint) {
                nvmlDeviceGetPowerManagementLimit 12020 }
            queries (device: nvmlDevice_t, min_limit: *mut c_uint, max_limit: *mut c_uint) {
                nvmlDeviceGetPowerManagementLimitConstraints 12020 }
            queries (device: nvmlDevice_t, mode: *mut c_uint) {
                nvmlDeviceGetPowerManagementMode 12020 }
            queries (device: nvmlDevice_t, power_mizer_mode: *mut c_void) {
                nvmlDeviceGetPowerMizerMode_v1 13050 }
            queries (device: nvmlDevice_t, power_source: *mut c_uint) {
                nvmlDeviceGetPowerSource 12020 }
            queries (device: nvmlDevice_t, p_state: *mut c_uint) { nvmlDeviceGetPowerState 12020 }
            queries (device: nvmlDevice_t, power: *mut c_uint) { nvmlDeviceGetPowerUsage 12020 }
            queries (device: nvmlDevice_t, corr_rows: *mut c_uint, unc_rows: *mut c_uint,
                is_pending: *mut c_uint, failure_occurred: *mut c_uint) {
                nvmlDeviceGetRemappedRows 12020 }
            queries (device: nvmlDevice_t, info: *mut c_void) { nvmlDeviceGetRemappedRows_v2 13050 }
            queries (device: nvmlDevice_t, repair_status: *mut c_void) {
                nvmlDeviceGetRepairStatus 13050 }
            queries (device: nvmlDevice_t, cause: c_uint, page_count: *mut c_uint,
                addresses: *mut u64) { nvmlDeviceGetRetiredPages 12020 }
            queries (device: nvmlDevice_t, is_pending: *mut c_uint) {
                nvmlDeviceGetRetiredPagesPendingStatus 12020 }
            queries (device: nvmlDevice_t, cause: c_uint, page_count: *mut c_uint,
                addresses: *mut u64, timestamps: *mut u64) { nvmlDeviceGetRetiredPages_v2 12020 }
            queries (device: nvmlDevice_t, values: *mut c_void) {
                nvmlDeviceGetRowRemapperHistogram 12020 }
            queries (device: nvmlDevice_t, serial: *mut c_char, length: c_uint) {
                nvmlDeviceGetSerial 12020 }
            queries (device: nvmlDevice_t, status: *mut c_void) {
                nvmlDeviceGetSramEccErrorStatus 12020 }
            queries (device: nvmlDevice_t, error_counts: *mut c_void) {
                nvmlDeviceGetSramUniqueUncorrectedEccErrorCounts 13050 }
            queries (device: nvmlDevice_t, supported_clocks_event_reasons: *mut u64) {
                nvmlDeviceGetSupportedClocksEventReasons 12020 }
            queries (device: nvmlDevice_t, supported_clocks_throttle_reasons: *mut u64) {
                nvmlDeviceGetSupportedClocksThrottleReasons 12020 }
            queries (device: nvmlDevice_t, memory_clock_mhz: c_uint, count: *mut c_uint,
                clocks_mhz: *mut c_uint) { nvmlDeviceGetSupportedGraphicsClocks 12020 }
            queries (device: nvmlDevice_t, count: *mut c_uint, clocks_mhz: *mut c_uint) {
                nvmlDeviceGetSupportedMemoryClocks 12020 }
            queries (device: nvmlDevice_t, pstates: *mut c_uint, size: c_uint) {
                nvmlDeviceGetSupportedPerformanceStates 12020 }
            queries (device: nvmlDevice_t, fan: c_uint, target_speed: *mut c_uint) {
                nvmlDeviceGetTargetFanSpeed 12020 }
            queries (device: nvmlDevice_t, sensor_type: c_uint, temp: *mut c_uint) {
                nvmlDeviceGetTemperature 12020 }
            queries (device: nvmlDevice_t, threshold_type: c_uint, temp: *mut c_uint) {
                nvmlDeviceGetTemperatureThreshold 12020 }
            queries (device: nvmlDevice_t, temperature: *mut c_void) {
                nvmlDeviceGetTemperatureV 12090 }
            queries (device: nvmlDevice_t, sensor_index: c_uint, p_thermal_settings: *mut c_void) {
                nvmlDeviceGetThermalSettings 12020 }
            queries (device: nvmlDevice_t, error_type: c_uint, counter_type: c_uint,
                ecc_counts: *mut u64) { nvmlDeviceGetTotalEccErrors 12020 }
            queries (device: nvmlDevice_t, energy: *mut u64) {
                nvmlDeviceGetTotalEnergyConsumption 12020 }
            queries (device: nvmlDevice_t, uuid: *mut c_char, length: c_uint) {
                nvmlDeviceGetUUID 12020 }
            queries (device: nvmlDevice_t, unrepairable_memory_status: *mut c_void) {
                nvmlDeviceGetUnrepairableMemoryFlag_v1 13050 }
            queries (device: nvmlDevice_t, version: *mut c_char, length: c_uint) {
                nvmlDeviceGetVbiosVersion 12020 }
            queries (device: nvmlDevice_t, perf_policy_type: c_uint, viol_time: *mut c_void) {
                nvmlDeviceGetViolationStatus 12020 }
            queries (device: nvmlDevice_t, p_virtual_mode: *mut c_uint) {
                nvmlDeviceGetVirtualizationMode 12020 }
            queries (device: nvmlDevice_t, is_mig_device: *mut c_uint) {
                nvmlDeviceIsMigDeviceHandle 12020 }
            queries (device: nvmlDevice_t, samples: *mut c_void) {
                nvmlDevicePerfMetricsGetSamples_v1 13050 }
            queries (pci_info: *mut nvmlPciInfo_t, current_state: *mut c_uint) {
                nvmlDeviceQueryDrainState 12020 }
            queries (device: nvmlDevice_t, counter_list: *mut c_void) {
                nvmlDeviceReadPRMCounters_v1 13050 }
            queries (device: nvmlDevice_t, current_profiles: *mut c_void) {
                nvmlDeviceWorkloadPowerProfileGetCurrentProfiles 12090 }
            queries (device: nvmlDevice_t, profiles_info: *mut c_void) {
                nvmlDeviceWorkloadPowerProfileGetProfilesInfo 12090 }
            queries (device_count: *mut c_uint) { nvmlGetExcludedDeviceCount 12020 }
            queries (index: c_uint, info: *mut c_void) { nvmlGetExcludedDeviceInfoByIndex 12020 }
            queries (gpu_instance: nvmlGpuInstance_t, id: c_uint,
                compute_instance: *mut nvmlComputeInstance_t) {
                nvmlGpuInstanceGetComputeInstanceById 12020 }
            queries (gpu_instance: nvmlGpuInstance_t, profile_id: c_uint, placements: *mut c_void,
                count: *mut c_uint) { nvmlGpuInstanceGetComputeInstancePossiblePlacements 12020 }
            queries (gpu_instance: nvmlGpuInstance_t, profile: c_uint, eng_profile: c_uint,
                info: *mut c_void) { nvmlGpuInstanceGetComputeInstanceProfileInfo 12020 }
            queries (gpu_instance: nvmlGpuInstance_t, profile: c_uint, eng_profile: c_uint,
                info: *mut c_void) { nvmlGpuInstanceGetComputeInstanceProfileInfoV 12020 }
            queries (gpu_instance: nvmlGpuInstance_t, profile_id: c_uint, count: *mut c_uint) {
                nvmlGpuInstanceGetComputeInstanceRemainingCapacity 12020 }
            queries (gpu_instance: nvmlGpuInstance_t, profile_id: c_uint,
                compute_instances: *mut nvmlComputeInstance_t, count: *mut c_uint) {
                nvmlGpuInstanceGetComputeInstances 12020 }
            queries (gpu_instance: nvmlGpuInstance_t, info: *mut c_void) {
                nvmlGpuInstanceGetInfo 12020 }
            queries (cper: *mut c_void) { nvmlSystemGetCPER_v1 13050 }
            queries (capabilities: *mut c_void) { nvmlSystemGetConfComputeCapabilities 12020 }
            queries (is_accepting_work: *mut c_uint) {
                nvmlSystemGetConfComputeGpusReadyState 12020 }
            queries (p_key_rotation_thr_info: *mut c_void) {
                nvmlSystemGetConfComputeKeyRotationThresholdInfo 12040 }
            queries (settings: *mut c_void) { nvmlSystemGetConfComputeSettings 12040,
                nvmlSystemGetConfComputeSettings_v2 13050 }
            queries (state: *mut c_void) { nvmlSystemGetConfComputeState 12020 }
            queries (cuda_driver_version: *mut c_int) { nvmlSystemGetCudaDriverVersion 12020,
                nvmlSystemGetCudaDriverVersion_v2 12020 }
            queries (branch_info: *mut c_void, length: c_uint) { nvmlSystemGetDriverBranch 12090 }
            queries (version: *mut c_char, length: c_uint) { nvmlSystemGetDriverVersion 12020 }
            queries (hwbc_count: *mut c_uint, hwbc_entries: *mut c_void) {
                nvmlSystemGetHicVersion 12020 }
            queries (version: *mut c_char, length: c_uint) { nvmlSystemGetNVMLVersion 12020 }
            queries (nvlink_bw_mode: *mut c_uint) { nvmlSystemGetNvlinkBwMode 12020 }
            queries (unit_count: *mut c_uint) { nvmlUnitGetCount 12020 }
            queries (unit: nvmlUnit_t, device_count: *mut c_uint, devices: *mut nvmlDevice_t) {
                nvmlUnitGetDevices 12020 }
            queries (unit: nvmlUnit_t, fan_speeds: *mut c_void) { nvmlUnitGetFanSpeedInfo 12020 }
            queries (index: c_uint, unit: *mut nvmlUnit_t) { nvmlUnitGetHandleByIndex 12020 }
            queries (unit: nvmlUnit_t, state: *mut c_void) { nvmlUnitGetLedState 12020 }
            queries (unit: nvmlUnit_t, psu: *mut c_void) { nvmlUnitGetPsuInfo 12020 }
            queries (unit: nvmlUnit_t, kind: c_uint, temp: *mut c_uint) {
                nvmlUnitGetTemperature 12020 }
            queries (unit: nvmlUnit_t, info: *mut c_void) { nvmlUnitGetUnitInfo 12020 }
            queries _ { nvmlErrorString 12020, nvmlGetBlacklistDeviceCount 12020,
                nvmlGetBlacklistDeviceInfoByIndex 12020 }

            events (device: nvmlDevice_t, event_types: *mut u64) {
                nvmlDeviceGetSupportedEventTypes 12020 }
            events (device: nvmlDevice_t, event_types: u64, set: nvmlEventSet_t) {
                nvmlDeviceRegisterEvents 12020 }
            events (set: *mut nvmlEventSet_t) { nvmlEventSetCreate 12020 }
            events (set: nvmlEventSet_t) { nvmlEventSetFree 12020 }
            events (set: nvmlEventSet_t, params: *mut c_void) {
                nvmlEventSetGetContextCount_v1 13050 }
            events (set: nvmlEventSet_t, params: *mut c_void) {
                nvmlEventSetGetContextData_v1 13050 }
            events (set: nvmlEventSet_t, params: *mut c_void) {
                nvmlEventSetGetContextInfo_v1 13050 }
            events (set: nvmlEventSet_t, params: *mut c_void) {
                nvmlEventSetGetGpuOperationalEventContextLegacyXid_v1 13050 }
            events (event_set: nvmlEventSet_t, config: *const c_void) {
                nvmlEventSetRegisterGpuOperationalEvents_v1 13050 }
            events (set: nvmlEventSet_t, data: *mut c_void, timeoutms: c_uint) {
                nvmlEventSetWait 12020, nvmlEventSetWait_v2 12020 }
            events (set: nvmlEventSet_t, params: *mut c_void) { nvmlEventSetWait_v3 13050 }
            events (request: *mut c_void) { nvmlSystemEventSetCreate 12090 }
            events (request: *mut c_void) { nvmlSystemEventSetFree 12090 }
            events (request: *mut c_void) { nvmlSystemEventSetWait 12090 }
            events (request: *mut c_void) { nvmlSystemRegisterEvents 12090 }

            vgpu (device: nvmlDevice_t, vgpu_count: *mut c_uint, vgpu_instances: *mut c_uint) {
                nvmlDeviceGetActiveVgpus 12020 }
            vgpu (device: nvmlDevice_t, vgpu_count: *mut c_uint, vgpu_type_ids: *mut c_uint) {
                nvmlDeviceGetCreatableVgpus 12020 }
            vgpu (device: nvmlDevice_t, p_grid_licensable_features: *mut c_void) {
                nvmlDeviceGetGridLicensableFeatures 12020,
                nvmlDeviceGetGridLicensableFeatures_v2 12020,
                nvmlDeviceGetGridLicensableFeatures_v3 12020,
                nvmlDeviceGetGridLicensableFeatures_v4 12020 }
            vgpu (device: nvmlDevice_t, p_host_vgpu_mode: *mut c_uint) {
                nvmlDeviceGetHostVgpuMode 12020 }
            vgpu (device: nvmlDevice_t, vgpu_count: *mut c_uint, vgpu_type_ids: *mut c_uint) {
                nvmlDeviceGetSupportedVgpus 12020 }
            vgpu (device: nvmlDevice_t, capability: c_uint, cap_result: *mut c_uint) {
                nvmlDeviceGetVgpuCapabilities 12020 }
            vgpu (device: nvmlDevice_t, p_heterogeneous_mode: *mut c_void) {
                nvmlDeviceGetVgpuHeterogeneousMode 12040 }
            vgpu (device: nvmlDevice_t, vgpu_util_info: *mut c_void) {
                nvmlDeviceGetVgpuInstancesUtilizationInfo 12040 }
            vgpu (device: nvmlDevice_t, pgpu_metadata: *mut c_void, buffer_size: *mut c_uint) {
                nvmlDeviceGetVgpuMetadata 12020 }
            vgpu (device: nvmlDevice_t, last_seen_time_stamp: u64,
                vgpu_process_samples_count: *mut c_uint, utilization_samples: *mut c_void) {
                nvmlDeviceGetVgpuProcessUtilization 12020 }
            vgpu (device: nvmlDevice_t, vgpu_proc_util_info: *mut c_void) {
                nvmlDeviceGetVgpuProcessesUtilizationInfo 12040 }
            vgpu (device: nvmlDevice_t, p_capabilities: *mut c_void) {
                nvmlDeviceGetVgpuSchedulerCapabilities 12020 }
            vgpu (device: nvmlDevice_t, p_scheduler_log: *mut c_void) {
                nvmlDeviceGetVgpuSchedulerLog 12020 }
            vgpu (device: nvmlDevice_t, p_scheduler_log_info: *mut c_void) {
                nvmlDeviceGetVgpuSchedulerLog_v2 13050 }
            vgpu (device: nvmlDevice_t, p_scheduler_state: *mut c_void) {
                nvmlDeviceGetVgpuSchedulerState 12020 }
            vgpu (device: nvmlDevice_t, p_scheduler_state_info: *mut c_void) {
                nvmlDeviceGetVgpuSchedulerState_v2 13050 }
            vgpu (device: nvmlDevice_t, vgpu_type_id: c_uint, p_placement_list: *mut c_void) {
                nvmlDeviceGetVgpuTypeCreatablePlacements 12040 }
            vgpu (device: nvmlDevice_t, vgpu_type_id: c_uint, p_placement_list: *mut c_void) {
                nvmlDeviceGetVgpuTypeSupportedPlacements 12040 }
            vgpu (device: nvmlDevice_t, last_seen_time_stamp: u64, sample_val_type: *mut c_uint,
                vgpu_instance_samples_count: *mut c_uint, utilization_samples: *mut c_void) {
                nvmlDeviceGetVgpuUtilization 12020 }
            vgpu (vgpu_metadata: *mut c_void, pgpu_metadata: *mut c_void,
                compatibility_info: *mut c_void) { nvmlGetVgpuCompatibility 12020 }
            vgpu (capability: c_uint, cap_result: *mut c_uint) {
                nvmlGetVgpuDriverCapabilities 12020 }
            vgpu (supported: *mut c_void, current: *mut c_void) { nvmlGetVgpuVersion 12020 }
            vgpu (gpu_instance: nvmlGpuInstance_t, p_vgpu_instance_info: *mut c_void) {
                nvmlGpuInstanceGetActiveVgpus 12090 }
            vgpu (gpu_instance: nvmlGpuInstance_t, p_vgpus: *mut c_void) {
                nvmlGpuInstanceGetCreatableVgpus 12090 }
            vgpu (gpu_instance: nvmlGpuInstance_t, p_heterogeneous_mode: *mut c_void) {
                nvmlGpuInstanceGetVgpuHeterogeneousMode 12090 }
            vgpu (gpu_instance: nvmlGpuInstance_t, p_scheduler_log_info: *mut c_void) {
                nvmlGpuInstanceGetVgpuSchedulerLog 12090,
                nvmlGpuInstanceGetVgpuSchedulerLog_v2 13050 }
            vgpu (gpu_instance: nvmlGpuInstance_t, p_scheduler_state_info: *mut c_void) {
                nvmlGpuInstanceGetVgpuSchedulerState 12090,
                nvmlGpuInstanceGetVgpuSchedulerState_v2 13050 }
            vgpu (gpu_instance: nvmlGpuInstance_t, p_creatable_placement_info: *mut c_void) {
                nvmlGpuInstanceGetVgpuTypeCreatablePlacements 12090 }
            vgpu (vgpu_version: *mut c_void) { nvmlSetVgpuVersion 12020 }
            vgpu (vgpu_instance: c_uint, mode: *mut c_uint) {
                nvmlVgpuInstanceGetAccountingMode 12020 }
            vgpu (vgpu_instance: c_uint, count: *mut c_uint, pids: *mut c_uint) {
                nvmlVgpuInstanceGetAccountingPids 12020 }
            vgpu (vgpu_instance: c_uint, pid: c_uint, stats: *mut c_void) {
                nvmlVgpuInstanceGetAccountingStats 12020 }
            vgpu (vgpu_instance: c_uint, ecc_mode: *mut c_uint) { nvmlVgpuInstanceGetEccMode 12020 }
            vgpu (vgpu_instance: c_uint, encoder_capacity: *mut c_uint) {
                nvmlVgpuInstanceGetEncoderCapacity 12020 }
            vgpu (vgpu_instance: c_uint, session_count: *mut c_uint, session_info: *mut c_void) {
                nvmlVgpuInstanceGetEncoderSessions 12020 }
            vgpu (vgpu_instance: c_uint, session_count: *mut c_uint, average_fps: *mut c_uint,
                average_latency: *mut c_uint) { nvmlVgpuInstanceGetEncoderStats 12020 }
            vgpu (vgpu_instance: c_uint, session_count: *mut c_uint, session_info: *mut c_void) {
                nvmlVgpuInstanceGetFBCSessions 12020 }
            vgpu (vgpu_instance: c_uint, fbc_stats: *mut c_void) {
                nvmlVgpuInstanceGetFBCStats 12020 }
            vgpu (vgpu_instance: c_uint, fb_usage: *mut u64) { nvmlVgpuInstanceGetFbUsage 12020 }
            vgpu (vgpu_instance: c_uint, frame_rate_limit: *mut c_uint) {
                nvmlVgpuInstanceGetFrameRateLimit 12020 }
            vgpu (vgpu_instance: c_uint, gpu_instance_id: *mut c_uint) {
                nvmlVgpuInstanceGetGpuInstanceId 12020 }
            vgpu (vgpu_instance: c_uint, vgpu_pci_id: *mut c_char, length: *mut c_uint) {
                nvmlVgpuInstanceGetGpuPciId 12020 }
            vgpu (vgpu_instance: c_uint, license_info: *mut c_void) {
                nvmlVgpuInstanceGetLicenseInfo 12020, nvmlVgpuInstanceGetLicenseInfo_v2 12020 }
            vgpu (vgpu_instance: c_uint, licensed: *mut c_uint) {
                nvmlVgpuInstanceGetLicenseStatus 12020 }
            vgpu (vgpu_instance: c_uint, mdev_uuid: *mut c_char, size: c_uint) {
                nvmlVgpuInstanceGetMdevUUID 12020 }
            vgpu (vgpu_instance: c_uint, vgpu_metadata: *mut c_void, buffer_size: *mut c_uint) {
                nvmlVgpuInstanceGetMetadata 12020 }
            vgpu (vgpu_instance: c_uint, p_placement: *mut c_void) {
                nvmlVgpuInstanceGetPlacementId 12040 }
            vgpu (vgpu_instance: c_uint, p_state: *mut c_void) {
                nvmlVgpuInstanceGetRuntimeStateSize 12090 }
            vgpu (vgpu_instance: c_uint, vgpu_type_id: *mut c_uint) {
                nvmlVgpuInstanceGetType 12020 }
            vgpu (vgpu_instance: c_uint, uuid: *mut c_char, size: c_uint) {
                nvmlVgpuInstanceGetUUID 12020 }
            vgpu (vgpu_instance: c_uint, version: *mut c_char, length: c_uint) {
                nvmlVgpuInstanceGetVmDriverVersion 12020 }
            vgpu (vgpu_instance: c_uint, vm_id: *mut c_char, size: c_uint, vm_id_type: *mut c_uint)
                { nvmlVgpuInstanceGetVmID 12020 }
            vgpu (vgpu_type_id: c_uint, bar1_info: *mut c_void) { nvmlVgpuTypeGetBAR1Info 12090 }
            vgpu (vgpu_type_id: c_uint, capability: c_uint, cap_result: *mut c_uint) {
                nvmlVgpuTypeGetCapabilities 12020 }
            vgpu (vgpu_type_id: c_uint, vgpu_type_class: *mut c_char, size: *mut c_uint) {
                nvmlVgpuTypeGetClass 12020 }
            vgpu (vgpu_type_id: c_uint, device_id: *mut u64, subsystem_id: *mut u64) {
                nvmlVgpuTypeGetDeviceID 12020 }
            vgpu (vgpu_type_id: c_uint, fb_reservation: *mut u64) {
                nvmlVgpuTypeGetFbReservation 12040 }
            vgpu (vgpu_type_id: c_uint, frame_rate_limit: *mut c_uint) {
                nvmlVgpuTypeGetFrameRateLimit 12020 }
            vgpu (vgpu_type_id: c_uint, fb_size: *mut u64) { nvmlVgpuTypeGetFramebufferSize 12020 }
            vgpu (vgpu_type_id: c_uint, gpu_instance_profile_id: *mut c_uint) {
                nvmlVgpuTypeGetGpuInstanceProfileId 12020 }
            vgpu (vgpu_type_id: c_uint, gsp_heap_size: *mut u64) {
                nvmlVgpuTypeGetGspHeapSize 12040 }
            vgpu (vgpu_type_id: c_uint, vgpu_type_license_string: *mut c_char, size: c_uint) {
                nvmlVgpuTypeGetLicense 12020 }
            vgpu (device: nvmlDevice_t, vgpu_type_id: c_uint, vgpu_instance_count: *mut c_uint) {
                nvmlVgpuTypeGetMaxInstances 12020 }
            vgpu (p_max_instance: *mut c_void) { nvmlVgpuTypeGetMaxInstancesPerGpuInstance 12090 }
            vgpu (vgpu_type_id: c_uint, vgpu_instance_count_per_vm: *mut c_uint) {
                nvmlVgpuTypeGetMaxInstancesPerVm 12020 }
            vgpu (vgpu_type_id: c_uint, vgpu_type_name: *mut c_char, size: *mut c_uint) {
                nvmlVgpuTypeGetName 12020 }
            vgpu (vgpu_type_id: c_uint, num_display_heads: *mut c_uint) {
                nvmlVgpuTypeGetNumDisplayHeads 12020 }
            vgpu (vgpu_type_id: c_uint, display_index: c_uint, xdim: *mut c_uint, ydim: *mut c_uint)
                { nvmlVgpuTypeGetResolution 12020 }

            controls (compute_instance: nvmlComputeInstance_t) { nvmlComputeInstanceDestroy 12020 }
            controls (device: nvmlDevice_t) { nvmlDeviceClearAccountingPids 12020 }
            controls (device: nvmlDevice_t) { nvmlDeviceClearCpuAffinity 12020 }
            controls (device: nvmlDevice_t, counter_type: c_uint) {
                nvmlDeviceClearEccErrorCounts 12020 }
            controls (device: nvmlDevice_t, values_count: c_int, values: *mut c_void) {
                nvmlDeviceClearFieldValues 12020 }
            controls (device: nvmlDevice_t, profile_id: c_uint,
                gpu_instance: *mut nvmlGpuInstance_t) { nvmlDeviceCreateGpuInstance 12020 }
            controls (device: nvmlDevice_t, profile_id: c_uint, placement: *const c_void,
                gpu_instance: *mut nvmlGpuInstance_t) {
                nvmlDeviceCreateGpuInstanceWithPlacement 12020 }
            controls (pci_info: *mut nvmlPciInfo_t) { nvmlDeviceDiscoverGpus 12020 }
            controls (device: nvmlDevice_t, link: c_uint, counter: c_uint, freeze: c_uint) {
                nvmlDeviceFreezeNvLinkUtilizationCounter 12020 }
            controls (device: nvmlDevice_t, remap_table_lock_info: *mut c_void) {
                nvmlDeviceLockNvlinkRemapTable_v1 13050 }
            controls (pci_info: *mut nvmlPciInfo_t, new_state: c_uint) {
                nvmlDeviceModifyDrainState 12020 }
            controls (device: nvmlDevice_t, profile: *mut c_void) {
                nvmlDevicePowerSmoothingActivatePresetProfile 12090 }
            controls (device: nvmlDevice_t, state: *mut c_void) {
                nvmlDevicePowerSmoothingSetState 12090 }
            controls (device: nvmlDevice_t, profile: *mut c_void) {
                nvmlDevicePowerSmoothingUpdatePresetProfileParam 12090 }
            controls (device: nvmlDevice_t, buffer: *mut c_void) { nvmlDeviceReadWritePRM_v1 13050 }
            controls (pci_info: *mut nvmlPciInfo_t) { nvmlDeviceRemoveGpu 12020 }
            controls (pci_info: *mut nvmlPciInfo_t, gpu_state: c_uint, link_state: c_uint) {
                nvmlDeviceRemoveGpu_v2 12020 }
            controls (device: nvmlDevice_t) { nvmlDeviceResetApplicationsClocks 12020 }
            controls (device: nvmlDevice_t) { nvmlDeviceResetGpuLockedClocks 12020 }
            controls (device: nvmlDevice_t) { nvmlDeviceResetMemoryLockedClocks 12020 }
            controls (device: nvmlDevice_t, link: c_uint) {
                nvmlDeviceResetNvLinkErrorCounters 12020 }
            controls (device: nvmlDevice_t, link: c_uint, counter: c_uint) {
                nvmlDeviceResetNvLinkUtilizationCounter 12020 }
            controls (device: nvmlDevice_t, api_type: c_uint, is_restricted: c_uint) {
                nvmlDeviceSetAPIRestriction 12020 }
            controls (device: nvmlDevice_t, mode: c_uint) { nvmlDeviceSetAccountingMode 12020 }
            controls (device: nvmlDevice_t, mode: c_uint) { nvmlDeviceSetAdaptiveTgpMode_v1 13050 }
            controls (device: nvmlDevice_t, mem_clock_mhz: c_uint, graphics_clock_mhz: c_uint) {
                nvmlDeviceSetApplicationsClocks 12020 }
            controls (device: nvmlDevice_t, enabled: c_uint) {
                nvmlDeviceSetAutoBoostedClocksEnabled 12020 }
            controls (device: nvmlDevice_t, info: *mut c_void) { nvmlDeviceSetClockOffsets 12090 }
            controls (device: nvmlDevice_t, mode: c_uint) { nvmlDeviceSetComputeMode 12020 }
            controls (device: nvmlDevice_t, size_ki_b: u64) {
                nvmlDeviceSetConfComputeUnprotectedMemSize 12020 }
            controls (device: nvmlDevice_t) { nvmlDeviceSetCpuAffinity 12020 }
            controls (device: nvmlDevice_t, enabled: c_uint, flags: c_uint) {
                nvmlDeviceSetDefaultAutoBoostedClocksEnabled 12020 }
            controls (device: nvmlDevice_t, fan: c_uint) { nvmlDeviceSetDefaultFanSpeed_v2 12020 }
            controls (device: nvmlDevice_t, dram_encryption: *const c_void) {
                nvmlDeviceSetDramEncryptionMode 12090 }
            controls (device: nvmlDevice_t, driver_model: c_uint, flags: c_uint) {
                nvmlDeviceSetDriverModel 12020 }
            controls (device: nvmlDevice_t, ecc: c_uint) { nvmlDeviceSetEccMode 12020 }
            controls (device: nvmlDevice_t, fan: c_uint, speed: c_uint) {
                nvmlDeviceSetFanSpeed_v2 12020 }
            controls (device: nvmlDevice_t, offset: c_int) { nvmlDeviceSetGpcClkVfOffset 12020 }
            controls (device: nvmlDevice_t, min_gpu_clock_mhz: c_uint, max_gpu_clock_mhz: c_uint) {
                nvmlDeviceSetGpuLockedClocks 12020 }
            controls (device: nvmlDevice_t, mode: c_uint) { nvmlDeviceSetGpuOperationMode 12020 }
            controls (device: nvmlDevice_t, hostname: *mut c_void) {
                nvmlDeviceSetHostname_v1 13050 }
            controls (device: nvmlDevice_t, offset: c_int) { nvmlDeviceSetMemClkVfOffset 12020 }
            controls (device: nvmlDevice_t, limits: *mut c_void) {
                nvmlDeviceSetMemoryLimits_v1 13050 }
            controls (device: nvmlDevice_t, min_mem_clock_mhz: c_uint, max_mem_clock_mhz: c_uint) {
                nvmlDeviceSetMemoryLockedClocks 12020 }
            controls (device: nvmlDevice_t, mode: c_uint, activation_status: *mut c_uint) {
                nvmlDeviceSetMigMode 12020 }
            controls (device: nvmlDevice_t, info: *mut c_void) {
                nvmlDeviceSetNvLinkDeviceLowPowerThreshold 12020 }
            controls (device: nvmlDevice_t, link: c_uint, counter: c_uint, control: *mut c_void,
                reset: c_uint) { nvmlDeviceSetNvLinkUtilizationControl 12020 }
            controls (device: nvmlDevice_t, set_bw_mode: *mut c_void) {
                nvmlDeviceSetNvlinkBwMode 12090 }
            controls (device: nvmlDevice_t, set_bw_mode_async: *mut c_void) {
                nvmlDeviceSetNvlinkBwModeAsync_v1 13050 }
            controls (device: nvmlDevice_t, set_nvle_ready: *mut c_void) {
                nvmlDeviceSetNvlinkNvleReady_v1 13050 }
            controls (device: nvmlDevice_t, mode: c_uint) { nvmlDeviceSetPersistenceMode 12020 }
            controls (device: nvmlDevice_t, limit: c_uint) {
                nvmlDeviceSetPowerManagementLimit 12020 }
            controls (device: nvmlDevice_t, power_value: *mut c_void) {
                nvmlDeviceSetPowerManagementLimit_v2 12020 }
            controls (device: nvmlDevice_t, power_mizer_mode: *mut c_void) {
                nvmlDeviceSetPowerMizerMode_v1 13050 }
            controls (device: nvmlDevice_t, settings: *mut c_void) {
                nvmlDeviceSetRusdSettings_v1 13050 }
            controls (device: nvmlDevice_t, threshold_type: c_uint, temp: *mut c_int) {
                nvmlDeviceSetTemperatureThreshold 12020 }
            controls (device: nvmlDevice_t, capability: c_uint, state: c_uint) {
                nvmlDeviceSetVgpuCapabilities 12040 }
            controls (device: nvmlDevice_t, p_heterogeneous_mode: *const c_void) {
                nvmlDeviceSetVgpuHeterogeneousMode 12040 }
            controls (device: nvmlDevice_t, p_scheduler_state: *mut c_void) {
                nvmlDeviceSetVgpuSchedulerState 12020, nvmlDeviceSetVgpuSchedulerState_v2 13050 }
            controls (device: nvmlDevice_t, virtual_mode: c_uint) {
                nvmlDeviceSetVirtualizationMode 12020 }
            controls (device: nvmlDevice_t, encryption_key: *mut c_void) {
                nvmlDeviceSetupNvlinkNvleEncryptionKey_v1 13050 }
            controls (device: nvmlDevice_t) { nvmlDeviceValidateInforom 12020 }
            controls (device: nvmlDevice_t) { nvmlDeviceVgpuForceGspUnload 13050 }
            controls (device: nvmlDevice_t, requested_profiles: *mut c_void) {
                nvmlDeviceWorkloadPowerProfileClearRequestedProfiles 12090 }
            controls (device: nvmlDevice_t, requested_profiles: *mut c_void) {
                nvmlDeviceWorkloadPowerProfileSetRequestedProfiles 12090 }
            controls (device: nvmlDevice_t, update_profiles: *mut c_void) {
                nvmlDeviceWorkloadPowerProfileUpdateProfiles_v1 13050 }
            controls (device: nvmlDevice_t, state: c_uint) { nvmlGpmSetStreamingEnabled 12020 }
            controls (gpu_instance: nvmlGpuInstance_t, profile_id: c_uint,
                compute_instance: *mut nvmlComputeInstance_t) {
                nvmlGpuInstanceCreateComputeInstance 12020 }
            controls (gpu_instance: nvmlGpuInstance_t, profile_id: c_uint, placement: *const c_void,
                compute_instance: *mut nvmlComputeInstance_t) {
                nvmlGpuInstanceCreateComputeInstanceWithPlacement 12020 }
            controls (gpu_instance: nvmlGpuInstance_t) { nvmlGpuInstanceDestroy 12020 }
            controls (gpu_instance: nvmlGpuInstance_t, p_heterogeneous_mode: *const c_void) {
                nvmlGpuInstanceSetVgpuHeterogeneousMode 12090 }
            controls (gpu_instance: nvmlGpuInstance_t, p_scheduler: *mut c_void) {
                nvmlGpuInstanceSetVgpuSchedulerState 12090 }
            controls (gpu_instance: nvmlGpuInstance_t, p_scheduler_state: *mut c_void) {
                nvmlGpuInstanceSetVgpuSchedulerState_v2 13050 }
            controls (is_accepting_work: c_uint) { nvmlSystemSetConfComputeGpusReadyState 12020 }
            controls (p_key_rotation_thr_info: *mut c_void) {
                nvmlSystemSetConfComputeKeyRotationThresholdInfo 12040 }
            controls (nvlink_bw_mode: c_uint) { nvmlSystemSetNvlinkBwMode 12020 }
            controls (unit: nvmlUnit_t, color: c_uint) { nvmlUnitSetLedState 12020 }
            controls (vgpu_instance: c_uint) { nvmlVgpuInstanceClearAccountingPids 12020 }
            controls (vgpu_instance: c_uint, encoder_capacity: c_uint) {
                nvmlVgpuInstanceSetEncoderCapacity 12020 }
            controls _ { nvmlDeviceSetFanControlPolicy 12020 }

            tools _ { nvmlInternalGetExportTable 12020 }
        }
    };
}
