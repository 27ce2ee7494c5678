//! The machine's monotonic clock, held still for the thread of a simulation. h2 forgets the streams that it reset after a second of
//! that clock, and not of tokio's: on a busy machine a run would take another course than on a quiet one. It cannot be told to use
//! another clock, nor by hyper or tonic to keep them for longer. See `docs/adr/0006-clock-in-simulations.md`.
#![allow(unsafe_code, reason = "a function of C is replaced; each use has its proof")]

use std::cell::Cell;

use libc::{CLOCK_MONOTONIC, SYS_clock_gettime, c_int, clockid_t, syscall, timespec};

thread_local! {
    /// Where the clock of this thread stands, in seconds and nanoseconds.
    static HELD: Cell<Option<(i64, i64)>> = const { Cell::new(None) };
}

/// While it lives, the monotonic clock of this thread does not go on.
#[derive(Debug)]
pub(crate) struct Stillness(());

impl Stillness {
    /// From now on.
    pub(crate) fn begin() -> Stillness {
        let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
        clock_gettime(CLOCK_MONOTONIC, &raw mut now);
        HELD.set(Some((now.tv_sec, now.tv_nsec)));
        Stillness(())
    }
}

impl Drop for Stillness {
    fn drop(&mut self) {
        HELD.set(None);
    }
}

/// The C library's function of this name, which `std::time::Instant::now` calls: the linker prefers the program's own.
#[unsafe(no_mangle)]
extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    match HELD.get().filter(|_| clock == CLOCK_MONOTONIC) {
        Some((tv_sec, tv_nsec)) => {
            // SAFETY: whoever calls the function of this name promises that it may be written to (clock_gettime(3)).
            unsafe { *time = timespec { tv_sec, tv_nsec } };
            0
        }
        // SAFETY: the kernel checks the pointer itself and answers EFAULT.
        None => unsafe { syscall(SYS_clock_gettime, clock, time) as c_int },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_clock_stands_while_it_is_held_and_goes_on_after_it() {
        let goes_on = || {
            let begun = Instant::now();
            (0..100_000).any(|_| Instant::now() > begun)
        };
        assert!(goes_on());
        let held = Stillness::begin();
        assert!(!goes_on());
        assert!(std::thread::spawn(goes_on).join().is_ok_and(|other| other), "only this thread's stands");
        drop(held);
        assert!(goes_on());
    }
}
