//! The one function whose instructions are counted.

/// Valgrind begins to count where it begins and ceases where it ends, by its name: it must be a
/// function of its own in the program, and calls nothing of its name.
#[inline(never)]
pub(crate) fn costs_measured(work: &mut dyn FnMut()) {
    work();
    // Otherwise the call above could be a jump, and the end of this function be lost.
    std::hint::black_box(());
}
