//! How much memory an image will take, before there is one.
#![allow(non_upper_case_globals)] // the API's own names in patterns

use polder_gpuapi::opencl::{consts::*, types::*};

/// Bytes of a pixel in a format this table does not know: the largest there is.
const PIXEL_BYTES_MAX: u64 = 16;

/// Bytes of one pixel.
fn pixel_bytes(format: cl_image_format) -> u64 {
    let channels = match format.image_channel_order {
        CL_R | CL_A | CL_INTENSITY | CL_LUMINANCE | CL_DEPTH | CL_Rx => 1,
        CL_RG | CL_RA | CL_RGx => 2,
        CL_RGB | CL_RGBx | CL_sRGB | CL_sRGBx => 3,
        _ => 4,
    };
    match format.image_channel_data_type {
        CL_SNORM_INT8 | CL_UNORM_INT8 | CL_SIGNED_INT8 | CL_UNSIGNED_INT8 => channels,
        CL_SNORM_INT16 | CL_UNORM_INT16 | CL_SIGNED_INT16 | CL_UNSIGNED_INT16 | CL_HALF_FLOAT => {
            channels * 2
        }
        CL_UNORM_SHORT_565 | CL_UNORM_SHORT_555 => 2,
        CL_UNORM_INT_101010 | CL_UNORM_INT_101010_2 => 4,
        CL_SIGNED_INT32 | CL_UNSIGNED_INT32 | CL_FLOAT => channels * 4,
        _ => PIXEL_BYTES_MAX,
    }
}

/// Bytes of the image that `description` asks for, at least; absurd sizes saturate, and the driver
/// or the ledger refuses them.
pub(crate) fn bytes(format: cl_image_format, description: &cl_image_desc) -> u64 {
    let wide = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
    let d = description;
    let (mut width, mut height, mut depth) = (wide(d.image_width), 1, 1);
    let mut layers = 1;
    match d.image_type {
        CL_MEM_OBJECT_IMAGE2D => height = wide(d.image_height),
        CL_MEM_OBJECT_IMAGE3D => {
            (height, depth) = (wide(d.image_height), wide(d.image_depth));
        }
        CL_MEM_OBJECT_IMAGE2D_ARRAY => {
            (height, layers) = (wide(d.image_height), wide(d.image_array_size));
        }
        CL_MEM_OBJECT_IMAGE1D_ARRAY => layers = wide(d.image_array_size),
        _ => {}
    }
    let mut pixels = 0_u64;
    for _ in 0..d.num_mip_levels.clamp(1, 32) {
        pixels = pixels.saturating_add(width.saturating_mul(height).saturating_mul(depth));
        (width, height, depth) = ((width / 2).max(1), (height / 2).max(1), (depth / 2).max(1));
    }
    pixels
        .saturating_mul(layers)
        .saturating_mul(u64::from(d.num_samples.max(1)))
        .saturating_mul(pixel_bytes(format))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::null_mut;

    fn check(kind: u32, size: [usize; 3], layers: usize, levels: u32, order: u32, expect: u64) {
        let format =
            cl_image_format { image_channel_order: order, image_channel_data_type: CL_FLOAT };
        let description = cl_image_desc {
            image_type: kind,
            image_width: size[0],
            image_height: size[1],
            image_depth: size[2],
            image_array_size: layers,
            image_row_pitch: 0,
            image_slice_pitch: 0,
            num_mip_levels: levels,
            num_samples: 0,
            mem_object: null_mut(),
        };
        assert_eq!(bytes(format, &description), expect);
    }

    #[test]
    fn only_the_dimensions_of_the_kind_count() {
        check(CL_MEM_OBJECT_IMAGE1D, [10, 99, 99], 99, 0, CL_R, 40);
        check(CL_MEM_OBJECT_IMAGE2D, [10, 20, 99], 99, 0, CL_RGBA, 3200);
        check(CL_MEM_OBJECT_IMAGE3D, [10, 20, 3], 99, 0, CL_RG, 4800);
        check(CL_MEM_OBJECT_IMAGE1D_ARRAY, [10, 99, 99], 5, 0, CL_R, 200);
        check(CL_MEM_OBJECT_IMAGE2D_ARRAY, [10, 20, 99], 5, 0, CL_R, 4000);
        check(CL_MEM_OBJECT_IMAGE2D, [4, 4, 0], 0, 3, CL_R, (16 + 4 + 1) * 4);
        check(CL_MEM_OBJECT_IMAGE3D, [usize::MAX, usize::MAX, 2], 0, 0, CL_RGBA, u64::MAX);
    }
}
