/* A stand-in for NVIDIA's management library: one H100, as much of it as the probe asks for. */
#include <stdlib.h>
#include <string.h>

typedef struct {
    unsigned version;
    unsigned long long total, reserved, free, used;
} memory_t;
typedef struct {
    char legacy[16];
    unsigned domain, bus, device, id, subsystem;
    char bus_id[32];
} pci_t;
typedef struct {
    unsigned field, scope;
    long long timestamp, latency;
    unsigned type;
    int code;
    union { unsigned u32; unsigned long long u64; } value;
} field_t;

static int is(const char *word) {
    const char *fake = getenv("FAKE_NVML");
    return fake && !strcmp(fake, word);
}

int nvmlInit_v2(void) { return is("no_driver") ? 9 : is("mismatch") ? 18 : 0; }
int nvmlShutdown(void) { return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned n) { return strncpy(text, "550.54.14", n), 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { return *count = 2, 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **card) {
    *card = &nvmlInit_v2;
    return i == 1 ? 15 /* GPU is lost */ : 0;
}
int nvmlDeviceGetUUID(void *card, char *text, unsigned n) {
    return strncpy(text, "GPU-00112233-4455-6677-8899-aabbccddeeff", n), 0;
}
int nvmlDeviceGetName(void *card, char *text, unsigned n) {
    return strncpy(text, "NVIDIA H100 80GB HBM3", n), 0;
}
int nvmlDeviceGetMemoryInfo_v2(void *card, memory_t *memory) {
    memory->total = 85520809984ULL;
    memory->reserved = 500000000;
    return memory->used = memory->free = 0, 0;
}
int nvmlDeviceGetMaxClockInfo(void *card, int clock, unsigned *mhz) {
    return *mhz = clock == 2 ? 2619 : 1980, 0;
}
int nvmlDeviceGetMemoryBusWidth(void *card, unsigned *bits) { return *bits = 5120, 0; }
int nvmlDeviceGetNumGpuCores(void *card, unsigned *cores) { return *cores = 16896, 0; }
int nvmlDeviceGetCudaComputeCapability(void *card, int *major, int *minor) {
    return *major = 9, *minor = 0, 0;
}
int nvmlDeviceGetPciInfo_v3(void *card, pci_t *pci) {
    memset(pci, 0, sizeof *pci);
    pci->bus = 0x3b;
    return strcpy(pci->bus_id, "00000000:3B:00.0"), 0;
}
int nvmlDeviceGetEccMode(void *card, int *now, int *later) { return *now = *later = 1, 0; }
int nvmlDeviceGetMigMode(void *card, unsigned *now, unsigned *later) {
    return *now = *later = is("mig"), 0;
}
int nvmlDeviceGetFieldValues(void *card, int count, field_t *fields) {
    for (int i = 0; i < count; i++) {
        fields[i].type = 1; /* unsigned int */
        fields[i].code = 0;
        fields[i].value.u32 = fields[i].field == 145 && is("remap");
    }
    return 0;
}
