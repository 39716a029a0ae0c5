//! Exports of a whole table: every function under its own name, a jump to where it goes.
//!
//! Nothing is known here of arguments: registers and stack are as the program left them, so that a
//! function whose signature nobody wrote down passes all the same.

/// Handed to a table of `polder_gpuapi`, exports every function of it: a jump through `TABLE`. The
/// first call of each asks [`first_call!`](crate::first_call) where to. What expands it has `TABLE`
/// (an `AtomicPtr<c_void>` per function, null until it is known), the table's `Function`, and what
/// `first_call!` makes.
#[macro_export]
macro_rules! trampolines {
    ($($class:ident $args:tt { $($name:ident $number:literal),* })*) => {$($(
        #[doc = concat!("Passes `", stringify!($name), "` on.")]
        ///
        /// # Safety
        /// As the API says.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        #[cfg(target_arch = "x86_64")]
        pub(crate) unsafe extern "C" fn $name() {
            ::std::arch::naked_asm!(
                "endbr64",
                "mov r11, qword ptr [rip + {table} + {offset}]",
                "test r11, r11",
                "jz 2f",
                "jmp r11",
                "2:",
                "mov r11d, {slot}",
                "jmp {first}",
                table = sym TABLE,
                offset = const Function::$name.slot() * size_of::<usize>(),
                slot = const Function::$name.slot(),
                first = sym first,
            )
        }

        #[doc = concat!("Passes `", stringify!($name), "` on.")]
        ///
        /// # Safety
        /// As the API says.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        #[cfg(target_arch = "aarch64")]
        pub(crate) unsafe extern "C" fn $name() {
            ::std::arch::naked_asm!(
                "hint #34",
                "adrp x16, {table} + {offset}",
                "ldr x16, [x16, :lo12:{table} + {offset}]",
                "cbz x16, 2f",
                "br x16",
                "2:",
                "mov w16, #{slot}",
                "b {first}",
                table = sym TABLE,
                offset = const Function::$name.slot() * size_of::<usize>(),
                slot = const Function::$name.slot(),
                first = sym first,
            )
        }
    )*)*};
}

/// Makes `first`, to which a function jumps that is called for the first time: it asks `$find`, an
/// `extern "C" fn(slot: u32) -> *const c_void`, where the function goes, with every argument register
/// kept, and goes there.
#[macro_export]
macro_rules! first_call {
    ($find:ident) => {
        #[unsafe(naked)]
        #[cfg(target_arch = "x86_64")]
        unsafe extern "C" fn first() {
            ::std::arch::naked_asm!(
                "push rbp",
                "mov rbp, rsp",
                "push rdi",
                "push rsi",
                "push rdx",
                "push rcx",
                "push r8",
                "push r9",
                "sub rsp, 128",
                "movups [rsp], xmm0",
                "movups [rsp + 16], xmm1",
                "movups [rsp + 32], xmm2",
                "movups [rsp + 48], xmm3",
                "movups [rsp + 64], xmm4",
                "movups [rsp + 80], xmm5",
                "movups [rsp + 96], xmm6",
                "movups [rsp + 112], xmm7",
                "mov edi, r11d",
                "call {find}",
                "mov r11, rax",
                "movups xmm0, [rsp]",
                "movups xmm1, [rsp + 16]",
                "movups xmm2, [rsp + 32]",
                "movups xmm3, [rsp + 48]",
                "movups xmm4, [rsp + 64]",
                "movups xmm5, [rsp + 80]",
                "movups xmm6, [rsp + 96]",
                "movups xmm7, [rsp + 112]",
                "add rsp, 128",
                "pop r9",
                "pop r8",
                "pop rcx",
                "pop rdx",
                "pop rsi",
                "pop rdi",
                "pop rbp",
                "jmp r11",
                find = sym $find,
            )
        }

        #[unsafe(naked)]
        #[cfg(target_arch = "aarch64")]
        unsafe extern "C" fn first() {
            ::std::arch::naked_asm!(
                "stp x29, x30, [sp, #-224]!",
                "mov x29, sp",
                "stp x0, x1, [sp, #16]",
                "stp x2, x3, [sp, #32]",
                "stp x4, x5, [sp, #48]",
                "stp x6, x7, [sp, #64]",
                "str x8, [sp, #80]",
                "stp q0, q1, [sp, #96]",
                "stp q2, q3, [sp, #128]",
                "stp q4, q5, [sp, #160]",
                "stp q6, q7, [sp, #192]",
                "mov w0, w16",
                "bl {find}",
                "mov x16, x0",
                "ldp x0, x1, [sp, #16]",
                "ldp x2, x3, [sp, #32]",
                "ldp x4, x5, [sp, #48]",
                "ldp x6, x7, [sp, #64]",
                "ldr x8, [sp, #80]",
                "ldp q0, q1, [sp, #96]",
                "ldp q2, q3, [sp, #128]",
                "ldp q4, q5, [sp, #160]",
                "ldp q6, q7, [sp, #192]",
                "ldp x29, x30, [sp], #224",
                "br x16",
                find = sym $find,
            )
        }
    };
}
