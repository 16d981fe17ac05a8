//! Threads that the interpreter ends at its exit stay where they are.
//!
//! Before 3.14 CPython ends a daemon thread that wants the GIL while the interpreter exits by `pthread_exit`,
//! wherever it is (`take_gil`). glibc does that by unwinding the stack by force, and the first Rust frame on the way
//! that may not unwind, or catches what it does not know, aborts the whole process. Guards around single calls
//! cannot help: any call may run Python code (a finalizer during a decrement, the collector during an allocation),
//! and PyO3 declares nearly all of them as not unwinding.
//!
//! So the thread is stopped before the first frame is left: glibc runs a registered cleanup handler when the
//! unwinding passes the handler's buffer, by comparing addresses; a buffer on the heap counts as passed at the first
//! step. The handler parks the thread for ever, which is what 3.14 does by itself: the process is about to end, and
//! ends it. Other C libraries do not unwind in `pthread_exit` and need nothing.
//!
//! The registration is per thread and lasts as long as it. It changes nothing for a thread that ends otherwise,
//! not even by a `pthread_exit` of its own while the interpreter lives.

/// Prepares this thread for the interpreter's exit. Cheap when that was done before.
///
/// Called wherever a thread comes into Rust that may run Python code from there: all of the loop's methods, the slots and methods of native
/// types, and what drops either.
#[inline]
pub(crate) fn protect_thread() {
    #[cfg(all(target_os = "linux", target_env = "gnu", not(Py_3_14)))]
    registration::of_this_thread();
}

#[cfg(all(target_os = "linux", target_env = "gnu", not(Py_3_14)))]
mod registration {
    use std::ffi::{c_int, c_void};
    use std::ptr::null_mut;
    use std::thread;

    use pyo3::ffi;

    /// `struct _pthread_cleanup_buffer` of glibc's pthread.h.
    #[repr(C)]
    struct CleanupBuffer {
        routine: Option<extern "C" fn(*mut c_void)>,
        argument: *mut c_void,
        cancel_type: c_int,
        previous: *mut Self,
    }

    unsafe extern "C" {
        fn _pthread_cleanup_push(
            buffer: *mut CleanupBuffer,
            routine: extern "C" fn(*mut c_void),
            argument: *mut c_void,
        );
        fn _pthread_cleanup_pop(buffer: *mut CleanupBuffer, execute: c_int);
        #[cfg(not(Py_3_13))]
        fn _Py_IsFinalizing() -> c_int;
    }

    thread_local! {
        static REGISTERED: Registered = Registered::new();
    }

    #[inline]
    pub(super) fn of_this_thread() {
        // While the thread's locals are being dropped it is ending by itself.
        let _ = REGISTERED.try_with(|_| ());
    }

    /// A buffer in glibc's list of this thread. On the heap, where its address lies outside the thread's stack;
    /// thread-local memory itself may lie in the stack's own mapping, above every frame, and would be passed last.
    struct Registered(*mut CleanupBuffer);

    impl Registered {
        fn new() -> Self {
            let buffer = Box::into_raw(Box::new(CleanupBuffer {
                routine: None,
                argument: null_mut(),
                cancel_type: 0,
                previous: null_mut(),
            }));
            // SAFETY: the buffer has the layout of glibc's header and lives until `drop` has taken it out of the
            // list; only this thread touches it, through glibc.
            unsafe { _pthread_cleanup_push(buffer, stay, null_mut()) };
            Self(buffer)
        }
    }

    impl Drop for Registered {
        fn drop(&mut self) {
            // SAFETY: pushed by `new` on this thread, whose function has returned, so whatever was pushed later has
            // been popped. Nobody knows the buffer after that, and `new` got it from a box.
            unsafe {
                _pthread_cleanup_pop(self.0, 0);
                drop(Box::from_raw(self.0));
            }
        }
    }

    /// Runs when the thread is made to unwind.
    extern "C" fn stay(_: *mut c_void) {
        while interpreter_exits() {
            thread::park();
        }
    }

    fn interpreter_exits() -> bool {
        #[cfg(not(Py_3_13))]
        use _Py_IsFinalizing as is_finalizing;
        #[cfg(Py_3_13)]
        use ffi::Py_IsFinalizing as is_finalizing;
        // SAFETY: both functions only read the runtime's state and may be called without the GIL.
        unsafe { is_finalizing() != 0 || ffi::Py_IsInitialized() == 0 }
    }
}
