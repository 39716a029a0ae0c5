//! What a tenant program loads instead of the vendor driver: an OpenCL ICD
