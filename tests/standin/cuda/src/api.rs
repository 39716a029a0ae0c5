//! The form of an exported function: logged, scripted, its signature that of the table, and a panic
//! in it an error of the call.

/// Exports functions whose bodies say `Ok(())` or the error. `|own|` names what tells the variant
/// whose default stream is the thread's own; it is listed behind a slash.
macro_rules! api {
    (|$own:ident|) => {};
    (|$own:ident| fn $name:ident $args:tt $body:block $($rest:tt)*) => {
        api!(@one $own $name $args $body);
        api!(|$own| $($rest)*);
    };
    (|$own:ident| fn $name:ident / $variant:ident $args:tt $body:block $($rest:tt)*) => {
        api!(@one $own $name $args $body);
        api!(@one $own $variant $args $body);
        api!(|$own| $($rest)*);
    };
    (@one $own:ident $name:ident ($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        #[unsafe(no_mangle)]
        #[allow(non_snake_case, clippy::too_many_arguments, reason = "the API's own")]
        pub(crate) unsafe extern "C" fn $name($($arg: $ty),*) -> CUresult {
            const { let _: polder_gpuapi::cuda::pfn::$name = $name; }
            let $own = stringify!($name).contains("_pt");
            let _ = $own;
            if let Some(code) = crate::script::begins(stringify!($name)) {
                return code;
            }
            let call = std::panic::AssertUnwindSafe(move || -> Result<(), CUresult> { $body });
            match std::panic::catch_unwind(call) {
                Ok(Ok(())) => polder_gpuapi::cuda::consts::CUDA_SUCCESS,
                Ok(Err(code)) => code,
                Err(_) => polder_gpuapi::cuda::consts::CUDA_ERROR_UNKNOWN,
            }
        }
    };
}

/// Writes what a call returns through a pointer.
pub(crate) fn put<T>(at: *mut T, value: T) -> Result<(), u32> {
    if at.is_null() {
        return Err(polder_gpuapi::cuda::consts::CUDA_ERROR_INVALID_VALUE);
    }
    // SAFETY: not null, and the caller says that a `T` may be written there.
    unsafe { at.write(value) };
    Ok(())
}

/// Writes it where the caller wants it.
pub(crate) fn put_if<T>(at: *mut T, value: T) {
    // Where it is not wanted there is nothing to do.
    let _ = put(at, value);
}

/// Writes a C string of at most `room` bytes with its end.
pub(crate) fn put_text(at: *mut std::ffi::c_char, room: i32, text: &str) -> Result<(), u32> {
    let room = usize::try_from(room).unwrap_or(0);
    if at.is_null() || room == 0 {
        return Err(polder_gpuapi::cuda::consts::CUDA_ERROR_INVALID_VALUE);
    }
    let bytes = &text.as_bytes()[..text.len().min(room - 1)];
    // SAFETY: the caller says that `room` bytes may be written there.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), at, bytes.len());
        at.add(bytes.len()).write(0);
    }
    Ok(())
}
