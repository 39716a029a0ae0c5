/* A stand-in for an OpenCL driver: one platform with one graphics card, or what FAKE_ICD says. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int32_t platform_info(void *platform, uint32_t name, size_t n, void *to, size_t *size);
static int32_t devices(void *platform, uint64_t type, uint32_t n, void **to, uint32_t *count);
static int32_t device_info(void *device, uint32_t name, size_t n, void *to, size_t *size);

static const struct {
    void *tag, *platform_info, *devices, *device_info;
} table = {(void *)0x4F50454E434C3331, platform_info, devices, device_info};

static const void *platform = &table, *card = &table;

static int is(const char *word) {
    const char *fake = getenv("FAKE_ICD");
    return fake && !strcmp(fake, word);
}

static int32_t give(const void *from, size_t length, size_t n, void *to, size_t *size) {
    if (size) *size = length;
    if (to && n < length) return -30;
    if (to) memcpy(to, from, length);
    return 0;
}

static int32_t platform_info(void *p, uint32_t name, size_t n, void *to, size_t *size) {
    return name == 0x0902 ? give("NVIDIA CUDA", 12, n, to, size) : -30;
}

static int32_t devices(void *p, uint64_t type, uint32_t n, void **to, uint32_t *count) {
    if (is("crash")) *(volatile int *)8 = 1;
    if (is("hang")) sleep(600);
    if (is("empty")) return -1;
    if (is("error")) return -6;
    if (count) *count = 1;
    if (to && n) *to = &card;
    return 0;
}

#define TEXT(text) give(text, sizeof text, n, to, size)
#define NUMBER(type, number) \
    do { type value = number; return give(&value, sizeof value, n, to, size); } while (0)

static int32_t device_info(void *device, uint32_t name, size_t n, void *to, size_t *size) {
    static const uint32_t pci[4] = {0, 0x3b, 0, 0};
    static const uint8_t uuid[16] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                                     0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
    switch (name) {
    case 0x1000: NUMBER(uint64_t, 1 << 2);
    case 0x1002: NUMBER(uint32_t, 132);
    case 0x1010: NUMBER(uint64_t, 20ULL << 30);
    case 0x101F: NUMBER(uint64_t, 79ULL << 30);
    case 0x1027: NUMBER(uint32_t, 1);
    case 0x102B: return TEXT("NVIDIA H100 80GB HBM3");
    case 0x102C: return TEXT("NVIDIA Corporation");
    case 0x102D: return TEXT("550.54.14");
    case 0x102F: return TEXT("OpenCL 3.0 CUDA");
    case 0x1030: return TEXT("cl_khr_fp64 cl_khr_pci_bus_info cl_khr_device_uuid");
    case 0x106A: return give(uuid, sizeof uuid, n, to, size);
    case 0x410F: return give(pci, sizeof pci, n, to, size);
    }
    return -30;
}

static int32_t platforms(uint32_t n, const void **to, uint32_t *count) {
    if (is("noise")) puts("driver: this line goes to standard output");
    if (is("none")) return -1001;
    if (count) *count = 1;
    if (to && n) *to = &platform;
    return 0;
}

void *clGetExtensionFunctionAddress(const char *name) {
    return strcmp(name, "clIcdGetPlatformIDsKHR") ? NULL : (void *)platforms;
}
