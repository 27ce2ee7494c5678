//! L1 of the chaos tests: the real consensus, the real log and the real snapshots over simulated disks and a simulated network, on
//! one single-threaded runtime whose clock is paused and jumps from event to event. The same seed gives the same run, byte by byte.
